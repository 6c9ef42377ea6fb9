"""Several batches made one, along the axis of their examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fanwise.torch.run import Inputs


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The batches one after the other: tensors along their first axis, everything else must be equal.

    Raises:
        ValueError: batches that differ in more than the number of their examples.
    """
    if len(batches) == 1:
        return batches[0]
    args = _joined([batch.args for batch in batches], "inputs")
    return Inputs(args, _joined([dict(batch.kwargs or {}) for batch in batches], "inputs"))


def _joined(values: Sequence[Any], place: str) -> Any:
    first = values[0]
    if any(type(value) is not type(first) for value in values):
        raise ValueError(f"{place}: the batches hold {', '.join(type(value).__name__ for value in values)}")
    if isinstance(first, Tensor):
        return _joined_tensors(values, place)
    if isinstance(first, (tuple, list)) and type(first) in (tuple, list):
        if len({len(value) for value in values}) > 1:
            raise ValueError(f"{place}: the batches hold {', '.join(str(len(value)) for value in values)} values")
        return type(first)(_joined(column, f"{place}[{i}]") for i, column in enumerate(zip(*values, strict=True)))
    if isinstance(first, Mapping):
        if any(set(value) != set(first) for value in values):
            raise ValueError(f"{place}: the batches hold other names: {' | '.join(map(str, map(list, values)))}")
        return {name: _joined([value[name] for value in values], f"{place}[{name!r}]") for name in first}
    if any(value != first for value in values):
        raise ValueError(f"{place}: the batches hold {', '.join(map(repr, values))}: expected equal values")
    return first


def _joined_tensors(tensors: Sequence[Tensor], place: str) -> Tensor:
    if len({(tensor.shape[1:], tensor.dtype) for tensor in tensors}) > 1 or any(not tensor.dim() for tensor in tensors):
        shapes = ", ".join(f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in tensors)
        raise ValueError(f"{place}: the batches hold {shapes}: expected shapes that differ in the first axis alone")
    return torch.cat(list(tensors))
