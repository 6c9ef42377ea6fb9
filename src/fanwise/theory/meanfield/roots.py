"""Roots of a function of one variable, where it changes its sign."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

STEPS = 200
"""Each halves an interval of floats at least every third time: all are exhausted by then."""


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Root of a continuous function that has other signs at low and at high, to the last digits.

    References:
        Dowell and Jarratt, "A modified regula falsi method for computing the root of an equation", 1971: the Illinois
        method; every third step halves the interval, so that it always ends.
    """
    at_low, at_high = function(low), function(high)
    for step in range(STEPS):
        middle = (low + high) / 2 if step % 3 == 2 else high - at_high * (high - low) / (at_high - at_low)
        value = function(middle)
        if value == 0 or abs(high - low) <= 4e-16 * abs(middle):
            return middle
        if math.copysign(1.0, value) == math.copysign(1.0, at_high):
            at_low /= 2
        else:
            low, at_low = high, at_high
        high, at_high = middle, value
        if at_high == at_low:
            return middle
    return high


def brackets(function: Callable[[float], float], grid: tuple[float, ...]) -> Iterator[tuple[float, float]]:
    """Neighbours in the grid between which a function changes its sign; a 0 at a grid point counts as positive."""
    signs = [function(point) >= 0 for point in grid]
    for (low, high), (before, after) in zip(pairwise(grid), pairwise(signs), strict=True):
        if before != after:
            yield low, high
