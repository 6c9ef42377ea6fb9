"""What a report says: plain values that every renderer shows in its own way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Literal, TypeAlias, get_args

Tone: TypeAlias = Literal["good", "warn", "bad", "neutral"]
"""How a number should be read. Renderers show it by a mark as well as by colour."""

ScaleKind: TypeAlias = Literal["linear", "log"]
Align: TypeAlias = Literal["left", "right"]
Direction: TypeAlias = Literal["x", "y"]


@dataclass(frozen=True)
class Text:
    r"""Plain words; an empty line starts a new paragraph. No markup is read in them.

    Example:
        >>> Text("First.\n\nSecond.").paragraphs
        ('First.', 'Second.')
    """

    text: str
    kind: Literal["text"] = field(default="text", init=False, repr=False)

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The paragraphs, each on one line."""
        parts = (" ".join(part.split()) for part in self.text.split("\n\n"))
        return tuple(part for part in parts if part)


@dataclass(frozen=True)
class Fact:
    """One number worth a large print: `Fact("initial loss", "2.31", tone="good")`."""

    label: str
    value: str
    tone: Tone = field(default="neutral", kw_only=True)

    def __post_init__(self) -> None:
        _check_choice("tone", self.tone, get_args(Tone))


@dataclass(frozen=True)
class Facts:
    """A few facts beside each other."""

    items: tuple[Fact, ...]
    kind: Literal["facts"] = field(default="facts", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some("Facts.items", self.items)


@dataclass(frozen=True)
class Verdict:
    """The sentence that sums a report up: `Verdict("2 errors, 1 warning", tone="bad")`."""

    text: str
    tone: Tone = field(default="neutral", kw_only=True)
    kind: Literal["verdict"] = field(default="verdict", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_choice("tone", self.tone, get_args(Tone))


@dataclass(frozen=True)
class Bars:
    """How values are spread: one bar for each of some equally wide bins.

    Args:
        label: whose values they are.
        counts: how many values each bin holds; () shows label and caption alone.
        low: where the first bin starts.
        high: where the last bin ends.
        caption: the values in words.

    Raises:
        ValueError: a negative count, or bars over a range that is not finite and increasing.
    """

    label: str
    counts: tuple[int, ...] = ()
    low: float = field(default=0.0, kw_only=True)
    high: float = field(default=1.0, kw_only=True)
    caption: str = field(default="", kw_only=True)
    kind: Literal["bars"] = field(default="bars", init=False, repr=False)

    def __post_init__(self) -> None:
        if any(count < 0 for count in self.counts):
            raise ValueError(f"counts of bars {self.label!r} are {self.counts!r}: expected none below 0")
        if self.counts and not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"bars {self.label!r} from {self.low!r} to {self.high!r}: expected finite, low < high")


@dataclass(frozen=True)
class Card:
    """One thing that was found, and what is known of it.

    Args:
        title: what was found, in one line.
        level: how grave it is, in a word; its first letter stands for it where there is little room.
        code: by which it can be looked up.
        place: where it is.
        points: what else is known, as labels and texts: ("cause", "std 1.0 at fan_in 512").
        note: a last remark.
        follows: what follows from it; folded where the reader can unfold it.
        tone: how it should be read.
    """

    title: str
    level: str = field(kw_only=True)
    code: str = field(default="", kw_only=True)
    place: str = field(default="", kw_only=True)
    points: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    note: str = field(default="", kw_only=True)
    follows: tuple["Card", ...] = field(default=(), kw_only=True)
    tone: Tone = field(default="neutral", kw_only=True)
    kind: Literal["card"] = field(default="card", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some(f"level of card {self.title!r}", self.level)
        _check_choice("tone", self.tone, get_args(Tone))


@dataclass(frozen=True)
class Column:
    """Heading of a table column; `help` says in one sentence what stands in it."""

    label: str
    align: Align = field(default="left", kw_only=True)
    help: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        _check_choice("align", self.align, get_args(Align))


@dataclass(frozen=True)
class Row:
    """Table row: cells as they are to be read, a verdict, and optionally a sentence that explains it.

    A row without cells is a remark between rows. What stands in `more` is shown on demand, and only where there is
    somebody to demand it: on a page, not on a terminal.
    """

    cells: tuple[str, ...]
    tone: Tone = field(default="neutral", kw_only=True)
    note: str = field(default="", kw_only=True)
    more: tuple[Bars, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        _check_choice("tone", self.tone, get_args(Tone))


@dataclass(frozen=True)
class Table:
    """Rows under columns. One cell of a row names it.

    Args:
        columns: at least one.
        rows: their cells, as many as there are columns.
        caption: what the table shows.
        names: which cell of a row names it.
        interactive: whether a page lets its reader sort and search the rows.

    Raises:
        ValueError: there is no column, `names` is none of them, or a row has more or fewer cells than there are.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = field(default="", kw_only=True)
    names: int = field(default=0, kw_only=True)
    interactive: bool = field(default=False, kw_only=True)
    kind: Literal["table"] = field(default="table", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some("Table.columns", self.columns)
        if not 0 <= self.names < len(self.columns):
            raise ValueError(f"names = {self.names!r} is no column: expected 0 to {len(self.columns) - 1}")
        for row in self.rows:
            if row.cells and len(row.cells) != len(self.columns):
                raise ValueError(f"row {row.cells!r} has {len(row.cells)} cells for {len(self.columns)} columns")

    @property
    def judged(self) -> bool:
        """Whether any row carries a verdict, so that renderers need a place for the marks."""
        return any(row.tone != "neutral" for row in self.rows)


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    A log axis shows zeros too, in a lane of their own below its range, since "exactly zero" is often the
    finding; it refuses negative values.

    Args:
        label: what is measured.
        scale: "linear" or "log".
        limits: first and last value shown; None fits them to the data. Curves may leave fixed limits.
        unit: shown after the label and after values.
        integer: ticks at whole numbers only, as for layers or epochs.
        names: what the whole numbers from 1 on are called; read out beside the number.

    Raises:
        ValueError: the scale is unknown, or the limits are not finite and increasing (positive on a log axis).
    """

    label: str
    scale: ScaleKind = field(default="linear", kw_only=True)
    limits: tuple[float, float] | None = field(default=None, kw_only=True)
    unit: str = field(default="", kw_only=True)
    integer: bool = field(default=False, kw_only=True)
    names: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        _check_choice("scale", self.scale, get_args(ScaleKind))
        if self.limits is not None:
            _check_limits(self)

    @property
    def heading(self) -> str:
        """Label and unit: "accuracy (%)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class Series:
    """One named curve.

    A value of y that is infinite or not a number leaves a gap. When the last one is such a value the series
    counts as diverged: charts end it with a cross and say so.

    Args:
        name: unique within its chart. The same name gets the same colour in every chart of a document.
        x: finite numbers.
        y: as many numbers.
        emphasis: draw this curve strong; curves without it step back.
        dashed: draw it dashed, as for a prediction beside measurements.

    Raises:
        ValueError: x is empty, holds a non-finite number, or differs in length from y.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    emphasis: bool = field(default=False, kw_only=True)
    dashed: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", tuple(float(v) for v in self.x))
        object.__setattr__(self, "y", tuple(float(v) for v in self.y))
        _check_some(f"x of series {self.name!r}", self.x)
        if len(self.x) != len(self.y):
            raise ValueError(f"series {self.name!r} has {len(self.x)} x and {len(self.y)} y: expected as many")
        if not all(map(math.isfinite, self.x)):
            raise ValueError(f"series {self.name!r} has a non-finite x: expected finite numbers, got {self.x!r}")

    @property
    def diverged(self) -> bool:
        """Whether the curve ends in a value that is infinite or not a number."""
        return not math.isfinite(self.y[-1])


@dataclass(frozen=True)
class Guide:
    """A thin reference line across a chart: `Guide(2.303, "ln 10 = 2.303")` at that y, or at that x.

    Limits that an axis fixes may leave it out.
    """

    value: float
    label: str
    axis: Direction = field(default="y", kw_only=True)

    def __post_init__(self) -> None:
        _check_choice("axis", self.axis, get_args(Direction))
        if not math.isfinite(self.value):
            raise ValueError(f"guide {self.label!r} is at {self.value!r}: expected a finite number")


@dataclass(frozen=True)
class LineChart:
    """Curves over two axes.

    Raises:
        ValueError: there is no series, two have one name, or a negative number stands on a log axis.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    guides: tuple[Guide, ...] = field(default=(), kw_only=True)
    caption: str = field(default="", kw_only=True)
    kind: Literal["chart"] = field(default="chart", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some(f"series of chart {self.title!r}", self.series)
        _check_distinct(f"series of chart {self.title!r}", self.names)
        self._check_signs("x", self.x)
        self._check_signs("y", self.y)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the series, in order."""
        return tuple(series.name for series in self.series)

    def values(self, direction: Direction) -> tuple[float, ...]:
        """Every number shown along one axis, those of the guides included."""
        curves = (series.x if direction == "x" else series.y for series in self.series)
        guides = (guide.value for guide in self.guides if guide.axis == direction)
        return (*chain.from_iterable(curves), *guides)

    def _check_signs(self, direction: Direction, axis: Axis) -> None:
        if axis.scale == "log" and any(value < 0 for value in self.values(direction)):
            raise ValueError(
                f"chart {self.title!r} has negative {direction}, which a log axis cannot show: "
                f"expected numbers >= 0, or Axis(..., scale='linear')"
            )


@dataclass(frozen=True)
class Grid:
    """Small charts beside each other. Charts that show the same series share one legend."""

    charts: tuple[LineChart, ...]
    kind: Literal["grid"] = field(default="grid", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some("Grid.charts", self.charts)


PlainBlock: TypeAlias = Text | Facts | Verdict | Bars | Card | Table
"""Blocks without a chart."""

FrameBlock: TypeAlias = PlainBlock | LineChart | Grid


@dataclass(frozen=True)
class Frame:
    """What a slider shows at one of its stops: `Frame("x 0.25", 0.25, (chart,), tone="good")`."""

    label: str
    value: float
    blocks: tuple[FrameBlock, ...]
    tone: Tone = field(default="neutral", kw_only=True)

    def __post_init__(self) -> None:
        _check_choice("tone", self.tone, get_args(Tone))
        _check_some(f"blocks of frame {self.label!r}", self.blocks)


@dataclass(frozen=True)
class Slider:
    """Frames over one quantity, such as the scale of the weights. Charts keep their axes from frame to frame.

    Args:
        label: the quantity that the slider moves.
        frames: in the order of their values, all built alike.
        start: position of the frame shown first.

    Raises:
        ValueError: there is no frame, `start` is none of them, the values do not increase, or two frames
            differ in the kinds of their blocks.
    """

    label: str
    frames: tuple[Frame, ...]
    start: int = field(default=0, kw_only=True)
    kind: Literal["slider"] = field(default="slider", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some("Slider.frames", self.frames)
        if not 0 <= self.start < len(self.frames):
            raise ValueError(f"start = {self.start!r} is no frame: expected 0 to {len(self.frames) - 1}")
        values = [frame.value for frame in self.frames]
        if not all(a < b for a, b in pairwise(values)):
            raise ValueError(f"frame values must increase, got {values!r}: sort the frames")
        for frame in self.frames:
            if _anatomy(frame) != _anatomy(self.frames[0]):
                raise ValueError(f"frames {self.frames[0].label!r} and {frame.label!r} are not built alike")


@dataclass(frozen=True)
class Details:
    """Blocks that a page shows on demand: `Details("12 things worth knowing", cards)`."""

    summary: str
    blocks: tuple[PlainBlock, ...]
    kind: Literal["details"] = field(default="details", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_some(f"blocks of details {self.summary!r}", self.blocks)


Block: TypeAlias = FrameBlock | Slider | Details


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; without a title, no heading is shown."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Name by which a link finds the section.

        Example:
            >>> Section("Loss, step by step", ()).anchor
            'loss-step-by-step'
        """
        words = "".join(c if c.isalnum() else " " for c in self.title.lower()).split()
        return "-".join(words) or "section"


@dataclass(frozen=True)
class Document:
    """A whole report.

    Raises:
        ValueError: two sections have one title (they could not be linked to).
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    footer: str = ""

    def __post_init__(self) -> None:
        _check_distinct("section titles", tuple(section.anchor for section in self.sections))


def _anatomy(frame: Frame) -> tuple[tuple[str, int], ...]:
    """What two frames must share for their charts to be matched one to one."""
    return tuple((block.kind, len(block.charts) if isinstance(block, Grid) else 1) for block in frame.blocks)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is unknown: expected one of {', '.join(choices)}")


def _check_some(name: str, items: Sequence[object]) -> None:
    if not items:
        raise ValueError(f"{name} is empty: expected at least one")


def _check_distinct(name: str, labels: tuple[str, ...]) -> None:
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise ValueError(f"{name} must differ, got {', '.join(map(repr, repeated))} more than once")


def _check_limits(axis: Axis) -> None:
    low, high = axis.limits or (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"limits = {axis.limits!r} of axis {axis.label!r}: expected finite numbers, low < high")
    if axis.scale == "log" and low <= 0:
        raise ValueError(f"limits = {axis.limits!r} of log axis {axis.label!r}: expected positive numbers")
