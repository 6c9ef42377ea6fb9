"""A document as one HTML file that loads nothing: styles, script and drawings are inside."""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from fanwise.report.axes import Scales, fit, number
from fanwise.report.document import (
    Bars,
    Block,
    Details,
    Document,
    Frame,
    FrameBlock,
    Grid,
    LineChart,
    PlainBlock,
    Section,
    Slider,
)
from fanwise.report.drawing import Curve, Drawing, Key, assign_slots, draw, typeset

if TYPE_CHECKING:
    from jinja2 import Environment

SINGLE, SMALL = (760, 320), (270, 190)
"""Size of a picture in pixels, alone on its row and beside others. The height is kept, the width adapts."""

BAR_HEIGHT = 24
"""Steps in the height of a bar."""

Palette: TypeAlias = dict[tuple[str, ...], dict[str, int]]
"""Colour numbers of the series of every chart, found by their names."""


@dataclass(frozen=True)
class Figure:
    """Charts beside each other; `legend` is what they share, empty where each has its own or needs none."""

    drawings: tuple[Drawing, ...]
    legend: tuple[Key, ...]
    kind: Literal["figure"] = "figure"


View: TypeAlias = PlainBlock | Figure


@dataclass(frozen=True)
class FrameView:
    """A frame of a slider, drawn."""

    frame: Frame
    views: tuple[View, ...]


@dataclass(frozen=True)
class SliderView:
    """A slider, drawn."""

    slider: Slider
    frames: tuple[FrameView, ...]
    kind: Literal["slider"] = "slider"


def to_html(document: Document) -> str:
    """The document as an HTML page that opens from a file, prints, and can be read without its script."""
    script = _asset("static/report.js")
    palette = _palette(document)
    page = _environment().get_template("report.html.j2")
    return page.render(
        document=document,
        sections=[(section, _views(section, palette)) for section in document.sections],
        style=_asset("static/report.css"),
        script=script,
        script_hash=_sha256(script),
    )


def write_html(document: Document, path: str | Path) -> Path:
    """Write `to_html(document)` to a file; its bytes depend on the document alone.

    Returns:
        The path, as a Path.
    """
    target = Path(path)
    target.write_text(to_html(document), encoding="utf-8", errors="xmlcharrefreplace", newline="\n")
    return target


def _environment() -> "Environment":
    """Jinja with every text escaped; only our own style and script go in as they are."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("fanwise.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda share: f"{100 * share:.4g}%"
    environment.filters["skyline"] = skyline
    environment.filters["number"] = lambda value: typeset(number(value, digits=2))
    return environment


def skyline(bars: Bars) -> str:
    """Outline of the bars as SVG path data, a unit wide each; a bin that holds anything at all shows it.

    Example:
        >>> skyline(Bars("w", (0, 12, 24, 24)))
        'M0 24h1v-12h1v-12h2v24z'
    """
    tallest = max(bars.counts, default=0) or 1
    heights = [math.ceil(BAR_HEIGHT * count / tallest) for count in bars.counts]
    runs = [(height, sum(1 for _ in same)) for height, same in groupby(heights)]
    steps = (after - before for before, after in pairwise([0, *(height for height, _ in runs)]))
    walls = (f"{f'v{-step}' if step else ''}h{width}" for step, (_, width) in zip(steps, runs, strict=True))
    return f"M0 {BAR_HEIGHT}{''.join(walls)}{f'v{heights[-1]}' if heights and heights[-1] else ''}z"


def _asset(name: str) -> str:
    return files("fanwise.report").joinpath(name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    """Name of a script in a content security policy: no other script may run on the page."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _palette(document: Document) -> Palette:
    blocks = (block for section in document.sections for block in section.blocks)
    groups = list(dict.fromkeys(chart.names for block in blocks for chart in _all_charts(block)))
    return dict(zip(groups, assign_slots(groups), strict=True))


def _all_charts(block: Block) -> tuple[LineChart, ...]:
    if isinstance(block, Details):
        return ()
    if isinstance(block, Slider):
        return tuple(chart for frame in block.frames for part in frame.blocks for chart in _charts(part))
    return _charts(block)


def _charts(block: FrameBlock) -> tuple[LineChart, ...]:
    match block:
        case LineChart():
            return (block,)
        case Grid():
            return block.charts
    return ()


def _views(section: Section, palette: Palette) -> list[View | SliderView | Details]:
    return [_view(block, palette) for block in section.blocks]


def _view(block: Block, palette: Palette) -> View | SliderView | Details:
    match block:
        case Slider():
            return _slider(block, palette)
        case Details():
            return block
    return _stack([block], palette)[0]


def _slider(slider: Slider, palette: Palette) -> SliderView:
    stacks = [_stack(blocks, palette) for blocks in zip(*(frame.blocks for frame in slider.frames), strict=True)]
    views = zip(*stacks, strict=True)
    return SliderView(slider, tuple(map(FrameView, slider.frames, views)))


def _stack(blocks: Sequence[FrameBlock], palette: Palette) -> list[View]:
    """Views of blocks that stand in the same place, one after the other: their charts share axes."""
    rows = [_charts(block) for block in blocks]
    scales = [fit(charts) for charts in zip(*rows, strict=True)]
    return [
        _figure(row, scales, palette, ranked=len(rows) == 1) if isinstance(block, LineChart | Grid) else block
        for block, row in zip(blocks, rows, strict=True)
    ]


def _figure(charts: Sequence[LineChart], scales: Sequence[Scales], palette: Palette, *, ranked: bool) -> Figure:
    size = SINGLE if len(charts) == 1 else SMALL
    drawings = tuple(draw(chart, axes, palette[chart.names], size) for chart, axes in zip(charts, scales, strict=True))
    legend = _legend(drawings)
    return Figure(drawings, _ranked(legend, charts[0]) if ranked and len(charts) == 1 else legend)


def _legend(drawings: Sequence[Drawing]) -> tuple[Key, ...]:
    """What the curves are called; empty where charts show different series, or only one."""
    names = {drawing.chart.names for drawing in drawings}
    if len(names) > 1 or len(drawings[0].curves) == 1:
        return ()
    return tuple(_shared_key(curves) for curves in zip(*(drawing.curves for drawing in drawings), strict=True))


def _shared_key(curves: Sequence[Curve]) -> Key:
    """The curves of one series in several charts end at several values: only divergence is worth saying."""
    if len(curves) == 1:
        return curves[0].key
    diverged = any(curve.key.ending == "diverged" for curve in curves)
    return replace(curves[0].key, ending="diverged" if diverged else "")


def _ranked(legend: tuple[Key, ...], chart: LineChart) -> tuple[Key, ...]:
    """The legend in the order in which the curves end, from the top down; the diverged ones last."""
    ends = {series.name: math.inf if series.diverged else -series.y[-1] for series in chart.series}
    return tuple(sorted(legend, key=lambda key: ends[key.name]))
