"""What a rule is: a function over a `Subject`, decorated with its code, its severity, its page and its source."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from fanwise.check.findings import Finding, Fix, Severity
from fanwise.check.rules.symptom import Symptom
from fanwise.check.subject import Subject

Look: TypeAlias = Callable[[Subject], Iterable[Symptom]]

BY_COMMAND = " (fanwise fix)"
"""What texts say of a remedy that the command knows."""
MEASURED = "measured: python -m bench false_alarms"
"""The source of a line that was drawn between the healthy and the broken models of a collection."""


@dataclass(frozen=True)
class Page:
    """What `fanwise explain` prints of a rule. Each page stands alone.

    Args:
        says: what a finding of the rule means.
        why: why that matters.
        measured: what is measured, and where the line is drawn.
        example: code or a situation that brings it about.
        remedy: what to do.
    """

    says: str
    why: str
    measured: str
    example: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        code: three letters, three digits.
        severity: the usual one of its findings; a symptom may carry another.
        title: in a few words.
        page: its explanation.
        source: author, title, year, equation or section; `MEASURED` where the line was drawn by measurement.
        look: the symptoms of a subject.
        explains: codes of rules whose findings may be consequences of this one's. What those explain, it explains too.
        weights_alone: whether it needs the values of the weights alone, no run.
        shows_before: whether its findings may show at an op before their cause: those on gradients, losses, and on
            many weights together.
        follows_any: whether its findings follow from any finding at warning or above: what no rule explains is left.
    """

    code: str
    severity: Severity
    title: str
    page: Page = field(repr=False)
    source: str = field(repr=False)
    look: Look = field(repr=False, compare=False)
    explains: tuple[str, ...] = ()
    weights_alone: bool = False
    shows_before: bool = False
    follows_any: bool = False

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """What the rule finds in a subject; what is wrong and has no fix of its own gets the page's remedy."""
        return (self._with_remedy(symptom.finding(self.code, self.severity)) for symptom in self.look(subject))

    def _with_remedy(self, finding: Finding) -> Finding:
        if finding.fix is not None or finding.design or finding.severity == "info":
            return finding
        return replace(finding, fix=Fix(self.page.remedy.replace(BY_COMMAND, "").rstrip(".")))

    @property
    def false_alarms(self) -> str:
        """How often it speaks on healthy models, as python -m bench false_alarms last counted."""
        rates = _rates()
        alarms = rates["alarms"].get(self.code, 0)
        return f"{alarms} of {rates['healthy']} healthy models (python -m bench false_alarms)"


def rule(
    code: str,
    *,
    severity: Severity,
    title: str,
    page: Page,
    source: str,
    explains: tuple[str, ...] = (),
    weights_alone: bool = False,
    shows_before: bool = False,
    follows_any: bool = False,
) -> Callable[[Look], Rule]:
    """A decorator that makes a rule of the function which looks for its symptoms; the arguments are those of `Rule`."""

    def decorate(look: Look) -> Rule:
        flags = weights_alone, shows_before, follows_any
        return Rule(code, severity, title, page, source, look, explains, *flags)

    return decorate


@cache
def _rates() -> Any:
    return json.loads(files("fanwise.check").joinpath("false_alarms.json").read_text(encoding="utf-8"))
