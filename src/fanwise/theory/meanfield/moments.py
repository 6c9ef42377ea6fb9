"""Moments of a nonlinearity at a normal pre-activation of any variance q."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fanwise.laws.gain import NonlinearityLike, as_nonlinearity
from fanwise.laws.nonlinearities import F64, Function, GaussianMoments, Nonlinearity
from fanwise.laws.quadrature import NODES, normal_mean, normal_mean_of_squared_slope
from fanwise.stream.arguments import checked_number

NEAR_ZERO = 1e-3
"""One-sided slopes at 0 are those of a polynomial through values on this range; its error is about 1e-11."""


@dataclass(frozen=True)
class Unit:
    """A nonlinearity and the variance q > 0 of its input, as a function of a standard normal z.

    Args:
        nonlinearity: f.
        q: the variance of its input.
    """

    nonlinearity: Nonlinearity
    q: float

    @property
    def kinks(self) -> tuple[float, ...]:
        """Values of z at which f(sqrt(q) z) is rough."""
        return tuple(kink / math.sqrt(self.q) for kink in self.nonlinearity.kinks)

    def value(self, z: F64) -> F64:
        """f(sqrt(q) z)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.nonlinearity.function(math.sqrt(self.q) * z)

    def slope(self) -> Function | None:
        """The function f'(sqrt(q) z) of z; None where f' is not known."""
        known, root = self.nonlinearity.slope, math.sqrt(self.q)
        return None if known is None else lambda z: known(root * z)

    def mean(self, weigh: Function | None = None) -> float:
        """E w(z) f(sqrt(q) z)."""
        return normal_mean(self._weighed(self.value, weigh), kinks=self.kinks)

    def second_moment(self, weigh: Function | None = None) -> float:
        """E w(z) f(sqrt(q) z)^2."""
        return normal_mean(self._weighed(self._square, weigh), kinks=self.kinks)

    def fourth_moment(self) -> float:
        """E f(sqrt(q) z)^4."""
        return normal_mean(lambda z: self._square(z) ** 2, kinks=self.kinks)

    def slope_second_moment(self) -> float:
        """E f'(sqrt(q) z)^2."""
        slope = self.slope()
        if slope is None:
            return normal_mean_of_squared_slope(self.value, kinks=self.kinks) / self.q
        return normal_mean(lambda z: slope(z) ** 2, kinks=self.kinks)

    def length_slope(self) -> float:
        """The derivative of E f(sqrt(q) z)^2 by q: E (z^2 - 1) f(sqrt(q) z)^2 / (2 q), which needs no slope of f."""
        return self.second_moment(lambda z: z * z - 1) / (2 * self.q)

    def length_curvature(self) -> float:
        """The second derivative of E f(sqrt(q) z)^2 by q: E (z^4 - 6 z^2 + 3) f(sqrt(q) z)^2 / (4 q^2)."""
        return self.second_moment(lambda z: z**4 - 6 * z * z + 3) / (4 * self.q**2)

    def _square(self, z: F64) -> F64:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.value(z) ** 2)

    def _weighed(self, function: Function, weigh: Function | None) -> Function:
        return function if weigh is None else lambda z: weigh(z) * function(z)


def moments_at(f: NonlinearityLike, q: float = 1.0) -> GaussianMoments:
    """E f, E f^2 and E f'^2 of a nonlinearity at a normal variable of variance q; at q = 0 their limits.

    Args:
        f: name, `Nonlinearity`, or function that takes and returns float64 arrays of one axis.
        q: the variance, not below 0.

    Raises:
        TypeError: not a nonlinearity, or q not a number.
        ValueError: an unknown name, or a negative or infinite q.
        QuadratureError: the function is not finite, or jumps (E f'^2 is then infinite).

    Example:
        >>> round(moments_at("relu", 4.0).second_moment, 12)
        2.0
    """
    known, variance = as_nonlinearity(f), checked_number(q, name="q", low=0.0)
    if variance == 1 and known.closed_form is not None:
        return known.closed_form
    if variance == 0:
        at_zero = value_at_zero(known)
        return GaussianMoments(at_zero, at_zero**2, slope_second_moment_at_zero(known))
    unit = Unit(known, variance)
    return GaussianMoments(unit.mean(), unit.second_moment(), unit.slope_second_moment())


def value_at_zero(f: Nonlinearity) -> float:
    """f(0).

    Raises:
        ValueError: it is not finite.
    """
    value = float(f.function(np.zeros(1))[0])
    return checked_number(value, name=f"{f.name}(0)")


def slope_second_moment_at_zero(f: Nonlinearity) -> float:
    """The limit of E f'(sqrt(q) z)^2 as q goes to 0: the mean of the squared slopes on both sides of 0."""
    if f.slope is not None:
        left, right = f.slope(np.array([-1e-300, 1e-300])).tolist()
    else:
        left, right = -_right_slope(lambda x: f.function(-x)), _right_slope(f.function)
    return float(left**2 + right**2) / 2


def affine(f: Nonlinearity, scale: float, shift: float) -> Nonlinearity:
    """The function f(scale x + shift), with its slope and its kinks; scale is not 0."""
    known = f.slope
    slope: Function | None = None if known is None else lambda x: scale * known(scale * x + shift)
    return replace(
        f,
        name=f"{f.name} of {scale:g} x {shift:+g}",
        function=lambda x: f.function(scale * x + shift),
        slope=slope,
        kinks=tuple((kink - shift) / scale for kink in f.kinks),
        closed_form=None,
    )


def _right_slope(function: Function) -> float:
    """The slope at 0 from the right: that of the polynomial through Chebyshev points of [0, NEAR_ZERO]."""
    points = (1 - np.cos(np.pi * np.arange(NODES // 2) / (NODES // 2 - 1))) / 2
    values = function(NEAR_ZERO * points)
    fitted = np.polynomial.Polynomial.fit(points, values, NODES // 2 - 1, domain=[0.0, 1.0])
    return float(fitted.deriv()(0.0)) / NEAR_ZERO
