"""Ways through the ops of a trace."""

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from fanwise.graph.op import INPUT, Op, OpKind


def nearest(
    op: Op, step: Callable[[Op], Sequence[Op]], kinds: AbstractSet[OpKind], through: AbstractSet[OpKind]
) -> Op | None:
    """The nearest op of some kinds, by way of ops of others only.

    Args:
        op: where the way begins.
        step: from an op to the next ones.
        kinds: of the op that is looked for.
        through: of the ops between.
    """
    seen, queue = {op.index}, list(step(op))
    while queue:
        here = queue.pop(0)
        if here.kind in kinds:
            return here
        if here.kind in through and here.index not in seen:
            seen.add(here.index)
            queue.extend(step(here))
    return None


Targets = Sequence[Op | None]
"""An op for each op of a trace, None where there is none."""


def nearest_before(ops: Sequence[Op], kinds: AbstractSet[OpKind], through: AbstractSet[OpKind]) -> Targets:
    """For each op, itself where it is of some kinds, else the nearest of them before it, by way of others only.

    Along the first of its inputs that an op gave; one pass for all.
    """
    targets: list[Op | None] = []
    for op in ops:
        source = next((source for source in op.inputs if source >= 0), None) if op.kind in through else None
        targets.append(op if op.kind in kinds else None if source is None else targets[source])
    return targets


def nearest_after(
    ops: Sequence[Op], followers: Sequence[Sequence[int]], kinds: AbstractSet[OpKind], through: AbstractSet[OpKind]
) -> Targets:
    """For each op, the nearest of some kinds after it, by way of ops of others only, as `nearest` would find it.

    One pass for all, from the last op back: the way goes on from the first of the readers that are nearest.
    """
    targets: list[Op | None] = [None] * len(ops)
    steps = [math.inf] * len(ops)
    for index in reversed(range(len(ops))):
        for reader in followers[index]:
            ends = ops[reader].kind in kinds
            here = 1.0 if ends else 1 + steps[reader] if ops[reader].kind in through else math.inf
            if here < steps[index]:
                steps[index], targets[index] = here, ops[reader] if ends else targets[reader]
    return targets


def ancestors(ops: Sequence[Op], index: int, stop: int = INPUT) -> set[int]:
    """Every op that an op depends on, itself too, down to `stop` (not beyond it)."""
    past: set[int] = set()
    stack = [index]
    while stack:
        here = stack.pop()
        if here < 0 or here in past:
            continue
        past.add(here)
        if here != stop:
            stack.extend(ops[here].inputs)
    return past


def is_before(ops: Sequence[Op], index: int | None, later: int | None) -> bool:
    """Whether an op is made of what another gave; whatever no op gave is made of none."""
    return index is not None and later is not None and index in ancestors(ops, later)
