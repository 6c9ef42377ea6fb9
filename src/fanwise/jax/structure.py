"""What a calibration knows of a model before it runs it: its ops with their biases, the slices of its stacks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import numpy as np

from fanwise.jax.pruning import pruned
from fanwise.jax.recorder import Recorder
from fanwise.jax.run import Program, interpreted
from fanwise.jax.values import LARGEST, Value
from fanwise.laws.layout import Layout
from fanwise.patterns import recognised
from fanwise.trace import WEIGHT_KINDS, Op, Parameter, Trace, Use
from fanwise.visiting import Watcher

Form: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""Shape of what an operation gives, and the parameters that it uses."""


@dataclass(frozen=True)
class Slice:
    """One of the maps that a stacked parameter holds.

    Args:
        path: of the parameter.
        axis: along which they are stacked.
        index: which one.
    """

    path: str
    axis: int
    index: int

    @property
    def name(self) -> str:
        """What it is called, a parameter of its own."""
        return f"{self.path}[{self.index}]"

    @property
    def place(self) -> tuple[Any, ...]:
        """Its index into the parameter."""
        return (*(slice(None),) * self.axis, self.index)


@dataclass(frozen=True)
class Structure:
    """A model's ops as a calibration sees them.

    Args:
        trace: a map and the bias that alone reads it are one op, and each slice of a stack is a parameter.
        ops: those of the trace, by the number of the operation that gives their output.
        maps: by the number of the operation that adds a bias, that of its map.
        slices: by name.
        repeated: parameters that a loop uses over and over.
        forms: of every operation of the program.
        shares: what sums that are means are divided by later, by the number of the operation.
    """

    trace: Trace
    ops: Mapping[int, Op]
    maps: Mapping[int, int]
    slices: Mapping[str, Slice]
    repeated: frozenset[str]
    forms: tuple[Form, ...]
    shares: Mapping[int, float]


def form_of(op: Op) -> Form:
    """What tells an operation from another that stands at its place in another run."""
    return op.shape, tuple(use.path for use in op.uses)


def structure_of(program: Program) -> Structure | None:
    """The structure, from a pass in which no data has values; None where what the program does depends on them."""
    given = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in program.given)
    values = program.values()[: len(program.model.leaves)]
    inputs = replace(program, given=given).values()[len(values) :]
    recorder, structure = _traced(program, [*values, *inputs])
    return None if recorder.guessed else structure


def structure_seen(program: Program) -> Structure:
    """The structure, from a run."""
    return _traced(program, program.values())[1]


def _traced(program: Program, values: Sequence[Value]) -> tuple[Recorder, Structure]:
    recorder = Recorder({one.path: one for one in program.found}, program.model.leaves, Watcher())
    made = interpreted(program, recorder, values)
    return recorder, _structure(recorder, [made[place] for place in program.outputs])


def _structure(recorder: Recorder, outputs: Sequence[Value]) -> Structure:
    trace = recognised(recorder.trace(outputs))
    raw = recorder.kept
    parts = {(place, path): recorder.parts[raw[place], path] for place, path in _uses(trace)}
    unstacked, slices = _unstacked(trace, parts)
    pairs = dict(_biased(unstacked, [recorder.outputs[number] for number in raw], raw))
    joined, kept = _joined(unstacked, pairs)
    return Structure(
        joined,
        {raw[place]: op for place, op in zip(kept, joined.ops, strict=True)},
        {raw[shift]: raw[source] for shift, (source, _) in pairs.items()},
        slices,
        frozenset(recorder.repeated),
        tuple(form_of(op) for op in recorder.ops),
        dict(recorder.shares),
    )


def _uses(trace: Trace) -> Iterator[tuple[int, str]]:
    return ((op.index, use.path) for op in trace.ops for use in op.uses)


# Stacks


def _unstacked(
    trace: Trace, parts: Mapping[tuple[int, str], tuple[tuple[int, int, int], ...]]
) -> tuple[Trace, Mapping[str, Slice]]:
    """The trace in which each slice of a parameter is one of its own, where every use is of one slice."""
    axes = {path: _stacking(uses, parts) for path, uses in trace.uses.items()}
    stacked = {path: axis for path, axis in axes.items() if axis is not None}
    if not stacked:
        return trace, {}
    ops = tuple(replace(op, uses=tuple(_one(use, op.index, stacked, parts) for use in op.uses)) for op in trace.ops)
    slices = [Slice(path, axis, i) for path, axis in stacked.items() for i in range(trace.by_path[path].shape[axis])]
    parameters = tuple(found for one in trace.parameters for found in _sliced(one, stacked))
    return replace(trace, ops=ops, parameters=parameters), {one.name: one for one in slices}


def _stacking(
    uses: Sequence[tuple[Op, Use]], parts: Mapping[tuple[int, str], tuple[tuple[int, int, int], ...]]
) -> int | None:
    """The axis along which every use of a parameter takes one index of a stack."""
    found = {_axis_of(use, parts[op.index, use.path]) for op, use in uses}
    return found.pop() if len(found) == 1 else None


def _axis_of(use: Use, parts: tuple[tuple[int, int, int], ...]) -> int | None:
    if len(parts) != 1 or parts[0][2] != 1:
        return None
    axis = parts[0][0]
    return axis if use.layout is None or use.layout.axes[axis] == "stack" else None


def _one(use: Use, op: int, stacked: Mapping[str, int], parts: Mapping[tuple[int, str], Any]) -> Use:
    if use.path not in stacked:
        return use
    axis, index = stacked[use.path], parts[op, use.path][0][1]
    return replace(use, path=Slice(use.path, axis, index).name, layout=_without(use.layout, axis))


def _without(layout: Layout | None, axis: int) -> Layout | None:
    """The layout of one map of a stack."""
    if layout is None or len(layout.axes) < 2:
        return None
    fused = layout.fused
    if fused is not None and fused.axis == axis:
        return None
    moved = None if fused is None else replace(fused, axis=fused.axis - (fused.axis > axis))
    return replace(layout, axes=layout.axes[:axis] + layout.axes[axis + 1 :], fused=moved)


def _sliced(parameter: Parameter, stacked: Mapping[str, int]) -> Iterator[Parameter]:
    axis = stacked.get(parameter.path)
    if axis is None:
        yield parameter
        return
    shape = parameter.shape[:axis] + parameter.shape[axis + 1 :]
    for index in range(parameter.shape[axis]):
        aliases = (parameter.path, *parameter.aliases)
        yield replace(parameter, path=Slice(parameter.path, axis, index).name, shape=shape, aliases=aliases)


# Biases


def _biased(trace: Trace, values: Sequence[Value], raw: Sequence[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """The shifts that are biases of maps: by the shift's index, the map's and the axis of the features after it."""
    for op in trace.ops:
        if op.kind not in WEIGHT_KINDS or op.index in trace.outputs or len(readers := trace.follows(op)) != 1:
            continue
        shift = readers[0]
        axis = _axis_after(values[shift.index], raw[op.index])
        if axis is not None and _is_bias(trace, op, shift) and shift.shape[axis] == op.shape[op.axis]:
            yield shift.index, (op.index, axis - len(shift.shape))


def _is_bias(trace: Trace, op: Op, shift: Op) -> bool:
    if shift.kind != "shift" or shift.name not in ("add", "add_any") or shift.inputs != (op.index,):
        return False
    layout = next((use.layout for use in op.uses if use.layout is not None), None)
    if len(shift.uses) != 1 or layout is None or shift.size != op.size:
        return False
    weight = trace.by_path[op.uses[0].path].shape
    outputs = [size for size, role in zip(weight, layout.axes, strict=True) if role == "out"]
    bias = trace.by_path[shift.uses[0].path].shape
    features = layout.group_count(weight) if layout.grouped == "in" else 1
    return bool(np.prod(bias) == np.prod(outputs) * features)


def _axis_after(value: Value, root: int) -> int | None:
    """On which axis of a value the features of an op lie, through the views between; None where it is not one."""
    chain = value.chain
    if chain is None or chain.root != root or value.size > LARGEST:
        return None
    places = [1] * len(chain.shape)
    places[chain.axis] = chain.extent
    shadow: Any = np.broadcast_to(np.arange(chain.extent, dtype=np.int32).reshape(places), chain.shape)
    for step in chain.steps:
        shadow = step(shadow)
    found = np.asarray(shadow)
    along = [axis for axis in range(found.ndim) if bool((found != found.take([0], axis)).any())]
    if chain.extent == 1:
        return chain.axis % len(chain.shape) if not chain.steps else None
    return along[0] if len(along) == 1 and found.shape == value.shape else None


def _joined(trace: Trace, pairs: Mapping[int, tuple[int, int]]) -> tuple[Trace, tuple[int, ...]]:
    """Maps and their biases as one op each, where the bias is added; and the places of what is left."""
    at = {source: shift for shift, (source, _) in pairs.items()}
    ops = [_with_bias(trace, op, *pairs[op.index]) if op.index in pairs else op for op in trace.ops]
    ops = [replace(op, detail=_detail(op.detail, at)) for op in ops]
    kept = tuple(op.index for op in ops if op.index not in at)
    return pruned(replace(trace, ops=tuple(ops)), kept), kept


def _with_bias(trace: Trace, shift: Op, source: int, axis: int) -> Op:
    op = trace.ops[source]
    bias = replace(shift.uses[0], role="bias", layout=None)
    return replace(op, index=shift.index, uses=(*op.uses, bias), shape=shift.shape, axis=axis)


def _detail(detail: Mapping[str, Any], at: Mapping[int, int]) -> Mapping[str, Any]:
    """Features are counted from where the bias is added."""
    if "root" not in detail:
        return detail
    peers = tuple(at.get(peer, peer) for peer in detail.get("peers", ()))
    return {**detail, "root": at.get(detail["root"], detail["root"]), "peers": peers}
