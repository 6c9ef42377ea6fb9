"""The report of a check as a page: verdict, findings, depth profile, layers that can be sorted and searched."""

import math
from collections.abc import Callable, Iterator, Sequence

from fanwise._version import __version__
from fanwise.check.findings import counted
from fanwise.check.render.words import (
    TONES,
    about,
    card,
    design_note,
    figure,
    measures,
    notes,
    percent,
    tally,
    title,
    tone_of,
    verdict,
)
from fanwise.check.report_data import Layer, ReportData
from fanwise.measure.observation import Observation, Values
from fanwise.plan.formula import size_text
from fanwise.report.document import (
    Axis,
    Bars,
    Block,
    Details,
    Document,
    Fact,
    Facts,
    Guide,
    LineChart,
    Row,
    Section,
    Series,
    Table,
    Text,
)

MOST_GUIDES = 5
"""Layers with findings that a chart points at."""

FEW_INFOS = 3
"""Up to so many findings that are no more than information stand open."""

MOST_HISTOGRAMS = 240
"""Layers whose histograms a page holds; in a larger model only those with findings have them, to keep it small."""

ORDER = (
    "depth",
    "layer",
    "findings",
    "output size",
    "expected",
    "change",
    "gradient",
    "expected grad",
    "dead",
    "sat.",
    "law found",
    "kind",
)
"""Columns of the layer table: what a narrow window cuts off stands last."""

DEFINITIONS = (
    "How large each layer's output is. Reference: how large it should be, by the plan, or, where there is none, the "
    "output size of the first layer since the last normalisation or residual connection. Expected: what mean-field "
    "theory predicts from the inputs and the sizes of the weights alone."
)


def page(report: ReportData) -> Document:
    """The report as a document for `fanwise.report.html.to_html`."""
    sections = (
        Section("", (verdict(report), Facts(tuple(_facts(report))))),
        Section("Findings", tuple(_findings(report))),
        Section("Depth profile", tuple(_profile(report))),
        Section("Layers", (_table(report),) if report.layers else ()),
        Section("Notes", tuple(Text(note) for note in notes(report))),
    )
    filled = tuple(section for section in sections if section.blocks)
    return Document(title(report), about(report), filled, f"fanwise {__version__}")


def _facts(report: ReportData) -> Iterator[Fact]:
    for severity, count in tally(report).items():
        yield Fact(f"{severity}s", str(count), tone=TONES[severity] if count else "neutral")
    loss = next((run.loss for run in report.observations if run.loss is not None and not run.loss.probe), None)
    if loss is not None:
        known = "" if math.isnan(loss.chance) else f", {figure(loss.chance)} by chance"
        yield Fact(f"initial loss{known}", figure(loss.value))
    total, used = report.weights
    if total:
        yield Fact("weights in use", f"{used}/{total}", tone="neutral" if used == total else "warn")


def _findings(report: ReportData) -> Iterator[Block]:
    """Errors and warnings as open cards; many infos behind a heading that opens."""
    cards = tuple(card(report, finding, full=True, follows=True) for finding in report.findings)
    infos = tuple(item for item in cards if item.level == "info")
    if not cards:
        yield Text("Nothing was found.")
    yield from (item for item in cards if item.level != "info")
    if len(infos) > FEW_INFOS:
        yield Details(f"{len(infos)} more things worth knowing", infos)
    else:
        yield from infos


def _profile(report: ReportData) -> Iterator[Block]:
    forward = _chart(report, "Forward: size of each layer's output", "output size", _forward(report.layers))
    backward = _chart(report, "Backward: size of the gradient at each layer's output", "gradient", _backward(report))
    if forward or backward:
        yield Text(DEFINITIONS)
    yield from (chart for chart in (forward, backward) if chart is not None)


def _forward(layers: Sequence[Layer]) -> tuple[Series, ...]:
    measured = _series("measured", layers, lambda layer: layer.rms, emphasis=True)
    reference = _series("reference", layers, lambda layer: layer.expected, dashed=True)
    return measured + reference + _series("expected", layers, lambda layer: layer.predicted)


def _backward(report: ReportData) -> tuple[Series, ...]:
    measured = _series("gradient", report.layers, lambda layer: layer.gradient, emphasis=True)
    return measured + (_series("expected", report.layers, lambda layer: layer.predicted_gradient) if measured else ())


def _series(
    name: str,
    layers: Sequence[Layer],
    value: Callable[[Layer], float],
    *,
    emphasis: bool = False,
    dashed: bool = False,
) -> tuple[Series, ...]:
    """The curve up to the last layer where the value is known; none where it never is."""
    known = [i for i, layer in enumerate(layers) if not math.isnan(value(layer))]
    if not known:
        return ()
    shown = layers[: known[-1] + 1]
    numbers, values = [layer.number for layer in shown], [value(layer) for layer in shown]
    return (Series(name, numbers, values, emphasis=emphasis, dashed=dashed),)


def _chart(report: ReportData, heading: str, label: str, series: tuple[Series, ...]) -> LineChart | None:
    if not series:
        return None
    names = tuple(layer.name for layer in report.layers)
    depth = Axis("layer", integer=True, names=names)
    return LineChart(heading, depth, Axis(label, scale="log"), series, guides=tuple(_guides(report)))


def _guides(report: ReportData) -> Iterator[Guide]:
    """The first layers with an error or a warning, each with its codes."""
    marked = [layer for layer in report.layers if layer.severity in {"error", "warning"}]
    for layer in marked[:MOST_GUIDES]:
        yield Guide(layer.number, " ".join((*layer.codes, f"at {layer.number}")), axis="x")


def _table(report: ReportData) -> Table:
    columns = measures(report.layers, order=ORDER)
    labels = [measure.column.label for measure in columns]
    rows = (
        Row(
            tuple(measure.cell(layer) for measure in columns),
            tone=tone_of(layer.severity),
            note=design_note(layer),
            more=tuple(_weights(report, layer)),
        )
        for layer in report.layers
    )
    caption = f"{counted(len(report.layers), 'layer')} in the order of execution; the triangles open their weights."
    return Table(
        tuple(measure.column for measure in columns),
        tuple(rows),
        caption=caption,
        names=labels.index("layer"),
        interactive=True,
    )


def _weights(report: ReportData, layer: Layer) -> Iterator[Bars]:
    """The parameters that a layer uses, as the first run found them."""
    if not report.observations:
        return
    run = report.observations[0]
    drawn = len(report.layers) <= MOST_HISTOGRAMS or layer.severity is not None
    for path in dict.fromkeys(use.path for use in run.trace.ops[layer.op].uses):
        if path in run.values:
            yield _bars(run, path, path.removeprefix(f"{layer.name}."), drawn=drawn)


def _bars(run: Observation, path: str, label: str, *, drawn: bool) -> Bars:
    """The numbers of a parameter, and of a weight its histogram."""
    values, shape = run.values[path], run.trace.by_path[path].shape
    picture = drawn and len(shape) > 1 and 0 < values.largest < math.inf
    counts = values.histogram if picture else ()
    high = values.largest if counts else 1.0
    return Bars(label, counts, low=-high, high=high, caption=f"{size_text(shape)}: {_told(values)}")


def _told(values: Values) -> str:
    """The numbers of a parameter in words."""
    if values.count == 0:
        return "empty"
    if values.constant:
        return f"all {figure(values.mean)}"
    parts = (
        f"std {figure(values.std)}",
        f"mean {figure(values.mean)}",
        "" if math.isnan(values.kurtosis) else f"kurtosis {figure(values.kurtosis)}",
        "" if math.isnan(values.largest) else f"largest {figure(values.largest)}",
        f"{percent(values.zeros)} zeros" if values.zeros else "",
        f"{percent(values.infinite)} not finite" if values.infinite else "",
        "" if math.isnan(values.gradient) else f"gradient rms {figure(math.sqrt(values.gradient))}",
    )
    return ", ".join(filter(None, parts))
