"""Laws that spread fixed values over the units of a vector, where papers draw them at random in a range."""

import math

from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.laws.elementwise import Constant, TruncatedNormal
from fanwise.stream.truncation import Truncation

VALUES = 8
"""Most values of a spread: neighbouring units share one."""
STEPS = (0.001, 0.1)
"""Range of the time steps: Gu and Dao, "Mamba", 2023, section 3.6."""
RATES = (1.0, 16.0)
"""Range of the decay rates: Dao and Gu, "Transformers are SSMs", 2024, their code's A_init_range."""
KEPT_SHARES = (0.9, 0.999)
"""Range of what is kept of a state at a step: De et al., "Griffin", 2024, section 2.4."""

WIDE = 10.0
"""Std of a normal law over the values of a stretch on which it is even."""


def time_step_bias(units: int) -> Initializer:
    """Biases b with time steps softplus(b) evenly spread, in their logarithm, over `STEPS`.

    Example:
        >>> [round(math.log1p(math.exp(law.value)), 4) for law in time_step_bias(3).laws]
        [0.001, 0.01, 0.1]
    """
    low, high = map(math.log, STEPS)
    return _spread([math.log(math.expm1(math.exp(low + share * (high - low)))) for share in _shares(units)], units, 0)


def decay_logarithm(units: int, axis: int = 0) -> Initializer:
    """Logarithms of decay rates evenly spread over `RATES`, along an axis.

    Example:
        >>> [round(math.exp(law.value), 2) for law in decay_logarithm(4).laws]
        [1.0, 6.0, 11.0, 16.0]
    """
    low, high = RATES
    return _spread([math.log(low + share * (high - low)) for share in _shares(units)], units, axis)


def kept_share(units: int, axis: int = 0) -> Initializer:
    """Inverse softplus of -ln a, for shares a of a state that are kept, evenly spread over `KEPT_SHARES` of an axis.

    Example:
        >>> [round(math.exp(-math.log1p(math.exp(law.value))), 4) for law in kept_share(2).laws]
        [0.9, 0.999]
    """
    low, high = KEPT_SHARES
    shares = [low + share * (high - low) for share in _shares(units)]
    return _spread([math.log(math.expm1(-math.log(share))) for share in shares], units, axis)


def _shares(units: int) -> list[float]:
    count = min(units, VALUES)
    return [0.5] if count == 1 else [number / (count - 1) for number in range(count)]


def _spread(values: list[float], units: int, axis: int) -> Initializer:
    """A constant for each run of units, the first runs one longer where they cannot be of one length."""
    laws = tuple(Constant(float(f"{value:.6g}")) for value in values)
    if len(laws) == 1:
        return laws[0]
    whole, rest = divmod(units, len(laws))
    return Blocks(laws, axis, tuple(whole + (number < rest) for number in range(len(laws))))


def even(mean: float, half: float) -> Initializer:
    """Values spread over [mean - half, mean + half] with a density that is even to a percent.

    Example:
        >>> law = even(-4.0, 2.0).moments((1,))
        >>> round(law.low, 3), round(law.high, 3), round(law.mean, 2)
        (-6.0, -2.0, -4.0)
    """
    low, high = mean - half, mean + half
    parent = WIDE * max(abs(low), abs(high))
    truncation = Truncation(low / parent, high / parent)
    return TruncatedNormal(float(f"{truncation.moments()[1] * parent:.9g}"), low / parent, high / parent)
