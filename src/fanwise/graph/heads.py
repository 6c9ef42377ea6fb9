"""The maps that make a model's outputs, also where several are summed, joined, or applied step by step."""

from collections.abc import Iterator, Mapping, Sequence

from fanwise.graph.kinds import AFTER_SOFTMAX, AT_ONCE, HEAD_STEPS, LINEAR_MAPS, MAP_USES, STRETCH_MAPS
from fanwise.graph.made import is_map
from fanwise.graph.op import Op, OpKind
from fanwise.graph.trace import Trace

SQUASHING = frozenset({"sigmoid", "logsigmoid", "exp", "softplus"})
"""Nonlinearities that make probabilities or positive numbers of a sum of heads; others make features of a sum."""


def heads_of(trace: Trace) -> Mapping[int, int]:
    """The maps that the outputs lead back to, and of how many terms each makes one.

    No norm, residual connection or attention stands between. A map that the same module also applies on the way to
    other maps, as a cell does step by step, makes states and not outputs.
    """
    leading = _leading_to_maps(trace)
    heads: dict[int, int] = {}
    for end in _ends(trace, leading):
        for index, terms in _reached(trace, end, leading).items():
            heads[index] = max(terms, heads.get(index, 1))
    return {index: terms for index, terms in heads.items() if not _makes_states(trace, trace.ops[index], heads)}


def _leading_to_maps(trace: Trace) -> Sequence[bool]:
    """For each op, whether a linear map reads what was made of it."""
    leading = [False] * len(trace.ops)
    for op in reversed(trace.ops):
        for source in op.inputs:
            if source >= 0 and (op.kind in LINEAR_MAPS or leading[op.index]):
                leading[source] = True
    return leading


def _ends(trace: Trace, leading: Sequence[bool]) -> Iterator[int]:
    """The outputs that are no features: nothing but a loss is made of them, or they are logits as the others are."""
    outputs = [i for i in trace.outputs if trace.ops[i].shape] or list(trace.outputs)
    last = [i for i in outputs if not leading[i]] or outputs[:1]
    yield from last
    shapes = {trace.ops[i].shape for i in last}
    yield from (i for i in outputs if leading[i] and trace.ops[i].shape in shapes and _is_linear(trace, i))


def _is_linear(trace: Trace, index: int) -> bool:
    """Whether an op gives what a map gave, moved or shifted at most."""
    op = trace.ops[index]
    return op.kind in STRETCH_MAPS or (op.kind in AT_ONCE and trace.before(op, STRETCH_MAPS, AT_ONCE) is not None)


def _reached(trace: Trace, end: int, leading: Sequence[bool]) -> dict[int, int]:
    """The maps that one output leads back to, with the number of terms of the sums between."""
    maps: dict[int, int] = {}
    queue, seen = [(end, True, 1)], set[int]()
    while queue:
        index, straight, terms = queue.pop()
        if index in seen:
            continue
        seen.add(index)
        op = trace.ops[index]
        made = [source for source in op.inputs if source >= 0 and trace.ops[source].made is not None]
        if is_map(op, STRETCH_MAPS):
            maps[index] = terms
        elif op.kind == OpKind.ADD and made:
            queue += [(source, straight, terms) for source in made]  # what is added to them is a bias
        elif op.kind == OpKind.ADD and len(op.inputs) > 1:
            summands = _summands(trace, op) if straight else []
            queue += [(source, True, terms * len(summands)) for source in summands]
        elif op.kind in HEAD_STEPS or op.kind in (OpKind.CONCAT, OpKind.ADD):
            straight = straight and (op.kind not in (OpKind.MUL, OpKind.ACTIVATION) or op.nonlinearity in SQUASHING)
            queue += [(source, straight, terms) for source in _sources(trace, op, leading)]
    return maps


def _sources(trace: Trace, op: Op, leading: Sequence[bool]) -> Iterator[int]:
    """What an op on the way to an output reads, but for the weights of a mixture, and states that are kept besides."""
    for source in op.inputs:
        if source < 0 or (op.kind == OpKind.CONCAT and leading[source] and not _is_linear(trace, source)):
            continue
        if op.kind == OpKind.MUL and len(op.inputs) > 1 and _is_weighting(trace, trace.ops[source]):
            continue
        yield source


def _is_weighting(trace: Trace, op: Op) -> bool:
    return op.kind == OpKind.SOFTMAX or trace.before(op, {OpKind.SOFTMAX}, AFTER_SOFTMAX) is not None


def _summands(trace: Trace, total: Op) -> list[int]:
    """The terms of a sum of sums; none where it is a residual connection."""
    terms: list[int] = []
    queue = [total.index]
    while queue:
        index = queue.pop()
        op = trace.ops[index]
        if op.kind == OpKind.ADD and len(op.inputs) > 1 and _is_sum(trace, op):
            queue += [source for source in op.inputs if source >= 0]
        elif index != total.index:
            terms.append(index)
    return terms


def _is_sum(trace: Trace, op: Op) -> bool:
    """Whether neither term is made of the other; of two ways with one origin, both have to end in maps."""
    joined = {join.op for join in trace.joins}
    terms = [source for source in op.inputs if source >= 0]
    if len(terms) < 2 or len(set(terms)) < 2:
        return op.index not in joined
    first, last = min(terms), max(terms)
    if first in trace.ancestors(last, stop=first):
        return False
    return op.index not in joined or all(_ends_in_map(trace, trace.ops[i]) for i in terms)


def _ends_in_map(trace: Trace, op: Op) -> bool:
    if op.kind == OpKind.ADD:
        return True  # a sum of sums: its own terms are asked next
    return op.kind in STRETCH_MAPS or trace.before(op, STRETCH_MAPS, HEAD_STEPS) is not None


def _makes_states(trace: Trace, op: Op, heads: Mapping[int, int]) -> bool:
    """Whether the same module applies the same weights, of a stack the same layer, on the way to other maps."""
    for use in op.uses:
        for other, as_other in trace.uses[use.path] if use.role in MAP_USES else ():
            same = (other.kind, other.module, as_other.layout) == (op.kind, op.module, use.layout)
            if same and as_other.matrix == use.matrix and other.index not in heads:
                return True
    return False
