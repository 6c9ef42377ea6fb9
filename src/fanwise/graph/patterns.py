"""What several ops mean together: normalisations written by hand, maps stored fused, attention written out.

An adapter passes its raw trace through `recognised` once; what reads the trace then sees a "norm" where the model
multiplied by an inverse root mean square, and blocks where one matrix holds Q, K and V.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from fanwise.graph.arithmetic import QUOTIENTS, SUMS
from fanwise.graph.attention import TOTALS, attention_part
from fanwise.graph.details import Activation, Arithmetic, Halves, Normalisation, Slicing
from fanwise.graph.kinds import ELEMENTWISE, MOVING, STATISTIC
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Fused, Layout

STATISTIC_STEPS = 8
"""How many ops may stand between a reduction and the product with its inverse root."""


def recognised(trace: Trace) -> Trace:
    """The trace with what is written by hand named, and with fused maps told in the layouts."""
    named = replace(trace, ops=tuple(_named(trace, op) for op in trace.ops))
    blocks = fused_blocks(named)
    return replace(named, ops=tuple(_with_blocks(named, op, blocks.get(op.index)) for op in named.ops))


ROOTS = frozenset({"sqrt", "rsqrt", "pow", "power", "float_power"})
"""Functions that take the root of a statistic, or its inverse."""
LENGTHS = ("norm", "vector_norm", "linalg_vector_norm", "linalg_norm", "std")
"""Reductions that grow as their input does, so that a quotient by one is a normalisation."""


def _named(trace: Trace, op: Op) -> Op:
    """A product of a tensor and of a statistic of itself is a normalisation; less its mean, it is still itself."""
    if _centred_from(trace, op) is not None:
        return replace(op, kind=OpKind.ELEMENTWISE, detail=Arithmetic(op.constant, op.minus, centred=True))
    if op.kind not in (OpKind.MUL, OpKind.ELEMENTWISE) or len(op.inputs) != 2:
        return op
    scores = _scores_of(trace, op)
    if scores is not None:
        return _reading(replace(op, kind=OpKind.SOFTMAX, detail=None, replay=None, probe=None), trace.ops[scores])
    for values, statistic in (op.inputs, op.inputs[::-1]):
        if values >= 0 and statistic >= 0 and _is_statistic(trace, statistic, values):
            source = _centred_from(trace, trace.ops[values])
            inputs = (values if source is None else source,)
            reads = (op.reads[op.inputs.index(values)],) if op.reads else ()
            detail = Normalisation("by hand", _epsilon(trace, statistic), centred=source is not None)
            return replace(op, kind=OpKind.NORM, inputs=inputs, reads=reads, detail=detail)
    return op


def _scores_of(trace: Trace, op: Op) -> int | None:
    """The op whose first input a quotient is the softmax of, exp(x - max x) / sum exp(x - max x); None for others."""
    if op.name not in QUOTIENTS or min(op.inputs) < 0:
        return None
    power, total = (trace.ops[source] for source in op.inputs)
    if power.name != "exp" or total.name not in TOTALS or total.inputs != (power.index,):
        return None
    return _without_maximum(trace, power).index


def _without_maximum(trace: Trace, op: Op) -> Op:
    """The op that takes the maximum from what an exponential reads, where one does; else the exponential."""
    source = trace.ops[op.inputs[0]] if op.inputs and op.inputs[0] >= 0 else op
    return source if source.minus == 1 and len(source.inputs) == 2 and _is_maximum(trace, source) else op


def _is_maximum(trace: Trace, difference: Op) -> bool:
    values, largest = difference.inputs
    return largest >= 0 and trace.ops[largest].kind == OpKind.REDUCE and trace.ops[largest].inputs == (values,)


def _reading(op: Op, other: Op) -> Op:
    """The op with the first input of another one as its only input."""
    return replace(
        op, inputs=other.inputs[:1], reads=other.reads[:1], given=other.given[: other.inputs[:1].count(INPUT)]
    )


def _centred_from(trace: Trace, op: Op) -> int | None:
    """What a mean over its own values was taken from, None where an op is no such difference."""
    if op.kind != OpKind.ADD or op.minus != 1 or len(op.inputs) != 2:
        return None
    values, mean = op.inputs
    is_own_mean = mean >= 0 and trace.ops[mean].kind == OpKind.REDUCE and trace.ops[mean].inputs == (values,)
    return values if is_own_mean else None


def _is_statistic(trace: Trace, statistic: int, values: int) -> bool:
    small, large = trace.ops[statistic], trace.ops[values]
    length = small.kind == OpKind.REDUCE and small.name in LENGTHS
    if not (small.kind == OpKind.ELEMENTWISE or length) or not small.shape or small.size >= large.size:
        return False
    origins = _origins(trace, large)
    frontier = [(statistic, False)]
    for _ in range(STATISTIC_STEPS):
        frontier = list(_before(trace, frontier))
        if any(seen and source in origins for source, seen in frontier):
            return True
    return False


def _epsilon(trace: Trace, statistic: int) -> float:
    """What is added to the mean square that a statistic is made of; what is added to its root counts squared."""
    op, rooted, added = trace.ops[statistic], False, 0.0
    for _ in range(STATISTIC_STEPS):
        if op.kind != OpKind.ELEMENTWISE or len(op.inputs) != 1 or op.inputs[0] < 0:
            break
        rooted = rooted or op.name in ROOTS
        if op.name in SUMS and op.constant:
            added += op.constant if rooted else op.constant**2
        op = trace.ops[op.inputs[0]]
    return max(added, 0.0)


def _before(trace: Trace, frontier: Iterable[tuple[int, bool]]) -> Iterator[tuple[int, bool]]:
    """What feeds a statistic's ops, and whether a reduction stands between."""
    for here, reduced in frontier:
        if here >= 0 and _is_pointwise(trace, trace.ops[here]):
            for source in trace.ops[here].inputs:
                yield source, reduced or trace.ops[here].kind == OpKind.REDUCE


def _is_pointwise(trace: Trace, op: Op) -> bool:
    return op.kind in STATISTIC or _centred_from(trace, op) is not None


def _origins(trace: Trace, op: Op) -> set[int]:
    """The op, and what it was made of value by value."""
    origins: set[int] = set()
    while True:
        origins.add(op.index)
        source = _centred_from(trace, op)
        if source is None and op.kind in (OpKind.ELEMENTWISE, OpKind.SCALE) and len(op.inputs) == 1:
            source = op.inputs[0]
        if source is None or source < 0:
            return origins if source is None else origins | {source}
        op = trace.ops[source]


@dataclass(frozen=True)
class Block:
    """One of the maps that a weight holds.

    Args:
        first: its first feature.
        count: how many features.
        piece: which slice of the output it belongs to, an index into `Blocks.slices`.
    """

    first: int
    count: int
    piece: int


@dataclass(frozen=True)
class Blocks:
    """The maps that one weight op's output is cut into.

    Args:
        blocks: in the order of the features.
        slices: the ops that cut them out.
    """

    blocks: tuple[Block, ...]
    slices: tuple[int, ...]


def fused_blocks(trace: Trace) -> Mapping[int, Blocks]:
    """For each weight op whose output is only used in parts that partition its features: those parts.

    Parts that are concatenated again (the rotated part of a query and its rest) are no maps of their own.
    """
    slices: dict[int, list[Op]] = {}
    for op in trace.ops:
        if isinstance(op.detail, Slicing):
            for root in (op.detail.root, *op.detail.peers):
                slices.setdefault(root, []).append(op)
    by_root = {root: _blocks(trace, root, cuts) for root, cuts in slices.items()}
    for op in trace.ops:
        if isinstance(op.detail, Activation) and op.detail.halves is not None:
            by_root[op.detail.halves.root] = _halves(op, op.detail.halves)
    return {root: blocks for root, blocks in by_root.items() if blocks is not None}


def _blocks(trace: Trace, root: int, cuts: Sequence[Op]) -> Blocks | None:
    source = cuts[0].inputs[0]
    first = [op for op in cuts if op.inputs[0] == source]
    whole = trace.ops[root].shape[trace.ops[root].axis]
    pieces = {op.detail.runs: op for op in first if isinstance(op.detail, Slicing)}
    runs = sorted((start, count, i) for i, piece in enumerate(pieces) for start, count in piece)
    if sum(count for _, count, _ in runs) != whole or any(a + n != b for (a, n, _), (b, _, _) in _pairs(runs)):
        return None
    others = [op for op in trace.follows(trace.ops[source]) if op.kind != OpKind.SLICE]
    if others or _meet_again(trace, list(pieces.values())):
        return None
    blocks = tuple(Block(start, count, piece) for start, count, piece in runs)
    return Blocks(blocks, tuple(op.index for op in pieces.values()))


def _halves(op: Op, halves: Halves) -> Blocks | None:
    """The maps that a gated linear unit reads: the first half is gated by the second."""
    single = [runs[0] for runs in halves.runs if runs is not None and len(runs) == 1]
    if len(single) < len(halves.runs):
        return None
    blocks = tuple(Block(first, count, piece) for piece, (first, count) in enumerate(single))
    return Blocks(blocks, (op.index, op.index))


def _pairs(runs: Sequence[tuple[int, int, int]]) -> Iterator[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    return pairwise(runs)


def _meet_again(trace: Trace, cuts: Sequence[Op]) -> bool:
    """Whether the parts are joined again before anything else is made of them."""
    ends = [_ends(trace, cut) for cut in cuts]
    shared = set.intersection(*ends) if ends else set()
    return any(trace.ops[i].kind == OpKind.CONCAT for i in shared)


def _ends(trace: Trace, cut: Op) -> set[int]:
    """The first ops after a slice that combine places, through elementwise ones."""
    ends: set[int] = set()
    queue, seen = [cut], {cut.index}
    while queue:
        for op in trace.follows(queue.pop()):
            if op.index in seen:
                continue
            seen.add(op.index)
            if op.kind in ELEMENTWISE:
                queue.append(op)
            else:
                ends.add(op.index)
    return ends


def _with_blocks(trace: Trace, op: Op, blocks: Blocks | None) -> Op:
    if blocks is None or len(blocks.blocks) < 2:
        return op
    uses = tuple(_fused_use(trace, use, blocks) for use in op.uses)
    names = tuple(block_name(trace, blocks, i) for i in range(len(blocks.blocks)))
    return replace(op, uses=uses, blocks=names)


def _fused_use(trace: Trace, use: Use, blocks: Blocks) -> Use:
    if use.layout is None or use.layout.fused is not None or use.layout.groups != 1 or use.role != UseRole.WEIGHT:
        return use
    axes = [axis for axis, role in enumerate(use.layout.axes) if role == "out"]
    sizes = tuple(block.count for block in blocks.blocks)
    shape = trace.by_path[use.path].shape
    if len(axes) != 1 or shape[axes[0]] != sum(sizes):
        return use
    return replace(use, layout=Layout(use.layout.axes, fused=Fused(axes[0], sizes)))


def block_name(trace: Trace, blocks: Blocks, which: int) -> str:
    """What a block is: "query", "key", "value", "gate", "up", or "part"."""
    cut = trace.ops[blocks.slices[blocks.blocks[which].piece]]
    if cut.kind == OpKind.ACTIVATION:
        return ("up", "gate")[which]
    part = attention_part(trace, cut)
    if part is not None:
        return part
    follower = trace.after(cut, {OpKind.ACTIVATION, OpKind.MUL}, MOVING)
    if follower is None:
        return "part"
    return "gate" if follower.kind == OpKind.ACTIVATION else "up"
