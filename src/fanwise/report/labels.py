"""Positions of the labels of a chart's guides: they cover neither curves nor each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanwise.report.axes import Scales, course, height_at, visible_guides
from fanwise.report.document import LineChart

LETTER, LINE, DESCENT = 6.4, 14.0, 3.0
"""Width of a letter of the labels, height of a line, and its part below the baseline, in pixels."""

SAMPLES = 16
"""Places across a label at which the curves behind it are looked at."""

Size = tuple[int, int]
"""Width and height of a picture in pixels."""


@dataclass(frozen=True)
class Level:
    """A guide across the picture and its label, in shares of the picture from its top."""

    top: float
    baseline: float
    label: str
    at_end: bool


@dataclass(frozen=True)
class Stop:
    """A guide from top to bottom, in shares of the picture from its left; its label stands above."""

    left: float
    label: str


def place_levels(chart: LineChart, scales: Scales, size: Size) -> tuple[Level, ...]:
    """The guides at a y, each with its label above or below it, at the end or the start: where it covers least."""
    guides = visible_guides(chart, scales, "y")
    lines = [np.array([[0, 1], [position, position]]) for position, _ in guides]
    courses = lines + [course(series, scales) for series in chart.series]
    placed: tuple[Level, ...] = ()
    for position, guide in guides:
        choices = _choices(1 - position, guide.label, size)
        placed += (min(choices, key=lambda choice: _covered(choice, size, courses, placed)),)
    return placed


def place_stops(chart: LineChart, scales: Scales) -> tuple[Stop, ...]:
    """The guides at an x, from the left."""
    visible = ((position, guide.label) for position, guide in visible_guides(chart, scales, "x"))
    return tuple(Stop(left, label) for left, label in sorted(visible))


def _choices(top: float, label: str, size: Size) -> list[Level]:
    """Baselines above and below the guide that keep the label inside the picture; both ends of each."""
    baselines = [top + offset / size[1] for offset in (-5.0, LINE)]
    inside = [baseline for baseline in baselines if LINE / size[1] <= baseline <= 1]
    return [Level(top, baseline, label, at_end) for baseline in inside for at_end in (True, False)]


def _covered(choice: Level, size: Size, courses: Sequence[NDArray[np.float64]], placed: Sequence[Level]) -> int:
    """How much of curves and guides, and above all of other labels, a label would stand on."""
    across = np.linspace(*_extent(choice, size), SAMPLES) / size[0]
    ups = np.array([height_at(across, curve) for curve in courses])
    above_bottom = (ups - 1 + choice.baseline) * size[1] + DESCENT
    curves = int(np.count_nonzero((above_bottom > 0) & (above_bottom < LINE)))
    return curves + ups.size * sum(_touch(choice, other, size) for other in placed)


def _touch(a: Level, b: Level, size: Size) -> bool:
    (left_a, right_a), (left_b, right_b) = _extent(a, size), _extent(b, size)
    return abs(a.baseline - b.baseline) * size[1] < LINE and left_a < right_b and left_b < right_a


def _extent(level: Level, size: Size) -> tuple[float, float]:
    width = LETTER * len(level.label)
    return (size[0] - width, float(size[0])) if level.at_end else (0.0, width)
