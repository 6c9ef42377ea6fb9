"""What finite width adds: how far the length of a signal wanders from its mean field, layer by layer.

Given the layer before, the pre-activations of a layer of Gaussian weights are exactly independent normals of variance
Q' = sigma_w^2 mean f(h)^2 + sigma_b^2, the mean over the n units before. So ln Q takes random steps: each is what the
variance map makes of the last one, plus noise of variance kappa / n and mean -kappa / (2 n).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanwise.stream.arguments import checked_count, checked_number
from fanwise.theory.meanfield.maps import MeanField, length_map
from fanwise.theory.meanfield.moments import Unit

LARGEST_VARIANCE = 0.5
"""Of a log-length: beyond, the second-order expansion by which it is found says no more than that the band is wide."""


@dataclass(frozen=True)
class LogLength:
    """ln of the second moment of a layer's pre-activations, over random weights.

    Args:
        layer: from 1 on.
        width: its units.
        mean_field: the second moment of an infinitely wide network.
        shift: mean of the log, above the log of that.
        variance: of the log.
    """

    layer: int
    width: int
    mean_field: float
    shift: float
    variance: float

    @property
    def reliable(self) -> bool:
        """Whether the expansion holds: the variance is below 0.5."""
        return self.variance < LARGEST_VARIANCE

    def band(self, sigmas: float = 2.0) -> tuple[float, float]:
        """Second moments so many standard deviations of the log below and above its mean."""
        reach = sigmas * math.sqrt(self.variance)
        return self.mean_field * _exp(self.shift - reach), self.mean_field * _exp(self.shift + reach)


def log_lengths(field: MeanField, widths: Sequence[int], *, start: float = 1.0) -> tuple[LogLength, ...]:
    """The second moment of the pre-activations of every layer, over random Gaussian weights, to first order in 1 / n.

    With x = ln Q and F the variance map in logs, each layer takes the mean shift m and the variance v of x to
    F' m + F'' v / 2 - kappa / (2 n) and F'^2 v + kappa / n, where kappa = sigma_w^4 Var f(h)^2 / Q'^2. A layer's own
    second moment then adds the scatter of n squares of normals: -1 / n and 2 / n. For homogeneous functions F' = 1
    and F'' = 0: kappa is 5 for ReLU, 2 for linear layers, and the log wanders by kappa times the sum of 1 / n.

    Args:
        field: the network.
        widths: units of each layer; or ``[256] * 50``.
        start: second moment of the first layer's pre-activations over random weights, sigma_w^2 E x^2 + sigma_b^2.

    Raises:
        TypeError: a width is not an integer.
        ValueError: no width, one below 1, a start that is not positive and finite, or a layer of zeros.
        QuadratureError: f is not finite on the way.

    Example:
        >>> last = log_lengths(MeanField("relu", 2**0.5), [100] * 11)[-1]
        >>> round(last.shift, 12), round(last.variance, 12)      # 10 layers x 5 / 100, and the last one's 2 / 100
        (-0.26, 0.52)

    References:
        Hanin and Nica, "Products of many large random matrices and gradients in deep neural networks", 2020, theorem 1:
        the homogeneous case, mean -beta / 2 and variance beta = 5 sum 1 / n for ReLU; Hanin, "Which neural network
        architectures give rise to exploding and vanishing gradients?", 2018. Other functions: the second-order
        expansion of the recursion above, which is exact.
    """
    return tuple(walk(field, widths, start=start))


def walk(field: MeanField, widths: Sequence[int], *, start: float = 1.0) -> Iterator[LogLength]:
    """What `log_lengths` returns, layer by layer."""
    sizes = [checked_count(width, name="width") for width in widths]
    length = checked_number(start, name="start", low=0.0)
    if not sizes or length == 0:
        raise ValueError(f"widths = {sizes!r} and start = {start!r}: expected at least one width, and start > 0")
    shift, variance = 0.0, 0.0
    yield _measured(1, sizes[0], length, (shift, variance))
    for layer, (before, width) in enumerate(pairwise(sizes), start=2):
        length, shift, variance = _step(field, (length, shift, variance), before)
        yield _measured(layer, width, length, (shift, variance))


def kappa(field: MeanField, q: float) -> float:
    """Relative variance, times the width, of the next layer's variance: sigma_w^4 Var f(h)^2 over its square.

    Example:
        >>> round(kappa(MeanField("relu", 2**0.5), 1.0), 12), round(kappa(MeanField("linear", 1.0), 1.0), 12)
        (5.0, 2.0)
    """
    unit, after = Unit(field.f, q), length_map(field, q)
    if after <= 0:
        raise ValueError(f"the layer after variance {q:g} is all zeros: its log-length is not defined")
    return field.sigma_w**4 * (unit.fourth_moment() - unit.second_moment() ** 2) / after**2


def _step(field: MeanField, state: tuple[float, float, float], width: int) -> tuple[float, float, float]:
    """Length, shift and variance of the log, one layer on."""
    length, shift, variance = state
    noise, after = kappa(field, length) / width, length_map(field, length)
    unit = Unit(field.f, length)
    first = field.sigma_w**2 * unit.length_slope() * length / after
    second = field.sigma_w**2 * unit.length_curvature() * length**2 / after + first - first**2
    return after, first * shift + second * variance / 2 - noise / 2, first**2 * variance + noise


def _measured(layer: int, width: int, length: float, log: tuple[float, float]) -> LogLength:
    return LogLength(layer, width, length, log[0] - 1 / width, log[1] + 2 / width)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
