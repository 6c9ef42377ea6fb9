"""A chart as lines of text: Braille dots for a few curves, one sparkline a series for many."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.report.axes import Scales, Tick, course, fit, height_at, number, visible_guides
from fanwise.report.document import LineChart, Series
from fanwise.report.lines import MARKS, Line, Span, cut, plain, wrapped

FEW_CURVES = 4
"""Up to so many curves can be told apart in one plot without colour."""

COLUMNS, ROWS = 60, 12
"""Largest size of a plot, in letters."""

WIDEST_NAME = 28
BARS = "▁▂▃▄▅▆▇█"

BLANK = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The empty Braille letter, and the bits of its dots by column and row; Unicode Standard 15, table of block 2800."""

Cells: TypeAlias = dict[tuple[int, int], Span]
"""Letters of a plot by row and column, from the top left."""


def chart_lines(chart: LineChart, width: int) -> list[Line]:
    """The chart in `width` letters: title, curves, caption."""
    body = _plot(chart, width) if len(chart.series) <= FEW_CURVES else _sparklines(chart, width)
    return [((plain(chart.title), "strong"),), *body, *wrapped(chart.caption, width, "muted")]


def _sparklines(chart: LineChart, width: int) -> list[Line]:
    """One line for each series: its name, its course as bars, its first and last value."""
    scales = fit([chart])
    names = [cut(plain(name), WIDEST_NAME) for name in chart.names]
    column = max(map(len, names))
    room = max(8, min(COLUMNS, width - column - 24))
    lines = wrapped(f"{chart.y.heading} against {chart.x.heading}, all on one scale", width, "muted")
    for name, series in zip(names, chart.series, strict=True):
        bars = f"{_bars(series, scales, room):<{room}}"
        lines.append(
            ((f"{name:<{column}}  ", ""), (bars, "curve0"), (f"  {number(series.y[0]):>8} to {_end(series)}", ""))
        )
    return lines


def _bars(series: Series, scales: Scales, room: int) -> str:
    """The course of a series in so many bars; a cross where it diverged."""
    heights = height_at((np.arange(room) + 0.5) / room, course(series, scales))
    bars = "".join(" " if np.isnan(height) else BARS[int(np.clip(8 * height, 0, 7))] for height in heights)
    return bars.rstrip()[: room - 1] + MARKS["bad"] if series.diverged else bars


def _end(series: Series) -> str:
    return "diverged" if series.diverged else number(series.y[-1])


def _plot(chart: LineChart, width: int) -> list[Line]:
    """Axes around a field of dots; the names stand at the ends of the curves."""
    scales = fit([chart])
    ticks = {_row(tick.place): tick.label for tick in scales[1].ticks}
    names = _names(chart, scales)
    margin = max(map(len, ticks.values()))
    room = max(20, min(COLUMNS, width - margin - 4 - max(len(name) for name, _ in names.values())))
    cells = _guides(chart, scales, room) | _curves(chart, scales, room)
    lines: list[Line] = [((plain(chart.y.heading), "muted"),)]
    for row in range(ROWS):
        axis = f"{ticks.get(row, ''):>{margin}} {'┤' if row in ticks else '│'}"
        field = (cells.get((row, column), (" ", "")) for column in range(room))
        lines.append(((axis, "muted"), *field, ("  ", ""), names.get(row, ("", ""))))
    return lines + [((" " * (margin + 1) + line, "muted"),) for line in _foot(chart, scales, room)]


def _row(position: float) -> int:
    return int(np.clip(round((1 - position) * (ROWS - 1)), 0, ROWS - 1))


def _column(position: float, room: int) -> int:
    return int(np.clip(round(position * (room - 1)), 0, room - 1))


def _names(chart: LineChart, scales: Scales) -> dict[int, Span]:
    """Names of curves and guides, by row: that of the last point, or the nearest one that is free."""
    names: dict[int, Span] = {}
    for position, name, style in _ends(chart, scales):
        free = min(set(range(ROWS)) - set(names), key=lambda row: abs(row - _row(position)), default=0)
        names[free] = (cut(plain(name), WIDEST_NAME), style)
    return names


def _ends(chart: LineChart, scales: Scales) -> Iterator[tuple[float, str, str]]:
    """Height, name and style of every curve and guide at its right end."""
    for i, series in enumerate(chart.series):
        _, ups = course(series, scales)
        yield max(ups[np.isfinite(ups)][-1:], default=0.0), f"{series.name} {_end(series)}", f"curve{i}"
    for position, guide in visible_guides(chart, scales, "y"):
        yield position, guide.label, "muted"


def _guides(chart: LineChart, scales: Scales, room: int) -> Cells:
    cells: Cells = {}
    for position, _ in visible_guides(chart, scales, "y"):
        cells |= {(_row(position), column): ("┈", "muted") for column in range(room)}
    for position, _ in visible_guides(chart, scales, "x"):
        cells |= {(row, _column(position, room)): ("┊", "muted") for row in range(ROWS)}
    return cells


def _curves(chart: LineChart, scales: Scales, room: int) -> Cells:
    cells: Cells = {}
    crosses: Cells = {}
    for i, series in enumerate(chart.series):
        dots = list(_dots(course(series, scales), room))
        for row, column in dots:
            letter, _ = cells.get((row // 4, column // 2), (chr(BLANK), ""))
            cells[row // 4, column // 2] = chr(ord(letter) | DOTS[column % 2][row % 4]), f"curve{i}"
        if series.diverged:
            crosses |= {(row // 4, column // 2): (MARKS["bad"], "bad") for row, column in dots[-1:]}
    return cells | crosses


def _dots(curve: NDArray[np.float64], room: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of the dots of a curve: four rows and two columns of dots make a letter."""
    size = np.array([4 * ROWS - 1, 2 * room - 1])
    places = np.stack([1 - curve[1], curve[0]], axis=1) * size
    strokes = np.concatenate([_stroke(start, end) for start, end in pairwise([places[0], *places])])
    for row, column in strokes.astype(int).tolist():
        if 0 <= row <= size[0] and 0 <= column <= size[1]:
            yield row, column


def _stroke(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """The dots from one point to the next; none where there is a gap."""
    if np.isnan(end).any():
        return np.empty((0, 2))
    start = end if np.isnan(start).any() else start
    return np.linspace(start, end, math.ceil(np.abs(end - start).max()) + 1).round()


def _foot(chart: LineChart, scales: Scales, room: int) -> list[str]:
    """The x axis: its line, its labels, its heading, and the names of the guides that stand on it."""
    ticks = scales[0].ticks
    marks = {_column(tick.place, room) for tick in ticks}
    line = "└" + "".join("┬" if column in marks else "─" for column in range(room))
    guides = (f" ┊ {plain(guide.label)}" for _, guide in visible_guides(chart, scales, "x"))
    return [line, " " + _tick_line(ticks, room), f" {plain(chart.x.heading):>{room}}", *guides]


def _tick_line(ticks: Iterable[Tick], room: int) -> str:
    """Labels centred below their ticks; one that would touch its neighbour is left out."""
    line = ""
    for tick in ticks:
        start = max(0, _column(tick.place, room) - len(tick.label) // 2)
        if not line or start > len(line):
            line = line.ljust(start) + tick.label
    return line
