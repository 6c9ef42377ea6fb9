"""Charts for papers, drawn by matplotlib: the extra `plots`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fanwise.report.document import Axis, LineChart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png", ".pdf")
COLUMNS, WIDTH, HEIGHT = 2, 4.2, 3.2
"""Charts beside each other, and the inches that each has."""


def write_figure(charts: Sequence[LineChart], path: str | Path) -> Path:
    """Write charts to one .svg, .png or .pdf file; an SVG's bytes depend on the charts and matplotlib's version alone.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no chart, or the file has another ending.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{str(path)!r}: expected a file that ends in {', '.join(FORMATS)}")
    if not charts:
        raise ValueError("charts is empty: expected at least one")
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise ImportError("drawing needs matplotlib: pip install 'fanwise[plots]'") from None
    rows = -(-len(charts) // COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "fanwise", "svg.fonttype": "none", "font.size": 9.0, "grid.alpha": 0.25}):
        figure = Figure(figsize=(WIDTH * min(len(charts), COLUMNS), HEIGHT * rows), layout="constrained")
        for number, chart in enumerate(charts, start=1):
            _draw(chart, figure.add_subplot(rows, min(len(charts), COLUMNS), number))
        figure.savefig(target, dpi=200, metadata={"Date": None} if target.suffix.lower() == ".svg" else None)
    return target


def _draw(chart: LineChart, axes: "Axes") -> None:
    for series in chart.series:
        style = "--" if series.dashed else "-"
        axes.plot(series.x, series.y, style, label=series.name, linewidth=2.0 if series.emphasis else 1.2)
    for guide in chart.guides:
        line = axes.axhline if guide.axis == "y" else axes.axvline
        line(guide.value, color="0.6", linewidth=0.8)
    axes.grid(visible=True)
    axes.set(title=chart.title, xlabel=chart.x.heading, ylabel=chart.y.heading)
    axes.set(xscale=chart.x.scale, yscale=chart.y.scale)
    axes.set(xlim=_limits(chart.x), ylim=_limits(chart.y))
    if len(chart.series) > 1:
        axes.legend(frameon=False)


def _limits(axis: Axis) -> tuple[float | None, float | None]:
    return axis.limits or (None, None)
