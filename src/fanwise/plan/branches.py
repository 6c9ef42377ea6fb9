"""What branches really add to their streams, where something behind their last map makes that differ from the map's.

A branch that ends in a map adds what the map gives: values around 0 that have nothing in common with the stream, so
that the second moments of both add up. What a nonlinearity, a gate or a fixed transform makes of it may be larger, and
it may have a mean: T branches alike, as behind a ReLU, add up to T^2 of them, not to T. Derived here: with E s^2 of the
stream, E d^2 of the branch and c = E s d, all measured, the branch times a gives

    E (s + a d)^2 = E s^2 + 2 a c + a^2 E d^2,

and a is the largest factor up to 1 with which that is at most (1 + 1/T) E s^2 of T joins, as behind a map that is added
as it is: at most e all in all, and room for what one random state has in common by chance.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fanwise.graph.context import GraphContext
from fanwise.graph.op import Op
from fanwise.graph.residual import Join
from fanwise.graph.trace import Trace
from fanwise.plan.measured import MOVED, OpKey


@dataclass
class BranchSizes:
    """The state of a pass.

    Args:
        trace: of an earlier run.
        around: what stands around its ops; None for a model without parameters.
    """

    trace: Trace
    around: GraphContext | None
    _moments: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joins = self._bent_joins() if self.around is not None else {}
        self._ends = {op: ends for op, ends in joins.items() if self._is_whole(self.trace.ops[op])}
        self._joins = {join.op: join for join in self.trace.joins if join.op in self._ends}
        wanted = {index for join in self._joins.values() for index in (join.op, join.stream, join.branch)}
        self._wanted: dict[OpKey, int] = {self.trace.ops[index].key: index for index in wanted}

    def see(self, key: OpKey, moment: Callable[[], float]) -> None:
        """Remembers what an op gave, where a bent branch or its stream is made of it."""
        if key in self._wanted:
            self._moments[self._wanted[key]] = moment()

    def shares(self, before: Mapping[str, float]) -> dict[str, float]:
        """By what the second moment of each end of a branch is to be multiplied, by `Use.matrix`; 1 is left out.

        Args:
            before: the same in this pass.
        """
        shares: dict[str, float] = {}
        for op, join in self._joins.items():
            fits = self._fitting(join)
            for name in self._ends[op]:
                shares[name] = min(shares.get(name, 1.0), before.get(name, 1.0) * fits)
        return {name: float(f"{share:.3g}") for name, share in shares.items() if share < 1 - MOVED}

    def _fitting(self, join: Join) -> float:
        """The factor a^2 with which a join grows its stream by 1 + 1/T, also above 1; 1 where nothing tells.

        Of a factor above 1, which makes up for one before that was too small, its root: ends that bend come nearer.
        """
        after, stream, branch = (self._moments.get(index, 0.0) for index in (join.op, join.stream, join.branch))
        if not (min(stream, branch, after) > 0 and math.isfinite(stream + branch + after)):
            return 1.0
        together = (after - stream - branch) / 2
        root = math.sqrt(together**2 + branch * stream / join.total)
        fits = ((root - together) / branch) ** 2
        return min(fits, math.sqrt(fits))

    def _bent_joins(self) -> dict[int, set[str]]:
        """The ends of each branch behind one of which something else than a number takes part, by the join's op."""
        ends: dict[int, list[Op]] = {}
        for op in self.trace.ops:
            ended = None if self.around is None else self.around.ended(op)
            if ended is not None and ended[0].op not in self.trace.filled:
                ends.setdefault(ended[0].op, []).append(op)
        return {
            join: {use.matrix for op in ops for use in op.uses}
            for join, ops in ends.items()
            if not all(self._is_plain(op, join) for op in ops)
        }

    def _is_plain(self, op: Op, join: int) -> bool:
        """Whether what an op gives is added as it is, or times a number."""
        factor = None if self.around is None else self.around.factor(op)
        return factor is not None and factor.end == join and not factor.measured and not factor.moved

    def _is_whole(self, op: Op) -> bool:
        """Whether all that a join adds is measured: not a view, nor the model's input."""
        return all(source >= 0 and self.trace.ops[source].size == op.size for source in op.inputs)
