"""Parameters of state-space models and their kin: the bias of a time step, the decay rates that it multiplies."""

from collections.abc import Mapping
from types import MappingProxyType

from fanwise.graph.arithmetic import SUMS
from fanwise.graph.kinds import MOVING, WEIGHTED
from fanwise.graph.op import Op, OpKind, Use
from fanwise.graph.trace import Trace

DISCRETISED = frozenset({OpKind.MUL, OpKind.SCALE, OpKind.SHIFT, OpKind.ADD, OpKind.ELEMENTWISE, OpKind.REDUCE})
"""What may stand between a time step and the exponential that makes a decay of it."""
CHOICES = frozenset({"where", "select", "select_n"})
"""Names of the last function of a softplus where it is written out: where(x > 20, x, log(1 + exp(x)))."""


def sets_a_time_scale(trace: Trace, op: Op) -> bool:
    """Whether what an op gives goes through a softplus into products: the steps of a state-space model."""
    softplus = _softplus_after(trace, op)
    if softplus is None:
        return False
    return any(reader.kind in (OpKind.MUL, OpKind.SCALE, OpKind.ELEMENTWISE) for reader in trace.follows(softplus))


def sets_a_time_step(trace: Trace, op: Op) -> bool:
    """Whether the softplus of what an op gives is multiplied by rates and put into an exponential: exp(-rate step)."""
    softplus = _softplus_after(trace, op)
    return softplus is not None and _is_put_into_exp(trace, softplus)


def is_decay(trace: Trace, op: Op, use: Use) -> bool:
    """Whether a parameter is the logarithm of rates that multiply a time step, one for each head.

    Or whether its softplus is a rate that a gate multiplies, as in a gated linear recurrence, or whether it multiplies
    what a sigmoid makes a part of the fastest rate of.
    """
    if op.kind != OpKind.SCALE or sum(extent > 1 for extent in trace.by_path[use.path].shape) != 1:
        return False
    if "softplus" in use.steps:
        return _is_put_into_exp(trace, op)
    if "exp" not in use.steps:
        return False
    before, after = (find(op, {OpKind.ACTIVATION}, MOVING) for find in (trace.before, trace.after))
    if after is not None and after.nonlinearity == "sigmoid":
        return _is_put_into_exp(trace, after)
    is_softplus = before is not None and before.nonlinearity == "softplus"
    return (is_softplus or _reads_written_softplus(trace, op)) and _is_put_into_exp(trace, op)


def _softplus_after(trace: Trace, op: Op) -> Op | None:
    follower = trace.after(op, WEIGHTED | {OpKind.ACTIVATION}, MOVING | {OpKind.SHIFT})
    if follower is not None and follower.index in trace.once(_written_out):
        return trace.ops[trace.once(_written_out)[follower.index]]
    return follower if follower is not None and follower.nonlinearity == "softplus" else None


def _reads_written_softplus(trace: Trace, op: Op) -> bool:
    ends = trace.once(_written_out).values()
    source = next(iter(trace.feeds(op)), None)
    while source is not None and source.index not in ends and _passes(trace, source):
        source = next(iter(trace.feeds(source)), None)
    return source is not None and source.index in ends


def _passes(trace: Trace, op: Op) -> bool:
    return op.kind in MOVING or (op.kind == OpKind.ELEMENTWISE and len(trace.feeds(op)) == 1)


def _written_out(trace: Trace) -> Mapping[int, int]:
    """The ops that end a softplus whose steps are written out, by the exponential that it begins with."""
    ends: dict[int, int] = {}
    for op in trace.ops:
        end = _logarithm_after(trace, op) if op.nonlinearity == "exp" else None
        if end is not None:
            chosen = (reader for reader in trace.follows(end) if reader.name in CHOICES)
            ends[op.index] = next(chosen, end).index
    return MappingProxyType(ends)


def _logarithm_after(trace: Trace, op: Op) -> Op | None:
    """log(1 + x) of what an op gives."""
    readers = trace.follows(op)
    sums = (reader for reader in readers if reader.name in SUMS and len(trace.feeds(reader)) == 1)
    logs = (after for total in sums for after in trace.follows(total) if after.name == "log")
    return next(logs, next((reader for reader in readers if reader.name == "log1p"), None))


def _is_put_into_exp(trace: Trace, op: Op) -> bool:
    queue, seen = [op], {op.index}
    while queue:
        for reader in trace.follows(queue.pop()):
            if "exp" in (reader.name, reader.nonlinearity):
                return True
            if reader.index not in seen and reader.kind in DISCRETISED | MOVING:
                seen.add(reader.index)
                queue.append(reader)
    return False
