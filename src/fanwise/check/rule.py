"""What a rule is: a function over a `Subject`, and the page that explains it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from fanwise.check.findings import Finding, Severity
from fanwise.check.subject import Subject

Look: TypeAlias = Callable[[Subject], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        code: three letters, three digits.
        severity: the usual one of its findings; a finding may be milder.
        title: in a few words.
        sees: what it looks at, and where it draws the line.
        bad: why that is bad.
        example: code or a situation that brings it about.
        remedy: what mends it.
        source: author, title, year; "measured" where the line was drawn by python -m bench false_alarms.
        look: the findings of a subject.
        causes: codes of rules of which it may be a consequence.
    """

    code: str
    severity: Severity
    title: str
    sees: str
    bad: str
    example: str
    remedy: str
    source: str
    look: Look = field(repr=False, compare=False)
    causes: tuple[str, ...] = ()

    @property
    def false_alarms(self) -> str:
        """How often it speaks on healthy models, as python -m bench false_alarms last counted."""
        rates = _rates()
        return (
            f"{rates['alarms'].get(self.code, 0)} of {rates['healthy']} healthy models (python -m bench false_alarms)"
        )


@cache
def _rates() -> Any:
    return json.loads(files("fanwise.check").joinpath("false_alarms.json").read_text(encoding="utf-8"))
