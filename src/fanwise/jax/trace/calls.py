"""Operations of a program as functions of arrays, and as calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from fanwise.graph.tracking import call as tracking
from fanwise.graph.tracking.source_lines import Line, users_lines
from fanwise.jax.trace.on_host import on_host
from fanwise.stream.box import Shape

Form: TypeAlias = tuple[Shape, np.dtype[Any]]
"""Shape and dtype of an array."""

Call: TypeAlias = tracking.Call[int]
"""The description of an operation; its inputs are named by their positions."""

Part: TypeAlias = tracking.Part[int]
"""An input that acts as a parameter, by its place."""


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
    primitive, outs = equation.primitive, forms_of(equation.outvars)

    def function(*arrays: Any) -> Sequence[Any]:
        answer = on_host(primitive.name, equation.params, arrays)
        if answer is not None:
            return [answer.astype(outs[0][1], copy=False)]
        outputs = primitive.bind(*arrays, **primitive.get_bind_params(equation.params))
        return list(outputs) if primitive.multiple_results else [outputs]

    return Step(primitive.name, function, outs, equation.params)


def first_on_host(step: Step, arrays: Sequence[Any]) -> Any:
    """The first output of an elementwise step on NumPy arrays of one shape."""
    answer = on_host(step.name, step.params, arrays)
    return np.asarray(step.first(*(jnp.asarray(array) for array in arrays))) if answer is None else answer


def line_of(equation: JaxprEqn, call: Line | None = None) -> Line | None:
    """The line of the user's sources that an equation was traced from; None where JAX does not tell.

    Args:
        equation: of a program.
        call: the line that calls that program. JAX keeps the programs of functions that it has compiled: one that was
            traced for another line says nothing of this one.
    """
    source = getattr(getattr(equation, "source_info", None), "traceback", None)
    lines = users_lines((frame.file_name, frame.line_num) for frame in getattr(source, "frames", ()))
    return lines[0] if lines and (call is None or call in lines) else call


def forms_of(atoms: Sequence[Any]) -> tuple[Form, ...]:
    """Shape and dtype of each variable."""
    return tuple((tuple(atom.aval.shape), atom.aval.dtype) for atom in atoms)


def literal(atom: Any) -> np.ndarray[Any, Any]:
    """The value of a number that stands in a jaxpr."""
    return np.asarray(atom.val, atom.aval.dtype)


def plain_step(name: str, function: Callable[..., Any], like: jax.ShapeDtypeStruct | Any) -> Step:
    """A step with one output of the shape and dtype of another array."""
    return Step(name, lambda *arrays: [function(*arrays)], ((tuple(like.shape), like.dtype),))
