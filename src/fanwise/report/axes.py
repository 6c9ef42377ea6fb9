"""From numbers to places on an axis: ranges, ticks and labels, the same for every renderer."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.report.document import Axis, Direction, Guide, LineChart, Series

DRAWABLE, SMALLEST = 1e300, 1e-300
"""Beyond the one, differences of two numbers overflow: such values are not drawn, as if they were infinite.
Below the other they underflow: such a range counts as a single value."""

NEGLIGIBLE = 1e-12
"""A range narrower than this share of its ends is rounding error, and counts as a single value."""

ZERO_LANE = 0.14
"""Share of a log axis given to exact zeros, where there are any."""

TICKS = 4
"""About as many steps an axis gets; their labels still fit side by side on a telephone."""

NARROW = 2
"""Up to so many decades, a log axis has ticks between the powers of ten too."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis: 0 is its start, 1 its end."""

    place: float
    label: str


@dataclass(frozen=True)
class Scale:
    """An axis with its range fixed.

    Args:
        axis: whose scale this is.
        low: start of the range, as its decimal logarithm on a log axis.
        high: end of the range, likewise.
        lane: share of the axis below the range that is kept for zeros (log axes only).
    """

    axis: Axis
    low: float
    high: float
    lane: float = 0.0

    def place(self, value: float) -> float | None:
        """Position of `value`; beyond [0, 1] if outside the range, None if it cannot be drawn."""
        if not abs(value) < DRAWABLE:
            return None
        if self.axis.scale == "log" and value <= 0:
            return self.lane / 2 if value == 0 and self.lane else None
        share = (_transform(self.axis, value) - self.low) / (self.high - self.low)
        return self.lane + (1 - self.lane) * share

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Ticks inside the range, and the one of the zeros."""
        zero = (Tick(self.lane / 2, "0"),) if self.lane else ()
        return zero + tuple(self._range_ticks())

    def _range_ticks(self) -> Iterator[Tick]:
        slack = 1e-9 * (self.high - self.low)
        for at, label in _candidates(self.axis, self.low, self.high):
            if self.low - slack <= at <= self.high + slack:
                share = (at - self.low) / (self.high - self.low)
                yield Tick(self.lane + (1 - self.lane) * share, label)


Scales: TypeAlias = tuple[Scale, Scale]
"""The x and the y scale of a picture."""


def fit(charts: Sequence[LineChart]) -> Scales:
    """The x and y scales that show all of `charts`, whose axes are taken from the first.

    The x range ends where the data end; the y range is widened to the next tick.

    Example:
        >>> from fanwise.report.document import Series
        >>> chart = LineChart("loss", Axis("step"), Axis("loss"), (Series("He", (0, 100), (2.3, 0.1)),))
        >>> x, y = fit([chart])
        >>> [tick.label for tick in y.ticks]
        ['0.0', '0.5', '1.0', '1.5', '2.0', '2.5']
    """
    x_values = [value for chart in charts for value in chart.values("x")]
    y_values = [value for chart in charts for value in chart.values("y")]
    x, y = _fit_axis(charts[0].x, x_values), _fit_axis(charts[0].y, y_values)
    return x if len(x.ticks) > 1 else _widened(x), _widened(y)


def course(series: Series, scales: Scales) -> NDArray[np.float64]:
    """The points of a curve in shares of the picture, from its left and its bottom: shape (2, n).

    A number is nan where nothing can be drawn.
    """
    x, y = scales
    return np.array([[x.place(value) for value in series.x], [y.place(value) for value in series.y]], dtype=float)


def height_at(across: NDArray[np.float64], curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights of a curve (`course`) at the places `across`; nan where it is not drawn."""
    x, y = curve[:, np.argsort(curve[0], kind="stable")]
    heights: NDArray[np.float64] = np.interp(across, x, y, left=math.nan, right=math.nan)
    return heights


def visible_guides(chart: LineChart, scales: Scales, direction: Direction) -> list[tuple[float, Guide]]:
    """The guides at an x or at a y that lie inside the picture, each with its place."""
    scale = scales[direction == "y"]
    guides = [(scale.place(guide.value), guide) for guide in chart.guides if guide.axis == direction]
    return [(position, guide) for position, guide in guides if position is not None and 0 <= position <= 1]


def number(value: float, *, digits: int = 4) -> str:
    """A number in about so many digits, as short as it can be said.

    Example:
        >>> [number(v) for v in (2.302585, 12345.6, 9.7e-08, float("inf"))]
        ['2.303', '12346', '9.7e-8', 'inf']
    """
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _fit_axis(axis: Axis, values: Iterable[float]) -> Scale:
    drawable = [value for value in values if abs(value) < DRAWABLE]
    shown = [value for value in drawable if axis.scale == "linear" or value > 0]
    ends = axis.limits or (min(shown, default=1.0), max(shown, default=1.0))
    low, high = (_transform(axis, end) for end in ends)
    if high - low <= NEGLIGIBLE * max(abs(low), abs(high)) + SMALLEST:
        low, high = low - _half_width(axis, low), high + _half_width(axis, high)
    return Scale(axis, low, high, ZERO_LANE if len(shown) < len(drawable) else 0.0)


def _transform(axis: Axis, value: float) -> float:
    return math.log10(value) if axis.scale == "log" else value


def _half_width(axis: Axis, at: float) -> float:
    """Half the range around a single value: half a step, or a tenth of the value."""
    if axis.scale == "log" or (axis.integer and abs(at) < 1e9):
        return 0.5
    return abs(at) / 10 if abs(at) > SMALLEST else 0.5


def _widened(scale: Scale) -> Scale:
    """The scale, ending at ticks unless its axis has limits."""
    if scale.axis.limits:
        return scale
    if scale.axis.scale == "log" and scale.high - scale.low > NARROW:
        return replace(scale, low=math.floor(scale.low), high=math.ceil(scale.high))
    places = [at for at, _ in _candidates(scale.axis, scale.low, scale.high)]
    slack = 1e-9 * (scale.high - scale.low)
    low = max((at for at in places if at <= scale.low + slack), default=scale.low)
    high = min((at for at in places if at >= scale.high - slack), default=scale.high)
    return replace(scale, low=low, high=high)


def _candidates(axis: Axis, low: float, high: float) -> Iterator[tuple[float, str]]:
    """Places of possible ticks in the range and just outside it, with their labels."""
    return _log_candidates(low, high) if axis.scale == "log" else _linear_candidates(axis, low, high)


def _linear_candidates(axis: Axis, low: float, high: float) -> Iterator[tuple[float, str]]:
    step = _step((high - low) / TICKS)
    step = max(step, 1.0) if axis.integer else step
    for i in range(math.floor(low / step), math.ceil(high / step) + 1):
        yield i * step, _tick_label(i * step, step)


def _step(rough: float) -> float:
    """The nearest of 1, 2, 5, 10 times a power of ten, measured in ratios."""
    power = 10.0 ** math.floor(math.log10(rough))
    return power * min((1, 2, 5, 10), key=lambda mantissa: abs(math.log(mantissa * power / rough)))


def _tick_label(value: float, step: float) -> str:
    """As many decimals as the step has, so that all labels of an axis look alike."""
    if not 1e-4 <= abs(step) < 1e5:
        return number(value)
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _log_candidates(low: float, high: float) -> Iterator[tuple[float, str]]:
    """Powers of ten, thinned out over a wide range; with their 2 and 5 folds over a narrow one."""
    stride = max(1, math.ceil((high - low) / (TICKS + 1)))
    mantissas = (1, 2, 5) if high - low <= NARROW else (1,)
    first, last = stride * math.floor(low / stride), stride * math.ceil(high / stride)
    short = first >= -3 and last <= 4
    for exponent in range(first, last + 1, stride):
        for mantissa in mantissas:
            yield exponent + math.log10(mantissa), _log_label(mantissa, exponent, short=short)


def _log_label(mantissa: int, exponent: int, *, short: bool) -> str:
    if short or exponent == 0:
        return f"{mantissa * 10.0**exponent:.{max(0, -exponent)}f}"
    return f"{mantissa}e{exponent}"
