"""Maps whose output acts on other data: the scale and shift of a coupling, a modulation, a gate."""

from collections.abc import Iterator

from fanwise.graph.kinds import MAPS_AND_PRODUCTS
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import Trace

ACTED_BY = frozenset({OpKind.MUL, OpKind.OTHER})
"""Ops in which one operand acts on another; `OTHER` are the functions of splines, which gather and search."""


def acts_on_data(trace: Trace, op: Op, *, sums: bool = False) -> bool:
    """Whether what a map gives meets, before the next map, other data that it acts on.

    Args:
        trace: of the model.
        op: the map.
        sums: whether a sum counts, too.
    """
    kinds = ACTED_BY | {OpKind.ADD} if sums else ACTED_BY
    own: set[int] = {op.index}
    queue = list(trace.follows(op))
    while queue:
        here = queue.pop()
        if here.index in own or here.kind in MAPS_AND_PRODUCTS:
            continue
        if here.kind in kinds and any(_passes_by(trace, source, op) for source in _operands(here)):
            return True
        own.add(here.index)
        queue.extend(trace.follows(here))
    return False


def _operands(op: Op) -> Iterator[int]:
    yield from dict.fromkeys(op.inputs) if len(set(op.inputs)) > 1 else ()


def _passes_by(trace: Trace, source: int, avoided: Op) -> bool:
    """Whether something of the model's inputs reaches an op without going through another."""
    seen, queue = {avoided.index}, [source]
    while queue:
        here = queue.pop()
        if here == INPUT or trace.ops[here].kind == OpKind.EMBEDDING:
            return True
        if here not in seen:
            seen.add(here)
            queue.extend(trace.ops[here].inputs)
    return False
