"""What every rendering of a report says in the same words."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fanwise._version import __version__
from fanwise.check.findings import SEVERITIES, Finding, Severity, counted, label
from fanwise.check.report_data import Layer, ReportData
from fanwise.plan.render.table import count_text
from fanwise.report.axes import number
from fanwise.report.document import Card, Column, Tone, Verdict

TONES: Mapping[Severity, Tone] = {"error": "bad", "warning": "warn", "info": "neutral"}

UNKNOWN = "-"
"""Stands where nothing was measured."""

MOST_PATHS = 6
"""Parameters that a card names."""


@dataclass(frozen=True)
class Measure:
    """A column of the layer table, and what stands in it."""

    column: Column
    cell: Callable[[Layer], str]


def figure(value: float) -> str:
    """Three digits of a number.

    Example:
        >>> figure(0.58123), figure(3.14e-7), figure(float("nan"))
        ('0.581', '3.14e-7', '-')
    """
    return UNKNOWN if math.isnan(value) else number(value, digits=3)


def percent(share: float) -> str:
    """A share in percent; one that is not zero never looks like it.

    Example:
        >>> percent(0.031), percent(0.0002), percent(0.0), percent(float("nan"))
        ('3 %', '<1 %', '0 %', '-')
    """
    if math.isnan(share):
        return UNKNOWN
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def times(ratio: float) -> str:
    """A ratio of what is to what should be, in two digits.

    Example:
        >>> times(0.4142), times(1.0), times(1234.5)
        ('0.41x', '1.0x', '1234x')
    """
    if math.isnan(ratio):
        return UNKNOWN
    return f"{ratio:.1f}x" if 0.95 <= ratio < 99.5 else f"{number(ratio, digits=2)}x"


def ratio(layer: Layer) -> float:
    """What a layer gives over what it should give; NaN where nobody knows."""
    return layer.rms / layer.expected if layer.expected else math.nan


def expected(layer: Layer) -> str:
    """The output size by theory, and its band."""
    if math.isnan(layer.predicted):
        return UNKNOWN
    low, high = layer.band
    return f"{figure(layer.predicted)} ({number(low, digits=2)}-{number(high, digits=2)})"


def _by_label(*measures: Measure) -> Mapping[str, Measure]:
    return MappingProxyType({measure.column.label: measure for measure in measures})


def remark(layer: Layer) -> str:
    """The codes of what starts at a layer, or that it is by design."""
    return " ".join(layer.codes) or ("by design" if layer.design else "")


MEASURES: Mapping[str, Measure] = _by_label(
    Measure(
        Column("depth", align="right", help="Position in the order of execution."), lambda layer: str(layer.number)
    ),
    Measure(Column("layer", help="Path of its weight."), lambda layer: layer.name),
    Measure(Column("kind", help="What it does."), lambda layer: layer.kind),
    Measure(Column("law found", help="The law recognised in its weights."), lambda layer: layer.law or UNKNOWN),
    Measure(
        Column("output size", align="right", help="Root mean square of its output."), lambda layer: figure(layer.rms)
    ),
    Measure(
        Column(
            "expected",
            align="right",
            help="The output size by theory, and in brackets between what it lies in 19 of 20 initialisations.",
        ),
        expected,
    ),
    Measure(
        Column(
            "change",
            align="right",
            help="Output size over what the plan says; without a plan, over that of the first layer since the last "
            "normalisation or residual connection.",
        ),
        lambda layer: times(ratio(layer)),
    ),
    Measure(
        Column("gradient", align="right", help="Root mean square of the loss's gradient at its output."),
        lambda layer: figure(layer.gradient),
    ),
    Measure(
        Column("expected grad", align="right", help="The same by theory, from the gradient at the model's output."),
        lambda layer: figure(layer.predicted_gradient),
    ),
    Measure(
        Column("dead", align="right", help="Share of its units that the activation silences for the whole batch."),
        lambda layer: percent(layer.dead),
    ),
    Measure(
        Column("sat.", align="right", help="Share of values on which the activation is saturated."),
        lambda layer: percent(layer.saturated),
    ),
    Measure(Column("findings", help="What was found to start here."), remark),
)
"""The columns that a layer table may have, by their labels."""


def measures(layers: Iterable[Layer], *, order: Iterable[str]) -> tuple[Measure, ...]:
    """The columns with these labels in which any of the layers has something to show."""
    shown = tuple(layers)
    asked = (MEASURES[label] for label in order)
    return tuple(measure for measure in asked if any(measure.cell(layer) not in {"", UNKNOWN} for layer in shown))


def tone_of(severity: Severity | None) -> Tone:
    """How a severity is shown; None where nothing was found."""
    return "neutral" if severity is None else TONES[severity]


def design_note(layer: Layer) -> str:
    """Sentence that says what is by design at a layer."""
    return f"by design: {layer.design}" if layer.design else ""


def tally(report: ReportData) -> Mapping[Severity, int]:
    """How many findings of each severity stand at the top."""
    counts = Counter(finding.severity for finding in report.findings)
    return {severity: counts[severity] for severity in SEVERITIES}


def verdict(report: ReportData) -> Verdict:
    """The sentence that sums the report up."""
    counts = tally(report)
    tally_text = ", ".join(counted(count, severity) for severity, count in counts.items() if count)
    if counts["error"] or counts["warning"]:
        start = _start(report)
        tone: Tone = "bad" if counts["error"] else "warn"
        return Verdict(f"{tally_text}: starts at {start}" if start else tally_text, tone=tone)
    return Verdict("healthy: nothing found" + (f" but {tally_text}" if tally_text else ""), tone="good")


def about(report: ReportData) -> str:
    """What was run, in a line."""
    used, total = report.weights[::-1]
    parts = (
        f"fanwise {__version__}",
        report.framework,
        f"batch {report.batch}" if report.batch else "",
        seeds(report),
        f"coverage {used}/{total} weights in use" if total else "",
    )
    return ", ".join(filter(None, parts))


def title(report: ReportData) -> str:
    """The model and its size."""
    name = report.model or "model"
    return f"{name}, {count_text(report.parameters)} parameters" if report.parameters else name


def seeds(report: ReportData) -> str:
    """How often the model was initialised and run."""
    drawn = [run.seed for run in report.observations if run.seed is not None]
    if drawn:
        return counted(len(drawn), "seed")
    return "weights as found" if report.observations else ""


def notes(report: ReportData) -> tuple[str, ...]:
    """What a reader should know besides the findings, one sentence each."""
    left_out = f"{counted(report.suppressed, 'finding')} left out, as asked." if report.suppressed else ""
    return (*report.notes, left_out) if left_out else report.notes


def card(report: ReportData, finding: Finding, *, full: bool, follows: bool) -> Card:
    """A finding as a card.

    Args:
        report: where it stands.
        finding: what was found.
        full: with its evidence and the parameters concerned.
        follows: with what follows from it; otherwise a remark counts that.
    """
    brief = finding.design or finding.severity == "info"
    return Card(
        finding.message,
        level=finding.severity,
        code=finding.code,
        place=_placed(report, finding.place) if full or not brief else finding.place,
        points=_points(finding, full=full) if full or not brief else (),
        note="" if follows or not finding.follows else _folded(finding),
        follows=tuple(card(report, other, full=full, follows=True) for other in finding.follows if follows),
        tone=TONES[finding.severity],
    )


def _points(finding: Finding, *, full: bool) -> tuple[tuple[str, str], ...]:
    fix = finding.fix
    evidence = ", ".join(f"{name} {_told(value)}" for name, value in finding.evidence.items())
    points = (
        ("by design", "part of the model, not a mistake" if finding.design else ""),
        ("cause", finding.cause),
        ("fix (unsafe)" if fix and not fix.safe else "fix", fix.text if fix else ""),
        ("evidence", evidence if full else ""),
        ("parameters", _named(finding.paths) if full else ""),
    )
    return tuple((label, text) for label, text in points if text)


def _told(value: float | int | str) -> str:
    return figure(value) if isinstance(value, float) else str(value)


def _named(paths: tuple[str, ...]) -> str:
    more = len(paths) - MOST_PATHS
    return ", ".join(paths[:MOST_PATHS]) + (f" and {more} more" if more > 0 else "")


def _folded(finding: Finding) -> str:
    """How many findings follow from this one, and which."""
    following = [other for child in finding.follows for other in child.walk()]
    counts = Counter(other.code for other in following)
    codes = ", ".join(f"{code} {count}x" if count > 1 else code for code, count in counts.items())
    verb = "follows is" if len(following) == 1 else "follow are"
    return f"({counted(len(following), 'finding')} that {verb} folded: {codes}; --full lists them)"


def _placed(report: ReportData, place: str) -> str:
    """A place in the model, and where in the sources it is constructed."""
    source = report.constructed(place)
    where = f"{_near(source.file)}:{source.line}" if source else ""
    return f"{place} ({where})" if place and where else place or where


def _near(file: str) -> str:
    """A path as one would type it here: relative where it lies below the working directory."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _start(report: ReportData) -> str:
    """Place at which the first fault starts; "" where no finding has a place."""
    wrong = [finding for finding in report.findings if finding.severity != "info" and finding.place]
    if not wrong:
        return ""
    first = min(wrong, key=lambda finding: math.inf if finding.op is None else finding.op)
    return label(first.place)
