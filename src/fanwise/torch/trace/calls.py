"""One call of a function of torch: what it was given, and what of that is data and what acts as a parameter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.layout import Layout


@dataclass(frozen=True)
class Part:
    """A tensor argument in a role of `Use`, with the layout of its own axes where it has one."""

    tensor: Tensor
    role: UseRole
    layout: Layout | None = None


@dataclass(frozen=True)
class Call:
    """What one call is.

    Args:
        kind: as in `Op`.
        data: tensors that are read as data, in order.
        parts: tensors that act as parameters if they are ones, and as data if not.
        axis: of the output, that of the features.
        detail: as in `Op`.
    """

    kind: OpKind
    data: tuple[Tensor, ...]
    parts: tuple[Part, ...] = ()
    axis: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arguments:
    """What a function was called with.

    Args:
        args: positional arguments.
        named: named ones.
        weights: tells whether an argument is made of parameters.
        name: bare name of the function.
    """

    args: tuple[Any, ...]
    named: Mapping[str, Any]
    weights: Callable[[Any], bool]
    name: str

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """The argument at a position or of a name."""
        if position < len(self.args):
            return self.args[position]
        return self.named.get(name, default)

    def tensor(self, position: int, name: str) -> Tensor | None:
        """The same, None where it is no tensor."""
        value = self.get(position, name)
        return value if isinstance(value, Tensor) else None


def data_of(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    """The tensors that are given."""
    return tuple(tensor for tensor in tensors if tensor is not None)


def parts_of(*parts: tuple[Tensor | None, UseRole, Layout | None]) -> tuple[Part, ...]:
    """The parts that are given, each as tensor, role and layout."""
    return tuple(Part(tensor, role, layout) for tensor, role, layout in parts if tensor is not None)
