"""Baselines: findings that are known, kept in a file, and left out of later reports."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from fanwise.check.findings import SEVERITIES, Finding, Severity
from fanwise.check.report import Report
from fanwise.check.report_data import Layer

Known: TypeAlias = frozenset[tuple[str, str]]
"""Codes of rules with the places at which their findings are known."""

VERSION = 1
EXPECTED = 'expected {"fanwise-baseline": 1, "known": [{"code": "FWD001", "place": "0.weight"}, ...]}'


def to_baseline(report: Report) -> str:
    """All findings of a report, those folded too, as a baseline file: sorted, so that its history can be read."""
    pairs = sorted({(finding.code, finding.place) for cause in report.findings for finding in cause.walk()})
    known = [{"code": code, "place": place} for code, place in pairs]
    return json.dumps({"fanwise-baseline": VERSION, "known": known}, indent=1, ensure_ascii=False) + "\n"


def from_baseline(text: str) -> Known:
    """What a baseline file says is known.

    Raises:
        ValueError: no JSON, or none of this form.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON, {error}: {EXPECTED}") from None
    if not isinstance(values, dict) or values.get("fanwise-baseline") != VERSION:
        raise ValueError(EXPECTED)
    entries = values.get("known")
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise ValueError(EXPECTED)
    return frozenset((entry["code"], entry["place"]) for entry in entries)


def without(report: Report, known: Collection[tuple[str, str]]) -> Report:
    """The report without known findings, which it counts; what followed from one and is not known stands alone."""
    kept = tuple(_unknown(report.findings, known))
    count = _count(report.findings) - _count(kept)
    if not count:
        return report
    layers = tuple(_layer(layer, kept) for layer in report.layers)
    return replace(report, findings=kept, layers=layers, suppressed=report.suppressed + count)


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in ("code", "place"))


def _unknown(findings: Sequence[Finding], known: Collection[tuple[str, str]]) -> Iterator[Finding]:
    for finding in findings:
        follows = tuple(_unknown(finding.follows, known))
        if (finding.code, finding.place) in known:
            yield from follows
        else:
            yield replace(finding, follows=follows)


def _count(findings: Sequence[Finding]) -> int:
    return sum(1 for finding in findings for _ in finding.walk())


def gravest(findings: Sequence[Finding]) -> Severity | None:
    """The gravest severity; None without findings."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index, default=None)


def _layer(layer: Layer, findings: Sequence[Finding]) -> Layer:
    """The line of a layer with the findings that are left."""
    here = [
        finding
        for cause in findings
        for finding in cause.walk()
        if finding.op == layer.op and finding.code in layer.codes
    ]
    codes = tuple(code for code in layer.codes if any(finding.code == code for finding in here))
    return replace(layer, codes=codes, severity=gravest(here))
