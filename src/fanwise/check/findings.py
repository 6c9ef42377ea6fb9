"""Findings: what is wrong, where it starts, why, what follows from it, and what mends it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fanwise.laws.base import Initializer

Severity: TypeAlias = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""From the gravest down."""


@dataclass(frozen=True)
class Fix:
    """What mends a finding.

    Args:
        text: one line, such as "He normal on 12 weights".
        safe: whether it re-initialises weights that nobody has trained; a change of the architecture, or of weights
            that look trained, is not safe. Whether it cures is not known before `fix` has tried it on a copy.
        paths: the parameters that it would re-initialise; () where it does not re-initialise.
        laws: the law that parameters among them get, by path, where it is no recipe's.
    """

    text: str
    safe: bool = False
    paths: tuple[str, ...] = ()
    laws: Mapping[str, Initializer] = field(default_factory=dict)

    @property
    def draws(self) -> bool:
        """Whether it may be done at once: by drawing parameters anew, and safely."""
        return self.safe and bool(self.paths)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        code: of its rule, such as "FWD001".
        severity: "error", "warning" or "info".
        message: what is wrong, with its number, in one line.
        place: the parameter or module at which it starts; "" for the model itself.
        op: index of the op at which it starts, None where it belongs to no op.
        cause: why, in one line; "" where the message says it.
        kind: a word for the cause, one of `fanwise.check.rules.causes.CAUSES`.
        paths: the parameters concerned, in the model's order.
        evidence: the numbers that the rule looked at, by name.
        fix: what mends it.
        follows: findings that follow from this one, folded under it.
        design: it is the model's design, not a mistake: shown as such.
    """

    code: str
    severity: Severity
    message: str
    place: str = ""
    op: int | None = None
    cause: str = ""
    kind: str = ""
    paths: tuple[str, ...] = ()
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    fix: Fix | None = None
    follows: tuple["Finding", ...] = ()
    design: bool = False

    def walk(self) -> Iterator["Finding"]:
        """This finding and all that follow from it."""
        yield self
        for finding in self.follows:
            yield from finding.walk()


def counted(count: int, noun: str) -> str:
    """A count and its noun.

    Example:
        >>> counted(1, "error"), counted(3, "bias")
        ('1 error', '3 biases')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def and_more(count: int, noun: str, *, link: str = "and") -> str:
    """The tail of a message that names the first of several; "" where there are no more.

    Example:
        >>> and_more(2, "weight"), and_more(0, "weight")
        (', and 2 weights more', '')
    """
    return f", {link} {counted(count, noun)} more" if count else ""


def at_least(severity: Severity, floor: Severity) -> bool:
    """Whether a severity is as grave as another, or graver."""
    return SEVERITIES.index(severity) <= SEVERITIES.index(floor)


def label(path: str) -> str:
    """The path of a weight without the name that a layer gives its weight.

    Example:
        >>> label("encoder.0.weight"), label("Dense_0.kernel"), label("embedding")
        ('encoder.0', 'Dense_0', 'embedding')
    """
    head, _, last = path.rpartition(".")
    return head if head and last in ("weight", "kernel") else path
