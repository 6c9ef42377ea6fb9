"""Statistics of the parameters of the lab's network, as `fanwise.measure.observation.Values` defines them."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fanwise.lab.layers import Array, Parameters
from fanwise.measure.observation import NAN, Values

UNITS = 64
"""Units of a weight whose angles are measured."""
ROWS = 6
"""Fewest of them whose angles tell something."""
PARTS = 8
"""Of a map's units, whose sizes are compared."""
BINS = 32
"""Of a histogram."""
FEWEST = 16
"""Values from which two parameters with the same numbers are copies, not chance."""


def weigh(parameters: Parameters, gradients: Parameters) -> dict[str, Values]:
    """The statistics of every parameter, by name.

    Args:
        parameters: weights of shape (inputs, units), all else of shape (units,).
        gradients: of the loss, by the same names.
    """
    twins = _twins(parameters)
    return {
        name: replace(_values(array), twin=twins.get(name, ""), reached=True, gradient=moment_of(gradients[name]))
        for name, array in parameters.items()
    }


def _values(array: Array) -> Values:
    finite = array[np.isfinite(array)].astype(np.float64)
    if not finite.size:
        return Values(array.size, NAN, NAN, infinite=1.0)
    mean, largest = float(finite.mean()), float(np.abs(finite).max())
    if finite.min() == finite.max():  # without the rounding of their sum
        mean = float(finite[0])
    whole = finite.size == array.size
    return Values(
        array.size,
        mean,
        moment_of(finite),
        kurtosis=_kurtosis(finite - mean) if whole else NAN,
        largest=largest,
        zeros=float((array == 0).mean()),
        infinite=1 - finite.size / array.size,
        repeated=_repeated(array) if array.ndim > 1 else 0.0,
        overlap=_overlap(array) if array.ndim > 1 else NAN,
        parts=_parts(array) if array.ndim > 1 else (),
        histogram=_histogram(array, largest) if whole else (),
    )


def moment_of(array: Array) -> float:
    """E x^2, in float64."""
    return float(np.square(array, dtype=np.float64).mean())


def _kurtosis(centred: Array) -> float:
    """E x^4 / (E x^2)^2 of values of mean 0; NaN where they are all 0."""
    size = float(np.abs(centred).max())
    if size == 0:
        return NAN
    squares = np.square(centred / size)
    return float(np.square(squares).mean() / squares.mean() ** 2)


def _repeated(weight: Array) -> float:
    """Share of units whose incoming weights are another's; of k equal ones, k - 1 count."""
    inputs, units = weight.shape
    if inputs < 2 or units < 2:
        return 0.0
    different = {unit.tobytes() for unit in weight.T + 0.0}  # + 0.0 makes -0.0 and 0.0 the same bytes
    return 1 - len(different) / len(weight.T)


def _overlap(weight: Array) -> float:
    """Rms cosine of the first units, or of the inputs where they are fewer, times the square root of their length."""
    rows = (weight.T if weight.shape[1] <= weight.shape[0] else weight)[:UNITS].astype(np.float64)
    count, length = rows.shape
    if count < ROWS:
        return NAN
    cosines = cosines_of(rows)
    np.fill_diagonal(cosines, 0.0)
    mean = float(np.square(cosines).sum()) / (count * (count - 1))
    return math.sqrt(mean * length)


def cosines_of(rows: Array) -> Array:
    """The cosine of each pair of rows; NaN for a row of zeros."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines: Array = unit @ unit.T
    return cosines


def _parts(weight: Array) -> tuple[float, ...]:
    units = weight.shape[1]
    return tuple(map(moment_of, np.array_split(weight, PARTS, axis=1))) if units >= PARTS else ()


def _histogram(array: Array, largest: float) -> tuple[int, ...]:
    if largest == 0:
        return (array.size, *(0,) * (BINS - 1))
    places = ((array.ravel() / array.dtype.type(largest) + 1) * (BINS / 2)).astype(np.int64)
    return tuple(np.bincount(places.clip(0, BINS - 1), minlength=BINS).tolist())


def _twins(parameters: Mapping[str, Array]) -> dict[str, str]:
    """Parameters with the same numbers as an earlier one, by name; equal values do not count."""
    first: dict[bytes, str] = {}
    twins: dict[str, str] = {}
    for name, array in parameters.items():
        if array.size >= FEWEST and array.min() != array.max():
            earlier = first.setdefault(array.tobytes(), name)
            twins |= {name: earlier} if earlier != name else {}
    return twins
