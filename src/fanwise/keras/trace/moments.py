"""Numbers of a run: second moments of tensors, and variables that are written and put back."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fanwise.keras.trace.variables import as_array
from fanwise.stream.formats import Array


@dataclass(frozen=True)
class Measured:
    """Second moments of what an op reads: first its inputs in their order, then constants."""

    data: tuple[Any, ...]

    def __call__(self, place: int, /) -> float:
        """E x^2 of the input at this place; NaN where there are no numbers."""
        return second_moment(self.data[place])

    def known(self, place: int, /) -> bool:
        """Whether there are numbers to measure."""
        return math.isfinite(self(place))


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


@dataclass
class Writes:
    """Variables that were written, and what they held before."""

    kept: dict[int, tuple[Any, Array]] = field(default_factory=dict)

    def put(self, variable: Any, values: Array) -> None:
        """Writes a variable."""
        self.keep(variable)
        variable.assign(values)

    def keep(self, variable: Any) -> None:
        """Remembers what a variable holds."""
        if id(variable) not in self.kept:
            self.kept[id(variable)] = (variable, np.array(as_array(variable.value)))

    def restore(self) -> None:
        """Puts everything back."""
        for variable, values in self.kept.values():
            if variable.value is not None and not _equal(variable, values):
                variable.assign(values)
        self.kept.clear()


def _equal(variable: Any, values: Array) -> bool:
    return np.array(as_array(variable.value)).tobytes() == values.tobytes()
