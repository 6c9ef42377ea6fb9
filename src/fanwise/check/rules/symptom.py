"""Symptoms: what a rule's function yields, a finding but for what the rule itself knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fanwise.check.findings import Finding, Fix, Severity
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Map


@dataclass(frozen=True)
class Symptom:
    """What a rule sees in a model. The rule adds its code and its severity.

    Args:
        message: what is wrong, with its number, in one line.
        place: the parameter or module at which it starts; "" for the model itself.
        op: index of the op at which it starts, None where it belongs to no op.
        cause: why, in one line; "" where the message says it.
        kind: a word for the cause, one of `fanwise.check.rules.causes.CAUSES`.
        paths: the parameters concerned, in the model's order.
        evidence: the numbers that the rule looked at, by name.
        fix: what mends it.
        design: it is the model's design, not a mistake.
        severity: of this one, where it is not the rule's own.
    """

    message: str
    place: str = ""
    op: int | None = None
    cause: str = ""
    kind: str = ""
    paths: tuple[str, ...] = ()
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    fix: Fix | None = None
    design: bool = False
    severity: Severity | None = None

    def finding(self, code: str, severity: Severity) -> Finding:
        """The finding of a rule of this code and severity."""
        return Finding(
            code,
            self.severity or severity,
            self.message,
            self.place,
            self.op,
            self.cause,
            self.kind,
            self.paths,
            self.evidence,
            self.fix,
            design=self.design,
        )


def of_maps(
    maps: Sequence[Map],
    message: str,
    *,
    cause: str = "",
    kind: str = "",
    evidence: Mapping[str, float | int | str] | None = None,
    fix: Fix | None = None,
    severity: Severity | None = None,
) -> Symptom:
    """The symptom of several maps: it starts at the first of them, and its evidence ends with their number.

    Args:
        maps: in the order of execution.
        message: as of a `Symptom`.
        cause: as of a `Symptom`.
        kind: as of a `Symptom`.
        evidence: numbers besides.
        fix: what mends it; None: the maps are drawn anew.
        severity: as of a `Symptom`.
    """
    return Symptom(
        message,
        maps[0].path,
        maps[0].op.index,
        cause,
        kind,
        tuple(layer.path for layer in maps),
        {**(evidence or {}), "weights": len(maps)},
        fix or redraw(maps),
        severity=severity,
    )
