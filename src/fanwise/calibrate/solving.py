"""The factor with which an activation gives what is wanted."""

import math
from collections.abc import Callable

STEPS = 40
CLOSE = 1e-9
"""Relative error at which the search ends."""
ENOUGH = 1e-6
"""Relative error that counts as a solution: float32 tells no more."""
FARTHEST = math.log(1e6)
"""Log of the largest factor, and of 1 over the smallest, that is looked at."""
FLATTEST, STEEPEST = 0.05, 4.0
"""Slopes of log statistic over log factor that a step may assume: 1 for ReLU, towards 0 where a sigmoid saturates."""


def factor_for(statistic: Callable[[float], float], target: float) -> float | None:
    r"""The factor f with ``statistic(f) = target``, by secants on a double logarithmic scale.

    $$ x_{n+1} = x_n - g(x_n) \frac{x_n - x_{n-1}}{g(x_n) - g(x_{n-1})}, \quad g(x) = \ln \frac{s(e^x)}{t} $$

    The first step assumes a slope of 1, with which positively homogeneous functions are solved at once.

    Args:
        statistic: what comes of a factor.
        target: what should come.

    Returns:
        The factor; None where no factor within 1e6 reaches the target, as a tanh never gives more than 1.

    Example:
        >>> factor_for(lambda factor: 3.0 * factor, 1.5)
        0.5
        >>> factor_for(math.tanh, 1.5) is None
        True
    """
    here, error, slope = 0.0, _error(statistic(1.0), target), 1.0
    best = here, error
    for _ in range(STEPS):
        if not math.isfinite(error) or abs(error) <= CLOSE or abs(here) > FARTHEST:
            break
        there = here - error / slope
        after = _error(statistic(math.exp(there)), target)
        if there == here or not math.isfinite(after):
            break
        slope = min(max((after - error) / (there - here), FLATTEST), STEEPEST)
        here, error = there, after
        if abs(best[1]) <= ENOUGH and abs(error) >= abs(best[1]):
            break  # nearer than this the rounding of the statistic leads back and forth
        best = min(best, (here, error), key=lambda pair: abs(pair[1]))
    return math.exp(best[0]) if abs(best[1]) <= ENOUGH else None


def _error(measured: float, target: float) -> float:
    return math.log(measured / target) if math.isfinite(measured) and measured > 0 else math.nan
