"""Theory as a page: what `fanwise theory NONLINEARITY` prints, draws and writes."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fanwise._version import __version__
from fanwise.report.axes import number
from fanwise.report.document import (
    Axis,
    Block,
    Column,
    Document,
    Fact,
    Facts,
    Grid,
    LineChart,
    Row,
    Section,
    Series,
    Table,
    Text,
    Tone,
    Verdict,
)
from fanwise.theory.meanfield.maps import Critical, MeanField, correlation_map, trajectory
from fanwise.theory.meanfield.summary import NEARLY, Setting, Summary, curve, summary

MEANINGS = {
    "second_moment": "forward, weights of std gain / sqrt(fan_in)",
    "variance": "forward, where a norm takes the mean out",
    "backward": "backward, weights of std gain / sqrt(fan_out)",
}
TONES: dict[str, Tone] = {"stable": "good", "marginal": "neutral", "unstable": "bad"}
STARTS = (0.5, 1.0, 2.0)
"""Second moments at which the drawn trajectories begin."""
SHOWN = (1e-6, 1e6)
"""Second moments that their chart shows."""
LARGEST_BIASES = 1.0
"""sigma_b^2 up to which the phase diagram is drawn."""
POINTS = 41

SETTINGS_TEXT = (
    "q: a second moment of pre-activations that the layers keep. slope: of the variance map there, the factor on a "
    "deviation of q at every layer. chi: the factor on the second moment of a gradient. c: the correlation that any "
    "two inputs come to. xi q, xi c: layers over which a deviation of q or c falls by e."
)


def theory_page(
    name: str, *, sigma_b: float = 0.05, depth: int = 50, width: int = 256
) -> tuple[Document, dict[str, Any]]:
    """All that theory says of a nonlinearity, as a document and as plain values.

    The arguments and errors are those of `summary`.
    """
    numbers = summary(name, sigma_b=sigma_b, depth=depth, width=width)
    sections = (
        Section("", (Verdict(verdict(numbers), tone=_tone(numbers)), *_why(numbers), _facts(numbers))),
        Section("Gains", (_gains(numbers), _stability(numbers))),
        Section("What the layers do", (_settings(numbers), Text(SETTINGS_TEXT))),
        Section("Width", (Text(width_text(numbers)),)),
        Section("Made fit for depth", tuple(_constants(numbers))),
        Section("Maps", tuple(charts(numbers))),
    )
    about = f"plain networks of {depth} layers of {width} units, mean field"
    return Document(f"{numbers.f.name}: deep networks in theory", about, sections, f"fanwise {__version__}"), values(
        numbers
    )


def verdict(numbers: Summary) -> str:
    """Whether a gain keeps a deep plain network at its scale, in one line."""
    name, gain = numbers.f.name, f"{numbers.gains['second_moment']:.6g}"
    if numbers.hopeless:
        return f"no gain keeps a deep plain {name} network at its scale"
    if abs(numbers.slope - 1) <= NEARLY:
        return f"only the gain {gain} keeps a deep plain {name} network at its scale, and nothing corrects an error"
    if numbers.slope < 1:
        return f"the gain {gain} keeps a deep plain {name} network at its scale"
    return f"the gain {gain} keeps a plain {name} network at unit scale on paper only"


def reason(numbers: Summary) -> str:
    """Why the verdict is what it is, in a sentence."""
    slope = f"{numbers.slope:.4f}"
    if numbers.hopeless:
        return (
            f"The variance map is unstable at every scale from 1e-4 to 1e4 (slope {slope} at 1): a deviation grows "
            "from layer to layer, whatever the gain."
        )
    if abs(numbers.slope - 1) <= NEARLY:
        return (
            "The variance map has slope 1: a deviation stays, and a wrong gain multiplies by its error at every layer."
        )
    doing = "dies out" if numbers.slope < 1 else "grows"
    return f"The variance map has slope {slope} at 1: a deviation of the second moment {doing} by that factor a layer."


def remedies(numbers: Summary) -> tuple[str, ...]:
    """What keeps a network at its scale where no gain does."""
    if not numbers.hopeless:
        return ()
    sentences = ["normalise between the layers", f"residual branches scaled by 1/sqrt({numbers.depth})"]
    names = " or ".join(each.method.upper() for each in numbers.transformed)
    pair = numbers.stable_biases
    if names:
        sentences.append(f"the activation transformed by {names} (constants below)")
    if pair is not None:
        sentences.append(
            f"large biases: with std {pair.sigma_b:.3g} and gain {pair.sigma_w:.4g} the edge of chaos is stable, at "
            f"q = {pair.q:.3g}"
        )
    return tuple(sentences)


def width_text(numbers: Summary) -> str:
    """The band in which the scale lies at finite width, in words."""
    last = numbers.lengths[-1]
    low, high = last.band()
    if last.reliable:
        return (
            f"Over random weights, the second moment of layer {last.layer} lies within {number(low)} to "
            f"{number(high)}, from 1 at the first layer: at width {numbers.width} its logarithm has mean "
            f"{last.shift:.4f} and variance {last.variance:.4f}, and the band is two standard deviations to each side."
        )
    factor = number(math.exp(2 * math.sqrt(last.variance)))
    return (
        f"At width {numbers.width} the logarithm of the second moment has variance {last.variance:.3g} by layer "
        f"{last.layer}: single networks differ by factors of {factor} and more from there on. Doubling the width "
        f"halves the variance."
    )


def charts(numbers: Summary) -> Iterator[Block]:
    """The length map, the correlation map, the trajectories and the phase diagram."""
    yield Grid((length_chart(numbers), correlation_chart(numbers)))
    yield trajectory_chart(numbers)
    diagram = phase_diagram(numbers)
    if diagram is None:
        yield Text(
            f"The edge of chaos of {numbers.f.name} is no curve over 0 < sigma_b^2 < 1: no phase diagram is drawn."
        )
    else:
        yield diagram


def all_charts(document: Document) -> tuple[LineChart, ...]:
    """The charts of a page, one after the other."""
    blocks = [block for section in document.sections for block in section.blocks]
    return tuple(
        chart
        for block in blocks
        for chart in (block.charts if isinstance(block, Grid) else (block,) if isinstance(block, LineChart) else ())
    )


def length_chart(numbers: Summary) -> LineChart:
    """The variance of a layer against that of the layer before."""
    lengths = tuple(np.linspace(0.0, 3.0, POINTS).tolist())
    forward = _forward(numbers)
    series = (
        Series("with the gain", lengths, curve(forward, lengths), emphasis=True),
        Series("unchanged", lengths, lengths, dashed=True),
    )
    return LineChart("Length map", Axis("q of a layer"), Axis("q of the next"), series)


def correlation_chart(numbers: Summary) -> LineChart:
    """The correlation of two inputs in a layer against that in the layer before."""
    correlations = tuple(np.linspace(0.0, 1.0, POINTS).tolist())
    series = (
        Series("with the gain", correlations, correlation_map(_forward(numbers), 1.0, correlations), emphasis=True),
        Series("unchanged", correlations, correlations, dashed=True),
    )
    return LineChart("Correlation map, q = 1", Axis("c of a layer"), Axis("c of the next"), series)


def trajectory_chart(numbers: Summary) -> LineChart:
    """The variance over depth from a few starts."""
    layers = range(numbers.depth + 1)
    series = tuple(Series(f"from {q:g}", layers, trajectory(_forward(numbers), q, numbers.depth)) for q in STARTS)
    drawn = [q for each in series for q in each.y if SHOWN[0] <= q <= SHOWN[1]]
    outside = len(drawn) < len(series) * len(layers)
    axis = Axis("q", scale="log", limits=SHOWN if outside else None)
    return LineChart("Length over depth, with the gain", Axis("layer", integer=True), axis, series)


def phase_diagram(numbers: Summary) -> LineChart | None:
    """The edge of chaos; None where it is a point or outside the picture."""
    shown = [pair for pair in numbers.line if 0 < pair.sigma_b**2 <= LARGEST_BIASES]
    if len(shown) < 2:
        return None
    unstable = [pair for pair in shown if pair.stability == "unstable"]
    stable = [pair for pair in shown if pair.stability != "unstable"]
    if unstable and stable:  # so that the parts meet
        unstable.append(min(stable, key=lambda pair: abs(pair.q - unstable[-1].q)))
    series = (_edge("edge of chaos", stable), _edge("its length unstable", unstable, dashed=True))
    return LineChart(
        "Phase diagram",
        Axis("sigma_b^2"),
        Axis("sigma_w^2"),
        tuple(each for each in series if each is not None),
        caption="Above the curve two inputs grow apart (chaotic), below it they grow alike (ordered).",
    )


def values(numbers: Summary) -> dict[str, Any]:
    """The numbers as plain values, for JSON."""
    last = numbers.lengths[-1]
    return {
        "nonlinearity": numbers.f.name,
        "sigma_b": numbers.sigma_b,
        "depth": numbers.depth,
        "width": numbers.width,
        "gain": numbers.gains,
        "length_slope": numbers.slope,
        "stable_gain_exists": not numbers.hopeless and not numbers.homogeneous,
        "verdict": verdict(numbers),
        "remedies": remedies(numbers),
        "settings": [_setting_values(setting) for setting in numbers.settings],
        "log_length": {"layer": last.layer, "mean": last.shift, "variance": last.variance, "reliable": last.reliable},
        "transformed": {each.method: _constants_of(each) for each in numbers.transformed},
        "tat_leaky_relu": numbers.leaky,
        "without_constants": numbers.refused,
        "edge_of_chaos": numbers.line,
    }


def _setting_values(setting: Setting) -> dict[str, Any]:
    points = [
        {
            "q": point.q,
            "slope": point.slope,
            "stability": point.stability,
            "chi": point.chi,
            "phase": point.phase,
            "c": point.c,
            "xi_q": point.xi_q,
            "xi_c": point.xi_c,
        }
        for point in setting.points
    ]
    names = {"name": setting.name, "sigma_w": setting.field.sigma_w, "sigma_b": setting.field.sigma_b}
    return names | {"fixed_points": points, "second_moment_at_depth": setting.ends}


def _constants_of(transformed: Any) -> dict[str, float]:
    return {
        "in_scale": transformed.in_scale,
        "in_shift": transformed.in_shift,
        "out_shift": transformed.out_shift,
        "out_scale": transformed.out_scale,
    }


def _tone(numbers: Summary) -> Tone:
    if abs(numbers.slope - 1) <= NEARLY:
        return "neutral"
    return "good" if numbers.slope < 1 else "bad"


def _why(numbers: Summary) -> Iterator[Text]:
    yield Text(reason(numbers))
    if sentences := remedies(numbers):
        yield Text(f"What does: {'; '.join(sentences)}.")


def _facts(numbers: Summary) -> Facts:
    moment = (numbers.gains["second_moment"] / numbers.gains["backward"]) ** 2
    items = [
        Fact("gain", f"{numbers.gains['second_moment']:.6g}"),
        Fact("slope of the variance map", f"{numbers.slope:.4f}", tone=_tone(numbers)),
        Fact("chi at that gain", f"{moment:.4f}"),
    ]
    edge = [setting for setting in numbers.settings if setting.name.endswith("edge of chaos")]
    items += [Fact(f"edge of chaos, sigma_b {s.field.sigma_b:g}", f"sigma_w {s.field.sigma_w:.6g}") for s in edge[-1:]]
    return Facts(tuple(items))


def _gains(numbers: Summary) -> Table:
    rows = (Row((MEANINGS[kind], f"{gain:.10g}", f"{gain**2:.10g}")) for kind, gain in numbers.gains.items())
    columns = (Column("keeps the scale"), Column("gain", align="right"), Column("gain^2", align="right"))
    return Table(columns, tuple(rows), caption="At unit second moment.")


def _stability(numbers: Summary) -> Text:
    least, most = min(numbers.slopes.values()), max(numbers.slopes.values())
    return Text(
        f"With the gain that keeps a length q, for q from 1e-4 to 1e4, the variance map has slopes from {least:.4f} to "
        f"{most:.4f} at q: below 1 a deviation dies out, above 1 it grows."
    )


def _settings(numbers: Summary) -> Table:
    labels = ("sigma_w", "sigma_b", "q", "slope", "chi", "c", "xi q", "xi c", f"q at {numbers.depth}")
    columns = (Column("weights and biases"), *(Column(label, align="right") for label in labels))
    return Table(columns, tuple(_setting_row(setting) for setting in numbers.settings))


def _setting_row(setting: Setting) -> Row:
    field, point = setting.field, setting.point
    head = (setting.name, f"{field.sigma_w:.6g}", f"{field.sigma_b:g}")
    ends = number(setting.ends)
    if point is None:
        falls = setting.ends < 1
        note = "Every signal falls to 0." if falls else "Every signal grows without end."
        chi = f"{setting.points[0].chi:.4f}" if setting.points else "-"
        return Row((*head, "0" if falls else "inf", "-", chi, "-", "-", "-", ends), note=note)
    c = "-" if point.c is None else f"{point.c:.4f}"
    xi_c = "-" if point.xi_c is None else number(point.xi_c)
    cells = (f"{point.q:.6g}", f"{point.slope:.4f}", f"{point.chi:.4f}", c, number(point.xi_q), xi_c, ends)
    return Row((*head, *cells), tone=TONES[point.stability])


def _constants(numbers: Summary) -> Iterator[Block]:
    if numbers.transformed:
        columns = (Column("method"), *(Column(label, align="right") for label in ("a", "b", "c", "d")))
        rows = tuple(
            Row((each.method.upper(), *(f"{value:.8f}" for value in _constants_of(each).values())))
            for each in numbers.transformed
        )
        yield Text(f"d (f(a x + b) + c) in place of f(x), gain 1, for {numbers.depth} nonlinear layers:")
        yield Table(columns, rows)
    if numbers.leaky is not None:
        yield Text(
            f"TAT's leaky ReLU for {numbers.depth} layers: negative slope {numbers.leaky.negative_slope:.8f}, times "
            f"{numbers.leaky.scale:.8f}, gain 1."
        )
    yield from (Text(f"{why}.") for why in numbers.refused)


def _forward(numbers: Summary) -> MeanField:
    return MeanField(numbers.f, numbers.gains["second_moment"])


def _edge(name: str, pairs: Sequence[Critical], *, dashed: bool = False) -> Series | None:
    if not pairs:
        return None
    return Series(name, [pair.sigma_b**2 for pair in pairs], [pair.sigma_w**2 for pair in pairs], dashed=dashed)
