"""The lines of a report: one a weight op, with what theory expects there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanwise.check.findings import SEVERITIES, Finding, Severity
from fanwise.check.report_data import Layer
from fanwise.check.scale_causes import root
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import TO_SIGNAL
from fanwise.graph.op import OpKind
from fanwise.theory.propagation import Grounds, Propagation

DESIGNS: Mapping[str, str] = {
    "branch_gate": "a gate at the end of a branch, such as LayerScale",
    "tied_embedding": "tied: table and head",
}
"""Roles that are by design, in words."""
SHOWN: Mapping[str, str] = {"FRZ001": "frozen", "TWI001": "used more than once"}
"""Findings that are by design, in words."""


def layers(subject: Subject, findings: Sequence[Finding]) -> tuple[Layer, ...]:
    """One line a weight op, in the order of execution."""
    marks, expected = _marks(findings), _expected(subject)
    return tuple(
        replace(_layer(subject, weight_map, number, marks), expected=expected.get(weight_map.op.index, math.nan))
        for number, weight_map in enumerate(subject.maps, 1)
    )


def _layer(subject: Subject, weight_map: Map, number: int, marks: Mapping[int, list[Finding]]) -> Layer:
    findings_here = marks.get(weight_map.op.index, [])
    grave = [finding for finding in findings_here if not finding.design]
    severity: Severity | None = min((finding.severity for finding in grave), key=SEVERITIES.index, default=None)
    after = subject.trace.after(weight_map.op, {OpKind.ACTIVATION}, TO_SIGNAL)
    signal = None if after is None else subject.signals[after.index]
    return Layer(
        number,
        weight_map.op.index,
        weight_map.name,
        str(weight_map.op.kind),
        weight_map.law.text,
        weight_map.signal.rms,
        root(weight_map.signal.gradient),
        math.nan,
        math.nan if signal is None else signal.silent,
        math.nan if signal is None else signal.saturated,
        severity,
        tuple(dict.fromkeys(finding.code for finding in grave)),
        _design(weight_map, findings_here),
        *_predicted(subject, weight_map.op.index),
    )


def _predicted(subject: Subject, op: int) -> tuple[float, tuple[float, float], float, Grounds]:
    """What theory says of an op's rms, between what it lies, and of its gradient's; and what that stands on."""
    said = subject.predicted
    return *band_of(said, op, len(subject.observations)), root(said.gradients[op]), said.grounds[op]


def band_of(said: Propagation, op: int, seeds: int) -> tuple[float, tuple[float, float]]:
    """Rms that theory expects of an op, and between what it lies in 19 of 20 cases; NaN where there is no theory.

    The rms of a report is a mean over the seeds in the logarithm, which lies half its variance below that of the mean.
    """
    size, scatter = said.second_moments[op], said.scatters[op]
    if said.grounds[op] == Grounds.NOTHING or not (math.isfinite(size) and math.isfinite(scatter)):
        return math.nan, (math.nan, math.nan)
    rms = root(size) * math.exp(-min(scatter, LARGEST) / 4)
    reach = math.exp(min(math.sqrt(scatter / seeds), LARGEST))
    return rms, (rms / reach, rms * reach)


LARGEST = 50.0
"""Of a logarithm, beyond which a band says nothing."""


def _expected(subject: Subject) -> dict[int, float]:
    """Rms that each map should give, by the index of its op."""
    if subject.plan is not None:
        rows = {row.path: row.gives for row in subject.plan.rows}
        given = {weight_map.op.index: rows.get(weight_map.path) for weight_map in subject.maps}
        return {index: math.sqrt(gives) for index, gives in given.items() if gives is not None}
    sizes: dict[int, float] = {}
    for stretch in subject.stretches:
        inner = [weight_map for weight_map in stretch.maps if weight_map.case.role != "head"]
        sizes.update({weight_map.op.index: inner[0].signal.rms for weight_map in inner if len(inner) > 1})
    return sizes


def _marks(findings: Sequence[Finding]) -> dict[int, list[Finding]]:
    """Findings by the op at which they start, what is folded too."""
    marks: dict[int, list[Finding]] = {}
    for finding in (inner for root_ in findings for inner in root_.walk()):
        if finding.op is not None:
            marks.setdefault(finding.op, []).append(finding)
    return marks


def _design(weight_map: Map, findings: Sequence[Finding]) -> str:
    if weight_map.law.kind == "zeros" and all(finding.design for finding in findings):
        return "zero by design"
    shown = [SHOWN[finding.code] for finding in findings if finding.design and finding.code in SHOWN]
    if shown:
        return shown[0]
    if not weight_map.case.parameter.trained:
        return "frozen"
    return DESIGNS.get(weight_map.case.role, "")
