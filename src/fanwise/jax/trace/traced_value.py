"""Arrays of a model that is traced: their numbers, their sources, the parameters that they show."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Runs
from fanwise.graph.op import UseRole
from fanwise.graph.tracking.tracker import Measured, Source
from fanwise.graph.tracking.views import ViewChain, runs_of
from fanwise.jax.trace.axes import Axes
from fanwise.stream.box import Shape

LARGEST = 1 << 25
"""Elements of an output beyond which its features are not followed."""

Drawn = Mapping[str, Any]
"""Values that stand in for parameters, by path."""


@dataclass(frozen=True)
class ShownParameter:
    """A parameter that an array shows.

    Args:
        path: of the parameter.
        axes: how its axes stand on those of the array; None where that is not known.
        side: None where the array is made of its numbers; its role where it changes those of another.
        parts: (axis, first, count) for each axis of which the array shows a part.
        stopped: whether no gradient comes back to it from the array.
    """

    path: str
    axes: Axes | None
    side: UseRole | None = None
    parts: tuple[tuple[int, int, int], ...] = ()
    stopped: bool = False


@dataclass(frozen=True)
class Provenance:
    """The parameters that an array shows or is made of.

    Args:
        shown: each of them.
        steps: functions between them and the array; () for a view.
        make: the array, from values in place of parameters.
    """

    shown: tuple[ShownParameter, ...]
    steps: tuple[str, ...]
    make: Callable[[Drawn], Any] = field(compare=False, repr=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the parameters."""
        return tuple(parameter.path for parameter in self.shown)


@dataclass(frozen=True, eq=False)
class Value:
    """An array of a model that is traced.

    Args:
        shape: of it.
        dtype: of it.
        data: its numbers; None where there are none.
        op: the op that they come from, `INPUT` for the model's inputs, None for constants and parameters.
        given: which of the model's inputs.
        views: since the op whose features are counted.
        held: the parameters that it shows.
        samples: the elementwise functions of other arrays that it is (`fanwise.jax.trace.activations`).
        sides: of a product of two arrays of data: which factor each axis comes from, "l", "r" or "b".
        reduced: it is made value by value of sums or means.
        extent: how many numbers its op gave, before they were repeated.
        state: it is made of the state of a loop over time alone.
        inverse: it is a constant one over a root, such as that of a running variance.
        pending: a statistic and a parameter whose product it is, not yet an op of its own.
        sequence: of the row that a step of a loop over time reads: the numbers of all rows.
    """

    shape: Shape
    dtype: np.dtype[Any]
    data: Any = None
    op: int | None = None
    given: int = 0
    views: ViewChain | None = None
    held: Provenance | None = None
    samples: Mapping[int, Any] = field(default_factory=dict, repr=False)
    sides: tuple[str, ...] = ()
    reduced: bool = False
    extent: int = 0
    state: bool = False
    inverse: bool = False
    pending: "tuple[Value, Value] | None" = None
    sequence: Any = None

    @property
    def is_float(self) -> bool:
        """Whether the array holds floating-point or complex numbers."""
        return bool(jnp.issubdtype(self.dtype, jnp.inexact))

    @property
    def is_data(self) -> bool:
        """Whether the array comes from the model's inputs or from an op."""
        return self.op is not None

    @property
    def source(self) -> Source | None:
        """The source of the numbers; None for constants and parameters."""
        return None if self.op is None else Source(self.op, self.views, self.given)

    def viewed(self, step: Callable[[Any], Any]) -> ViewChain | None:
        """Its chain after one view more."""
        return None if self.views is None else self.views.then(step)

    @property
    def is_constant(self) -> bool:
        """Whether the array is made neither of data nor of parameters."""
        return self.op is None and self.held is None and self.pending is None

    @property
    def size(self) -> int:
        """The count of the numbers."""
        return math.prod(self.shape)

    @property
    def number(self) -> float | None:
        """The number that a constant has everywhere; None for any other array."""
        if not self.is_constant or self.data is None or (not self.is_float and self.dtype.kind not in "iu"):
            return None
        if self.shape == ():
            return float(np.asarray(self.data))
        values = np.asarray(self.data)
        return float(values.flat[0]) if values.size and (values == values.flat[0]).all() else None


def of_form(form: tuple[Shape, Any], **known: Any) -> Value:
    """A value of this shape and dtype, of which more is known."""
    return Value(form[0], form[1], **known)


def constant(data: Any) -> Value:
    """A value that is neither data nor made of parameters."""
    array = data if isinstance(data, jax.Array) else np.asarray(data)
    return Value(tuple(array.shape), array.dtype, data)


def measured(data: Any) -> float:
    """E x^2 over an array, in double precision; NaN where it has no numbers or is being traced."""
    if data is None or isinstance(data, jax.core.Tracer) or math.prod(data.shape) == 0:
        return math.nan
    values = np.abs(np.asarray(data)).astype(np.float64, copy=False).ravel()
    return float(np.dot(values, values) / values.size)


def moments_of(read: Sequence[Value]) -> Measured[Value]:
    """Second moments of what an op reads; of what a loop over time reads, over all its steps."""
    return Measured(tuple(read), _moment, lambda value: value.data is not None)


def _moment(value: Value) -> float:
    return measured(value.data if value.sequence is None else value.sequence)


def runs_of_features(chain: ViewChain) -> Runs | None:
    """The features that a value shows; None where that cannot be told."""
    numbers = feature_numbers(chain)
    return None if numbers is None else runs_of(numbers, chain.extent)


def feature_numbers(chain: ViewChain) -> NDArray[np.int32] | None:
    """The number of the feature at each value that a chain shows; None where that cannot be told."""
    return None if math.prod(chain.shape) > LARGEST else np.asarray(chain.replayed(chain.numbers()))
