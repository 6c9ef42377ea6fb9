"""The structure of a model before a calibration runs it: its ops with their biases, the slices of its stacks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax

from fanwise.graph.op import Op, Parameter, Use
from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.jax.trace.biases import with_biases
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.run import Program, interpret_program
from fanwise.jax.trace.traced_value import Value
from fanwise.laws.layout import Layout

Form: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""Shape of what an operation gives, and the parameters that it uses."""


@dataclass(frozen=True)
class Slice:
    """A map among those that a stacked parameter holds.

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
        """The name of the slice, as a parameter of its own."""
        return f"{self.path}[{self.index}]"

    @property
    def subscript(self) -> tuple[Any, ...]:
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
    """The features that tell an operation from another at the same position of another run."""
    return op.shape, tuple(use.path for use in op.uses)


def structure_of(program: Program) -> Structure | None:
    """The structure, from a pass in which no data has values; None where what the program does depends on them."""
    given = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in program.given)
    values = program.values()[: len(program.model.leaves)]
    inputs = replace(program, given=given).values()[len(values) :]
    recorder, structure = _trace(program, [*values, *inputs])
    return None if recorder.loop.guessed else structure


def structure_of_run(program: Program) -> Structure:
    """The structure, from a run."""
    return _trace(program, program.values())[1]


def _trace(program: Program, values: Sequence[Value]) -> tuple[Recorder, Structure]:
    recorder = Recorder(
        {parameter.path: parameter for parameter in program.parameters}, program.model.leaves, Watcher()
    )
    returned = interpret_program(program, recorder, values)
    return recorder, _structure(recorder, [returned[index] for index in program.outputs])


def _structure(recorder: Recorder, outputs: Sequence[Value]) -> Structure:
    trace = recognised(recorder.trace(outputs))
    raw = recorder.kept
    parts = {(index, path): recorder.parts[raw[index], path] for index, path in _uses(trace)}
    unstacked, slices = _unstack(trace, parts)
    joined = with_biases(unstacked, recorder.outputs, raw)
    return Structure(
        joined.trace,
        dict(zip(joined.numbers, joined.trace.ops, strict=True)),
        joined.maps,
        slices,
        frozenset(recorder.repeated),
        tuple(form_of(op) for op in recorder.ops),
        dict(recorder.shares),
    )


def _uses(trace: Trace) -> Iterator[tuple[int, str]]:
    return ((op.index, use.path) for op in trace.ops for use in op.uses)


# Stacks


def _unstack(
    trace: Trace, parts: Mapping[tuple[int, str], tuple[tuple[int, int, int], ...]]
) -> tuple[Trace, Mapping[str, Slice]]:
    """The trace in which each slice of a parameter is one of its own, where every use is of one slice."""
    axes = {path: _stacking(uses, parts) for path, uses in trace.uses.items()}
    stacked = {path: axis for path, axis in axes.items() if axis is not None}
    if not stacked:
        return trace, {}
    ops = tuple(
        replace(op, uses=tuple(_unstack_use(use, op.index, stacked, parts) for use in op.uses)) for op in trace.ops
    )
    slices = [Slice(path, axis, i) for path, axis in stacked.items() for i in range(trace.by_path[path].shape[axis])]
    parameters = tuple(part for whole in trace.parameters for part in _slices_of(whole, stacked))
    return replace(trace, ops=ops, parameters=parameters), {part.name: part for part in slices}


def _stacking(
    uses: Sequence[tuple[Op, Use]], parts: Mapping[tuple[int, str], tuple[tuple[int, int, int], ...]]
) -> int | None:
    """The axis along which every use of a parameter takes one index of a stack."""
    axes = {_axis_of(use, parts[op.index, use.path]) for op, use in uses}
    return axes.pop() if len(axes) == 1 else None


def _axis_of(use: Use, parts: tuple[tuple[int, int, int], ...]) -> int | None:
    if len(parts) != 1 or parts[0][2] != 1:
        return None
    axis = parts[0][0]
    return axis if use.layout is None or use.layout.axes[axis] == "stack" else None


def _unstack_use(use: Use, op: int, stacked: Mapping[str, int], parts: Mapping[tuple[int, str], Any]) -> Use:
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


def _slices_of(parameter: Parameter, stacked: Mapping[str, int]) -> Iterator[Parameter]:
    axis = stacked.get(parameter.path)
    if axis is None:
        yield parameter
        return
    shape = parameter.shape[:axis] + parameter.shape[axis + 1 :]
    for index in range(parameter.shape[axis]):
        aliases = (parameter.path, *parameter.aliases)
        yield replace(parameter, path=Slice(parameter.path, axis, index).name, shape=shape, aliases=aliases)
