"""Which features of an op's output a view of it still holds: the views are replayed on the features' numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fanwise.torch.operations import bare_name, tensors_in
from torch import Tensor

LARGEST = 1 << 25
"""Elements of an output beyond which its features are not followed."""

CASTS = frozenset(["to", "float", "half", "bfloat16", "double", "type", "type_as", "contiguous", "clone", "detach", "cuda", "cpu", "alias", "data"])


class _Place:
    """Stands for the tensor that a view is taken of."""


_PLACE = _Place()


@dataclass(frozen=True)
class Chain:
    """The views since an op.

    Args:
        root: index of the op.
        shape: of its output.
        axis: of its features.
        steps: the views, each with its arguments and which of its outputs is meant.
    """

    root: int
    shape: tuple[int, ...]
    axis: int
    steps: tuple[tuple[Callable[..., Any], Any, Any, int], ...] = ()

    @property
    def extent(self) -> int:
        """How many features the op has."""
        return self.shape[self.axis]

    def then(
        self, func: Callable[..., Any], call: tuple[Tensor, Sequence[Any], Mapping[str, Any]], place: int
    ) -> "Chain":
        """The chain with one view more: `call` is the tensor viewed and the view's arguments."""
        first, args, named = call
        if bare_name(func) in CASTS:  # would round the numbers of the features
            return self
        step = (func, _template(args, first), _template(dict(named), first), place)
        return Chain(self.root, self.shape, self.axis, (*self.steps, step))

    def replay(self) -> Tensor | None:
        """The number of the feature that stands at each element; None where that cannot be told."""
        size = 1
        for extent in self.shape:
            size *= extent
        if size > LARGEST:
            return None
        places = [1] * len(self.shape)
        places[self.axis] = self.extent
        shadow = torch.arange(self.extent, dtype=torch.int32, device="cpu").view(places).expand(self.shape)
        try:
            for func, args, named, place in self.steps:
                made = func(*_filled(args, shadow), **_filled(named, shadow))
                shadow = list(tensors_in(made))[place]
        except (RuntimeError, TypeError, IndexError, NotImplementedError):
            return None
        return None if shadow.is_meta or shadow.is_floating_point() else shadow


def runs_of_features(chain: Chain) -> tuple[tuple[int, int], ...] | None:
    """The features that are left, as (first, count) of each run of neighbours; None where that cannot be told."""
    shadow = chain.replay()
    if shadow is None or shadow.numel() == 0:
        return None
    present = torch.zeros(chain.extent + 2, dtype=torch.int8)
    present[shadow.reshape(-1).long() + 1] = 1
    edges = torch.nonzero(present[1:] != present[:-1]).reshape(-1).tolist()
    return tuple((first, last - first) for first, last in zip(edges[::2], edges[1::2], strict=True))


def _template(value: Any, first: Tensor) -> Any:
    if value is first:
        return _PLACE
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return type(value)(_template(item, first) for item in value) if type(value) in (tuple, list) else value
    if isinstance(value, dict):
        return {name: _template(item, first) for name, item in value.items()}
    return value


def _filled(value: Any, shadow: Tensor) -> Any:
    if value is _PLACE:
        return shadow
    if type(value) in (tuple, list):
        return type(value)(_filled(item, shadow) for item in value)
    if isinstance(value, dict):
        return {name: _filled(item, shadow) for name, item in value.items()}
    return value
