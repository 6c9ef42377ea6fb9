"""Ways through the ops of a trace."""

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
