"""Activations changed so that a deep plain network keeps lengths and angles: DKS and TAT, by our own solver.

A function f becomes out_scale (f(in_scale x + in_shift) + out_shift). Its four numbers are chosen at unit variance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.laws.gain import NonlinearityLike, as_nonlinearity
from fanwise.laws.nonlinearities import Function, Nonlinearity
from fanwise.laws.quadrature import QuadratureError, normal_mean, normal_mean_of_squared_slope
from fanwise.stream.arguments import checked_count, checked_number
from fanwise.theory.meanfield.moments import Unit, affine, value_at_zero
from fanwise.theory.meanfield.roots import root

Method: TypeAlias = Literal["dks", "tat"]
Equations: TypeAlias = Callable[[float, float], NDArray[np.float64]]

DKS_SLOPE = 1.5
"""Slope of the whole network's correlation map at 1: 1.5 by Martens et al., 2021."""
TAT_CURVATURE = 0.3
"""Second derivative of the whole network's correlation map at 1: 0.3 by Zhang et al., 2022."""
TAT_CORRELATION = 0.9
"""What the whole network makes of correlation 0, with leaky ReLU: 0.9 by Zhang et al., 2022."""

SCALES, SHIFTS = (1.0, 0.5, 0.2, 0.08), (0.0, 0.4, -0.4, 1.0, -1.0, 2.0, -2.0)
"""Points from which Newton's method starts."""
STEPS, HALVINGS = 30, 12
SOLVED = 1e-11
NUDGE = 1e-6
"""Relative step of the numerical Jacobian."""
ASIDE = 0.2718281828
"""Panels begin at whole numbers and at known kinks, where a jump of the slope would not be seen: it is looked for with
the function moved by this much, and without its kinks."""
HOMOGENEOUS = 1e-9
"""Relative deviation of E f^2 from a power of q, up to which f counts as homogeneous."""
SMALLEST_SCALE, LARGEST = 1e-4, 10.0
"""Range of Newton's method: a shift or a scale beyond leaves the part of an activation that is its own."""


@dataclass(frozen=True)
class Transformed:
    """A nonlinearity made fit for depth: out_scale (f(in_scale x + in_shift) + out_shift).

    Args:
        f: the nonlinearity that is changed.
        method: "dks" or "tat".
        depth: nonlinear layers of the plain network that it is meant for.
        in_scale: factor on the input.
        in_shift: added to it.
        out_shift: added to the value.
        out_scale: factor on that.
    """

    f: Nonlinearity
    method: Method
    depth: int
    in_scale: float
    in_shift: float
    out_shift: float
    out_scale: float

    @property
    def nonlinearity(self) -> Nonlinearity:
        """The changed function; its gain is 1."""
        inner, known = affine(self.f, self.in_scale, self.in_shift), affine(self.f, self.in_scale, self.in_shift).slope
        slope: Function | None = None if known is None else lambda x: self.out_scale * known(x)
        name = f"{self.method}({self.f.name}, {self.depth})"
        return Nonlinearity(name, lambda x: self.out_scale * (inner.function(x) + self.out_shift), slope, inner.kinks)


@dataclass(frozen=True)
class LeakySlope:
    """A leaky ReLU fit for depth: scale max(x, negative_slope x).

    Args:
        depth: nonlinear layers of the plain network that it is meant for.
        negative_slope: its slope below 0.
        scale: sqrt(2 / (1 + negative_slope^2)), which keeps the second moment.
    """

    depth: int
    negative_slope: float
    scale: float


def dks(f: NonlinearityLike, depth: int, *, slope: float = DKS_SLOPE) -> Transformed:
    """Deep kernel shaping for a plain network of so many nonlinear layers.

    At unit variance E f = 0, E f^2 = 1, the variance map has slope 1, and the correlation map has slope
    slope^(1 / depth) at 1: all layers together `slope`.

    Args:
        f: any nonlinearity that is not homogeneous.
        depth: nonlinear layers.
        slope: of the whole network's correlation map at 1; above 1.

    Raises:
        TypeError: not a nonlinearity, or depth not an integer.
        ValueError: depth below 1, slope not above 1, or there are no such constants, as for ReLU.

    Example:
        >>> found = dks("tanh", 50)
        >>> [round(x, 6) for x in (found.in_scale, found.in_shift, found.out_shift, found.out_scale)]
        [0.12844, 0.57078, -0.509807, 10.604448]

    References:
        Martens et al., "Rapid training of deep neural networks without skip connections or normalization layers using
        deep kernel shaping", 2021.
    """
    known, depth = as_nonlinearity(f), checked_count(depth, name="depth")
    wanted = checked_number(slope, name="slope", low=1.0) ** (1 / depth)
    if wanted <= 1:
        raise ValueError(f"slope = {slope!r}: expected a number above 1")
    _check_bent(known)
    return _solved(known, "dks", depth, _dks_equations(known, wanted), _centred)


def tat(f: NonlinearityLike, depth: int, *, curvature: float = TAT_CURVATURE) -> Transformed:
    """Tailored activation transformation of a smooth function, for a plain network of so many nonlinear layers.

    At unit variance E f^2 = 1, variance and correlation maps both have slope 1, and the correlation map has second
    derivative curvature / depth at 1: all layers together `curvature`.

    Args:
        f: any nonlinearity whose slope is known and has no jump.
        depth: nonlinear layers.
        curvature: second derivative of the whole network's correlation map at 1.

    Raises:
        TypeError: not a nonlinearity, or depth not an integer.
        ValueError: depth below 1, curvature not positive, a slope with jumps, or there are no such constants.

    Example:
        >>> found = tat("tanh", 50)
        >>> [round(x, 4) for x in (found.in_scale, found.in_shift, found.out_shift, found.out_scale)]
        [0.0817, 0.5258, -0.4832, 15.9416]

    References:
        Zhang, Botev and Martens, "Deep learning without shortcuts: shaping the kernel with tailored rectifiers", 2022.
    """
    known, depth = as_nonlinearity(f), checked_count(depth, name="depth")
    wanted = checked_number(curvature, name="curvature", low=0.0) / depth
    if wanted <= 0:
        raise ValueError(f"curvature = {curvature!r}: expected a number above 0")
    _check_bent(known)
    _check_smooth(known)
    return _solved(known, "tat", depth, _tat_equations(known, wanted), _sloped)


def tat_leaky_relu(depth: int, *, correlation: float = TAT_CORRELATION) -> LeakySlope:
    """The slope of leaky ReLU with which so many layers take correlation 0 to `correlation`.

    Raises:
        TypeError: depth is not an integer.
        ValueError: depth below 1, correlation not between 0 and 1, or a network so shallow that even ReLU stays below.

    Example:
        >>> round(tat_leaky_relu(20).negative_slope, 6)
        0.18138

    References:
        Zhang, Botev and Martens, "Deep learning without shortcuts: shaping the kernel with tailored rectifiers", 2022.
        The correlation map is that of ReLU (Cho and Saul, "Kernel methods for deep learning", 2009) mixed with the
        identity.
    """
    depth, wanted = checked_count(depth, name="depth"), checked_number(correlation, name="correlation")
    if not 0 < wanted < 1:
        raise ValueError(f"correlation = {correlation!r}: expected a number between 0 and 1")

    def excess(slope: float) -> float:
        return _leaky_correlation(slope, depth) - wanted

    if excess(0.0) < 0:
        reached = _leaky_correlation(0.0, depth)
        raise ValueError(f"depth = {depth}: even ReLU takes correlation 0 only to {reached:.4g}, not to {wanted:g}")
    negative_slope = root(excess, 0.0, 1.0)
    return LeakySlope(depth, negative_slope, math.sqrt(2 / (1 + negative_slope**2)))


def _leaky_correlation(slope: float, depth: int) -> float:
    """What so many layers of leaky ReLU make of correlation 0."""
    bend, c = (1 - slope) ** 2 / (math.pi * (1 + slope**2)), 0.0
    for _ in range(depth):
        c = min(c + bend * (math.sqrt(1 - c * c) - c * math.acos(c)), 1.0)
    return c


def _centred(inner: Nonlinearity) -> tuple[float, float]:
    """out_shift and out_scale with E f = 0 and E f^2 = 1."""
    mean = normal_mean(inner.function, kinks=inner.kinks)
    variance = normal_mean(lambda z: (inner.function(z) - mean) ** 2, kinks=inner.kinks)
    return -mean, 1 / math.sqrt(variance)


def _sloped(inner: Nonlinearity) -> tuple[float, float]:
    """out_shift and out_scale with E f'^2 = 1 and slope 1 of the variance map, E z f f' = 1."""
    moments, crossed = _slopes(inner), _crossed(inner)
    drift = normal_mean(lambda z: (z * z - 1) * inner.function(z), kinks=inner.kinks)
    return (moments - crossed) / drift, 1 / math.sqrt(moments)


def _slopes(inner: Nonlinearity) -> float:
    """E f'^2."""
    slope = inner.slope
    if slope is None:
        return normal_mean_of_squared_slope(inner.function, kinks=inner.kinks)
    return normal_mean(lambda z: slope(z) ** 2, kinks=inner.kinks)


def _crossed(inner: Nonlinearity, shift: float = 0.0) -> float:
    """E z (f + shift) f', by parts: E (z^2 - 1) (f + shift)^2 / 2."""
    return normal_mean(lambda z: (z * z - 1) * (inner.function(z) + shift) ** 2 / 2, kinks=inner.kinks)


def _dks_equations(f: Nonlinearity, slope: float) -> Equations:
    def equations(in_scale: float, in_shift: float) -> NDArray[np.float64]:
        inner = affine(f, in_scale, in_shift)
        out_shift, out_scale = _centred(inner)
        crossed = out_scale**2 * _crossed(inner, out_shift)
        return np.array([out_scale**2 * _slopes(inner) - slope, crossed - 1]) / (slope - 1)

    return equations


def _tat_equations(f: Nonlinearity, curvature: float) -> Equations:
    def equations(in_scale: float, in_shift: float) -> NDArray[np.float64]:
        inner = affine(f, in_scale, in_shift)
        out_shift, out_scale = _sloped(inner)
        second = normal_mean(lambda z: (inner.function(z) + out_shift) ** 2, kinks=inner.kinks)
        slope = inner.slope or inner.function
        bend = normal_mean_of_squared_slope(slope, kinks=inner.kinks)
        return np.array([out_scale**2 * second - 1, out_scale**2 * bend - curvature]) / curvature

    return equations


def _solved(
    f: Nonlinearity,
    method: Method,
    depth: int,
    equations: Equations,
    finish: Callable[[Nonlinearity], tuple[float, float]],
) -> Transformed:
    """The constants from the first start from which Newton's method arrives."""
    for scale, shift in product(SCALES, SHIFTS):
        solution = _newton(equations, scale, shift)
        if solution is not None:
            return Transformed(f, method, depth, *solution, *finish(affine(f, *solution)))
    raise ValueError(f"{f.name} has no {method.upper()} constants for depth {depth} that our solver finds")


def _newton(equations: Equations, scale: float, shift: float) -> tuple[float, float] | None:
    """Point at which both equations hold, by damped Newton steps; None where they do not lead there."""
    try:
        at, residual = np.array([scale, shift]), equations(scale, shift)
        for _ in range(STEPS):
            if np.abs(residual).max() <= SOLVED:
                return float(at[0]), float(at[1])
            at, residual = _newton_step(equations, at, residual)
    except (QuadratureError, ZeroDivisionError, np.linalg.LinAlgError, ValueError, OverflowError):
        return None
    return None


def _newton_step(
    equations: Equations, at: NDArray[np.float64], residual: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first of the full step, its half, its quarter ... that makes the residual smaller."""
    columns = [(equations(*_nudged(at, axis)) - residual) / _nudge(at, axis) for axis in (0, 1)]
    step = np.linalg.solve(np.stack(columns, axis=1), -residual)
    for halving in range(HALVINGS):
        tried = at + step / 2**halving
        if tried[0] > SMALLEST_SCALE and np.abs(tried).max() < LARGEST:
            errors = equations(tried[0], tried[1])
            if np.linalg.norm(errors) < np.linalg.norm(residual):
                return tried, errors
    raise ValueError("no step makes the residual smaller")


def _nudge(at: NDArray[np.float64], axis: int) -> float:
    return NUDGE * max(abs(float(at[axis])), 0.1)


def _nudged(at: NDArray[np.float64], axis: int) -> tuple[float, float]:
    """The point, moved a little along one axis."""
    moved = at.copy()
    moved[axis] += _nudge(at, axis)
    return float(moved[0]), float(moved[1])


def _check_smooth(f: Nonlinearity) -> None:
    """Refuses functions whose second derivative has no second moment."""
    if f.slope is None:
        raise ValueError(f"{f.name} has no known slope: expected a Nonlinearity with one")
    try:
        normal_mean_of_squared_slope(affine(Nonlinearity("slope", f.slope), 1.0, ASIDE).function)
    except QuadratureError:
        raise ValueError(f"the slope of {f.name} jumps: TAT needs a smooth function (ReLU: tat_leaky_relu)") from None


def _check_bent(f: Nonlinearity) -> None:
    """Refuses homogeneous functions, f(a x) = a^k f(x), whose scale cannot change their shape."""
    half, unit, two = (Unit(f, q).second_moment() for q in (0.25, 1.0, 4.0))
    if value_at_zero(f) == 0 and abs(half * two / unit**2 - 1) <= HOMOGENEOUS:
        raise ValueError(f"{f.name} is homogeneous: no scale or shift makes it fit for depth (ReLU: tat_leaky_relu)")
