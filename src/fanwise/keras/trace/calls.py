"""What one call is to the recorder: a layer's, or a function's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.layout import Layout


@dataclass(frozen=True)
class Part:
    """A variable in a role of `fanwise.graph.op.Use`.

    Args:
        variable: the variable.
        role: as in `Use`.
        layout: in which it is stored, where it has one.
        steps: functions between the variable and what is used.
        turned: whether what is used is the matrix transposed.
    """

    variable: Any
    role: UseRole
    layout: Layout | None = None
    steps: tuple[str, ...] = ()
    turned: bool = False


@dataclass(frozen=True)
class Call:
    """What one call is.

    Args:
        kind: as in `fanwise.graph.op.Op`.
        name: of the layer's class, or of the function.
        data: tensors that are read, in order.
        parts: variables that are used.
        axis: of the output, that of the features.
        detail: as in `Op`.
    """

    kind: OpKind
    name: str
    data: tuple[Any, ...]
    parts: tuple[Part, ...] = ()
    axis: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)


def parts_of(*parts: tuple[Any, UseRole, Layout | None]) -> tuple[Part, ...]:
    """The parts whose variable there is."""
    return tuple(Part(variable, role, layout) for variable, role, layout in parts if variable is not None)
