"""The truncated normal: its moments, and the float64 path for masses that 32 bits cannot resolve."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

REACH = 37.0
"""Sigmas beyond which a double cannot hold the tail probability."""

_PANELS, _NODES = 64, 20


@dataclass(frozen=True)
class Truncation:
    """A standard normal kept to [low, high], both in sigmas; either may be infinite.

    Raises:
        TypeError: a bound is not a real number.
        ValueError: a bound is NaN, low >= high, or the whole interval lies beyond 37 sigmas.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if isinstance(bound, bool) or not isinstance(bound, (int, float, np.integer, np.floating)):
                raise TypeError(f"{name} = {bound!r}: expected a number of sigmas")
            object.__setattr__(self, name, float(bound))
        if not self.low < self.high:
            raise ValueError(f"low = {self.low}, high = {self.high}: expected low < high, in sigmas")
        if self.low > REACH or self.high < -REACH:
            raise ValueError(f"[{self.low}, {self.high}] lies beyond {REACH} sigmas, where no probability is left")

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation, relative error about 1e-12.

        Gauss-Legendre quadrature of the density relative to its peak in the interval: the closed form
        (phi(low) - phi(high)) / (Phi(high) - Phi(low)) cancels in far tails and narrow intervals.

        References:
            Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", vol. 1, 1994, section 13.10.1
            (the integrals); the quadrature is ours.
        """
        return _moments(self)

    def reach(self, resolved: float) -> float:
        """The largest |z| that can come out: the further bound, or `resolved` sigmas past the nearer one."""
        nearer = max(self.low, -self.high, 0.0)
        return min(max(-self.low, self.high), nearer + resolved)

    def quantile(self, u: F64) -> F64:
        """The value below which a share u of the mass lies, u in (0, 1), in double precision.

        Counts probabilities from the nearer tail, so far tails keep their relative precision.
        """
        if self.low < 0 < self.high or self.low == 0:
            low, high = upper_tail(-self.low), upper_tail(-self.high)
            return -upper_quantile(low + u * (high - low))
        if self.high <= 0:
            return -Truncation(-self.high, -self.low).quantile(1 - u)
        near, far = upper_tail(self.low), upper_tail(self.high)
        return upper_quantile(near + u * (far - near))


@lru_cache(maxsize=256)
def _moments(truncation: Truncation) -> tuple[float, float]:
    peak = min(max(0.0, truncation.low), truncation.high)
    reach = math.sqrt(peak * peak + 100.0)  # where the density has fallen to e**-50 of its peak
    edges = np.linspace(max(truncation.low, -reach), min(truncation.high, reach), _PANELS + 1)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = (edges[1:] - edges[:-1])[:, None] / 2
    x = edges[:-1, None] - peak + half * (1 + nodes)  # measured from the peak
    mass = half * weights * np.exp(-x * (x / 2 + peak))
    mean = float((mass * x).sum() / mass.sum())
    variance = float((mass * (x - mean) ** 2).sum() / mass.sum())
    return peak + mean, math.sqrt(variance)


def upper_tail(z: float) -> float:
    """P(Z > z) of a standard normal Z."""
    return math.erfc(z / math.sqrt(2)) / 2


def upper_quantile(tail: F64) -> F64:
    """The z with P(Z > z) = tail, for tail in (0, 1), about 1e-15 relative.

    References:
        Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics 37,
        1988, routine PPND16.
    """
    q = 0.5 - tail
    central = np.abs(q) <= 0.425
    r = np.where(central, 0.180625 - q * q, 0.0)
    middle = q * _ratio(_AS241_CENTRE, r)
    r = np.sqrt(-np.log(np.where(central, 0.5, np.minimum(tail, 1 - tail))))
    outer = np.where(r <= 5, _ratio(_AS241_MIDDLE, r - 1.6), _ratio(_AS241_TAIL, r - 5))
    return np.where(central, middle, np.copysign(outer, q))


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], r: F64) -> F64:
    numerator, denominator = (np.polynomial.polynomial.polyval(r, c) for c in coefficients)
    return np.asarray(numerator / denominator, np.float64)


# Wichura 1988, the coefficients of PPND16, lowest power first: numerator, denominator.
_AS241_CENTRE = (
    (
        3.3871328727963666080e0,
        1.3314166789178437745e2,
        1.9715909503065514427e3,
        1.3731693765509461125e4,
        4.5921953931549871457e4,
        6.7265770927008700853e4,
        3.3430575583588128105e4,
        2.5090809287301226727e3,
    ),
    (
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    ),
)
_AS241_MIDDLE = (
    (
        1.42343711074968357734e0,
        4.63033784615654529590e0,
        5.76949722146069140550e0,
        3.64784832476320460504e0,
        1.27045825245236838258e0,
        2.41780725177450611770e-1,
        2.27238449892691845833e-2,
        7.74545014278341407640e-4,
    ),
    (
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)
_AS241_TAIL = (
    (
        6.65790464350110377720e0,
        5.46378491116411436990e0,
        1.78482653991729133580e0,
        2.96560571828504891230e-1,
        2.65321895265761230930e-2,
        1.24266094738807843860e-3,
        2.71155556874348757815e-5,
        2.01033439929228813265e-7,
    ),
    (
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)
