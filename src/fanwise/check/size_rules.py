"""Rules on the size of most weights together."""

from collections.abc import Iterator, Sequence

from fanwise.check.findings import Finding, Severity, counted
from fanwise.check.scales import redraw, scale_cause
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import AT_ONCE
from fanwise.graph.op import OpKind

FAINT_SHARE, LOUD_SHARE = 0.5, 0.3
"""Share of the inner maps that must be so."""
FAINT_GAIN, LOUD_GAIN = 0.03, 4.0
"""Gain (std times sqrt(fan_in)) below or above which hardly anything that was published starts."""


REPAIRED = 0.25
"""Second moment after a normalisation from which it has done its work."""


def mostly_tiny(subject: Subject) -> Iterator[Finding]:
    """Most inner maps far too small, where half of them or more are not repaired."""
    wrong, total = _tiny(subject)
    if wrong and 2 * sum(_repaired(subject, one) for one in wrong) <= len(wrong):
        yield _finding("WGT001", "warning", wrong, total)


def hidden_sizes(subject: Subject) -> Iterator[Finding]:
    """Most inner maps far too small, and a normalisation behind most of them."""
    wrong, total = _tiny(subject)
    if wrong and 2 * sum(_repaired(subject, one) for one in wrong) > len(wrong):
        yield _finding("NRM001", "info", wrong, total)


def _tiny(subject: Subject) -> tuple[list[Map], int]:
    """The inner maps that are far too small, where they are most; and how many inner maps there are."""
    inner = [one for one in _inner(subject) if one.op.kind != OpKind.RECURRENT]
    wrong = [one for one in inner if one.law.gain < FAINT_GAIN]
    return (wrong if len(wrong) > 1 and len(wrong) > FAINT_SHARE * len(inner) else []), len(inner)


def mostly_huge(subject: Subject) -> Iterator[Finding]:
    """Many inner maps far too large."""
    inner = [*_inner(subject), *subject.hidden_maps]
    wrong = [one for one in inner if one.law.gain > LOUD_GAIN]
    alone = len(wrong) == 1 and wrong[0].op.kind == OpKind.RECURRENT
    if (len(wrong) > 1 or alone) and len(wrong) > LOUD_SHARE * len(inner):
        yield _finding("WGT002", "warning", wrong, len(inner))


def _inner(subject: Subject) -> list[Map]:
    inner = [one for one in subject.maps if one.case.role in ("weight", "branch_end") and one.law.gain > 0]
    return [one for one in inner if not one.case.normalized and not one.derived]


def _repaired(subject: Subject, one: Map) -> bool:
    """Whether a normalisation that follows at once brings its size to 1, as it cannot where its epsilon is larger."""
    norm = subject.trace.after(one.op, {OpKind.NORM}, AT_ONCE)
    return norm is not None and subject.signals[norm.index].second_moment > REPAIRED


def _finding(code: str, severity: Severity, wrong: Sequence[Map], total: int) -> Finding:
    middle = sorted(one.law.gain for one in wrong)[len(wrong) // 2]
    grows, first = middle > 1, wrong[0]
    does = f"multiply the rms of what they read by {middle:.3g}"
    does = does if grows else f"divide the rms of what they read by {1 / middle:.3g}"
    hides = ", which a normalisation behind each hides" if code == "NRM001" else ""
    return Finding(
        code,
        severity,
        f"{len(wrong)} of {counted(total, 'inner weight')} {does}{hides}",
        first.path,
        first.op.index,
        f"{first.law.text} at gain {first.law.gain:.3g}",
        scale_cause(wrong, grows=grows)[0],
        tuple(one.path for one in wrong),
        {"gain": middle, "weights": len(wrong)},
        redraw(wrong),
    )
