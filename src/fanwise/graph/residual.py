"""Residual connections: sums of a residual stream and of a branch that left it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from fanwise.graph.kinds import BEFORE_SOFTMAX, BENDING, BRANCH_STEPS, CROOKED, MIXING, STREAM_STEPS, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.paths import ancestors, nearest

BOUNDED = ("sigmoid", "tanh", "hard_sigmoid", "hardsigmoid", "hard_tanh", "hardtanh", "softsign", "log_sigmoid")
"""Nonlinearities that say how much of a signal goes on, or hold it: no stream of any size goes through them."""

TRANSFORMS = ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "rfft", "irfft", "rfft2", "irfft2", "stft", "istft")
"""Linear functions of a whole tensor, which some frameworks are given as its real and its imaginary part."""

LEADS_TO_SUM = STREAM_STEPS - {OpKind.ADD, OpKind.MUL}
"""What may stand between a map and the sum in which another stream takes its part: no join, and no gate."""


@dataclass(frozen=True)
class Join:
    """A residual connection: an add of a stream and of a branch.

    Args:
        op: index of the add.
        stream: index of the op whose output the add adds unchanged; `INPUT` for an input.
        branch: index of the op at the end of the branch.
        depth: how many joins the same stream has had before, on the longest way.
        total: how many joins the stream has one after the other, on the longest way.
        first: index of the op with which the stream begins.
        number: which stream: joins of one number are of one stream, also where it is cut and put together again.
        origin: index of the op at which the branch left; where it comes from another stream, what its last map reads.
        rounds: how many joins it stands for, one after the other, where a loop was not traced round by round.
    """

    op: int
    stream: int
    branch: int
    depth: int = 0
    total: int = 1
    first: int = INPUT
    number: int = 0
    origin: int = INPUT
    rounds: int = 1


def joins_of(ops: Sequence[Op]) -> tuple[Join, ...]:
    """Adds of a residual stream and of a branch; streams are followed through them.

    A branch left the stream before and meets it again; or it comes from another stream (of another scale, of the other
    half of a reversible network) and ends in a map.
    """
    joins: dict[int, Join] = {}
    scores = _scores(ops)
    for op in ops:
        if op.kind == OpKind.ADD and len(set(op.inputs)) == len(op.inputs) == 2 and op.index not in scores:
            join = _met_again(ops, op) or _parallel(ops, op, joins) or _projected(ops, op) or _across(ops, op, joins)
            if join is not None and not _adds_stages(ops, join, joins):
                joins |= {earlier.op: earlier for earlier in _sums_before(ops, join, joins)}
                joins[op.index] = join
    return tuple(_numbered(ops, sorted(joins.values(), key=lambda join: join.op)))


def _adds_stages(ops: Sequence[Op], join: Join, earlier: Mapping[int, Join]) -> bool:
    """Whether an add weighs the stages of one step, as k1 + 2 k2 + 2 k3 + k4: their sum is a branch, and no stream.

    A stage was added to the stream before, the next is what the same map made of the sum, and both are summed.
    """
    first, last = _first_stage(ops, join.stream, earlier), _last_map(ops, join.branch) if join.branch >= 0 else None
    if first is None or last is None or first.kind not in WEIGHTED or first.index == last.index:
        return False
    is_same = {use.matrix for use in first.uses} == {use.matrix for use in last.uses}
    past = ancestors(ops, last.index, first.index) if is_same else set()
    steps = [other for other in earlier.values() if other.op in past and other.op != join.stream]
    return any(_last_map(ops, other.branch) == first for other in steps if other.branch >= first.index)


def _first_stage(ops: Sequence[Op], index: int, joins: Mapping[int, Join]) -> Op | None:
    """The map that a sum of stages begins with, by way of the sums before; None behind a join of a stream."""
    while index >= 0 and index not in joins and ops[index].kind not in WEIGHTED:
        if ops[index].kind not in STREAM_STEPS or not ops[index].inputs:
            break
        index = ops[index].inputs[0]
    return ops[index] if index >= 0 and index not in joins else None


def _scores(ops: Sequence[Op]) -> set[int]:
    """Sums of products of data that a softmax reads: a bias is added to scores there, no stream goes on."""
    queue = [source for op in ops if op.kind == OpKind.SOFTMAX for source in op.inputs]
    sums: set[int] = set()
    while queue:
        here = queue.pop()
        if here >= 0 and here not in sums and ops[here].kind in BEFORE_SOFTMAX:
            sums.add(here)
            queue += ops[here].inputs
    return {here for here in sums if any(_is_product(ops, source) for source in ops[here].inputs)}


def _is_product(ops: Sequence[Op], index: int) -> bool:
    """Whether an op gives a product of data with data, moved or multiplied by a number at most."""
    while index >= 0 and ops[index].kind in LEADS_TO_SUM:
        index = min(ops[index].inputs, default=INPUT)
    return index >= 0 and ops[index].kind == OpKind.MATMUL and len(ops[index].inputs) == 2


def ends_later(op: Op) -> bool:
    """Whether an op may stand between the last map of a branch and the join: not a product of data with data.

    A product with a constant, such as the adjacency of a graph, carries on what the map gave; so does a function of one
    tensor that is not known, such as an inverse Fourier transform, and one of its parts.
    """
    is_alone = op.kind in (OpKind.MATMUL, OpKind.OTHER) and len(op.inputs) == 1 and not op.uses
    return op.kind in BRANCH_STEPS or is_alone or (op.kind == OpKind.OTHER and op.name in TRANSFORMS)


def _orders(op: Op) -> tuple[tuple[int, int], ...]:
    """The operands as stream and branch, in either order; what is subtracted is no stream."""
    left, right = op.inputs
    pairs = (left, right), (right, left)
    minus = op.minus
    return pairs if minus is None else (pairs[1 - minus],)


def _met_again(ops: Sequence[Op], op: Op) -> Join | None:
    """A stream that is added unchanged to what was made of it."""
    pairs = (pair for pair in _orders(op) if _left_at(ops, *pair) and (pair[0] != INPUT or _same_input(ops, op)))
    return next((Join(op.index, *pair, origin=pair[0]) for pair in pairs), None)


def _same_input(ops: Sequence[Op], op: Op) -> bool:
    """Whether an add reads the same of the model's inputs as what it is added to: a mask is no stream."""
    number = (op.given or (0,))[0]
    past = ancestors(ops, max(op.inputs)) - {op.index}
    return any(number in (ops[i].given or (0,)) for i in past if INPUT in ops[i].inputs)


def _parallel(ops: Sequence[Op], op: Op, earlier: Mapping[int, Join]) -> Join | None:
    """A second branch that left the stream where the one before it did: (x + f(x)) + g(x)."""
    joins = (
        Join(op.index, stream, branch, origin=earlier[stream].stream)
        for stream, branch in _orders(op)
        if stream in earlier and _left_at(ops, earlier[stream].stream, branch)
    )
    return next(joins, None)


def _across(ops: Sequence[Op], op: Op, earlier: Mapping[int, Join]) -> Join | None:
    """A map of another stream, added to a stream that has had joins, or to the sum of a coarser scale."""
    joins = (
        Join(op.index, stream, branch, origin=_read_by_last_map(ops, branch))
        for stream, branch in _orders(op)
        if min(stream, branch) >= 0
        and ops[branch].size == op.size
        and _last_map(ops, branch, LEADS_TO_SUM) is not None
        and (_is_another(ops, stream, branch, earlier) or _sums_at(ops, stream))
    )
    return next(joins, None)


def _is_another(ops: Sequence[Op], stream: int, branch: int, earlier: Mapping[int, Join]) -> bool:
    """Whether an op carries on a stream of its own: not what a norm made of it, and of which the branch was made too.

    A branch may begin with a sum of the same normed signal, weighed and mapped: the stream goes past both.
    """
    unnormed = _joins_before(ops, stream, earlier, lambda op: _keeps_size(op) and op.kind != OpKind.NORM)
    if unnormed:
        return True
    past = ancestors(ops, branch)
    return any(join not in past for join in _joins_before(ops, stream, earlier, _keeps_size))


def _keeps_size(op: Op) -> bool:
    """Whether an op carries a stream on with its size: not what a gate makes of it, or what a gate lets through."""
    return op.kind in STREAM_STEPS | {OpKind.CONCAT} and op.kind != OpKind.MUL and op.nonlinearity not in BOUNDED


def _sums_before(ops: Sequence[Op], join: Join, earlier: Mapping[int, Join]) -> Iterator[Join]:
    """The first sum of a pyramid of scales, which is one of two maps: known to begin a stream by the next one."""
    if join.stream < 0 or join.op in earlier or _joins_before(ops, join.stream, earlier):
        return
    for index in _sums_at(ops, join.stream):
        coarse = [source for source in ops[index].inputs if _is_enlarged(ops, source)]
        fine = [source for source in ops[index].inputs if source not in coarse]
        if len(coarse) == len(fine) == 1:
            yield Join(index, coarse[0], fine[0], origin=_read_by_last_map(ops, fine[0]))


def _sums_at(ops: Sequence[Op], index: int) -> tuple[int, ...]:
    """The sum of two maps that a stream is an enlargement of; () where it is none."""
    if not _is_enlarged(ops, index):
        return ()
    step = nearest(ops[index], lambda here: _first(ops, here), {OpKind.ADD}, STREAM_STEPS - {OpKind.ADD})
    is_sum = step is not None and len(step.inputs) == 2 and min(step.inputs) >= 0
    return (step.index,) if step is not None and is_sum else ()


def _is_enlarged(ops: Sequence[Op], index: int) -> bool:
    """Whether an op gives what it reads in more positions."""
    if index < 0:
        return False
    op = ops[index]
    return op.kind == OpKind.POOL and bool(op.reads) and op.size > math.prod(op.reads[0])


def _left_at(ops: Sequence[Op], origin: int, branch: int) -> bool:
    """Whether a branch left a stream at this op and mixed its values since."""
    past = _past_of(ops, branch, floor=origin)
    return origin in past and any(ops[i].kind in MIXING - {OpKind.EMBEDDING} for i in past - {origin} if i >= 0)


def _past_of(ops: Sequence[Op], index: int, floor: int) -> set[int]:
    """Ancestors of an op that are not older than `floor`."""
    past: set[int] = set()
    stack = [index]
    while stack:
        here = stack.pop()
        if here in past or here < floor:
            continue
        past.add(here)
        if here >= 0 and here != floor and ops[here].kind != OpKind.EMBEDDING:  # indices carry no signal
            stack.extend(ops[here].inputs)
    return past


def _projected(ops: Sequence[Op], op: Op) -> Join | None:
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
    is_projected = maps <= 1 < others and bent and straight and _last_map(ops, long) is not None
    is_join = is_projected and (short, long) in _orders(op) and not _is_enlarged(ops, long)
    return Join(op.index, short, long, origin=short) if is_join else None


def _count(ops: Sequence[Op], way: set[int], kinds: AbstractSet[OpKind]) -> int:
    return sum(ops[i].kind in kinds for i in way)


def _last_map(ops: Sequence[Op], index: int, through: AbstractSet[OpKind] = STREAM_STEPS) -> Op | None:
    """The map that a branch ends in, None where it ends in something else."""
    op = ops[index]
    if op.kind in WEIGHTED:
        return op
    return nearest(op, lambda here: _first(ops, here), WEIGHTED, through) if op.kind in through else None


def _read_by_last_map(ops: Sequence[Op], index: int) -> int:
    """What the map that a branch ends in reads."""
    last = _last_map(ops, index, LEADS_TO_SUM)
    return INPUT if last is None else min(last.inputs, default=INPUT)


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
    """Joins with their place in their stream, which leads from each to the next through elementwise ops and joins."""
    by_op = {join.op: join for join in joins}
    depths: dict[int, int] = {}
    rounds: dict[int, int] = {}
    numbers: dict[int, int] = {}
    for join in joins:
        before = [index for index in _joins_before(ops, join.stream, by_op) if index in depths]
        depths[join.op] = max((depths[index] + rounds[index] for index in before), default=0)
        rounds[join.op] = ops[join.op].rounds if before else 1  # a stream that begins in each round anew has one join
        merged = {numbers[index] for index in before} or {join.op}
        numbers |= {index: min(merged) for index, number in numbers.items() if number in merged}
        numbers[join.op] = min(merged)
    for join in joins:
        peers = [other for other in joins if numbers[other.op] == numbers[join.op]]
        total, first = max(depths[other.op] + rounds[other.op] for other in peers), peers[0].stream
        place = {"depth": depths[join.op], "total": total, "first": first, "number": numbers[join.op]}
        yield replace(join, rounds=rounds[join.op], **place)


def _is_step(op: Op) -> bool:
    return op.kind in STREAM_STEPS | {OpKind.CONCAT}


def _joins_before(
    ops: Sequence[Op], index: int, joins: Mapping[int, Join], passes: Callable[[Op], bool] = _is_step
) -> tuple[int, ...]:
    """The joins that an op is, or carries on, all parts of what is put together of several.

    Args:
        ops: of the trace.
        index: of the op.
        joins: by the index of their op.
        passes: says which ops may stand between.
    """
    nearest_joins, queue, seen = list[int](), [index], {index}
    while queue:
        here = queue.pop()
        if here in joins:
            nearest_joins.append(here)
        elif here >= 0 and passes(ops[here]):
            sources = ops[here].inputs if ops[here].kind == OpKind.CONCAT else ops[here].inputs[:1]
            queue += [source for source in sources if source not in seen]
            seen.update(sources)
    return tuple(nearest_joins)
