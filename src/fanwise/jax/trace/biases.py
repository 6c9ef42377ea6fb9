"""Maps and the biases that alone read them: two operations of a program, one op of the model."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanwise.graph.details import renumbered
from fanwise.graph.kinds import WEIGHTED
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.graph.trace import Trace
from fanwise.jax.trace.pruning import pruned
from fanwise.jax.trace.traced_value import LARGEST, Value


@dataclass(frozen=True)
class Joined:
    """A trace in which a map and its bias are one op, where the bias is added.

    Args:
        trace: the trace.
        numbers: of the operation that gives each op's output.
        maps: by the number of the operation that adds a bias, that of its map.
    """

    trace: Trace
    numbers: tuple[int, ...]
    maps: Mapping[int, int]


def with_biases(trace: Trace, outputs: Sequence[Value], numbers: Sequence[int]) -> Joined:
    """The trace with its biases joined to their maps.

    Args:
        trace: of a program.
        outputs: what each operation of the program gave, by its number.
        numbers: of the operation that each op of the trace is.
    """
    pairs = dict(_biased(trace, [outputs[number] for number in numbers], numbers))
    at = {source: shift for shift, (source, _) in pairs.items()}
    ops = [_with_bias(trace, op, *pairs[op.index]) if op.index in pairs else op for op in trace.ops]
    ops = [_of_whole_maps(op, at) for op in ops]
    kept = tuple(op.index for op in ops if op.index not in at)
    maps = {numbers[shift]: numbers[source] for shift, (source, _) in pairs.items()}
    return Joined(pruned(replace(trace, ops=tuple(ops)), kept), tuple(numbers[kept_op] for kept_op in kept), maps)


def _of_whole_maps(op: Op, at: Mapping[int, int]) -> Op:
    """An op that names maps, with the ops that add their biases in their place."""
    made = None if op.made is None else replace(op.made, root=at.get(op.made.root, op.made.root))
    return replace(op, detail=renumbered(op.detail, lambda index: at.get(index, index)), made=made)


def _biased(trace: Trace, values: Sequence[Value], numbers: Sequence[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """The shifts that are biases of maps: by the shift's index, the map's and the axis of the features after it."""
    for op in trace.ops:
        if op.kind not in WEIGHTED or op.index in trace.outputs or len(readers := trace.follows(op)) != 1:
            continue
        shift = readers[0]
        if not _is_bias(trace, op, shift):
            continue
        axis = _axis_after(values[shift.index], numbers[op.index])
        if axis is not None and shift.shape[axis] == op.shape[op.axis]:
            yield shift.index, (op.index, axis - len(shift.shape))


def _is_bias(trace: Trace, op: Op, shift: Op) -> bool:
    """Whether a parameter with one number for each feature is added to what a map gives, and to nothing else."""
    if shift.kind != OpKind.SHIFT or shift.name not in ("add", "add_any") or shift.inputs != (op.index,):
        return False
    layout = next((use.layout for use in op.uses if use.layout is not None), None)
    if len(shift.uses) != 1 or layout is None or shift.size != op.size:
        return False
    weight = trace.by_path[op.uses[0].path].shape
    groups = layout.group_count(weight) if layout.grouped == "in" else 1
    features = layout.extent(weight, "out") * groups
    return math.prod(trace.by_path[shift.uses[0].path].shape) in (features, features * layout.extent(weight, "stack"))


def _axis_after(value: Value, root: int) -> int | None:
    """On which axis of a value the features of an op lie, through the views between; None where they lie on none."""
    views = value.views
    if views is None or views.root != root or value.size > LARGEST:
        return None
    if not views.steps:
        return views.axis % len(views.shape)
    numbers = np.asarray(views.replayed(views.numbers()))
    along = [axis for axis in range(numbers.ndim) if bool((numbers != numbers.take([0], axis)).any())]
    return along[0] if len(along) == 1 and numbers.shape == value.shape else None


def _with_bias(trace: Trace, shift: Op, source: int, axis: int) -> Op:
    op = trace.ops[source]
    bias = replace(shift.uses[0], role=UseRole.BIAS)
    uses, line = (*op.uses, bias), shift.line or op.line
    return replace(op, index=shift.index, uses=uses, shape=shift.shape, axis=axis, line=line)
