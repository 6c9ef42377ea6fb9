"""What theory predicts for a run: from its parameters' values, its inputs, and the gradient at its output."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fanwise.graph.kinds import MAP_USES
from fanwise.graph.op import Op, OpKind, Use
from fanwise.graph.visitor import Moment
from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.measure.law_recognition import found_law
from fanwise.measure.observation import Observation, Signal, Values
from fanwise.theory.measured_law import MeasuredLaw
from fanwise.theory.propagation import Given, Propagation, Start, propagate

ALIKE, ERRORS = 0.1, 4.0
"""By how much the overlap of a map's rows may exceed 1, and by how many times its error."""


@dataclass(frozen=True)
class AsFound:
    """A visitor of a propagation that gives each parameter the mean and std that it has.

    Args:
        values: of every parameter, by path.
    """

    values: Mapping[str, Values]

    def before(self, op: Op, moment: Moment) -> Mapping[str, Initializer]:
        """The laws of the parameters that an op uses."""
        held = {use.path: (use, self.values[use.path]) for use in op.uses if use.path in self.values}
        return {path: _law(*moments) for path, moments in held.items() if _is_finite(moments[1])}

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """Nothing is scaled."""
        return None


def predicted(run: Observation) -> Propagation:
    """The second moments that theory expects of a run's signals and gradients, for parameters of these sizes.

    Weights count by their mean and variance alone. Signals start from the moments of the inputs that were measured, and
    from those of what is made of constants alone; gradients from the one that was measured at the model's first output.
    """
    ends = {op: run.signals[op].gradient for op in run.trace.outputs[:1]}
    known = {op: size for op, size in ends.items() if size > 0 and math.isfinite(size)}
    constants = {op.index: _given(run.signals[op.index]) for op in run.trace.ops if _reads_constants(op)}
    tables = {op.index: run.signals[op.index].alike for op in run.trace.ops if op.kind == OpKind.EMBEDDING}
    alike = {op: alike for op, alike in tables.items() if math.isfinite(alike)}
    inputs = {number: run.inputs[position] for number, position in enumerate(run.given) if position is not None}
    overlaps = {number: signal.overlap for number, signal in inputs.items() if math.isfinite(signal.overlap)}
    begun = {op.index: run.signals[op.index].overlap for op in run.trace.ops}
    begun = {index: overlap for index, overlap in begun.items() if math.isfinite(overlap)}
    given = {number: _given(signal) for number, signal in inputs.items()}
    start = Start(given, constants, alike, overlaps, begun, frozenset(_dependent(run)))
    return propagate(run.trace, AsFound(run.values), inputs=start, gradients=known)


def _dependent(run: Observation) -> Iterator[str]:
    """Maps whose weights may be no independent draws: frozen, of no law that is drawn from, or alike between units."""
    for use in (use for op in run.trace.ops for use in op.uses if use.role in MAP_USES and use.path in run.values):
        values, parameter = run.values[use.path], run.trace.by_path[use.path]
        shape = parameter.shape
        units = max(min(shape, default=1), 1)
        alike = values.overlap > 1 + ALIKE + ERRORS / units
        if alike or not parameter.trained or found_law(values, shape, use.layout).kind == "trained":
            yield use.path


def _reads_constants(op: Op) -> bool:
    """Whether an op is a map or function of constants: zeros, or positions that are worked out."""
    return not op.inputs and op.kind not in (OpKind.PARAMETER, OpKind.EMBEDDING)


def _given(signal: Signal) -> Given:
    size = signal.second_moment if math.isfinite(signal.second_moment) else 1.0
    parts = (signal.mean, size * signal.alike, size * signal.likeness)
    return Given(size, *(part if math.isfinite(part) else 0.0 for part in parts))


def _law(use: Use, values: Values) -> Initializer:
    """The mean and std of a parameter, of what is made of it, or of each of the maps or gates that it holds."""
    fused = None if use.layout is None else use.layout.fused
    is_whole = bool(use.steps) or (use.layer is not None and fused is None)
    known = is_whole and use.ratio != 0  # what is divided by a norm that overflows is 0, whatever it holds
    if known and use.seen is not None and all(map(math.isfinite, use.seen)):
        return MeasuredLaw(use.seen[0] / use.ratio, use.seen[1] / use.ratio)
    if not values.blocks or (use.layout is not None and fused is None):
        return MeasuredLaw(values.mean, values.std)
    pairs = zip(values.block_means, values.blocks, strict=True)
    laws = tuple(MeasuredLaw(mean, math.sqrt(max(size - mean**2, 0.0))) for mean, size in pairs)
    return Blocks(laws, 0) if fused is None else Blocks(laws, fused.axis, fused.sizes or None)


def _is_finite(values: Values) -> bool:
    return values.infinite == 0 and math.isfinite(values.mean) and math.isfinite(values.second_moment)
