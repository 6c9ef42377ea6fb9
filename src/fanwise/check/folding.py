"""Runs the rules over a subject and folds what follows from one cause under it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from fanwise.check.findings import SEVERITIES, Finding
from fanwise.check.rules import RULES
from fanwise.check.subject import Subject
from fanwise.graph.op import Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.measure.observation import Observation, Signal, Values

ON_VALUES = ("NAN001", "CON001", "EQU001", "COP001", "LAY001", "WGT001", "WGT002")
"""Rules that need the weights alone."""


def judge(subject: Subject, select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Every finding of a subject, causes with what follows from them, gravest first, then in the order of execution.

    Args:
        subject: what was observed.
        select: beginnings of codes; () selects all.
        ignore: beginnings of codes that are left out.

    Raises:
        ValueError: a text that no code begins with.
    """
    codes = chosen_codes(select, ignore)
    found = [finding for code in codes for finding in RULES[code].look(subject)]
    return ordered(folded(found))


def chosen_codes(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[str, ...]:
    """The codes that are asked for.

    Raises:
        ValueError: a text that no code begins with.
    """
    for text in (*select, *ignore):
        if not any(code.startswith(text) for code in RULES) or not text:
            raise ValueError(f"code {text!r}: expected the beginning of one of {', '.join(RULES)}")
    kept = (code for code in RULES if not select or code.startswith(tuple(select)))
    return tuple(code for code in kept if not ignore or not code.startswith(tuple(ignore)))


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


def _cause_of(finding: Finding, roots: Sequence[Finding]) -> int | None:
    """The earliest root of which a finding may be a consequence."""
    if finding.design:
        return None
    wanted = _ancestors(finding.code)
    places = [i for i, root in enumerate(roots) if root.code in wanted and _may_cause(root, finding)]
    return min(places, key=lambda i: _position(roots[i]), default=None)


def _ancestors(code: str) -> set[str]:
    found: set[str] = set()
    queue = list(RULES[code].causes)
    while queue:
        here = queue.pop()
        if here not in found:
            found.add(here)
            queue.extend(RULES[here].causes)
    return found


BACKWARD = (
    "ATT001",
    "SAT001",
    "LOS001",
    "BWD001",
    "BWD002",
    "GRD002",
    "UPD001",
    "UPD002",
    "LAW001",
    "WGT001",
    "WGT002",
    "NAN002",
    "OUT001",
)
"""What shows in places before its cause, or in no place."""


def _may_cause(root: Finding, finding: Finding) -> bool:
    if root.design or root.severity == "info":
        return False
    return finding.code in BACKWARD or root.op is None or finding.op is None or root.op <= finding.op


def _with(root: Finding, finding: Finding) -> Finding:
    """A cause is as grave as the gravest of what follows from it."""
    severity = min((root.severity, finding.severity), key=SEVERITIES.index)
    return replace(root, severity=severity, follows=(*root.follows, finding))


def _position(finding: Finding) -> int:
    return -1 if finding.op is None else finding.op


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Gravest first; among equals causes that lie in the values first, then in the order of execution."""
    return tuple(sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), _position(finding))))


def judge_weights(
    values: Mapping[str, Values], parameters: Sequence[Parameter], layouts: Mapping[str, Layout] = MappingProxyType({})
) -> tuple[Finding, ...]:
    """What can be said of weights alone, without a run: each tensor of two or more axes counts as a map.

    Args:
        values: of every parameter, by path.
        parameters: their names and shapes.
        layouts: roles of their axes, where they are known or guessed: without them scales are not compared.
    """
    ops = tuple(_alone(i, one, layouts.get(one.path)) for i, one in enumerate(parameters))
    subject = Subject((Observation(Trace(ops, tuple(parameters)), (Signal(),) * len(ops), values),))
    return ordered(folded(finding for code in ON_VALUES for finding in RULES[code].look(subject)))


def _alone(index: int, parameter: Parameter, layout: Layout | None) -> Op:
    """An op that uses one parameter and reads nothing."""
    table = layout is not None and "lookup" in layout.axes
    kind = OpKind.EMBEDDING if table else OpKind.LINEAR if len(parameter.shape) > 1 else OpKind.SHIFT
    role = UseRole.TABLE if table else UseRole.WEIGHT if len(parameter.shape) > 1 else UseRole.BIAS
    use = Use(parameter.path, role, layout)
    return Op(index, kind, "file", parameter.path.rpartition(".")[0], 0, index, (), (use,))
