"""The lines of a report: one a weight op, with what theory expects there."""

import math
from collections.abc import Mapping, Sequence

from fanwise.check.findings import SEVERITIES, Finding, Severity
from fanwise.check.report import Layer
from fanwise.check.scales import root
from fanwise.check.subject import Map, Subject

DESIGNS: Mapping[str, str] = {
    "branch_gate": "a gate at the end of a branch, such as LayerScale",
    "tied_embedding": "tied: table and head",
}
"""Roles that are by design, in words."""


def layers(subject: Subject, findings: Sequence[Finding]) -> tuple[Layer, ...]:
    """One line a weight op, in the order of execution."""
    marks = _marks(findings)
    return tuple(_layer(subject, one, number, marks) for number, one in enumerate(subject.maps, 1))


def _layer(subject: Subject, one: Map, number: int, marks: Mapping[int, list[Finding]]) -> Layer:
    found = marks.get(one.op.index, [])
    grave = [finding for finding in found if not finding.design]
    severity: Severity | None = min((finding.severity for finding in grave), key=SEVERITIES.index, default=None)
    after = subject.trace.after(one.op, ("activation",), ("slice", "dropout", "shift", "scale", "norm", "add"))
    signal = None if after is None else subject.signals[after.index]
    return Layer(
        number,
        one.op.index,
        one.name,
        one.op.kind,
        one.law.text,
        one.signal.rms,
        root(one.signal.gradient),
        expected(subject, one),
        math.nan if signal is None else signal.silent,
        math.nan if signal is None else signal.saturated,
        severity,
        tuple(dict.fromkeys(finding.code for finding in grave)),
        _design(one, found),
    )


def expected(subject: Subject, one: Map) -> float:
    """Rms of the output: what the plan says the op should give, else by theory from its input and its weights."""
    if subject.plan is not None and one.path in subject.plan:
        gives = subject.plan[one.path].gives
        if gives is not None:
            return math.sqrt(gives)
    if one.op.kind == "embedding":
        return root(one.values.second_moment)
    if one.derived or one.op.kind in ("recurrent", "attention_block"):
        return math.nan
    return root(one.predicted + one.bias)


def _marks(findings: Sequence[Finding]) -> dict[int, list[Finding]]:
    """Findings by the op at which they start, what is folded too."""
    marks: dict[int, list[Finding]] = {}
    for finding in (inner for root_ in findings for inner in root_.walk()):
        if finding.op is not None:
            marks.setdefault(finding.op, []).append(finding)
    return marks


def _design(one: Map, found: Sequence[Finding]) -> str:
    if any(finding.design for finding in found) or (one.law.kind == "zeros" and not found):
        return "zero by design" if one.law.kind == "zeros" else "by design"
    if not one.case.parameter.trained:
        return "frozen"
    return DESIGNS.get(one.case.role, "")
