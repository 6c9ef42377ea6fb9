"""What a nonlinearity makes of two correlated normal inputs: E f(u) f(v), as a function of their correlation.

Away from correlations of 1 and -1 by the Hermite series of f, whose terms then vanish like powers of the correlation.
Near them, where the series of a function with kinks is slow, by smoothing: E f(u) f(v) is E g(z) g(z), or E g(z) g(-z),
with g the mean of f over the part of its input that u and v do not share. Every integral is split where f is rough.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fanwise.laws.nonlinearities import F64, Function
from fanwise.laws.quadrature import (
    NODES,
    REACH,
    QuadratureError,
    legendre_nodes,
    normal_density,
    normal_mean,
    normal_mean_of_squared_slope,
    normal_panels,
)
from fanwise.stream.arguments import checked_number
from fanwise.theory.meanfield.moments import Unit

TERMS = 640
"""Terms of the Hermite series."""
SERIES_REACH = 0.95
"""Correlations of up to this size are left to the series: 0.95^640 is 6e-15."""
NEGLIGIBLE = 1e-14
"""Share of E f^2 beyond the last term, below which the series holds for every correlation."""
WIDEST = 0.5
"""Widest panel for the coefficients: a Hermite polynomial of degree 640 has a wavelength of 0.25."""
NARROW = 1e-3
"""Panels narrower than this stand at a kink."""
ASIDE = 0.2718281828
"""Panels begin at whole numbers, where a kink would not be seen: kinks are looked for with f moved by this much."""
WINDOW = 9.0
"""The normal mass beyond is 2e-19."""
STEPS = (-WINDOW, -4.0, -1.5, 0.0, 1.5, 4.0, WINDOW)
"""A smoothed kink is as wide as what smooths it; panels end at so many of these widths from it."""
SPLITS = (6, 12, 24, 48, 96)
"""Panels of the window, doubled until nothing changes."""
CHUNK = 1 << 20
"""Values of f taken at once."""
SETTLED, GOOD_ENOUGH = 1e-12, 1e-9


@dataclass(frozen=True)
class Pair:
    """A nonlinearity at two normal inputs u and v of variance q.

    Example:
        >>> from fanwise.laws.nonlinearities import erf_unit
        >>> pair = Pair(Unit(erf_unit(), 1.0))
        >>> round(pair.product(0.5) * math.pi / 2, 12) == round(math.asin(2 * 0.5 / 3), 12)
        True

    References:
        Daniely, Frostig and Singer, "Toward deeper understanding of neural networks: the power of initialization and
        a dual view on expressivity", 2016, section 4: the dual activation and its Hermite series.
    """

    unit: Unit

    @cached_property
    def total(self) -> float:
        """E f^2."""
        return self.unit.second_moment()

    @cached_property
    def panels(self) -> F64:
        """Edges of panels that resolve f."""
        return normal_panels(self.unit.value, kinks=self.unit.kinks)

    @cached_property
    def powers(self) -> F64:
        """Squared coefficients of f(sqrt(q) z) by normalised Hermite polynomials."""
        edges = np.unique(np.r_[self.panels, np.arange(-14.0, 14.0, WIDEST)])
        nodes, weights = (part.ravel() for part in legendre_nodes(edges[:-1], edges[1:]))
        weighed = weights * normal_density(nodes) * self.unit.value(nodes)
        return _coefficients(nodes, weighed) ** 2

    @cached_property
    def rough(self) -> tuple[float, ...]:
        """Kinks of f(sqrt(q) z): those that are known, and those at which panels crowd."""
        kinks = [kink - ASIDE for kink in self.unit.kinks]
        edges = normal_panels(lambda z: self.unit.value(z + ASIDE), kinks=kinks) + ASIDE
        return tuple({*self.unit.kinks, *_crowded(edges)})

    def product(self, c: float) -> float:
        """E f(u) f(v) at correlation c.

        Raises:
            ValueError: c is not in [-1, 1].
            QuadratureError: f is too rough.
        """
        c = checked_number(c, name="c", low=-1.0, high=1.0)
        if c == 1:
            return self.total
        if abs(c) <= SERIES_REACH or self._is_smooth():
            return float(np.polynomial.polynomial.polyval(c, self.powers))
        if c == -1:
            return normal_mean(lambda z: self.unit.value(z) * self.unit.value(-z), kinks=_mirrored(self.unit.kinks))
        return self._smoothed_product(c, _Smoothing.of_values)

    def slope(self, c: float) -> float:
        """The derivative of `product`: q E f'(u) f'(v) at correlation c.

        Raises:
            ValueError: c is not in [-1, 1].
            QuadratureError: f is too rough; at c = 1 and -1: it jumps.
        """
        c = checked_number(c, name="c", low=-1.0, high=1.0)
        if c == 1:
            return self.unit.q * self.unit.slope_second_moment()
        if abs(c) <= SERIES_REACH:
            return float(np.polynomial.polynomial.polyval(c, self.powers[1:] * np.arange(1, TERMS)))
        if c == -1:
            return _odd_minus_even(self.unit)
        return self._smoothed_product(c, _Smoothing.of_slopes)

    def _is_smooth(self) -> bool:
        return bool(abs(self.total - self.powers.sum()) <= NEGLIGIBLE * self.total)

    def _smoothed_product(self, c: float, make: Callable[["_Smoothing"], Function]) -> float:
        last, value, error = math.inf, math.inf, math.inf
        for splits in SPLITS:
            smoothing = _Smoothing(self.unit, self.rough, abs(c), splits)
            nodes, weights = self._outer(abs(c), splits // SPLITS[0])
            value = _shared(make(smoothing), math.copysign(1.0, c), nodes, weights)
            error, last = abs(value - last), value
            if error <= SETTLED * max(self.total, abs(value)):
                return value
        if error <= GOOD_ENOUGH * max(self.total, abs(value)):
            return value
        raise QuadratureError(f"E f(u) f(v) at correlation {c:g} does not converge: the function is too rough")

    def _outer(self, shared: float, parts: int) -> tuple[F64, F64]:
        """Nodes, and weights with the normal density in them, for what both inputs share."""
        rho, tau = math.sqrt(shared), math.sqrt(1 - shared)
        around = np.add.outer(np.asarray(self.rough), tau * np.asarray(STEPS)).ravel() / rho
        edges = np.unique(np.r_[self.panels, around, -around].clip(-REACH, REACH))
        edges = np.unique(np.concatenate([edges[:-1] + np.diff(edges) * part / parts for part in range(parts + 1)]))
        nodes, weights = (part.ravel() for part in legendre_nodes(edges[:-1], edges[1:]))
        return nodes, weights * normal_density(nodes)


@dataclass(frozen=True)
class _Smoothing:
    """The mean of f over what its input does not share with the other: f(sqrt(q) (rho z + tau w)) over normal w."""

    unit: Unit
    rough: tuple[float, ...]
    shared: float
    splits: int

    def of_values(self) -> Function:
        """The mean of f."""
        return lambda z: self._mean(z, self.unit.value, stein=False)

    def of_slopes(self) -> Function:
        """The mean of sqrt(q) f', by f' where it is known and by parts (Stein) where it is not."""
        slope, root = self.unit.slope(), math.sqrt(self.unit.q)
        if slope is None:
            return lambda z: self._mean(z, self.unit.value, stein=True)
        known = slope
        return lambda z: root * self._mean(z, known, stein=False)

    def _mean(self, z: F64, function: Function, *, stein: bool) -> F64:
        rows = max(CHUNK // ((self.splits + len(self.rough)) * NODES), 1)
        parts = np.split(z, range(rows, z.size, rows))
        return np.concatenate([self._part(part, function, stein=stein) for part in parts])

    def _part(self, z: F64, function: Function, *, stein: bool) -> F64:
        rho, tau = math.sqrt(self.shared), math.sqrt(1 - self.shared)
        grid = np.linspace(-WINDOW, WINDOW, self.splits + 1)
        kinks = np.clip((np.asarray(self.rough) - rho * z[:, None]) / tau, -WINDOW, WINDOW)
        edges = np.sort(np.concatenate([np.broadcast_to(grid, (z.size, grid.size)), kinks], axis=1), axis=1)
        w, weights = legendre_nodes(edges[:, :-1], edges[:, 1:])
        values = function((rho * z[:, None, None] + tau * w).ravel()).reshape(w.shape)
        if stein:
            values = values * w / tau
        return np.asarray((weights * normal_density(w) * values).sum(axis=(1, 2)))


def _shared(smooth: Function, sign: float, nodes: F64, weights: F64) -> float:
    """E g(z) g(sign z)."""
    values = smooth(nodes)
    return float(weights @ (values * (values if sign > 0 else smooth(-nodes))))


def _crowded(edges: F64) -> list[float]:
    """The middle of the narrowest panel of each crowd of narrow ones."""
    widths, middles = np.diff(edges), (edges[:-1] + edges[1:]) / 2
    narrow = np.flatnonzero(widths < NARROW)
    crowds = np.split(narrow, np.flatnonzero(np.diff(middles[narrow]) > NARROW) + 1)
    return [float(middles[crowd[np.argmin(widths[crowd])]]) for crowd in crowds if crowd.size]


def _odd_minus_even(unit: Unit) -> float:
    """E f'(u) f'(-u), times q: of the odd part o and the even part e of f it is E o'^2 - E e'^2."""
    kinks = _mirrored(unit.kinks)
    odd = normal_mean_of_squared_slope(lambda z: (unit.value(z) - unit.value(-z)) / 2, kinks=kinks)
    even = normal_mean_of_squared_slope(lambda z: (unit.value(z) + unit.value(-z)) / 2, kinks=kinks)
    return odd - even


def _mirrored(kinks: tuple[float, ...]) -> tuple[float, ...]:
    return tuple({side * kink for kink in kinks for side in (1.0, -1.0)})


def _coefficients(nodes: F64, weighed: F64) -> F64:
    """Sums of weighed values times normalised Hermite polynomials, by their three-term recurrence."""
    coefficients = np.empty(TERMS)
    before, now = np.zeros_like(nodes), np.ones_like(nodes)
    for n in range(TERMS):
        coefficients[n] = weighed @ now
        before, now = now, (nodes * now - math.sqrt(n) * before) / math.sqrt(n + 1)
    return coefficients
