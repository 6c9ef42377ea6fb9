"""Residual connections: sums of a residual stream and of a branch that left it."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from fanwise.graph.kinds import BENDING, CROOKED, MIXING, STREAM_STEPS, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.paths import ancestors, nearest


@dataclass(frozen=True)
class Join:
    """A residual connection: an add of a stream and of a branch that left it.

    Args:
        op: index of the add.
        stream: index of the op whose output the branch left, and that the add adds unchanged; `INPUT` for an input.
        branch: index of the op at the end of the branch.
        depth: how many joins the same stream has had before.
        total: how many joins the stream has in all.
        first: index of the op with which the stream begins.
    """

    op: int
    stream: int
    branch: int
    depth: int = 0
    total: int = 1
    first: int = INPUT


def joins_of(ops: Sequence[Op]) -> tuple[Join, ...]:
    """Adds one of whose operands depends on the other, which it meets again; streams are followed through them."""
    joins: dict[int, Join] = {}
    for op in ops:
        if op.kind == OpKind.ADD and len(set(op.inputs)) == len(op.inputs) == 2:
            pair = _met_again(ops, op) or _parallel(ops, op, joins) or _projected(ops, op)
            if pair is not None:
                joins[op.index] = Join(op.index, *pair)
    return tuple(_numbered(ops, list(joins.values())))


def _orders(op: Op) -> tuple[tuple[int, int], ...]:
    """The operands as stream and branch, in either order; what is subtracted is no stream."""
    left, right = op.inputs
    pairs = (left, right), (right, left)
    minus = op.minus
    return pairs if minus is None else (pairs[1 - minus],)


def _met_again(ops: Sequence[Op], op: Op) -> tuple[int, int] | None:
    """A stream that is added unchanged to what was made of it."""
    pairs = (pair for pair in _orders(op) if _left_at(ops, *pair) and (pair[0] != INPUT or _same_input(ops, op)))
    return next(pairs, None)


def _same_input(ops: Sequence[Op], op: Op) -> bool:
    """Whether an add reads the same of the model's inputs as what it is added to: a mask is no stream."""
    number = (op.given or (0,))[0]
    past = ancestors(ops, max(op.inputs)) - {op.index}
    return any(number in (ops[i].given or (0,)) for i in past if INPUT in ops[i].inputs)


def _parallel(ops: Sequence[Op], op: Op, earlier: Mapping[int, Join]) -> tuple[int, int] | None:
    """A second branch that left the stream where the one before it did: (x + f(x)) + g(x)."""
    pairs = (
        (stream, branch)
        for stream, branch in _orders(op)
        if stream in earlier and _left_at(ops, earlier[stream].stream, branch)
    )
    return next(pairs, None)


def _left_at(ops: Sequence[Op], origin: int, branch: int) -> bool:
    """Whether a branch left a stream at this op and mixed its values since."""
    past = _past_of(ops, branch, floor=origin)
    return origin in past and any(ops[i].kind in MIXING for i in past - {origin} if i >= 0)


def _past_of(ops: Sequence[Op], index: int, floor: int) -> set[int]:
    """Ancestors of an op that are not older than `floor`."""
    past: set[int] = set()
    stack = [index]
    while stack:
        here = stack.pop()
        if here in past or here < floor:
            continue
        past.add(here)
        if here >= 0 and here != floor:
            stack.extend(ops[here].inputs)
    return past


def _projected(ops: Sequence[Op], op: Op) -> tuple[int, int] | None:
    """A stream that is projected or scaled on its way, as where a residual network changes its width: the shorter path.

    The branch has at least two maps with a nonlinearity between, or one where the stream has none, and ends in a map.
    """
    if min(op.inputs) < 0 or any(ops[i].size != op.size for i in op.inputs):
        return None
    ways = dict(zip(op.inputs, _ways_since_split(ops, *op.inputs), strict=True))
    short, long = sorted(op.inputs, key=lambda i: _count(ops, ways[i], WEIGHTED))
    maps, others = (_count(ops, ways[i], WEIGHTED) for i in (short, long))
    bent = _count(ops, ways[long], BENDING)
    straight = not _count(ops, ways[short], CROOKED)
    is_projected = maps <= 1 < others and bent and straight and _ends_in_map(ops, long)
    return (short, long) if is_projected and (short, long) in _orders(op) else None


def _count(ops: Sequence[Op], way: set[int], kinds: AbstractSet[OpKind]) -> int:
    return sum(ops[i].kind in kinds for i in way)


def _ends_in_map(ops: Sequence[Op], index: int) -> bool:
    op = ops[index]
    return op.kind in WEIGHTED or (
        op.kind in STREAM_STEPS and nearest(op, lambda here: _first(ops, here), WEIGHTED, STREAM_STEPS) is not None
    )


def _first(ops: Sequence[Op], op: Op) -> tuple[Op, ...]:
    return tuple(ops[source] for source in op.inputs[:1] if source >= 0)


def _ways_since_split(ops: Sequence[Op], left: int, right: int) -> tuple[set[int], set[int]]:
    """Ops on the way to each of two ops since the ways parted; empty where they have no origin in common."""
    marks, queue, ways = {left: 1, right: 2}, [-left, -right], (set[int](), set[int]())
    heapify(queue)
    while queue:  # from the latest op back: the first that both ways pass is where they part
        here = -heappop(queue)
        mark = marks.pop(here)
        if mark == 3:
            return ways
        ways[mark - 1].add(here)
        for source in ops[here].inputs if here >= 0 else ():
            if source not in marks:
                heappush(queue, -source)
            marks[source] = marks.get(source, 0) | mark
    return set(), set()


def _numbered(ops: Sequence[Op], joins: list[Join]) -> Iterator[Join]:
    """Joins with their place in their stream: a join's stream leads to the one before it through elementwise ops."""
    stream_of: dict[int, int] = {}  # op of a join -> number of its stream
    members: list[list[Join]] = []
    firsts: list[int] = []
    for join in joins:
        earlier = _join_before(ops, join.stream, stream_of)
        if earlier is None:
            stream_of[join.op] = len(members)
            members.append([join])
            firsts.append(join.stream)
        else:
            stream_of[join.op] = earlier
            members[earlier].append(join)
    for join in joins:
        number = stream_of[join.op]
        peers = members[number]
        yield Join(join.op, join.stream, join.branch, peers.index(join), len(peers), firsts[number])


def _join_before(ops: Sequence[Op], index: int, stream_of: Mapping[int, int]) -> int | None:
    """The stream that an op belongs to: that of the join which it is, or which it carries on."""
    while index >= 0:
        if index in stream_of:
            return stream_of[index]
        op = ops[index]
        if op.kind not in STREAM_STEPS or not op.inputs:
            return None
        index = op.inputs[0]
    return None
