"""What stands around a parameter in the model: the branch it lies on, the stack, and the nonlinearity before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from fanwise.graph.factors import Factor, factor_after, factor_of
from fanwise.graph.kinds import (
    LINEAR_MAPS,
    MOVING,
    TO_SIGNAL,
    TRANSPARENT,
)
from fanwise.graph.made import Maker, makers
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.residual import Join, ends_later
from fanwise.graph.trace import Trace


@dataclass(frozen=True)
class Branch:
    """A residual branch.

    Args:
        join: where it meets its stream.
        ops: indices of its ops.
        depth: maps on the longest way through it.
        ends: its last maps.
        normed: whether a normalisation stands between its last maps and the join.
        width: features of the stream, 0 where it has no map.
    """

    join: Join
    ops: frozenset[int]
    depth: int
    ends: frozenset[int]
    normed: bool
    width: int


@dataclass(frozen=True)
class Stack:
    """The blocks along one residual stream.

    Args:
        kind: "alone", or "encoder" and "decoder" where the branches of one stream read the end of the other.
        joins: of this stream.
        others: joins of the other stack, 0 where it stands alone.
    """

    kind: str
    joins: int
    others: int = 0


class GraphContext:
    """Answers about a trace, each found once.

    Args:
        trace: of a run.
        heads: indices of the maps that make the outputs.
        ends: the joins of the branches that ops end, and how many end each side by side, by the op's index.
    """

    def __init__(
        self, trace: Trace, heads: frozenset[int] = frozenset(), ends: Mapping[int, tuple[Join, int]] | None = None
    ) -> None:
        self.trace = trace
        self._heads = heads
        self._ended_by = dict(ends or {})
        self._factors: dict[int, Factor | None] = {}

    def is_head(self, op: Op | None) -> bool:
        """Whether an op makes the model's outputs."""
        return op is not None and op.index in self._heads

    def ended(self, op: Op) -> tuple[Join, int] | None:
        """The join of the branch that an op ends, and how many ops end it; None where it ends none."""
        return self._ended_by.get(op.index)

    def branch(self, op: Op | None) -> Branch | None:
        """The innermost branch on which an op lies, None where it lies on none."""
        return None if op is None else self._branch_of.get(op.index)

    def stack(self, join: Join) -> Stack:
        """The stack that a join belongs to."""
        return self._stacks[join.op]

    @cached_property
    def deepest(self) -> Stack | None:
        """The stack with the most joins, a decoder before others; None in a model without joins."""
        return max(self._stacks.values(), key=lambda stack: (stack.kind == "decoder", stack.joins), default=None)

    def activation(self, op: Op | None) -> Op | None:
        """The nonlinearity that feeds an op, None where another op stands between or there is none."""
        return None if op is None else self.trace.before(op, {OpKind.ACTIVATION}, TRANSPARENT)

    @cached_property
    def makers(self) -> Mapping[int, Maker]:
        """What makes weights, by the index of its op."""
        return makers(self.trace)

    def factor(self, op: Op | None) -> Factor | None:
        """By what a map's output is multiplied on its way to what it is for; None where there is no such way."""
        if op is None:
            return None
        if op.index not in self._factors:
            self._factors[op.index] = factor_after(self.trace, op)
        return self._factors[op.index]

    def bent_by(self, op: Op | None) -> str | None:
        """Name of the nonlinearity, or "softmax", that a map is for; None where it is for no such thing."""
        factor = self.factor(op)
        end = None if factor is None or factor.end is None else self.trace.ops[factor.end]
        return None if end is None or end.kind == OpKind.ADD else end.nonlinearity or str(end.kind)

    def is_first(self, op: Op | None) -> bool:
        """Whether no weight stands between an op and the model's inputs."""
        return op is None or self.trace.of_maps.isdisjoint(op.inputs)

    def constant_after(self, op: Op | None) -> float:
        """The number by which what an op gives is multiplied before anything else reads it: sqrt(d) after a table."""
        factor = 1.0
        while op is not None:
            readers = self.trace.follows(op)
            op = readers[0] if len(readers) == 1 else None
            number = None if op is None else factor_of(op)
            if op is None or (number is None and op.kind not in MOVING):
                break
            factor *= 1.0 if number is None else number
        return factor

    def is_bent(self, op: Op | None, join: Join | None) -> bool:
        """Whether a nonlinearity stands between an op and the end of the branch that it is in."""
        if op is None or join is None:
            return False
        bend = self.trace.after(op, {OpKind.ACTIVATION}, TO_SIGNAL)
        return bend is not None and bend.index <= join.branch

    def reads_input(self, op: Op | None) -> bool:
        """Whether an op reads the model's input itself, moved or dropped out at most."""
        while op is not None and op.inputs:
            source = op.inputs[0]
            if source == INPUT:
                return True
            op = self.trace.ops[source] if self.trace.ops[source].kind in TRANSPARENT else None
        return False

    def map_of(self, op: Op | None) -> tuple[Use, Parameter] | None:
        """The first linear map of an op, None where it has none."""
        uses = () if op is None else op.uses
        map_use = next((use for use in uses if use.role in (UseRole.WEIGHT, UseRole.QUERY, UseRole.OUTPUT)), None)
        return None if map_use is None else (map_use, self.trace.by_path[map_use.path])

    @cached_property
    def _branch_of(self) -> Mapping[int, Branch]:
        branches: dict[int, Branch] = {}
        for branch in sorted(map(self._branch, self.trace.joins), key=lambda branch: branch.join.origin):
            branches.update(dict.fromkeys(branch.ops, branch))
        return branches

    def _branch(self, join: Join) -> Branch:
        ops = self._members(join)
        ends, normed = self._ends(join)
        widths = (_features(self.trace.ops[end]) for end in ends)
        return Branch(join, ops, self._depth(ops, join), ends, normed, max(widths, default=0))

    def _members(self, join: Join) -> frozenset[int]:
        """The ops that lead to the join, younger than the stream."""
        members: set[int] = set()
        queue = [join.branch]
        while queue:
            here = queue.pop()
            if here > join.origin and here not in members:
                members.add(here)
                queue.extend(self.trace.ops[here].inputs)
        return frozenset(members)

    def _depth(self, ops: frozenset[int], join: Join) -> int:
        depths: dict[int, int] = {}
        for index in sorted(ops):
            op = self.trace.ops[index]
            before = max((depths.get(source, 0) for source in op.inputs), default=0)
            depths[index] = before + _map_count(op)
        return depths.get(join.branch, 0)

    def _ends(self, join: Join) -> tuple[frozenset[int], bool]:
        ends, normed, seen = set(), False, {join.branch}
        queue = [join.branch]
        while queue:
            op = self.trace.ops[queue.pop()]
            normed = normed or op.kind == OpKind.NORM
            if op.kind in LINEAR_MAPS:
                ends.add(op.index)
            elif ends_later(op):
                fresh = {source for source in op.inputs if source > join.origin} - seen
                seen |= fresh
                queue += fresh
        return frozenset(ends), normed

    @cached_property
    def _stacks(self) -> Mapping[int, Stack]:
        streams = list(_streams(self.trace))
        encoders = {i: self._encoder(i, streams) for i in range(len(streams))}
        decoders = {encoder: i for i, encoder in encoders.items() if encoder is not None}
        stacks: dict[int, Stack] = {}
        for i, joins in enumerate(streams):
            stack = Stack("alone", len(joins))
            if encoders[i] is not None:
                stack = Stack("decoder", len(joins), len(streams[encoders[i] or 0]))
            elif i in decoders:
                stack = Stack("encoder", len(joins), len(streams[decoders[i]]))
            stacks.update((join.op, stack) for join in joins)
        return stacks

    def _encoder(self, which: int, streams: list[list[Join]]) -> int | None:
        """The other stream whose end the branches of this one read, though this one does not start from it."""
        mine = streams[which]
        start, end = self.trace.ancestors(mine[0].stream), self.trace.ancestors(mine[-1].op)
        encoders = [
            i
            for i, joins in enumerate(streams)
            if i != which
            and joins[-1].op in end - start
            and mine[0].stream not in (*self.trace.ancestors(joins[-1].op), INPUT)
        ]
        return max(encoders, key=lambda i: streams[i][-1].op, default=None)


def _streams(trace: Trace) -> Iterator[list[Join]]:
    """The joins of each stream."""
    streams: dict[int, list[Join]] = {}
    for join in trace.joins:
        streams.setdefault(join.number, []).append(join)
    yield from streams.values()


def _map_count(op: Op) -> int:
    """Linear maps one after the other in an op: projections and output of an attention block are two."""
    if op.kind not in LINEAR_MAPS or not op.uses:
        return 0
    return 2 if op.kind == OpKind.ATTENTION_BLOCK else 1


def _features(op: Op) -> int:
    return op.shape[op.axis] if op.shape else 0
