"""One operation of a program, and what in it is data and what acts as a parameter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.extend.core import JaxprEqn

from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape

Form: TypeAlias = tuple[Shape, np.dtype[Any]]


@dataclass(frozen=True)
class Step:
    """An operation as a function of arrays.

    Args:
        name: of the primitive.
        function: from arrays to a list of arrays.
        outs: shape and dtype of each output.
        params: what else the primitive is told.
    """

    name: str
    function: Callable[..., Sequence[Any]] = field(repr=False)
    outs: tuple[Form, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *arrays: Any) -> Sequence[Any]:
        """The outputs; None for each where an input has no numbers."""
        if any(array is None for array in arrays):
            return [None] * len(self.outs)
        return self.function(*arrays)

    def first(self, *arrays: Any) -> Any:
        """The first output."""
        return self(*arrays)[0]


def step_of(equation: JaxprEqn) -> Step:
    """The step that an equation of a jaxpr is."""
    primitive = equation.primitive

    def function(*arrays: Any) -> Sequence[Any]:
        made = primitive.bind(*arrays, **primitive.get_bind_params(equation.params))
        return list(made) if primitive.multiple_results else [made]

    return Step(primitive.name, function, forms_of(equation.outvars), equation.params)


def forms_of(atoms: Sequence[Any]) -> tuple[Form, ...]:
    """Shape and dtype of each variable."""
    return tuple((tuple(atom.aval.shape), atom.aval.dtype) for atom in atoms)


def literal(atom: Any) -> np.ndarray[Any, Any]:
    """The value of a number that stands in a jaxpr."""
    return np.asarray(atom.val, atom.aval.dtype)


def plain_step(name: str, function: Callable[..., Any], like: jax.ShapeDtypeStruct | Any) -> Step:
    """A step with one output of the shape and dtype of another array."""
    return Step(name, lambda *arrays: [function(*arrays)], ((tuple(like.shape), like.dtype),))


@dataclass(frozen=True)
class Part:
    """An input that acts as a parameter: its place, its role, and the layout of its own axes where it has one."""

    place: int
    role: UseRole
    layout: Layout | None = None


@dataclass(frozen=True)
class Call:
    """What an operation is.

    Args:
        kind: as in `Op`.
        data: places of the inputs that are read as data, in order.
        parts: inputs that act as parameters.
        axis: of the output, that of the features.
        detail: as in `Op`.
        name: as in `Op`; the primitive's own by default.
    """

    kind: OpKind
    data: tuple[int, ...]
    parts: tuple[Part, ...] = ()
    axis: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
