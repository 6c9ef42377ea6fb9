"""Folds what follows from one cause under it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fanwise.check.findings import SEVERITIES, Finding
from fanwise.check.rules.registry import RULES


def folded(findings: Iterable[Finding]) -> list[Finding]:
    """The causes, each with what follows from it; findings come in the order of `RULES`, causes first."""
    roots: list[Finding] = []
    for finding in findings:
        cause = _cause_of(finding, roots)
        if cause is None:
            roots.append(finding)
        else:
            roots[cause] = _with(roots[cause], finding)
    return roots


def explained(code: str) -> frozenset[str]:
    """The codes of all rules whose findings a rule explains, at once or through others.

    Example:
        >>> sorted(explained("LOS001"))
        ['BWD001', 'BWD002', 'GRD002', 'UPD001', 'UPD002']
    """
    codes: set[str] = set()
    queue = list(RULES[code].explains)
    while queue:
        here = queue.pop()
        if here not in codes:
            codes.add(here)
            queue.extend(RULES[here].explains)
    return frozenset(codes)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Gravest first; among equals causes that lie in the values first, then in the order of execution."""
    return tuple(sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), _position(finding))))


def _cause_of(finding: Finding, roots: Sequence[Finding]) -> int | None:
    """The earliest root of which a finding may be a consequence."""
    if finding.design:
        return None
    causes = [i for i, root in enumerate(roots) if _explains(root, finding) and _may_cause(root, finding)]
    return min(causes, key=lambda i: _position(roots[i]), default=None)


def _explains(root: Finding, finding: Finding) -> bool:
    return RULES[finding.code].follows_any or finding.code in explained(root.code)


def _may_cause(root: Finding, finding: Finding) -> bool:
    if root.design or root.severity == "info":
        return False
    anywhere = RULES[finding.code].shows_before
    return anywhere or root.op is None or finding.op is None or root.op <= finding.op


def _with(root: Finding, finding: Finding) -> Finding:
    """A cause is as grave as the gravest of what follows from it."""
    severity = min((root.severity, finding.severity), key=SEVERITIES.index)
    return replace(root, severity=severity, follows=(*root.follows, finding))


def _position(finding: Finding) -> int:
    return -1 if finding.op is None else finding.op
