"""Pruning of a whole trace: ops that others stand for, sums of sums, ops that nothing reads."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from fanwise.graph.details import renumbered
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import Trace

SUMS = frozenset({"reduce_sum", "psum", "psum_invariant", "mean"})
"""Sums over axes; where `vmap` gives an axis its name, a sum over the name is one."""


def with_whole_sums(trace: Trace) -> tuple[Trace, frozenset[int]]:
    """Sums of sums that nothing else reads as one sum, as `vmap` makes of one over the batch, and those that go."""
    read = Counter(source for op in trace.ops for source in set(op.inputs))
    gone: dict[int, Op] = {}
    ops: list[Op] = []
    for op in trace.ops:
        before = ops[op.inputs[0]] if op.kind == OpKind.REDUCE and op.inputs and op.inputs[0] >= 0 else op
        if before is not op and {op.name, before.name} <= SUMS and read[before.index] == 1 and not before.uses:
            gone[before.index] = before
            op = replace(op, inputs=before.inputs, reads=before.reads, detail=before.detail, given=before.given)  # noqa: PLW2901
        ops.append(op)
    return replace(trace, ops=tuple(ops)), frozenset(gone)


def kept_ops(trace: Trace, absorbed: frozenset[int]) -> tuple[int, ...]:
    """The ops that stay once those are gone that others stand for and that nothing reads any more."""
    readers = [0] * len(trace.ops)
    for op in trace.ops:
        for source in set(op.inputs) - {INPUT}:
            readers[source] += 1
    gone: set[int] = set()
    for op in reversed(trace.ops):
        if op.index in absorbed and not readers[op.index] and not op.uses and op.index not in trace.outputs:
            gone.add(op.index)
            for source in set(op.inputs) - {INPUT}:
                readers[source] -= 1
    return tuple(op.index for op in trace.ops if op.index not in gone)


def pruned(trace: Trace, kept: tuple[int, ...]) -> Trace:
    """The trace of these ops alone."""
    number = {index: position for position, index in enumerate(kept)} | {INPUT: INPUT}
    ops = tuple(_renumbered(trace.ops[index], number) for index in kept)
    return replace(trace, ops=ops, outputs=tuple(number[index] for index in trace.outputs))


def _renumbered(op: Op, number: Mapping[int, int]) -> Op:
    detail = renumbered(op.detail, number.__getitem__)
    inputs = tuple(number[source] for source in op.inputs)
    made = None if op.made is None else replace(op.made, root=number[op.made.root])
    return replace(op, index=number[op.index], inputs=inputs, detail=detail, made=made)
