"""Laws that draw every element on its own: element i is a function of (key, i) alone."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

from fanwise.laws.base import Initializer, Moments, Site, known_layout
from fanwise.laws.layout import Fans, Layout
from fanwise.stream import fill
from fanwise.stream.arguments import checked_choice, checked_number
from fanwise.stream.box import Shape
from fanwise.stream.formats import Array, Format
from fanwise.stream.law import NORMAL_REACH, Law, normal_law, truncated_law, uniform_law
from fanwise.stream.truncation import Truncation

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("normal", "truncated_normal", "uniform")


class ElementwiseLaw(Initializer):
    """A law of the stream, whatever the shape: it knows no fans and fits everything."""

    @final
    def _resolved(self, shape: Shape, layout: Layout | None) -> Initializer:
        return self

    @final
    def _draw(self, site: Site, out: Array) -> None:
        fill.write(out, site.known_key(), self.stream_law(site.form), box=site.box, shape=site.shape)

    @final
    def _check_format(self, shape: Shape, form: Format) -> None:
        self.stream_law(form)

    @abstractmethod
    def stream_law(self, form: Format) -> Law:
        """What turns words into these values.

        Raises:
            ValueError: numbers that the dtype cannot hold.
        """


class ConstantLaw(Initializer):
    """A law of one value: it draws nothing and fits everything."""

    @final
    def _resolved(self, shape: Shape, layout: Layout | None) -> Initializer:
        return self

    @final
    def _check_format(self, shape: Shape, form: Format) -> None:
        fill.checked_constant(form, float(self._moments((), None).mean))

    @final
    def _draw(self, site: Site, out: Array) -> None:
        out[...] = fill.checked_constant(site.form, float(self._moments((), None).mean))


@dataclass(frozen=True)
class Constant(ConstantLaw):
    """One value everywhere.

    Args:
        value: a finite number.
    """

    value: float

    def __post_init__(self) -> None:
        checked_number(self.value, name="value")

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return Moments(self.value, 0.0, self.value, self.value)


@dataclass(frozen=True)
class Zeros(ConstantLaw):
    """Zeros."""

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return Moments(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Ones(ConstantLaw):
    """Ones."""

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return Moments(1.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Uniform(ElementwiseLaw):
    """Uniform in [-bound, bound]; std = bound / sqrt(3).

    Args:
        bound: half the width, >= 0.
    """

    bound: float

    def __post_init__(self) -> None:
        checked_number(self.bound, name="bound", low=0.0)

    def stream_law(self, form: Format) -> Law:
        """What turns words into these values."""
        return uniform_law(form, float(self.bound))

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return Moments(0.0, self.bound / math.sqrt(3), -self.bound, self.bound)


@dataclass(frozen=True)
class Normal(ElementwiseLaw):
    """Normal around 0.

    Args:
        std: standard deviation, >= 0.
    """

    std: float

    def __post_init__(self) -> None:
        checked_number(self.std, name="std", low=0.0)

    def stream_law(self, form: Format) -> Law:
        """What turns words into these values."""
        return normal_law(form, float(self.std), 0.0)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return Moments(0.0, self.std, -NORMAL_REACH * self.std, NORMAL_REACH * self.std)


@dataclass(frozen=True)
class TruncatedNormal(ElementwiseLaw):
    """Normal around 0, kept to [low, high].

    Args:
        std: standard deviation of the numbers returned, >= 0: the parent's sigma is larger by 1 / 0.8796 for +-2.
        low: lower bound in sigmas of the parent, may be -inf.
        high: upper bound in sigmas of the parent, may be inf.
    """

    std: float
    low: float = -2.0
    high: float = 2.0

    def __post_init__(self) -> None:
        checked_number(self.std, name="std", low=0.0)
        Truncation(self.low, self.high)

    def stream_law(self, form: Format) -> Law:
        """What turns words into these values."""
        return truncated_law(form, Truncation(self.low, self.high), float(self.std), 0.0)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        if self.std == 0:
            return Moments(0.0, 0.0, 0.0, 0.0)
        truncation = Truncation(self.low, self.high)
        mean, spread = truncation.moments()
        sigma, reach = self.std / spread, truncation.reach(NORMAL_REACH)
        return Moments(mean * sigma, self.std, max(self.low, -reach) * sigma, min(self.high, reach) * sigma)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Variance scale / fan: the family of LeCun, Glorot and He.

    std = sqrt(scale / fan); the uniform law has bound sqrt(3 scale / fan), the truncated one keeps this std within
    two sigmas of its parent. A gain multiplies std, so scale is gain squared.

    Args:
        scale: variance times fan, >= 0.
        mode: which fan: "fan_in" keeps the second moment forward, "fan_out" backward, "fan_avg" is their
            arithmetic and "fan_geo_avg" their geometric mean.
        distribution: "normal" (not truncated), "truncated_normal" or "uniform".

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a scale out of range, an unknown mode or distribution.

    Example:
        >>> VarianceScaling(2.0, "fan_in", "normal").moments((784, 100)).std == (2 / 784) ** 0.5
        True

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 12
        and 16; He et al., "Delving deep into rectifiers", 2015, eq. 10 and 14.
    """

    scale: float
    mode: str = "fan_in"
    distribution: str = "normal"

    def __post_init__(self) -> None:
        checked_number(self.scale, name="scale", low=0.0)
        checked_choice(self.mode, MODES, name="mode")
        checked_choice(self.distribution, DISTRIBUTIONS, name="distribution")

    def std(self, fans: Fans) -> float:
        """Standard deviation for these fans; 0 where the fan is 0, which only empty weights have."""
        fan = _fan(fans, self.mode)
        return math.sqrt(self.scale / fan) if fan else 0.0

    def law(self, fans: Fans) -> Uniform | Normal | TruncatedNormal:
        """The law without fans that this one is, for given fans."""
        std = self.std(fans)
        if self.distribution == "uniform":
            return Uniform(math.sqrt(3) * std)
        return Normal(std) if self.distribution == "normal" else TruncatedNormal(std)

    def _resolved(self, shape: Shape, layout: Layout | None) -> Uniform | Normal | TruncatedNormal:
        return self.law(known_layout(layout, shape).fans(shape))

    def _draw(self, site: Site, out: Array) -> None:
        self._resolved(site.part.shape, site.layout)._draw(site, out)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return self._resolved(shape, layout)._moments(shape, layout)


def _fan(fans: Fans, mode: str) -> float:
    if mode == "fan_in":
        return fans.fan_in
    if mode == "fan_out":
        return fans.fan_out
    if mode == "fan_avg":
        return (fans.fan_in + fans.fan_out) / 2
    return math.sqrt(fans.fan_in * fans.fan_out)
