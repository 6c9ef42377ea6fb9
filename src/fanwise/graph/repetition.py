"""Weights that are applied several times in a row: each time to what the time before led to.

An unrolled recurrent network, messages passed from row to row, a graph network with shared layers, a deep equilibrium:
what one use does to the size of a signal, the chain does to the power of its uses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from fanwise.graph.kinds import BENDING, MAP_USES, MOVING, STRETCH_MAPS, TO_SIGNAL
from fanwise.graph.op import Op, OpKind
from fanwise.graph.paths import ancestors
from fanwise.graph.trace import Trace

HALVES = ("relu", "leaky_relu", "gelu", "silu", "swish", "softplus")
"""Nonlinearities f of f(x) - f(-x) = c x."""
NOT_STRAIGHT = BENDING | {OpKind.NORM, OpKind.MUL, OpKind.OTHER, OpKind.RECURRENT}
"""Ops after which a signal and its negative are no longer each other's mirror, unless f is one of `HALVES`."""


class ChainKind(StrEnum):
    """What happens to the signal between two uses."""

    STATE = "state"
    """Something from outside is added to what the weight gives, and both go through a nonlinearity: a cell."""
    LOOP = "loop"
    """The signal goes through what the model has between: nothing is added from outside."""
    DRIVEN = "driven"
    """Something from outside is put beside what the time before led to, and both go into the weight: a cell, too."""
    BRANCH = "branch"
    """The weight lies on a residual branch: a stream leads past it."""


@dataclass(frozen=True)
class Chain:
    """One weight that is applied several times in a row.

    Args:
        ops: the ops that use it, in order; each depends on the one before.
        kind: what happens between.
        uses: how many uses follow each other: more than the ops where a loop was not traced round by round.
        opens: whether no other weight of the same loop comes before it.
        halves: whether all that bends the signal between two uses are functions of f(x) - f(-x) = c x, such as a ReLU.
    """

    ops: tuple[int, ...]
    kind: ChainKind
    uses: int
    opens: bool = True
    halves: bool = False


def chains_of(trace: Trace) -> Mapping[str, Chain]:
    """The longest chain of each weight that is applied to what it led to itself, by `fanwise.graph.op.Use.matrix`."""
    uses: dict[tuple[str, frozenset[str | float]], list[int]] = {}
    for op in trace.ops:
        maps = [use.matrix for use in op.uses if use.role in MAP_USES] if op.kind in STRETCH_MAPS else []
        made: frozenset[str | float] = frozenset((*maps, *_fingerprints(op)) if len(maps) > 1 else maps)
        for name in maps:  # what is made of one parameter with others is another weight with each of them
            uses.setdefault((name, made), []).append(op.index)
    each = [(name, _longest(trace.ops, ops)) for (name, _), ops in uses.items() if len(ops) > 1]
    runs = dict(sorted(each, key=lambda named: len(named[1])))
    every = {name: _chain(trace, run) for name, run in runs.items() if len(run) > 1}
    chains = {name: chain for name, chain in every.items() if not _begins_anew(trace, chain)}
    cells = [index for chain in chains.values() if chain.kind == ChainKind.DRIVEN for index in chain.ops]
    chains = {name: _in_cell(trace.ops, chain, cells) for name, chain in chains.items()}
    loops = [chain.ops for chain in chains.values() if chain.kind == ChainKind.LOOP]
    return MappingProxyType({name: _as_loop(trace.ops, chain, loops) for name, chain in chains.items()})


def _fingerprints(op: Op) -> Iterator[float]:
    """Numbers that tell apart the weights that are made of the same parameters, or of other parts of them."""
    return (use.transform.fingerprint for use in op.uses if use.transform is not None)


def _chain(trace: Trace, run: tuple[int, ...]) -> Chain:
    return Chain(run, _kind(trace, run), sum(trace.ops[index].rounds for index in run))


def _begins_anew(trace: Trace, chain: Chain) -> bool:
    """Whether a loop goes through other maps and, on every way, through a norm: what it reads has a size of its own.

    So it is where a decoder refines places: each layer reads them through a map of its own of the places before.
    """
    first, second = chain.ops[:2]
    if chain.kind != ChainKind.LOOP or not _has_others(trace, first, second):
        return False
    queue, seen = [second], set[int]()
    while queue:
        index = queue.pop()
        if index == first:
            return False
        op = trace.ops[index]
        fresh = [source for source in op.inputs if source >= first and source not in seen]
        seen.update(fresh)
        queue += fresh if op.kind != OpKind.NORM or index == second else []
    return True


def _has_others(trace: Trace, first: int, second: int) -> bool:
    """Whether maps by other weights lie between two uses."""
    own = {use.matrix for use in trace.ops[first].uses}
    ways = (
        index for index in trace.ancestors(second, first) if index > first and first in trace.ancestors(index, first)
    )
    others = (use for index in ways if trace.ops[index].kind in STRETCH_MAPS for use in trace.ops[index].uses)
    return any(use.role in MAP_USES and use.matrix not in own for use in others)


def _in_cell(ops: Sequence[Op], chain: Chain, cells: Sequence[int]) -> Chain:
    """A loop that goes through a weight of a cell is driven, too."""
    first, second = chain.ops[:2]
    inside = (index for index in cells if first < index < second and index in ancestors(ops, second, first))
    if chain.kind != ChainKind.LOOP or not any(first in ancestors(ops, index, first) for index in inside):
        return chain
    return replace(chain, kind=ChainKind.DRIVEN)


def _as_loop(ops: Sequence[Op], chain: Chain, loops: Sequence[Sequence[int]]) -> Chain:
    """The chain with what is asked of loops alone."""
    if chain.kind != ChainKind.LOOP:
        return chain
    return replace(chain, opens=_opens(ops, chain.ops, loops), halves=_has_halves(ops, *chain.ops[:2]))


def _has_halves(ops: Sequence[Op], first: int, second: int) -> bool:
    """Whether what stands between two uses bends as a ReLU does, and in no other way."""
    between = [ops[i] for i in ancestors(ops, second, first) if i > first and first in ancestors(ops, i, first)]
    bent = [op for op in between if op.kind in NOT_STRAIGHT]
    return bool(bent) and all(op.nonlinearity in HALVES for op in bent)


def _longest(ops: Sequence[Op], uses: Sequence[int]) -> tuple[int, ...]:
    """The longest run of uses in which each depends on the one before."""
    runs: list[tuple[int, ...]] = []
    for here in uses:
        past = ancestors(ops, here, uses[0])
        before = [run for run in runs if run[-1] in past]
        runs.append((*max(before, key=len, default=()), here))
    return max(runs, key=len)


def _kind(trace: Trace, run: Sequence[int]) -> ChainKind:
    if _is_state(trace, run[0], run[1]):
        return ChainKind.STATE
    if _is_driven(trace, run[0], run[1]):
        return ChainKind.DRIVEN
    on_branch = any(run[0] in _since(trace, join.branch, join.origin) for join in trace.joins)
    return ChainKind.BRANCH if on_branch else ChainKind.LOOP


def _is_state(trace: Trace, first: int, second: int) -> bool:
    """Whether what the second use gives is added to something that does not depend on the first, and then bent."""
    total = trace.after(trace.ops[second], {OpKind.ADD}, MOVING | {OpKind.ELEMENTWISE, OpKind.MUL})
    if total is None or trace.after(total, {OpKind.ACTIVATION}, TO_SIGNAL) is None:
        return False
    others = [source for source in total.inputs if second not in trace.ancestors(source, first)]
    return bool(others) and all(first not in trace.ancestors(source, first) for source in others)


def _is_driven(trace: Trace, first: int, second: int) -> bool:
    """Whether the second use reads what the first led to, side by side with the model's inputs or what is read of them.

    What the first use read as well, such as a context that is the same in each round, comes from outside, too.
    """
    op = trace.ops[second]
    joined = op if op.kind == OpKind.CONCAT else trace.before(op, {OpKind.CONCAT}, MOVING)
    if joined is None or joined.index < first:
        return False
    others = [source for source in joined.inputs if first not in trace.ancestors(source, first)]
    return 0 < len(others) < len(joined.inputs)


def _since(trace: Trace, index: int, origin: int) -> set[int]:
    """What led to an op since another."""
    return {here for here in trace.ancestors(index, origin) if here > origin}


def _opens(ops: Sequence[Op], run: Sequence[int], loops: Sequence[Sequence[int]]) -> bool:
    """Whether no other chain begins before this one and goes on through it."""
    return not any(
        other[0] < run[0] < other[1] and other[0] in ancestors(ops, run[0]) and run[0] in ancestors(ops, other[1])
        for other in loops
    )
