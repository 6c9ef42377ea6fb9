"""One call of a function: what it reads as data, and what acts in it as a parameter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fanwise.graph.details import Detail
from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.layout import Layout

Input = TypeVar("Input")
"""How an adapter names an input of a call: a tensor, a variable, or its place among the arguments."""


@dataclass(frozen=True)
class Part(Generic[Input]):
    """An input that acts as a parameter.

    Args:
        input: which it is.
        role: as in `fanwise.graph.op.Use`.
        layout: of the input's own axes, where it has one.
        steps: functions between the parameter and the input, where the adapter keeps them here.
        turned: whether the input is the matrix transposed, where the adapter keeps it here.
        beside: other parameters of which the input was made too, where the adapter keeps them here.
        seen: the layout of what was made of the parameter, in its own axes, where the adapter keeps it here.
        make: the input, from arrays in place of parameters by path, where the adapter keeps it here.
    """

    input: Input
    role: UseRole
    layout: Layout | None = None
    steps: tuple[str, ...] = ()
    turned: bool = False
    beside: tuple["Part[Input]", ...] = ()
    seen: Layout | None = None
    make: Callable[[Mapping[str, Any]], Any] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Call(Generic[Input]):
    """What one call is.

    Args:
        kind: as in `fanwise.graph.op.Op`.
        data: inputs that are read as data, in order.
        parts: inputs that act as parameters.
        axis: of the output, that of the features.
        detail: as in `Op`.
        name: as in `Op`; "" for the name of the function itself.
        blocks: as in `Op`.
    """

    kind: OpKind
    data: tuple[Input, ...]
    parts: tuple[Part[Input], ...] = ()
    axis: int = -1
    detail: Detail | None = None
    name: str = ""
    blocks: tuple[str, ...] = ()


def parts_of(*parts: tuple[Input | None, UseRole, Layout | None]) -> tuple[Part[Input], ...]:
    """The parts whose input is given, each as input, role and layout."""
    return tuple(Part(given, role, layout) for given, role, layout in parts if given is not None)
