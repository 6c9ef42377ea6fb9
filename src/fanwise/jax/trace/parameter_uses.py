"""Uses of the parameters behind an operation's inputs: their role, layout, and the steps from the parameter."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.graph.frozen import STOPS_GRADIENT
from fanwise.graph.op import Parameter, Use, UseRole
from fanwise.graph.tracking.operands import tied_fan
from fanwise.graph.tracking.tracker import std_ratio
from fanwise.graph.transform import Transform
from fanwise.jax.trace.axes import layout_in_storage, stacked_layout
from fanwise.jax.trace.calls import Part
from fanwise.jax.trace.op_roles import SUMMED
from fanwise.jax.trace.provenance import FACTORS
from fanwise.jax.trace.traced_value import Provenance, ShownParameter, Value, measured
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape


@dataclass(frozen=True)
class UseReader:
    """Reads the uses of parameters off the values that show them.

    Args:
        parameters: of the model, by path.
        leaves: their arrays.
        measured: whether the arrays are measured: what is made of them is compared with them.
    """

    parameters: Mapping[str, Parameter]
    leaves: Mapping[str, Any]
    measured: bool

    def uses(self, value: Value, part: Part) -> Iterator[Use]:
        """Uses of the parameters that an input shows.

        Args:
            value: the input.
            part: what the input acts as.
        """
        if value.held is not None:
            yield from (self._use(value.held, shown, part, value.shape) for shown in value.held.shown)

    def _use(self, held: Provenance, shown: ShownParameter, part: Part, seen_shape: Shape | None = None) -> Use:
        steps = (*held.steps, "normalize") if self._is_normalised(held, shown.path) else held.steps
        role, ratio = shown.side or part.role, self._ratio(held, shown.path)
        layout, shape = self._layout(shown, part), self.parameters[shown.path].shape
        is_tied = role == UseRole.WEIGHT and len(held.shown) == 1 and seen_shape is not None
        is_tied = is_tied and not self._is_placed(held, math.prod(shape))
        tied = tied_fan((part.layout, seen_shape or ()), (layout, shape)) if is_tied else None
        parts = tuple(shown.parts) if tied is None else ()
        seen, transform = self._seen(held, shown), self._transform(held, part, seen_shape, own=shown.side is None)
        made = (ratio, seen, parts, tied, transform)
        return Use(shown.path, role, None if tied else layout, steps, *made, stopped=shown.stopped)

    def _transform(self, held: Provenance, part: Part, shape: Shape | None, *, own: bool) -> Transform | None:
        """What makes the array of other values of the parameters; None for a view, and where there are no values."""
        paths = [shown.path for shown in held.shown if shown.side is None]
        leaves = {path: _numbers_of(self.leaves[path]) for path in paths}
        is_view = not set(held.steps) - {"cat"} - STOPS_GRADIENT
        if is_view or not own or shape is None or not self.measured or None in map(_known, leaves.values()):
            return None

        def again(arrays: Mapping[str, Any]) -> Any:
            return held.make({path: jnp.asarray(array, leaves[path].dtype) for path, array in arrays.items()})

        kinds = {path: (tuple(leaf.shape), bool(np.iscomplexobj(leaf))) for path, leaf in leaves.items()}
        return Transform(shape, part.layout, kinds, again)

    def _seen(self, held: Provenance, shown: ShownParameter) -> tuple[float, float] | None:
        """Mean and std of a part of a parameter; None for a whole one, and where there are no numbers."""
        leaf = _numbers_of(self.leaves[shown.path])
        if not shown.parts or held.steps or not self.measured or leaf is None or isinstance(leaf, jax.core.Tracer):
            return None
        made = held.make({})
        if isinstance(made, jax.core.Tracer) or not made.size or np.iscomplexobj(made):
            return None
        values = np.asarray(made, np.float64)
        return float(values.mean()), float(values.std())

    def _layout(self, shown: ShownParameter, part: Part) -> Layout | None:
        shape = self.parameters[shown.path].shape
        if part.layout is not None and not shown.side:
            return layout_in_storage(part.layout, shown.axes, shape)
        return stacked_layout(shown.axes, shape) if part.role in (UseRole.SHIFT, UseRole.SCALE) else None

    def _is_normalised(self, held: Provenance, path: str) -> bool:
        """Whether the size of a parameter has no effect on what is made of it: twice as large, it gives the same."""
        leaf = _numbers_of(self.leaves[path])
        if not self.measured or not set(held.steps) & set(SUMMED) or leaf is None:
            return False
        once, twice = (np.asarray(held.make({path: factor * leaf}), np.float64) for factor in (1, 2))
        return bool(np.abs(once).max() > 0 and np.abs(twice - once).max() <= 0.01 * np.abs(once).max())

    def _is_placed(self, held: Provenance, size: int) -> bool:
        """Whether a parameter fills a part of an array, the rest of which is 0."""
        made = held.make({}) if self.measured and "cat" in held.steps else None
        if made is None or isinstance(made, jax.core.Tracer | jax.ShapeDtypeStruct):
            return False
        return 0 < int(np.count_nonzero(np.asarray(made))) <= size

    def _ratio(self, held: Provenance, path: str) -> float:
        """The ratio of a weight's std to its parameter's, where constant factors make it of that parameter alone."""
        if not self.measured or len(held.shown) > 1 or not set(held.steps) & FACTORS:
            return 1.0
        return std_ratio(measured(_numbers_of(self.leaves[path])), measured(held.make({})))


def _known(leaf: Any) -> bool | None:
    """Whether an array has values; None where it has not."""
    return None if leaf is None or isinstance(leaf, jax.core.Tracer) else True


def _numbers_of(leaf: Any) -> Any:
    return None if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
