"""Statistics of parameters held as NumPy arrays, as `fanwise.measure.observation.Values` defines them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.measure.observation import NAN, Values
from fanwise.measure.resemblance import MARKS, beginning, is_varied, kin_of, twins_of
from fanwise.measure.signal_statistics import sampled, stride_prime_to
from fanwise.measure.weight_axes import (
    MOST_ROWS,
    axes_of_a_map,
    block_extents,
    first_map,
    row_order,
    unit_layout,
    unit_order,
)
from fanwise.stream.formats import Array

WIDE = 64
"""Incoming weights of a unit that are compared with those of the others, and units whose angles are measured."""
ROWS = 6
"""Fewest units whose angles tell something: the rms of the 15 cosines is near 0 by chance once in 10^8 times."""
BINS = 32
"""Of a histogram."""
PARTS = 8
"""Of a map's units, whose sizes are compared."""


def weigh(arrays: Mapping[str, Array], trace: Trace, gradients: Mapping[str, float]) -> dict[str, Values]:
    """The statistics of every parameter, by path.

    Args:
        arrays: the parameters' values, by path.
        trace: says how each is used.
        gradients: E (dL/dw)^2 of those that a gradient came to, by path.
    """
    values = {path: values_of(array, unit_layout(trace, path)) for path, array in arrays.items()}
    marked = {path: array for path, array in arrays.items() if array.size >= MARKS and is_varied(sampled(array))}
    twins = twins_of({path: _bytes(array) for path, array in marked.items()})
    kin = kin_of({path: beginning(array) for path, array in marked.items()})
    return {
        path: replace(
            value,
            twin=twins.get(path, ""),
            kin=kin.get(path, ""),
            reached=path in gradients,
            gradient=gradients.get(path, NAN),
        )
        for path, value in values.items()
    }


def values_of(array: Array, layout: Layout | None = None) -> Values:
    """The statistics of one parameter.

    Args:
        array: its values.
        layout: roles of its axes; without it the units of a matrix lie along the first axis.
    """
    if np.iscomplexobj(array):
        return _values_of_complex(array)
    whole = np.asarray(array, np.float64)
    finite = whole[np.isfinite(whole)]
    if not finite.size:
        return Values(array.size, NAN, NAN, infinite=1.0 if array.size else 0.0)
    mean, largest = float(finite.mean()), float(np.abs(finite).max())
    if finite.min() == finite.max():  # equal values, without the rounding of their sums
        mean = float(finite.flat[0])
    units, complete = _units(whole, layout), finite.size == array.size
    compared = _rows(whole, layout) if units is None else units
    return Values(
        array.size,
        mean,
        mean * mean if finite.min() == finite.max() else float(np.square(finite).mean()),
        kurtosis=_kurtosis(sampled(_of_one_size(whole, layout))) if complete else NAN,
        largest=largest,
        zeros=float((whole == 0).mean()),
        infinite=1 - finite.size / array.size,
        repeated=0.0 if compared is None else _repeated(compared),
        overlap=_least_overlap(whole, layout) if complete else NAN,
        blocks=tuple(float(np.square(part).mean()) for part in _blocks(whole, layout)),
        block_means=tuple(float(part.mean()) for part in _blocks(whole, layout)),
        parts=_parts(units),
        histogram=_histogram(sampled(array), largest) if complete else (),
    )


def _of_one_size(values: Array, layout: Layout | None) -> Array:
    """The maps of a stack, each over its rms: layers with stds of their own have one distribution."""
    own = axes_of_a_map(values.shape, layout)
    rms = np.sqrt(np.square(values).mean(own, keepdims=True)) if own else np.ones(1)
    return values / np.where(rms > 0, rms, 1.0) if own else values


def _values_of_complex(array: Array) -> Values:
    """Moments of complex numbers: |E w| and E |w|^2."""
    whole = np.asarray(array, np.complex128)
    finite = whole[np.isfinite(whole)]
    if not finite.size:
        return Values(array.size, NAN, NAN, infinite=1.0 if array.size else 0.0)
    sizes = np.abs(finite)
    return Values(
        array.size,
        float(abs(finite.mean())),
        float(np.square(sizes).mean()),
        largest=float(sizes.max()),
        zeros=float((whole == 0).mean()),
        infinite=1 - finite.size / array.size,
    )


def _kurtosis(some: Array) -> float:
    centred = some - some.mean()
    size = float(np.abs(centred).max())
    if size == 0:
        return NAN
    squares = np.square(centred / size)
    fourth, second = float(np.square(squares).mean()), float(squares.mean())
    return fourth / (second * second)


def _histogram(some: Array, largest: float) -> tuple[int, ...]:
    """Counts in equal bins from -largest to largest; values that are all 0 lie where 0 lies elsewhere."""
    shares = some / some.dtype.type(largest or 1)
    places = ((shares + 1) * (BINS / 2)).astype(np.int64).clip(0, BINS - 1)
    return tuple(np.bincount(places, minlength=BINS).tolist())


def _units(values: Array, layout: Layout | None) -> Array | None:
    """The incoming weights of each unit, (units, weights); None for what is no map."""
    order = unit_order(values.shape, layout)
    if order is None or not order[1] or not values.size:
        return None
    count = math.prod(values.shape[axis] for axis in order[0])
    return values.transpose(*order[0], *order[1]).reshape(count, -1)


def _rows(values: Array, layout: Layout | None) -> Array | None:
    """Some rows of a table, evenly spread; None for what is no table."""
    order = row_order(values.shape, layout)
    if order is None or not values.size:
        return None
    count = math.prod(values.shape[axis] for axis in order[0])
    return values.transpose(*order[0], *order[1]).reshape(count, -1)[:: math.ceil(count / MOST_ROWS)]


def _repeated(units: Array) -> float:
    """Share of units whose incoming weights are another's; of k equal ones, k - 1 count."""
    count, width = units.shape
    if count < 2 or width < 2:
        return 0.0
    if width > 2 * WIDE:
        units = units[:, :: stride_prime_to(units.shape, width // WIDE)]
    different = {unit.tobytes() for unit in units + 0.0}  # + 0.0 makes -0.0 and 0.0 the same bytes
    return 1 - len(different) / len(units)


def _least_overlap(values: Array, layout: Layout | None) -> float:
    """The overlap of one of the maps that a weight holds, or of all as one matrix, as libraries unfold it."""
    views = [_units(values, layout), _units(_first_map(values, layout), layout)]
    if layout is not None and layout.transposed:
        views.append(_units(values, None))
    overlaps = [_overlap(view) for view in views if view is not None]
    known = [value for value in overlaps if not math.isnan(value)]
    return min(known, default=NAN)


def _first_map(values: Array, layout: Layout | None) -> Array:
    """One of the maps that a weight holds."""
    for axis, size in first_map(values.shape, layout).items():
        values = np.take(values, range(size), axis)
    return values


def _overlap(units: Array) -> float:
    """Rms cosine of some rows, or of columns where they are fewer, times the square root of their length."""
    rows = (units if len(units) <= units.shape[1] else units.T)[:WIDE]
    count, width = rows.shape
    if count < ROWS:
        return NAN
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, 0.0)
    total = float(np.square(cosines).sum())
    return math.sqrt(total * width / (count * (count - 1)))


def _blocks(values: Array, layout: Layout | None) -> Sequence[Array]:
    """The maps of a fused weight, or the gates of a bias."""
    sizes = block_extents(values.shape, layout)
    if layout is None or layout.fused is None or not sizes:
        return ()
    return np.split(values, np.cumsum(sizes)[:-1], layout.fused.axis)


def _parts(units: Array | None) -> tuple[float, ...]:
    """E w^2 of each eighth of a map's units, as they are stored."""
    if units is None or len(units) < PARTS:
        return ()
    return tuple(float(np.square(part).mean()) for part in np.array_split(units, PARTS))


def _bytes(array: Array) -> bytes:
    """What two parameters are compared by: their size, and a sample of their values."""
    return str(array.size).encode() + np.ascontiguousarray(sampled(array)).tobytes()
