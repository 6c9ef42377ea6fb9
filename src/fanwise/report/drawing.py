"""Charts as geometry: what an SVG needs to know, in numbers and short texts, without any markup.

Curves are drawn in a box WIDTH units wide and as high as the picture in pixels; the page stretches the box to
the width it has. All other places are shares, written as percentages, so that text and strokes keep their size.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fanwise.report.axes import Scales, Tick, course, number
from fanwise.report.document import LineChart, Series
from fanwise.report.labels import Level, Size, Stop, place_levels, place_stops

WIDTH = 1000
HUES = 8
"""Colours in report.css; further series repeat them with dashes."""

FEW_POINTS = 16
"""Up to so many points, a curve shows each as a dot."""

MINUS = "\N{MINUS SIGN}"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Key:
    """One line of a legend: a name, the CSS classes of its curve, the value it ends at."""

    name: str
    style: str
    ending: str


@dataclass(frozen=True)
class Curve:
    """One series as SVG path data, with the numbers to be read at each of its points.

    Args:
        key: its line in the legend.
        path: the curve; one pair of coordinates for each point drawn.
        dots: its points as dots, if they are few.
        x_text: what is read at each point drawn, separated by spaces.
        y_text: likewise.
        cross: where it diverged, in shares of the picture from its left and its bottom.
        front: whether it is drawn over the others.
    """

    key: Key
    path: str
    dots: str
    x_text: str
    y_text: str
    cross: tuple[float, float] | None
    front: bool


@dataclass(frozen=True)
class Drawing:
    """One chart, ready for the template."""

    chart: LineChart
    height: int
    margin: int
    summary: str
    x_text: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lane: float
    levels: tuple[Level, ...]
    stops: tuple[Stop, ...]
    curves: tuple[Curve, ...]


def draw(chart: LineChart, scales: Scales, slots: dict[str, int], size: Size) -> Drawing:
    """Geometry of a chart.

    Args:
        chart: what to draw.
        scales: its x and y axes (`axes.fit`), perhaps shared with other charts.
        slots: a colour number for each series (`assign_slots`).
        size: of the picture in pixels; its width is a guess, since the page may stretch it.
    """
    x, y = scales
    curves = tuple(_curves(chart, scales, slots, size[1]))
    y_ticks = _typeset_ticks(y.ticks)
    return Drawing(
        chart=chart,
        height=size[1],
        margin=14 + 7 * max((len(tick.label) for tick in y_ticks), default=0),
        summary=_summary(chart),
        x_text=max((curve.x_text for curve in curves), key=len),
        x_ticks=_typeset_ticks(x.ticks),
        y_ticks=y_ticks,
        lane=y.lane,
        levels=place_levels(chart, scales, size),
        stops=place_stops(chart, scales),
        curves=curves,
    )


def assign_slots(groups: Iterable[tuple[str, ...]]) -> list[dict[str, int]]:
    """A colour number for each name of each group of curves that are shown together.

    Within a group no number repeats. A name keeps its number from group to group where that is possible.

    Example:
        >>> assign_slots([("zeros", "He"), ("He",), ("train", "test")])
        [{'zeros': 0, 'He': 1}, {'He': 1}, {'train': 0, 'test': 1}]
    """
    known: dict[str, int] = {}
    assigned = []
    for names in groups:
        assigned.append(_assign_group(names, known))
        known = assigned[-1] | known
    return assigned


def typeset(label: str) -> str:
    r"""A number as it is printed: powers of ten raised, a true minus sign.

    Example:
        >>> [typeset(label) for label in ("1e-8", "2.5e6", "-0.1")]
        ['10⁻⁸', '2.5·10⁶', '\u22120.1']
    """
    mantissa, _, exponent = label.partition("e")
    mantissa = mantissa.replace("-", MINUS)
    if not exponent:
        return mantissa
    power = "10" + exponent.translate(RAISED)
    return power if mantissa == "1" else f"{mantissa}·{power}"


def _typeset_ticks(ticks: Iterable[Tick]) -> tuple[Tick, ...]:
    return tuple(replace(tick, label=typeset(tick.label)) for tick in ticks)


def _assign_group(names: tuple[str, ...], known: dict[str, int]) -> dict[str, int]:
    slots: dict[str, int] = {}
    for name in names:
        if name in known and known[name] not in slots.values():
            slots[name] = known[name]
    for name in names:
        free = min(set(range(len(names))) - set(slots.values()), default=0)
        slots.setdefault(name, free)
    return {name: slots[name] for name in names}


def _style(series: Series, slot: int, *, stressed: bool) -> str:
    lap = max(slot // HUES, int(series.dashed))
    weight = "strong" if series.emphasis else "faint" if stressed else ""
    classes = (f"c{slot % HUES}", ("", "dash", "dot")[min(lap, 2)], weight)
    return " ".join(filter(None, classes))


def _ending(series: Series) -> str:
    return "diverged" if series.diverged else typeset(number(series.y[-1], digits=3))


def _summary(chart: LineChart) -> str:
    """The chart in words, for those who do not see it."""
    courses = (f"{series.name} from {number(series.y[0])} to {_ending(series)}" for series in chart.series)
    return f"{chart.title}. {chart.y.heading} against {chart.x.heading}: {'; '.join(courses)}."


def _curves(chart: LineChart, scales: Scales, slots: dict[str, int], height: int) -> Iterator[Curve]:
    stressed = any(series.emphasis for series in chart.series)
    for series in chart.series:
        style = _style(series, slots[series.name], stressed=stressed)
        yield _curve(series, Key(series.name, style, _ending(series)), scales, height)


def _curve(series: Series, key: Key, scales: Scales, height: int) -> Curve:
    places = course(series, scales).T
    shown = np.flatnonzero(np.isfinite(places).all(axis=1)).tolist()
    pairs = [_pair(position, height) for position in places]
    return Curve(
        key=key,
        path="".join(_strokes(pairs)),
        dots="".join(f"M{pairs[i]}z" for i in shown) if len(pairs) <= FEW_POINTS else "",
        x_text=" ".join(number(series.x[i]) for i in shown),
        y_text=" ".join(number(series.y[i]) for i in shown),
        cross=_cross(places[shown[-1]]) if shown and series.diverged else None,
        front=series.emphasis,
    )


def _pair(position: NDArray[np.float64], height: int) -> str:
    """A point of the path; empty where nothing is drawn."""
    if np.isnan(position).any():
        return ""
    left, up = np.clip(position, -3, 4)
    return f"{_short(left * WIDTH)} {_short((1 - up) * height)}"


def _strokes(pairs: Sequence[str]) -> Iterator[str]:
    """An SVG subpath for each unbroken run of points; a lone point is closed, which draws a dot."""
    for drawn, run in groupby(pairs, key=bool):
        if drawn:
            points = list(run)
            yield f"M{' '.join(points)}{'z' if len(points) == 1 else ''}"


def _cross(position: NDArray[np.float64]) -> tuple[float, float]:
    left, up = np.clip(position, 0, 1).tolist()
    return left, up


def _short(value: float) -> str:
    """At most one decimal: a tenth of a unit is less than a pixel."""
    return f"{round(value, 1):g}"
