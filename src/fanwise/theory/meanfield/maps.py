"""Mean field of a wide network of equal layers: how lengths and correlations of signals go from layer to layer.

Pre-activations of layer l + 1 are sums over W f(h) + b, with W of variance sigma_w^2 / fan_in and b of variance
sigma_b^2. In a wide network they are normal, of variance q, and two inputs make pairs of them with correlation c.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, TypeAlias

import numpy as np

from fanwise.laws.gain import NonlinearityLike, as_nonlinearity
from fanwise.laws.nonlinearities import Nonlinearity
from fanwise.laws.quadrature import QuadratureError
from fanwise.stream.arguments import checked_count, checked_number
from fanwise.theory.meanfield.moments import Unit, moments_at, slope_second_moment_at_zero, value_at_zero
from fanwise.theory.meanfield.pairs import Pair
from fanwise.theory.meanfield.roots import brackets, root

Phase: TypeAlias = Literal["ordered", "critical", "chaotic"]
"""What becomes of two inputs: they grow alike, keep their angle, or grow apart."""
Stability: TypeAlias = Literal["stable", "marginal", "unstable"]

MARGIN = 1e-9
"""A slope this near to 1 counts as 1."""

LENGTHS = tuple(float(q) for q in np.geomspace(1e-10, 1e6, 97))
"""Variances between which fixed points are looked for."""

CRITICAL_LENGTHS = tuple(float(q) for q in np.geomspace(1e-6, 1e6, 73))
"""Variances between which critical pairs are looked for."""

ROUNDING = 1e-14
"""Share of q up to which sigma_b^2, a difference from q, is 0."""

NEARNESS = tuple(10.0**-n for n in range(1, 13))
"""How near to 1 a second fixed point of the correlation map is looked for."""


@dataclass(frozen=True)
class MeanField:
    """A nonlinearity between layers of random weights.

    Args:
        nonlinearity: name, `Nonlinearity`, or function of arrays.
        sigma_w: the gain: weights have std sigma_w / sqrt(fan_in).
        sigma_b: std of the biases.

    Raises:
        TypeError: not a nonlinearity, or not numbers.
        ValueError: an unknown name, or a number that is negative or not finite.
        QuadratureError: the function is not finite.

    Example:
        >>> relu = MeanField("relu", 2**0.5)
        >>> round(length_map(relu, 3.0), 12), round(chi(relu, 3.0), 12)
        (3.0, 1.0)

    References:
        Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016, eq. 3 to 5;
        Schoenholz et al., "Deep information propagation", 2017.
    """

    nonlinearity: NonlinearityLike
    sigma_w: float
    sigma_b: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "nonlinearity", as_nonlinearity(self.nonlinearity))
        object.__setattr__(self, "sigma_w", checked_number(self.sigma_w, name="sigma_w", low=0.0))
        object.__setattr__(self, "sigma_b", checked_number(self.sigma_b, name="sigma_b", low=0.0))
        Unit(self.f, 1.0).second_moment()

    @property
    def f(self) -> Nonlinearity:
        """The nonlinearity."""
        return as_nonlinearity(self.nonlinearity)


@dataclass(frozen=True)
class FixedPoint:
    """A length that the layers keep, and what they do near it.

    Args:
        q: the variance.
        slope: of the variance map there: a deviation is multiplied by it at every layer.
        chi: of the correlation map at 1, sigma_w^2 E f'^2: the factor on the second moment of a gradient.
        c: the correlation that any two inputs come to; None at q = 0, where there is none.
        chi_c: the slope of the correlation map at c.
    """

    q: float
    slope: float
    chi: float
    c: float | None
    chi_c: float | None

    @property
    def stability(self) -> Stability:
        """Whether a signal of nearly this length comes to it."""
        return stability_of(self.slope)

    @property
    def phase(self) -> Phase:
        """What becomes of the angle between two inputs."""
        if abs(self.chi - 1) <= MARGIN:
            return "critical"
        return "ordered" if self.chi < 1 else "chaotic"

    @property
    def xi_q(self) -> float:
        """Layers over which a deviation of the length falls by e; inf where it does not fall."""
        return depth_scale(self.slope)

    @property
    def xi_c(self) -> float | None:
        """Layers over which a deviation of the correlation falls by e; None at q = 0."""
        return None if self.chi_c is None else depth_scale(self.chi_c)


@dataclass(frozen=True)
class Critical:
    """A pair on the edge of chaos: gradients keep their size, and correlations are forgotten most slowly.

    Args:
        sigma_w: the gain.
        sigma_b: std of the biases.
        q: variance at which chi = 1, a fixed point of the variance map.
        slope: of the variance map there; above 1 the network leaves it.
    """

    sigma_w: float
    sigma_b: float
    q: float
    slope: float

    @property
    def stability(self) -> Stability:
        """Whether a signal of nearly this length comes to it."""
        return stability_of(self.slope)


def length_map(field: MeanField, q: float) -> float:
    """The variance of the next layer's pre-activations: sigma_w^2 E f(sqrt(q) z)^2 + sigma_b^2.

    Raises:
        ValueError: q is negative or not finite.
        QuadratureError: f is not finite there.

    Example:
        >>> round(length_map(MeanField("gelu", 1.5335304412, 0.1), 1.0), 6)
        1.01
    """
    q = checked_number(q, name="q", low=0.0)
    second = Unit(field.f, q).second_moment() if q else value_at_zero(field.f) ** 2
    return field.sigma_w**2 * second + field.sigma_b**2


def length_slope(field: MeanField, q: float) -> float:
    """The derivative of `length_map`; at q = 0 its limit, for functions with f(0) = 0.

    Raises:
        ValueError: q is negative or not finite, or 0 where f(0) is not.
        QuadratureError: f is not finite there.
    """
    q = checked_number(q, name="q", low=0.0)
    if q == 0 and value_at_zero(field.f) != 0:
        raise ValueError(f"q = 0 with {field.f.name}(0) = {value_at_zero(field.f):g}: expected q > 0")
    slope = Unit(field.f, q).length_slope() if q else slope_second_moment_at_zero(field.f)
    return field.sigma_w**2 * slope


def chi(field: MeanField, q: float) -> float:
    """sigma_w^2 E f'(sqrt(q) z)^2: the slope of the correlation map at 1, and the factor on gradients' second moments.

    Raises:
        ValueError: q is negative or not finite.
        QuadratureError: f jumps, or is not finite there.
    """
    return field.sigma_w**2 * moments_at(field.f, q).slope_second_moment


def correlation_map(field: MeanField, q: float, correlations: Sequence[float]) -> tuple[float, ...]:
    """Correlations of the next layer's pre-activations, of inputs that both have variance q.

    Args:
        field: the network.
        q: positive; a fixed point of the variance map in a deep network.
        correlations: in [-1, 1].

    Raises:
        ValueError: q is not positive, or a correlation out of range.
        QuadratureError: f is too rough.

    Example:
        >>> [round(c, 6) for c in correlation_map(MeanField("relu", 2**0.5), 1.0, (0.0, 1.0))]
        [0.31831, 1.0]
    """
    pair, after = _pair(field, q)
    return tuple((field.sigma_w**2 * pair.product(c) + field.sigma_b**2) / after for c in correlations)


def correlation_slope(field: MeanField, q: float, c: float) -> float:
    """The derivative of `correlation_map` at c; at c = 1 it is `chi`, where q is a fixed point.

    Raises:
        ValueError: q is not positive, or c out of range.
        QuadratureError: f is too rough.
    """
    pair, after = _pair(field, q)
    return field.sigma_w**2 * pair.slope(c) / after


def trajectory(field: MeanField, start: float, depth: int) -> tuple[float, ...]:
    """The variance at the start and after each of `depth` layers; inf from where it is too large for f.

    Example:
        >>> [round(q, 6) for q in trajectory(MeanField("relu", 1.0), 1.0, 3)]
        [1.0, 0.5, 0.25, 0.125]
    """
    lengths = [checked_number(start, name="start", low=0.0)]
    for _ in range(checked_count(depth, name="depth", low=0)):
        lengths.append(_length_or_inf(field, lengths[-1]))
    return tuple(lengths)


def keeps_every_length(field: MeanField) -> bool:
    """Whether every variance is a fixed point, as for ReLU at sqrt 2: the function is homogeneous."""
    if field.sigma_b != 0 or value_at_zero(field.f) != 0:
        return False
    return all(abs(length_map(field, q) / q - 1) <= MARGIN for q in LENGTHS[::16])


def fixed_points(field: MeanField) -> tuple[FixedPoint, ...]:
    """The variances between 0 and 1e6 that the layers keep, from the smallest up.

    Where the layers keep every variance (`keeps_every_length`), the one point q = 1 stands for all.

    Raises:
        QuadratureError: f jumps or is too rough.

    Example:
        >>> [(round(point.q, 5), point.phase) for point in fixed_points(MeanField("tanh", 5 / 3))]
        [(0.0, 'chaotic'), (1.17848, 'chaotic')]
    """
    if keeps_every_length(field):
        return (fixed_point(field, 1.0),)

    def excess(q: float) -> float:
        return _length_or_inf(field, q) - q

    zero = (0.0,) if length_map(field, 0.0) == 0 else ()
    finite = tuple(takewhile(lambda q: math.isfinite(_length_or_inf(field, q)), LENGTHS))
    lengths = (root(excess, *ends) for ends in brackets(excess, finite))
    return tuple(fixed_point(field, q) for q in (*zero, *lengths))


def fixed_point(field: MeanField, q: float) -> FixedPoint:
    """What the layers do near a variance that they keep."""
    factor = chi(field, q)
    if q == 0:
        return FixedPoint(q, length_slope(field, q), factor, None, None)
    c = fixed_correlation(field, q)
    return FixedPoint(q, length_slope(field, q), factor, c, factor if c == 1 else correlation_slope(field, q, c))


def fixed_correlation(field: MeanField, q: float) -> float:
    """The correlation that any two inputs of variance q come to: 1, unless the slope there is above 1.

    The map is a power series in c with no negative coefficient (`pairs`), so that it crosses the diagonal at most once
    between 0 and 1.
    """
    pair, after = _pair(field, q)

    def excess(c: float) -> float:
        return (field.sigma_w**2 * pair.product(c) + field.sigma_b**2) / after - c

    if field.sigma_w**2 * pair.slope(1.0) / after <= 1 + MARGIN:
        return 1.0
    if abs(excess(0.0)) <= 1e-15:
        return 0.0
    beyond = next((1 - step for step in NEARNESS if excess(1 - step) < 0), 1.0)
    return root(excess, 0.0, beyond) if beyond < 1 else 1.0


def critical_at(f: NonlinearityLike, q: float) -> Critical:
    """The pair (sigma_w, sigma_b) that has a fixed point of variance q on the edge of chaos, chi = 1.

    sigma_w^2 = 1 / E f'^2 and sigma_b^2 = q - sigma_w^2 E f^2, at variance q.

    Raises:
        ValueError: q is not positive, or no pair has one there: sigma_b^2 would be negative.
        QuadratureError: f jumps, or is not finite.

    Example:
        >>> pair = critical_at("tanh", 1 / 16)
        >>> round(pair.sigma_w**2, 8), round(pair.sigma_b**2, 10)
        (1.11538062, 0.0002368768)
    """
    known, q = as_nonlinearity(f), _positive(q)
    weights, biases = _critical_squares(known, q)
    if biases < 0:
        raise ValueError(f"{known.name} has no critical pair at q = {q:g}: sigma_b^2 would be {biases:.3g}")
    return Critical(math.sqrt(weights), math.sqrt(biases), q, weights * Unit(known, q).length_slope())


def critical(f: NonlinearityLike, sigma_b: float = 0.0) -> Critical:
    """The edge of chaos for biases of this std: the pair with the smallest q.

    Raises:
        ValueError: sigma_b is negative or not finite, or there is none for q from 1e-6 to 1e6.
        QuadratureError: f jumps, or is not finite.

    Example:
        >>> pair = critical("tanh", 0.05**0.5)
        >>> round(pair.sigma_w**2, 8), round(pair.q, 8)
        (1.76095464, 0.57004788)
    """
    known, sigma_b = as_nonlinearity(f), checked_number(sigma_b, name="sigma_b", low=0.0)
    at_zero = slope_second_moment_at_zero(known)
    if sigma_b == 0 and at_zero > 0 and value_at_zero(known) == 0:
        return Critical(1 / math.sqrt(at_zero), 0.0, 0.0, 1.0)
    wanted = sigma_b**2

    def excess(q: float) -> float:
        return _critical_squares(known, q)[1] / wanted - 1 if wanted else _critical_squares(known, q)[1]

    ends = next(brackets(excess, CRITICAL_LENGTHS), None)
    if ends is None:
        raise ValueError(f"{known.name} has no critical pair with sigma_b = {sigma_b:g}: choose another sigma_b, or q")
    point = critical_at(known, root(excess, *ends))
    return Critical(point.sigma_w, sigma_b, point.q, point.slope)


def critical_line(f: NonlinearityLike, lengths: Sequence[float]) -> tuple[Critical, ...]:
    """The edge of chaos as a curve: the critical pairs at these variances, without those where there is none."""
    known = as_nonlinearity(f)
    return tuple(critical_at(known, q) for q in lengths if _critical_squares(known, q)[1] >= 0)


def critical_gains(f: NonlinearityLike, q: float = 1.0) -> tuple[float, float]:
    """The gains that keep variance q without biases, forward sqrt(q / E f^2) and backward 1 / sqrt(E f'^2).

    Raises:
        ValueError: q is not positive, or a moment is 0.

    Example:
        >>> [round(gain, 6) for gain in critical_gains("tanh")]
        [1.592537, 1.467414]
    """
    moments = moments_at(f, _positive(q))
    if moments.second_moment <= 0 or moments.slope_second_moment <= 0:
        raise ValueError(f"{f!r} has no gain at q = {q:g}: a moment is 0")
    return math.sqrt(q / moments.second_moment), 1 / math.sqrt(moments.slope_second_moment)


def log_slope(f: NonlinearityLike, q: float) -> float:
    """The slope of the variance map at q, with the gain that keeps q and no biases: d ln E f^2 / d ln q.

    Example:
        >>> round(log_slope("gelu", 1.0), 5)
        1.14406
    """
    unit = Unit(as_nonlinearity(f), _positive(q))
    return q * unit.length_slope() / unit.second_moment()


def stability_of(slope: float) -> Stability:
    """Whether deviations shrink, stay or grow where a map has this slope."""
    if abs(abs(slope) - 1) <= MARGIN:
        return "marginal"
    return "stable" if abs(slope) < 1 else "unstable"


def depth_scale(slope: float) -> float:
    """Layers over which slope^l falls by e: -1 / ln |slope|; 0 at slope 0, inf from 1 on.

    References:
        Schoenholz et al., "Deep information propagation", 2017, eq. 9 and 13.
    """
    size = abs(slope)
    if size >= 1 - MARGIN:
        return math.inf
    return -1 / math.log(size) if size else 0.0


def _pair(field: MeanField, q: float) -> tuple[Pair, float]:
    """The pair of inputs of variance q, and the variance of the layer after them."""
    after = length_map(field, _positive(q))
    if after <= 0:
        raise ValueError(f"the layer after variance {q:g} has variance 0: no correlation is defined")
    return Pair(Unit(field.f, q)), after


def _critical_squares(f: Nonlinearity, q: float) -> tuple[float, float]:
    """sigma_w^2 and sigma_b^2 with chi = 1 and fixed point q; both may be impossible."""
    unit = Unit(f, q)
    slope = unit.slope_second_moment()
    if slope <= 0:
        raise ValueError(f"{f.name} has no critical pair at q = {q:g}: E f'^2 = 0")
    biases = q - unit.second_moment() / slope
    return 1 / slope, 0.0 if abs(biases) <= ROUNDING * q else biases


def _length_or_inf(field: MeanField, q: float) -> float:
    """The variance map, inf where f overflows."""
    if math.isinf(q):
        return q
    try:
        return length_map(field, q)
    except QuadratureError:
        return math.inf


def _positive(q: float) -> float:
    number = checked_number(q, name="q", low=0.0)
    if number == 0:
        raise ValueError("q = 0: expected a positive variance")
    return number
