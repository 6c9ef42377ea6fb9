import math

import numpy as np
import pytest

from fanwise.report.document import (
    Axis,
    Bars,
    Card,
    Column,
    Details,
    Document,
    Fact,
    Facts,
    Frame,
    Grid,
    Guide,
    LineChart,
    Row,
    Section,
    Series,
    Slider,
    Table,
    Text,
    Verdict,
)

STEPS = tuple(range(0, 310, 10))
STEP = Axis("step", integer=True)
LOSS = Axis("cross-entropy", scale="log")
CHANCE = Guide(math.log(10), "ln 10 = 2.303")


def falling(rate: float) -> list[float]:
    return [2.3 * math.exp(-rate * step) + 0.1 for step in STEPS]


def exploding() -> list[float]:
    return [2480.0, 9e4, 1e30, math.inf] + [math.nan] * (len(STEPS) - 4)


def table() -> Table:
    columns = (
        Column("start"),
        Column("initial loss", align="right", help="Before the first step."),
        Column("accuracy", align="right"),
    )
    rows = (
        Row(
            ("zeros", "2.303", "11.3 %"), tone="bad", note="All units stay equal: no gradient reaches the first layers."
        ),
        Row(
            ("2/sqrt(fan_in), the slip", "9.40", "95.7 %"), tone="warn", note="The signal doubles from layer to layer."
        ),
        Row(("He", "2.40", "96.8 %"), tone="good", note="Keeps the second moment through every ReLU."),
        Row(("as given", "2.31", "96.0 %")),
    )
    return Table(columns, rows, caption="Each start, before and after 300 steps.")


def few_curves() -> LineChart:
    series = (Series("He", STEPS, falling(0.02)), Series("huge", STEPS, exploding()))
    return LineChart("Loss", STEP, LOSS, series, guides=(CHANCE,), caption="Of two starts.")


def many_curves(title: str = "Loss of all") -> LineChart:
    series = [Series(f"start {i}", STEPS, falling(0.003 * i)) for i in range(12)]
    series += [Series("huge", STEPS, exploding()), Series("zeros", STEPS, np.zeros(len(STEPS)).tolist())]
    return LineChart(title, STEP, LOSS, tuple(series), guides=(CHANCE,))


def frame(scale: float) -> Frame:
    signal = tuple(Series(f"layer {i}", STEPS, [scale**i * math.exp(s / 900) for s in STEPS]) for i in (1, 2, 3))
    charts = tuple(LineChart(title, STEP, LOSS, signal) for title in ("Loss", "Signal", "Gradient"))
    fate = "good" if 0.2 < scale < 3 else "bad"
    facts = Facts((Fact("accuracy", f"{50 + scale:.1f} %", tone=fate), Fact("signal", f"x {scale:g}")))
    return Frame(f"x {scale:g}", scale, (facts, Grid(charts)), tone=fate)


def scale_chart() -> LineChart:
    series = (Series("He x scale", (0.25, 0.5, 1, 2, 4), (11, 95, 97, 96, math.nan)),)
    accuracy = Axis("accuracy", unit="%", limits=(0, 100))
    guides = (Guide(10, "chance"), Guide(1, "He", axis="x"))
    return LineChart("Accuracy against scale", Axis("scale", scale="log"), accuracy, series, guides=guides)


@pytest.fixture(scope="session")
def sample() -> Document:
    """One of everything."""
    facts = Facts((Fact("starts that train", "9 of 14"), Fact("worst initial loss", "2480", tone="bad")))
    words = Text("Five of the starts never train.\n\nAll five can be told before the first step.")
    slider = Slider("scale of the weights", tuple(frame(s) for s in (0.25, 1.0, 4.0)), start=1)
    sections = (
        Section("What came of it", (facts, words, table())),
        Section("Training", (few_curves(), many_curves())),
        Section("Scale", (slider, scale_chart())),
    )
    return Document("Fourteen starts", "A ReLU network on digits.", sections, "fanwise, seed 0")


def card(title: str, **more) -> Card:
    return Card(title, **({"level": "error", "code": "FWD001", "place": "body.0", "tone": "bad"} | more))


@pytest.fixture(scope="session")
def inspection() -> Document:
    """The blocks that tell findings, and a table to sort and to search."""
    bars = Bars("weight", (0, 1, 12, 24, 12, 1, 0, 0), low=-0.5, high=0.5, caption="std 0.1")
    rows = (
        Row(("1", "stem", "0.58"), more=(bars, Bars("bias", caption="all 0"))),
        Row(("2", "body.0", "33"), tone="bad", note="Here it starts.", more=(bars,)),
        Row((), note="… 2 layers more"),
        Row(("5", "head", "-"), tone="warn"),
    )
    columns = (Column("depth", align="right"), Column("layer", help="Its path."), Column("rms", align="right"))
    table = Table(columns, rows, caption="All layers.", names=1, interactive=True)
    follows = (card("the gradient grows", tone="warn", level="warning"), card("and so on", place="", code=""))
    points = (("cause", "the slip 2/sqrt(fan_in) in place of sqrt(2/fan_in)"), ("fix (safe)", "He normal"))
    found = card("the signal grows 1.4x per layer", points=points, note="3 folded", follows=follows)
    info = Card("the input has mean 0.45", level="info", code="INP001", place="input")
    profile = LineChart(
        "Profile", Axis("layer", integer=True, names=("stem", "body.0")), LOSS, (Series("rms", (1, 2), (1, 2)),)
    )
    sections = (
        Section("", (Verdict("1 error: starts at body.0", tone="bad"),)),
        Section("Findings", (found, info, info, Details("2 more", (info, bars)))),
        Section("Layers", (profile, table, bars)),
    )
    return Document("VisionNet", "", sections)


@pytest.fixture(scope="session")
def demo_sized() -> Document:
    """As large as the report of `fanwise demo`: 14 runs, six charts, a slider of 13 frames."""
    charts = tuple(many_curves(f"Chart {i}") for i in range(6))
    slider = Slider("scale", tuple(frame(2.0**k) for k in range(-6, 7)), start=6)
    rows = tuple(
        Row((f"start {i}", *("0.1234",) * 7), note="A sentence that says what came of it. " * 3) for i in range(14)
    )
    wide = Table(tuple(Column(f"column {i}", help="What stands in it.") for i in range(8)), rows)
    return Document("Demo", "", (Section("Runs", (wide, charts[0], Grid(charts[1:]))), Section("Scale", (slider,))))
