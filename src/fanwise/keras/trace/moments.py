"""Numbers of a run: second moments of tensors, and variables that are written and put back."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fanwise.graph.tracking.tracker import Measured
from fanwise.keras.trace.variables import as_array
from fanwise.stream.formats import Array


def moments_of(read: Sequence[Any]) -> Measured[Any]:
    """Second moments of what an op reads."""
    return Measured(tuple(read), second_moment, lambda tensor: math.isfinite(second_moment(tensor)))


def second_moment(tensor: Any) -> float:
    """E x^2 over a tensor, summed in double precision; NaN where it is empty or a symbol."""
    values = numbers(tensor)
    return float(np.square(values).mean(dtype=np.float64)) if values.size else math.nan


def numbers(tensor: Any) -> Array:
    """The values of a tensor in float32 or better; complex ones by their size; none where it is a symbol."""
    try:
        array = as_array(tensor)
    except Exception:  # each backend raises its own error for a symbol
        return np.zeros(0)
    if array.dtype.kind == "c":
        array = np.abs(array)
    return array if array.dtype in (np.float32, np.float64) else np.asarray(array, np.float64)


def saved(variable: Any) -> Callable[[], None]:
    """Copies what a variable holds, and returns the function that puts it back."""
    values = np.array(as_array(variable.value))

    def restore() -> None:
        if variable.value is not None and not _equal(variable, values):
            variable.assign(values)

    return restore


def _equal(variable: Any, values: Array) -> bool:
    return np.array(as_array(variable.value)).tobytes() == values.tobytes()
