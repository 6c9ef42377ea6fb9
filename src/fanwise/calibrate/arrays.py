"""Statistics of outputs as NumPy arrays over all their values, and arrays rescaled: for adapters that hold no views."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fanwise.calibrate.calibrator import Change
from fanwise.calibrate.measuring import ROUNDING, Answer, Float64, Moments
from fanwise.calibrate.units import Spread

CHUNK = 1 << 22
"""Values that are copied to double precision at a time."""


class Measured:
    """Statistics of one output, in double precision over all its values.

    Args:
        output: what the op gave.
        axis: of its features.
    """

    def __init__(self, output: NDArray[np.generic], axis: int) -> None:
        self._output = output
        self._axis = axis

    def whole(self) -> Moments:
        """Of all values together."""
        return moments(self._output)

    def units(self) -> tuple[Float64, Float64]:
        """Mean and variance of each unit."""
        rows = _rows(self._output, self._axis).astype(np.float64)
        return rows.mean(axis=0), rows.var(axis=0)

    def varies(self) -> bool:
        """Whether any unit gives different values; True where it gives one alone."""
        rows = _rows(self._output, self._axis).astype(np.float64)
        if len(rows) < 2:
            return True
        spread = rows.max(axis=0) - rows.min(axis=0)
        return not bool((spread <= ROUNDING * np.abs(rows).max()).all())

    def through(self, function: Callable[..., object], factor: float) -> Moments:
        """Of a function of the values times a factor."""
        values = self._output.astype(np.float32).reshape(-1) * np.float32(factor)
        outputs = np.asarray(function(values), np.float64)
        return Moments(float(outputs.mean()), float(outputs.var()))


def moments(array: NDArray[np.generic]) -> Moments:
    """Mean and variance over all values of an array; NaN where it has none that can be measured.

    Example:
        >>> moments(np.array([1.0, 3.0], np.float32))
        Moments(mean=2.0, variance=1.0)
    """
    if not is_real(array) or not array.size:
        return Moments(math.nan, math.nan)
    flat = array.reshape(-1)
    parts = [flat[start : start + CHUNK] for start in range(0, flat.size, CHUNK)]
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite are no error: the moments say it
        mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / flat.size
        squares = sum(float(np.square(part.astype(np.float64) - mean).sum()) for part in parts)
    return Moments(mean, squares / flat.size)


def is_real(array: NDArray[np.generic]) -> bool:
    """Whether an array holds real floating-point numbers: NumPy's own, or bfloat16."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def adjusted(
    output: NDArray[np.generic], answer: Answer, bias: NDArray[np.generic] | None, axis: int
) -> NDArray[np.generic]:
    """What an op gives once its parameters are changed; one rounding to the output's dtype.

    Args:
        output: what the op gave.
        answer: what is made of it.
        bias: as the model holds it, None where the op has none.
        axis: of the features.
    """
    wide = output.astype(np.float64) * _along(answer.scale, output.ndim, axis)
    wide += _along(answer.shift, output.ndim, axis)
    if bias is not None and answer.more.any():
        wide += _along(bias.astype(np.float64).reshape(-1) * answer.more, output.ndim, axis)
    return wide.astype(output.dtype)


def changed(array: NDArray[np.generic], change: Change, lies: Spread | None) -> NDArray[np.generic]:
    """A parameter with its change: one product, one sum where there is a shift, one rounding.

    Args:
        array: the parameter.
        change: its factors and shifts.
        lies: how the units lie in it, where it is changed unit by unit.
    """
    if change.scale.ndim == 0 and not change.shift.any():
        return (array.astype(np.float64) * float(change.scale)).astype(array.dtype)
    view, shape = (array.shape, array.shape) if lies is None else (lies.view, lies.units)
    wide = array.astype(np.float64).reshape(view) * _shaped(change.scale, shape) + _shaped(change.shift, shape)
    return wide.reshape(array.shape).astype(array.dtype)


def checked_reach(path: str, array: NDArray[np.generic], change: Change, limits: tuple[float, float]) -> None:
    """Raises where a change takes a parameter out of its dtype's range.

    Args:
        path: of the parameter.
        array: its values.
        change: what is made of them.
        limits: the smallest and the largest positive number of its dtype.

    Raises:
        ValueError: it would hold infinities, or nothing but zeros.
    """
    largest = float(np.abs(array.astype(np.float64)).max(initial=0.0))
    reach = largest * float(abs(change.scale).max()) + float(abs(change.shift).max())
    if reach > limits[1] or 0 < reach < limits[0]:
        raise ValueError(f"parameter {path!r} would reach {reach:.4g}, which {array.dtype} cannot hold")


def _rows(output: NDArray[np.generic], axis: int) -> NDArray[np.generic]:
    """One row an example and position, one column a unit."""
    moved = np.moveaxis(output, axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def _shaped(numbers: Float64, shape: tuple[int, ...]) -> Float64:
    return numbers if numbers.ndim == 0 else numbers.reshape(shape)


def _along(numbers: Float64, dims: int, axis: int) -> Float64:
    """One number for each unit, in a shape that broadcasts along an axis."""
    return numbers if numbers.ndim == 0 else numbers.reshape([-1 if i == axis % dims else 1 for i in range(dims)])
