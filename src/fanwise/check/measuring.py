"""What is measured of arrays, in NumPy: the signal at an op, and the numbers of a parameter.

Large arrays are sampled at a stride that is prime to their sizes, so that every feature and every example has its turn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.check.observation import NAN, Signal, Values
from fanwise.laws.layout import Layout
from fanwise.trace import ELEMENTWISE, INPUT, WEIGHT_KINDS, Op, Trace

Array: TypeAlias = NDArray[Any]
F64: TypeAlias = NDArray[np.float64]

MOST = 1 << 16
"""Values of an array that are looked at: the second moment of that many independent ones errs by 0.6 %."""
EXAMPLES, FEATURES = 16, 1024
"""Examples that are compared with one another, and how many values of each."""
SATURATION = 0.05
"""A value is saturated where the slope is below this share of the steepest."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "tanh": (-math.sqrt(1 - SATURATION), math.sqrt(1 - SATURATION)),
    "sigmoid": ((1 - math.sqrt(1 - SATURATION)) / 2, (1 + math.sqrt(1 - SATURATION)) / 2),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "relu6": (-math.inf, 6.0),
    "softsign": (math.sqrt(SATURATION) - 1, 1 - math.sqrt(SATURATION)),
}
"""Outputs beyond which each bounded nonlinearity is saturated: tanh' = 1 - y^2, sigmoid' = y (1 - y), softsign' =
(1 - |y|)^2."""
KEEPING = (*ELEMENTWISE, "norm", "pool", "concat")
"""Kinds of ops that leave the features on the axis on which they were."""
BOUNDED = ("tanh", "sigmoid", "hardtanh", "hardsigmoid", "softsign")
"""Nonlinearities whose units fall silent on a slope, or are saturated, but have no dead side."""
COMPARED = (*WEIGHT_KINDS, "add", "norm", "activation", "pool", "reduce", "concat")
"""Kinds after which the examples of a batch are compared."""
WIDE = 64
"""Units of a map whose angles are measured."""
ROWS = 6
"""Fewest units whose angles tell something: the rms of the 15 cosines is near 0 by chance once in 10^8 times."""
PARTS, BINS, FEWEST = 8, 32, 16
"""Parts of a map's units whose sizes are compared; bins of a histogram; values that make two parameters copies."""


# Signals


def feature_axes(ops: Sequence[Op]) -> list[int]:
    """The axis of the features of each op's output: that of channels, until a map comes or a view turns it."""
    found: list[tuple[tuple[int, ...], int]] = []
    for op in ops:
        source = op.inputs[0] if op.inputs else INPUT
        axis = op.axis
        if axis == -1 and op.kind in KEEPING and source != INPUT:
            before, kept = found[source]
            same = len(before) == len(op.shape) > 0 and (op.kind == "concat" or before[kept] == op.shape[kept])
            axis = kept if same else axis
        found.append((op.shape, axis))
    return [axis for _, axis in found]


def signal_of(op: Op, output: Array, axis: int, gradient: Array | None = None) -> Signal:
    """What stood at one op.

    Args:
        op: the op.
        output: what it gave.
        axis: that of the features.
        gradient: of the loss, at the output; None where there is none.
    """
    signal = array_signal(output, compared=op.kind in COMPARED)
    if gradient is not None and gradient.size:
        signal = replace(signal, gradient=second_moment(sampled(gradient)))
    if op.kind != "activation" or not output.size:
        return signal
    values, name = sampled(output), str(op.detail.get("nonlinearity"))
    low, high = LIMITS.get(name, (NAN, NAN))
    dying = name not in (*BOUNDED, "sin", "cos") and output.size > output.shape[axis]
    return replace(
        signal,
        zeros=float((values == 0).mean()),
        saturated=float(((values <= low) | (values >= high)).mean()) if name in LIMITS else NAN,
        silent=silent(output, axis) if dying else NAN,
    )


def array_signal(output: Array, *, compared: bool = True) -> Signal:
    """The moments of an array, and how alike the examples of a batch are."""
    if not output.size:
        return Signal()
    values = sampled(output)
    several = compared and output.ndim > 1 and len(output) > 1
    return Signal(float(values.mean()), second_moment(values), likeness=likeness(output) if several else NAN)


def sampled(array: Array, most: int = MOST) -> F64:
    """At most about `most` of an array's values, in one axis."""
    flat = (np.abs(array) if np.iscomplexobj(array) else array).reshape(-1)
    if flat.size > 2 * most:
        flat = flat[:: stride_prime_to(array.shape, flat.size // most)]
    return flat.astype(np.float64)


def stride_prime_to(shape: Sequence[int], wanted: int) -> int:
    """The least stride from `wanted` on that has no factor in common with any of the sizes."""
    return next(stride for stride in count(max(wanted, 1)) if all(math.gcd(stride, size) == 1 for size in shape))


def second_moment(values: Array) -> float:
    """E x^2, in double precision."""
    wide = values.astype(np.float64).reshape(-1)
    return float(np.dot(wide, wide) / wide.size) if wide.size else NAN


def likeness(array: Array) -> float:
    """Mean cosine between the examples of a batch, the first axis."""
    rows = np.abs(array[:EXAMPLES]) if np.iscomplexobj(array) else array[:EXAMPLES]
    rows = rows.reshape(len(rows), -1)
    if rows.shape[1] > 2 * FEATURES:
        rows = rows[:, :: stride_prime_to(array.shape[1:], rows.shape[1] // FEATURES)]
    wide = rows.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    number = len(wide)
    return float((np.square(wide.sum(0)).sum() - number) / (number * (number - 1)))


def silent(array: Array, axis: int) -> float:
    """Share of units that give one and the same value at every example and position that is looked at."""
    units = np.moveaxis(array, axis, -1)
    rows = units.reshape(-1, units.shape[-1])
    most = max(MOST * 4 // max(units.shape[-1], 1), 64)
    if len(rows) > 2 * most:
        rows = rows[:: stride_prime_to(units.shape[:-1], len(rows) // most)]
    low, high = rows.min(0).astype(np.float64), rows.max(0).astype(np.float64)
    return float((high - low <= 1e-6 * (high.max() - low.min())).mean())


# Parameters


def weigh(arrays: Mapping[str, Array], trace: Trace, gradients: Mapping[str, Array | None]) -> dict[str, Values]:
    """The statistics of every parameter, by path.

    Args:
        arrays: the parameters, by path.
        trace: says how each is used.
        gradients: of the loss, by path; None where none came.
    """
    twins = _twins(arrays)
    layouts = {
        path: next((use.layout for _, use in trace.uses[path] if use.layout is not None), None) for path in arrays
    }
    reached = {path: gradient for path, gradient in gradients.items() if gradient is not None}
    return {
        path: replace(
            values_of(array, layouts[path]),
            twin=twins.get(path, ""),
            reached=path in reached,
            gradient=second_moment(np.abs(reached[path])) if path in reached else NAN,
        )
        for path, array in arrays.items()
    }


def values_of(array: Array, layout: Layout | None = None) -> Values:
    """The statistics of one parameter's numbers.

    Args:
        array: its values.
        layout: roles of its axes; without it the units of a matrix lie along the first axis.
    """
    whole = array.astype(np.float64) if not np.iscomplexobj(array) else np.abs(array)
    finite = whole[np.isfinite(whole)]
    if not finite.size:
        return Values(array.size, NAN, NAN, infinite=1.0 if array.size else 0.0)
    equal = finite.min() == finite.max()
    mean = float(finite.flat[0]) if equal else float(finite.mean())
    largest, complete = float(np.abs(finite).max()), finite.size == array.size
    units = _units(whole, layout) if complete else None
    return Values(
        array.size,
        mean,
        second_moment(finite),
        kurtosis=_kurtosis(sampled(finite)) if complete and not equal else NAN,
        largest=largest,
        zeros=float((whole == 0).mean()),
        infinite=1 - finite.size / array.size,
        repeated=0.0 if units is None else _repeated(units),
        overlap=NAN if units is None else _least_overlap(whole, layout),
        blocks=_of_blocks(whole, layout),
        parts=_of_parts(units),
        histogram=_histogram(sampled(whole), largest) if complete else (),
    )


def _kurtosis(some: F64) -> float:
    centred = some - some.mean()
    size = float(np.abs(centred).max())
    squares = np.square(centred / size) if size else centred
    return float(np.square(squares).mean() / squares.mean() ** 2) if size else NAN


def _units(values: Array, layout: Layout | None) -> F64 | None:
    """The incoming weights of each unit, (units, weights); None for what is no map."""
    out = _unit_axes(values, layout)
    if values.ndim < 2 or not out:
        return None
    rest = [axis for axis in range(values.ndim) if axis not in out]
    units = math.prod(values.shape[axis] for axis in out)
    return np.asarray(values.transpose(*out, *rest).reshape(units, -1), np.float64)


def _unit_axes(values: Array, layout: Layout | None) -> list[int]:
    """The axes that count the units of a map; none for a table and for a grouped map stored by its inputs."""
    if layout is None:
        return [0]
    turned = layout.grouped == "in" and layout.group_count(values.shape) > 1
    if turned or not {"in", "out"} <= set(layout.axes) or values.ndim != len(layout.axes):
        return []
    return [axis for axis, role in enumerate(layout.axes) if role in ("stack", "out")]


def _repeated(units: F64) -> float:
    """Share of units whose incoming weights are another's; of k equal ones, k - 1 count."""
    number, width = units.shape
    if number < 2 or width < 2:
        return 0.0
    if width > 2 * WIDE:
        units = units[:, :: stride_prime_to(units.shape, width // WIDE)]
    different: set[bytes] = {unit.tobytes() for unit in units + 0.0}  # + 0.0 makes -0.0 and 0.0 the same bytes
    return 1.0 - len(different) / int(number)


def _least_overlap(values: Array, layout: Layout | None) -> float:
    """The overlap of one of the maps that a weight holds, or of all as one matrix, as libraries unfold it."""
    views = [_units(values, layout), _units(_first_map(values, layout), layout)]
    if layout is not None and layout.transposed:
        views.append(_units(values, None))
    found = [_overlap(view) for view in views if view is not None]
    return min((one for one in found if not math.isnan(one)), default=NAN)


def _first_map(values: Array, layout: Layout | None) -> Array:
    """One of a stack, of the maps of a fused weight, of the groups of a convolution."""
    if layout is None or values.ndim != len(layout.axes):
        return values
    sizes = {axis: 1 for axis, role in enumerate(layout.axes) if role == "stack"}
    if layout.groups > 1 and layout.grouped == "out":
        axis = layout.axes.index("out")
        sizes[axis] = values.shape[axis] // layout.groups
    if layout.fused is not None:
        sizes[layout.fused.axis] = max(layout.fused.extents(values.shape[layout.fused.axis])[0], 1)
    return values[tuple(slice(0, sizes.get(axis, extent)) for axis, extent in enumerate(values.shape))]


def _overlap(units: F64) -> float:
    """Rms cosine of some rows, or of columns where they are fewer, times the square root of their length."""
    rows = (units if len(units) <= units.shape[1] else units.T)[:WIDE]
    number, width = rows.shape
    if number < ROWS:
        return NAN
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, 0.0)
    return math.sqrt(float(np.square(cosines).sum()) * width / (number * (number - 1)))


def _of_blocks(values: Array, layout: Layout | None) -> tuple[float, ...]:
    """E w^2 of each map of a fused weight."""
    if layout is None or layout.fused is None or values.ndim != len(layout.axes):
        return ()
    axis = layout.fused.axis
    edges = np.cumsum(layout.fused.extents(values.shape[axis]))[:-1]
    return tuple(second_moment(part) for part in np.split(values, edges, axis))


def _of_parts(units: F64 | None) -> tuple[float, ...]:
    """E w^2 of each eighth of a map's units, as they are stored."""
    return () if units is None or len(units) < PARTS else tuple(map(second_moment, np.array_split(units, PARTS)))


def _histogram(some: F64, largest: float) -> tuple[int, ...]:
    if largest == 0:
        return (some.size, *(0,) * (BINS - 1))
    places = ((some / largest + 1) * (BINS / 2)).astype(np.int64).clip(0, BINS - 1)
    return tuple(np.bincount(places, minlength=BINS).tolist())


def _twins(arrays: Mapping[str, Array]) -> dict[str, str]:
    """Parameters with the same numbers as an earlier one, by path; equal values do not count."""
    first: dict[bytes, str] = {}
    twins: dict[str, str] = {}
    for path, array in arrays.items():
        if array.size >= FEWEST and array.min() != array.max():
            earlier = first.setdefault(array.tobytes(), path)
            twins |= {path: earlier} if earlier != path else {}
    return twins
