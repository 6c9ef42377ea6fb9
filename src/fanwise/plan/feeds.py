"""What feeds a map: second moments of its operands, and where to look where a pass measures nothing."""

import math
from collections.abc import Iterator

from fanwise.graph.kinds import MAP_USES
from fanwise.graph.op import Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Moment


def with_viewed(trace: Trace, index: int) -> Iterator[Op]:
    """An op, and the ops whose features it shows a part of; none for the model's input."""
    while index >= 0:
        yield trace.ops[index]
        index = trace.ops[index].inputs[0] if trace.ops[index].kind == OpKind.SLICE else -1


def is_silent(op: Op, moment: Moment) -> bool:
    """Whether what an op reads is 0 at the start: behind a norm or map that is born 0."""
    return bool(op.inputs) and moment.known(0) and moment(0) == 0


def operand_moment(op: Op, use: Use, moment: Moment) -> tuple[float, bool]:
    """Second moment of the operand that a map reads."""
    if not op.inputs:
        return _constant_moment(moment)
    if op.kind == OpKind.BILINEAR and len(op.inputs) > 1:
        value, known = positive(moment(0) * moment(1))
        return value, known and moment.known(0) and moment.known(1)
    which = min({UseRole.KEY: 1, UseRole.VALUE: 2}.get(use.role, 0), len(op.inputs) - 1)
    value, known = positive(moment(which))
    return value, known and moment.known(which)


def _constant_moment(moment: Moment) -> tuple[float, bool]:
    """Second moment of a fixed array that a map reads; nothing says it where there are no numbers."""
    try:
        value, is_known = positive(moment(0))
        return value, is_known and moment.known(0)
    except IndexError:
        return 1.0, False


def positive(value: float) -> tuple[float, bool]:
    """A second moment and whether it is one: 1 stands in for zeros and for what is not a number.

    Three digits of it: no batch tells more, and layers that are alike then have equal rows.
    """
    return (float(f"{value:.3g}"), True) if math.isfinite(value) and value > 0 else (1.0, False)


def has_other_operands(op: Op, use: Use) -> bool:
    """Whether a map is one factor of a product with several operands of data: what it reads is made inside the op."""
    maps = [other for other in op.uses if other.role in MAP_USES]
    return op.kind == OpKind.LINEAR and use.role == UseRole.WEIGHT and len(op.inputs) > 1 and len(maps) == 1
