"""Whether parameters share elements without being the same tensor."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
from torch import Tensor

from fanwise.stream.formats import Array
from fanwise.torch.trace.storage import storage_of

MOST_WORK = 1 << 16
"""Steps for one pair of tensors; strides that need more, none in practice, count as apart."""


def check_apart(named: Sequence[tuple[str, Tensor]]) -> None:
    """Raises where two tensors have an element in common: a draw into one would undo that into the other.

    Args:
        named: dense tensors and what an error calls them.

    Raises:
        ValueError: two that overlap.
    """
    stored: dict[int | None, list[tuple[str, Tensor]]] = {}
    for name, tensor in named:
        if tensor.numel():
            stored.setdefault(storage_of(tensor), []).append((name, tensor))
    for together in stored.values():
        for first, other in _clashes(together):
            raise ValueError(
                f"parameters {first!r} and {other!r} share memory without being the same tensor, so that drawing one "
                f"would undo the other: leave one out, as in plan.edit({other!r}, None)"
            )


def _clashes(together: Sequence[tuple[str, Tensor]]) -> Iterator[tuple[str, str]]:
    """Pairs of one storage that overlap: each is compared with those that begin before it and reach into it."""
    open_: list[tuple[str, Tensor]] = []
    for name, tensor in sorted(together, key=lambda pair: pair[1].storage_offset()):
        open_ = [(other, seen) for other, seen in open_ if _end(seen) > tensor.storage_offset()]
        yield from ((other, name) for other, seen in open_ if _overlap(seen, tensor))
        open_.append((name, tensor))


def _end(tensor: Tensor) -> int:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return int(tensor.storage_offset()) + sum((size - 1) * stride for size, stride in steps) + 1


def _overlap(first: Tensor, other: Tensor) -> bool:
    try:
        shared = np.shares_memory(_addresses(first), _addresses(other), max_work=MOST_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return False
    return bool(shared)


def _addresses(tensor: Tensor) -> Array:
    """An array at a tensor's addresses, on any device: never read."""
    bytes_ = tensor.element_size()
    interface = {
        "version": 3,
        "typestr": f"|V{bytes_}",
        "shape": tuple(tensor.shape),
        "strides": tuple(stride * bytes_ for stride in tensor.stride()),
        "data": (tensor.data_ptr(), True),
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))
