"""Parameters without memory that are drawn where the model reads them, and dropped again."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fanwise.plan.plan import Plan
from fanwise.stream.key import Key
from fanwise.torch.trace.function_names import bare_name, is_attribute, tensors_in
from fanwise.torch.trace.provenance import ParameterProvenance
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.trace.substitute import swapped
from fanwise.torch.weights.draw_row import check_numbers, draw_row_

MOST_BYTES = 1 << 28
"""Bytes of paged parameters that are held at a time."""
FEWEST = 8
"""Parameters that are held whatever they take: those of a call, and those of which the model has just made others."""


class ParameterPager(TorchFunctionMode):
    """Puts a plan's values in the place of parameters on the meta device, call by call.

    So a model runs that is larger than memory: a parameter is drawn when it is first read, and dropped when others need
    the room. What is drawn again is the same, to the bit. As a mode it belongs inside of the recorder's, which then
    sees the values.

    Args:
        model: whose parameters on the meta device are lent.
        numbers: a plan for it, and the key of the plan's numbers.
        device: where they are computed with.
        provenance: told what is lent for which parameter, and what is dropped.
    """

    def __init__(
        self, model: nn.Module, numbers: tuple[Plan, Key], device: torch.device, provenance: ParameterProvenance
    ) -> None:
        super().__init__()
        plan, self._key = numbers
        self._plan, self._device, self._provenance = plan, device, provenance
        self._tensors = {plan[path].path: tensor for path, tensor in _without_memory(model).items()}
        self._paths = {id(tensor): path for path, tensor in self._tensors.items()}
        self._paged: OrderedDict[str, Tensor] = OrderedDict()
        self.largest = 0
        """The most bytes that were held at a time."""

    def values(self, path: str) -> Tensor:
        """The values of a parameter."""
        tensor = self._paged.get(path)
        if tensor is None:
            tensor = torch.empty_like(self._tensors[path], device=self._device, requires_grad=False)
            draw_row_(tensor, self._plan[path], self._key)
            self._keep(path, tensor)
        self._paged.move_to_end(path)
        return tensor

    def _keep(self, path: str, tensor: Tensor) -> None:
        self._paged[path] = tensor
        self._provenance.record(path, tensor)
        while len(self._paged) > FEWEST and self._bytes() > MOST_BYTES:
            oldest, _ = self._paged.popitem(last=False)
            self._provenance.forget(oldest)
        self.largest = max(self.largest, self._bytes())

    def _bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._paged.values())

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Executes one call on values."""
        named = dict(kwargs or {})
        read = [id(tensor) for tensor in tensors_in([args, named])]
        wanted = {identity: self._paths[identity] for identity in read if identity in self._paths}
        if wanted and is_attribute(func, bare_name(func)):
            return self._device if bare_name(func) == "device" else func(*args, **named)
        new = {identity: self.values(path) for identity, path in wanted.items()}
        return func(*swapped(list(args), new), **swapped(named, new)) if new else func(*args, **named)


def check_pageable(model: nn.Module, plan: Plan) -> None:
    """Raises where a model without memory has values that no plan gives.

    Raises:
        ValueError: a parameter that the plan leaves as it is, a dtype in which nothing is drawn, or a buffer.
    """
    unused = {row.path for row in plan.unused}
    for path, tensor in _without_memory(model).items():
        if plan[path].path in unused:
            continue
        if plan[path].law is None:
            raise ValueError(f"parameter {path!r} has no values, and the plan leaves it as it is: give it a law")
        check_numbers(tensor.dtype, plan[path])
    empty = [path for path, tensor in model.named_buffers() if is_abstract(tensor)]
    if empty:
        raise ValueError(
            f"buffer {empty[0]!r} is on the meta device and has no values that a plan could give: build the model with "
            "its parameters alone there, as accelerate.init_empty_weights() does"
        )


def _without_memory(model: nn.Module) -> dict[str, Tensor]:
    return {path: tensor for path, tensor in model.named_parameters(remove_duplicate=False) if is_abstract(tensor)}
