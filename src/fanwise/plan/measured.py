"""What one pass of the planner measures and the next needs before it can be measured."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fanwise.graph.factors import Factor
from fanwise.graph.trace import Trace
from fanwise.plan.roles import MAP_ROLES, Case

OpKey: TypeAlias = tuple[str, int, int]
"""Name of an op that is the same in every pass: module, call, ordinal."""
MOVED = 0.02
"""Share by which a second moment may differ between two passes that agree."""
ROUGH = 0.1
"""Measured factors that differ by less, from each other or from 1, are one: batches are small."""


@dataclass(frozen=True)
class Measured:
    """What a pass measures.

    Args:
        heads: second moment of what feeds a table that is the head too, by its path.
        factors: by what an op multiplies the rms of the operand that comes from a map, by the op's key.
        loops: by what the variance of a weight that opens a loop is multiplied, by `Use.matrix`.
        fed: second moment of what feeds each weight of a loop for the first time while no factor is at work.
        driven: the largest second moment that a weight of a cell reads over that at its first use, by `Use.matrix`.
        shares: by what the second moment that a map, norm or gate ends a branch with is multiplied, by `Use.matrix`.
        streams: second moment of each residual stream that is computed after the branch that joins it, by its key.
    """

    heads: dict[str, float] = field(default_factory=dict)
    factors: dict[OpKey, float] = field(default_factory=dict)
    loops: dict[str, float] = field(default_factory=dict)
    fed: dict[str, float] = field(default_factory=dict)
    driven: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    streams: dict[OpKey, float] = field(default_factory=dict)

    def grow(self, matrix: str, ratio: float) -> None:
        """Remembers what a weight of a cell reads at a use, over what it read first, where that is the largest."""
        self.driven[matrix] = max(float(f"{ratio:.3g}"), self.driven.get(matrix, 1.0))

    def has_moved(self, now: "Measured") -> bool:
        """Whether a later pass measured something else; what an earlier one does not know counts as 1."""
        if not now.streams.keys() <= self.streams.keys():
            return True
        pairs = (
            *((self.heads, now.heads), (self.loops, now.loops)),
            *((self.driven, now.driven), (self.streams, now.streams)),
            *((self.shares, now.shares), (now.shares, self.shares)),
        )
        moments = [change for before, after in pairs for change in _changes(before, after)]
        return any(change > MOVED for change in moments) or any(
            change > ROUGH for change in _changes(self.factors, now.factors)
        )


def _changes(before: Mapping[Any, float], now: Mapping[Any, float]) -> Iterator[float]:
    return (abs(value / before.get(name, 1.0) - 1) for name, value in now.items())


def measured_operands(trace: Trace, cases: Iterable[Case]) -> dict[OpKey, int]:
    """The ops whose factor is to be measured, and which of their operands comes from a map."""
    factors = (factor for case in cases if (factor := factor_of(case)) is not None)
    return {trace.ops[index].key: operand for factor in factors for index, operand in factor.measured}


def factor_of(case: Case) -> Factor | None:
    """The factor between a map and what its role is about: a nonlinearity, the outputs, or the join.

    A learned factor at the end of a branch is a gate, with a law of its own.
    """
    if case.around is None or case.role not in MAP_ROLES:
        return None
    factor, bends = case.around.factor(case.op), case.around.bent_by(case.op) is not None
    if factor is None or (case.role == "weight" and not bends):
        return None
    if case.role == "branch_end":
        return factor if factor.end is not None and not bends and not factor.measured else None
    return factor if bends or factor.end is None else None
