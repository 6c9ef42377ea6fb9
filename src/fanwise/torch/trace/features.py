"""Which features of an op's output a view of it still holds: the views are replayed on the features' numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fanwise.torch.trace.function_names import bare_name, tensors_in
from fanwise.torch.trace.storage import is_abstract

LARGEST = 1 << 25
"""Elements of an output beyond which its features are followed through views alone, which take no memory."""

PURE = frozenset(
    """
    view transpose swapaxes swapdims permute movedim moveaxis t T mT expand expand_as broadcast_to squeeze unsqueeze
    getitem chunk split split_with_sizes tensor_split narrow select unbind unflatten view_as alias detach
    """.split()  # noqa: SIM905
)
"""Views that never copy."""

CASTS = frozenset(
    [
        "to",
        "float",
        "half",
        "bfloat16",
        "double",
        "type",
        "type_as",
        "contiguous",
        "clone",
        "detach",
        "cuda",
        "cpu",
        "alias",
        "data",
    ]
)


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
        peers: ops whose outputs were added to that of the root before any view, feature by feature.
    """

    root: int
    shape: tuple[int, ...]
    axis: int
    steps: tuple[tuple[Callable[..., Any], Any, Any, int], ...] = ()
    peers: tuple[int, ...] = ()

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
        return replace(self, steps=(*self.steps, step))

    def replay(self) -> Tensor | None:
        """The number of the feature that stands at each element; None where that cannot be told."""
        places = [1] * len(self.shape)
        places[self.axis] = self.extent
        with unset_fake_temporarily():
            shadow = torch.arange(self.extent, dtype=torch.int32, device="cpu").view(places).expand(self.shape)
            try:
                for step in self.steps:
                    shadow = _stepped(shadow, step)
            except (RuntimeError, TypeError, IndexError, NotImplementedError):
                return None
        return None if shadow.is_meta or shadow.is_floating_point() else shadow


def runs_of_features(chain: Chain) -> tuple[tuple[int, int], ...] | None:
    """The features that are left, as (first, count) of each run of neighbours; None where that cannot be told."""
    shadow = chain.replay()
    if shadow is None or shadow.numel() == 0:
        return None
    with unset_fake_temporarily():
        for axis, stride in enumerate(shadow.stride()):
            shadow = shadow.narrow(axis, 0, 1) if stride == 0 else shadow
        present = torch.zeros(chain.extent + 2, dtype=torch.int8, device="cpu")
        present[shadow.reshape(-1).long() + 1] = 1
        edges = torch.nonzero(present[1:] != present[:-1]).reshape(-1).tolist()
    return tuple((first, last - first) for first, last in zip(edges[::2], edges[1::2], strict=True))


def _stepped(shadow: Tensor, step: tuple[Callable[..., Any], Any, Any, int]) -> Tensor:
    func, args, named, place = step
    if any(is_abstract(tensor) for tensor in tensors_in([args, named])):  # indices that are not known
        return shadow.new_empty(0, device="meta")
    if shadow.numel() > LARGEST and bare_name(func) not in PURE:
        shape = func(*_filled(args, shadow.to("meta")), **_filled(named, shadow.to("meta"))).shape
        return shadow.view(shape) if bare_name(func) in ("reshape", "flatten") else shadow.new_empty(0, device="meta")
    return list(tensors_in(func(*_filled(args, shadow), **_filled(named, shadow))))[place]


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
