"""What an adapter measures at an op."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Mean and variance over all values, in double precision.

    Args:
        mean: their mean.
        variance: mean square of what is left of them without it: the sum is divided by their number.
    """

    mean: float
    variance: float

    @property
    def std(self) -> float:
        """Root of the variance; 0 where it is no more than the rounding of equal values."""
        return math.sqrt(self.variance) if self.variance > (ROUNDING * self.mean) ** 2 else 0.0

    @property
    def rms(self) -> float:
        """Root of the second moment."""
        return math.hypot(math.sqrt(self.variance), self.mean)

    def statistic(self, name: str) -> float:
        """The std, or the root of the second moment."""
        return self.std if name == "std" else self.rms


ROUNDING = 1e-6
"""Std over mean of values that differ by no more than float32 rounds them."""


class Measurement(Protocol):
    """Statistics of an op's output as the model computed it; each over all its values."""

    def whole(self) -> Moments:
        """Of all values together."""
        ...

    def units(self) -> tuple[Float64, Float64]:
        """Mean and variance of each unit, the features axis of the op."""
        ...

    def varies(self) -> bool:
        """Whether any unit gives different values; True where it gives one alone."""
        ...

    def through(self, function: Callable[..., object], factor: float) -> Moments:
        """Of a function, on NumPy arrays, of the values times a factor."""
        ...


@dataclass(frozen=True)
class Answer:
    """Change of an op's output, b being the bias as the model holds it: scale * output + more * b + shift.

    Args:
        scale: one number, or one for each unit.
        more: of the bias: by what its own factor exceeds the weight's.
        shift: what the bias gets in addition.
    """

    scale: Float64
    more: Float64
    shift: Float64

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return bool((self.scale != 1).any() or (self.more != 0).any() or (self.shift != 0).any())
