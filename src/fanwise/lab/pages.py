"""The demo's results as a report."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fanwise._version import __version__
from fanwise.check.findings import Finding
from fanwise.check.render.words import TONES
from fanwise.lab.experiment import TRAINED, Outcome, Setup, trained_range
from fanwise.lab.probing import LayerProfile
from fanwise.lab.starts import Norm
from fanwise.lab.story import tell, tone, wrong
from fanwise.report.document import (
    Axis,
    Column,
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
)

NORMS: Mapping[Norm, str] = MappingProxyType({"none": "plain", "batch": "BatchNorm", "layer": "LayerNorm"})
"""What a sweep's curves are called."""

TITLE = "What the initial weights do"

SWEPT_LOSSES = (1e-3, 1e4)
"""Losses that the slider's chart shows: a start that is far too large would set an axis of 20 powers of ten."""

SHOWN_LAYERS = 3
"""A table cell shows so many layers; of a deeper network the first, the middle and the last."""


NARROW = 5
"""Characters of a number in the table of step zero, which has most columns and should fit into 80 characters."""


@dataclass(frozen=True)
class Results:
    """All that a demo found.

    Args:
        setup: what the starts have in common.
        outcomes: one a start; empty where only a sweep was asked for.
        sweep: by norm, one outcome a factor, in the order of the factors.
        checks: what the check found before each start's trainings, gravest first; one a start.
    """

    setup: Setup
    outcomes: tuple[Outcome, ...]
    sweep: Mapping[Norm, tuple[Outcome, ...]]
    checks: tuple[tuple[Finding, ...], ...]

    @property
    def judged(self) -> Iterator[tuple[Outcome, tuple[Finding, ...]]]:
        """Each start's outcome beside what the check found."""
        return zip(self.outcomes, self.checks, strict=True)


def document(results: Results) -> Document:
    """The whole report."""
    setup = results.setup
    sections = (*_starts_sections(results), *_sweep_sections(results), Section("How to read this", (_legend(setup),)))
    footer = (
        f"fanwise {__version__}. Everything here was measured in this run; the same command gives the same numbers."
    )
    return Document(TITLE, subtitle(setup), sections, footer)


def after_title(setup: Setup) -> str:
    """Heading of what training made of the starts."""
    return f"After {_count(setup.recipe.epochs, 'epoch')}"


def step_zero_table(results: Results, *, reasons: bool = False) -> Table:
    """One row a start: what stands there before the first step.

    Args:
        results: of the demo.
        reasons: whether rows say what the check found in a sentence, not by its code alone.
    """
    setup = results.setup
    columns = (
        Column("start", help="std of normal weights, n for fan_in; biases start at 0"),
        Column("signal", help=f"std of the pre-activations, {_layers_shown(setup)}"),
        Column("gradient", help="std of each image's loss gradient at the same places"),
        Column("loss", align="right", help=f"a network that knows nothing has ln {setup.data.classes}"),
        Column("dead", align="right", help="hidden units that give the same for every image"),
        Column("equal", align="right", help="hidden units that repeat another's weights"),
        Column("check", help="what fanwise check finds first, before the first step"),
    )
    chance = f"ln {setup.data.classes} = {setup.chance:.3f}"
    caption = f"Mean over {_count(setup.seeds, 'seed')}, {_layers_shown(setup)}. {chance}.{_hint(results)}"
    rows = (_step_zero_row(outcome, findings, reasons=reasons) for outcome, findings in results.judged)
    return Table(columns, tuple(rows), caption=caption)


def training_table(results: Results) -> Table:
    """One row a start: what training made of it, and why, in plain words."""
    columns = (
        Column("start"),
        Column("loss", align="right", help=f"of the last of {results.setup.recipe.epochs} epochs"),
        Column("train", align="right", help="share of the training images classified right"),
        Column("test", align="right", help="share of the test images classified right"),
        Column("signal", help="std of the pre-activations at the end: does the scale stay?"),
    )
    caption = "The same batches for every start."
    rows = tuple(_training_row(outcome, results.setup, findings) for outcome, findings in results.judged)
    return Table(columns, rows, caption=caption)


def sweep_table(results: Results) -> Table:
    """The range of scales that train at all, with each norm."""
    columns = (
        Column("network"),
        Column("trains from", align="right", help=f"smallest factor that learns {TRAINED:.0%} of the training set"),
        Column("to", align="right", help="largest such factor"),
        Column("best test accuracy", align="right"),
    )
    rows = tuple(_sweep_row(NORMS[norm], outcomes) for norm, outcomes in results.sweep.items())
    return Table(columns, rows, caption=f"{_sweep_name(results)} times a factor, {_factors_text(results)}")


def accuracy_chart(results: Results) -> LineChart:
    """Accuracy against the scale, with and without normalisation."""
    series = tuple(
        Series(
            NORMS[norm],
            [outcome.factor for outcome in outcomes],
            [outcome.train_accuracy for outcome in outcomes],
            emphasis=True,
        )
        for norm, outcomes in results.sweep.items()
    )
    return LineChart(
        "Accuracy against the scale of the weights",
        Axis("factor on the weights", scale="log"),
        Axis("train accuracy", limits=(0.0, 1.0)),
        series,
        guides=(Guide(1 / results.setup.data.classes, "guessing"),),
    )


def subtitle(setup: Setup) -> str:
    """One line that says what was trained and how."""
    widths = (
        "-".join(map(str, setup.widths))
        if setup.depth <= 4
        else (f"{setup.widths[0]}-{setup.width} x {setup.depth - 1}-{setup.widths[-1]}")
    )
    recipe = f"SGD {setup.recipe.learning_rate:g}, momentum {setup.recipe.momentum:g}"
    clip = f", clip {setup.recipe.clip:g}" if setup.recipe.clip else ""
    count = len(setup.data.train_y)
    return (
        f"One {setup.nonlinearity} network, {widths}, on {count:,} images of {setup.data.name}: {recipe}{clip}, "
        f"batches of {setup.recipe.batch_size}, {_count(setup.recipe.epochs, 'epoch')}, {_count(setup.seeds, 'seed')}."
    )


def _starts_sections(results: Results) -> tuple[Section, ...]:
    if not results.outcomes:
        return ()
    return (
        Section("At step zero", (step_zero_table(results, reasons=True),)),
        Section(after_title(results.setup), (training_table(results), _loss_chart(results))),
        Section("Layer by layer", (_profiles(results),)),
    )


def _sweep_sections(results: Results) -> tuple[Section, ...]:
    if not results.sweep:
        return ()
    blocks = (sweep_table(results), accuracy_chart(results), _slider(results))
    return (Section("The range of scales that train", blocks),)


def _legend(setup: Setup) -> Text:
    return Text(
        f"A layer computes pre-activations h = x W + b. If the weights are too small, h shrinks from layer to layer "
        f"and the gradient with it; if they are too large, both explode. A {setup.nonlinearity} network keeps its "
        f"second moment where the weights have std sqrt(2 / fan_in) for relu, 1 / sqrt(fan_in) for linear units: "
        f"`fanwise gain {setup.nonlinearity}` prints the factor. The slip 2 / sqrt(fan_in) doubles the second moment "
        f"at every relu layer.\n\n"
        f"Equal units get equal gradients and never part, so zeros and constants leave a layer one unit wide. "
        f"BatchNorm and LayerNorm divide the scale of the weights out again, so they train from scales at which "
        f"the plain network does not; the gradient then falls as the weights grow, so a huge start learns slowly."
    )


def _hint(results: Results) -> str:
    """How to learn what a code means, with the first that was found; "" where none was."""
    codes = (finding.code for findings in results.checks for finding in wrong(findings))
    return next((f" `fanwise explain {code}` tells what a code means." for code in codes), "")


def _step_zero_row(outcome: Outcome, findings: Sequence[Finding], *, reasons: bool) -> Row:
    cells = (
        outcome.start.label,
        " ".join(map(_narrow, _chosen(outcome.rms(_std)))),
        " ".join(map(_narrow, _chosen(outcome.rms(_gradient_std)))),
        _narrow(outcome.start_loss),
        f"{outcome.hidden_share(lambda layer: layer.dead):.0%}",
        f"{outcome.hidden_share(lambda layer: layer.identical):.0%}",
        wrong(findings)[0].code if wrong(findings) else "healthy",
    )
    return _with_reasons(cells, wrong(findings)) if reasons else Row(cells)


def _with_reasons(cells: tuple[str, ...], findings: Sequence[Finding]) -> Row:
    mark = TONES[findings[0].severity] if findings else "good"
    return Row(cells, tone=mark, note=" ".join(map(_reason, findings)))


def _reason(finding: Finding) -> str:
    """A finding in a sentence, with what follows from it."""
    following = [each.code for each in finding.walk() if each is not finding]
    more = f", and with it {', '.join(following)}" if following else ""
    return f"{finding.code}{more}: {finding.message}."


def _training_row(outcome: Outcome, setup: Setup, findings: Sequence[Finding]) -> Row:
    return Row(
        (
            outcome.start.label,
            _short(outcome.final_loss),
            f"{outcome.train_accuracy:.1%}",
            f"{outcome.test_accuracy:.1%}",
            _layers(outcome.rms(_std, after=True)),
        ),
        tone=tone(outcome),
        note=tell(outcome, setup, findings),
    )


def _sweep_row(name: str, outcomes: Sequence[Outcome]) -> Row:
    best = max(outcome.test_accuracy for outcome in outcomes)
    trained = trained_range(outcomes)
    low, high = (f"x {trained[0]:g}", f"x {trained[1]:g}") if trained else ("never", "never")
    return Row((name, low, high, f"{best:.1%}"))


def _loss_chart(results: Results) -> LineChart:
    setup = results.setup
    series = tuple(
        Series(outcome.start.label, range(len(outcome.losses())), outcome.losses()) for outcome in results.outcomes
    )
    return LineChart(
        "Loss",
        Axis("epoch", integer=True),
        Axis("loss", scale="log"),
        series,
        guides=(Guide(setup.chance, f"ln {setup.data.classes} = {setup.chance:.3f}"),),
        caption="Mean over the seeds. Epoch 0 is the loss before the first step.",
    )


def _profiles(results: Results) -> Grid:
    charts = (
        ("Signal at step zero", "std of pre-activation", _std, False),
        ("Gradient at step zero", "std of gradient", _gradient_std, False),
        ("Signal after training", "std of pre-activation", _std, True),
    )
    return Grid(
        tuple(
            LineChart(
                title,
                Axis("layer", integer=True),
                Axis(label, scale="log"),
                tuple(_profile(outcome, outcome.start.label, measure, after=after) for outcome in results.outcomes),
            )
            for title, label, measure, after in charts
        )
    )


def _slider(results: Results) -> Slider:
    """A slider over the scale: every stop shows the layers and the training of each network."""
    stops = list(zip(*results.sweep.values(), strict=True))
    frames = tuple(_frame(results.setup, stop) for stop in stops)
    nearest = min(range(len(stops)), key=lambda i: abs(math.log(stops[i][0].factor)))
    return Slider("factor on the weights", frames, start=nearest)


def _frame(setup: Setup, stop: Sequence[Outcome]) -> Frame:
    facts = Facts(
        tuple(
            Fact(f"{NORMS[outcome.start.norm]}, test accuracy", f"{outcome.test_accuracy:.1%}", tone=tone(outcome))
            for outcome in stop
        )
    )
    charts = (
        _frame_profile("Signal at step zero", "std of pre-activation", _std, stop),
        _frame_profile("Gradient at step zero", "std of gradient", _gradient_std, stop),
        LineChart(
            "Loss",
            Axis("epoch", integer=True),
            Axis("loss", scale="log", limits=SWEPT_LOSSES),
            tuple(
                Series(NORMS[outcome.start.norm], range(len(outcome.losses())), outcome.losses()) for outcome in stop
            ),
            guides=(Guide(setup.chance, f"ln {setup.data.classes}"),),
        ),
    )
    factor = stop[0].factor
    return Frame(f"x {factor:g}", factor, (facts, Grid(charts)), tone=tone(stop[0]))


def _frame_profile(
    title: str, label: str, measure: Callable[[LayerProfile], float], stop: Sequence[Outcome]
) -> LineChart:
    series = tuple(_profile(outcome, NORMS[outcome.start.norm], measure) for outcome in stop)
    return LineChart(title, Axis("layer", integer=True), Axis(label, scale="log"), series)


def _profile(outcome: Outcome, name: str, measure: Callable[[LayerProfile], float], *, after: bool = False) -> Series:
    values = outcome.rms(measure, after=after)
    return Series(name, range(1, len(values) + 1), values)


def _std(layer: LayerProfile) -> float:
    return layer.std


def _gradient_std(layer: LayerProfile) -> float:
    return layer.gradient_std


def _layers(values: Sequence[float]) -> str:
    digits = 1 if len(values) <= SHOWN_LAYERS else 0
    return " ".join(_short(value, exponent_digits=digits) for value in _chosen(values))


def _chosen(values: Sequence[float]) -> Sequence[float]:
    """The values of the layers that a cell shows."""
    return values if len(values) <= SHOWN_LAYERS else (values[0], values[len(values) // 2], values[-1])


def _layers_shown(setup: Setup) -> str:
    if setup.depth <= SHOWN_LAYERS:
        return "layer by layer"
    return f"layers 1, {setup.depth // 2 + 1} and {setup.depth}"


def _short(value: float, *, exponent_digits: int = 1) -> str:
    """Two significant digits: 0, 2.7e-4, 0.027, 1.3, 190, 2.1e3; `exponent_digits` after the point of the long ones."""
    if not math.isfinite(value):
        return "overflow"
    if value == 0 or 0.001 <= value < 1000:
        return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
    return f"{value:.{exponent_digits}e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _narrow(value: float) -> str:
    """Number in five characters, where one digit and an exponent need no more: 3e-3, 0.027, 1.3, 190, 2.1e3, 4e27."""
    text = _short(value)
    if len(text) <= NARROW or not math.isfinite(value):
        return text
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sweep_name(results: Results) -> str:
    return next(iter(results.sweep.values()))[0].start.label


def _factors_text(results: Results) -> str:
    outcomes = next(iter(results.sweep.values()))
    return f"{len(outcomes)} factors from {outcomes[0].factor:g} to {outcomes[-1].factor:g}"
