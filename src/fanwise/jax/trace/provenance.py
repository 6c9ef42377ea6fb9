"""Functions of parameters alone: views are followed axis by axis, other functions are named."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fanwise.graph.frozen import STOPS_GRADIENT
from fanwise.graph.op import UseRole
from fanwise.graph.tracking.tracker import Parts
from fanwise.jax.trace.axes import Axes
from fanwise.jax.trace.calls import Step
from fanwise.jax.trace.op_table import SELECTIONS, VIEWS
from fanwise.jax.trace.traced_value import Drawn, Provenance, ShownParameter, Value
from fanwise.stream.box import Shape

SUMS = frozenset({"add", "sub", "add_any"})
BROADCAST = SUMS | {"mul", "div"}
STEPS = {"concatenate": "cat", "dot_general": "matmul"}
"""Names of functions as the planner knows them."""
FACTORS = frozenset({"mul", "div", "neg", "sqrt", "rsqrt", "exp"})
"""Functions that may change the size of a parameter by a constant factor."""


def parameter_value(path: str, data: Any, like: Any) -> Value:
    """A parameter as the program is given it.

    Args:
        path: its name.
        data: its values; None where there are none.
        like: what has its shape and dtype.
    """
    shape = tuple(like.shape)

    def make(drawn: Drawn) -> Any:
        return drawn.get(path, data)

    return Value(shape, like.dtype, held=Provenance((ShownParameter(path, Axes.of(shape)),), (), make))


def derive(step: Step, values: Sequence[Value], output: int) -> Value:
    """Makes the output of a step of parameters and constants, which shows them.

    Args:
        step: the step.
        values: its inputs.
        output: which of its outputs.
    """
    shape, dtype = step.outs[output]
    sources = [(value, value.held) for value in values if value.held is not None]
    name = "concatenate" if _is_part(step, values) else step.name

    def make(drawn: Drawn) -> Any:
        arrays = [value.data if value.held is None else value.held.make(drawn) for value in values]
        return step(*arrays)[output]

    first = sources[0][1]
    is_view = step.name in VIEWS or step.name in SELECTIONS or (step.name == "concatenate" and len(sources) == 1)
    if is_view and values[0].held is not None:
        shown = tuple(_view(parameter, step, values, (shape, output)) for parameter in first.shown)
        if step.name in STOPS_GRADIENT:
            shown = tuple(replace(parameter, stopped=True) for parameter in shown)
        steps = (*first.steps, step.name) if step.name in STOPS_GRADIENT else first.steps
        return Value(shape, dtype, held=Provenance(shown, steps, make))
    earlier = dict.fromkeys(name for _, held in sources for name in held.steps)
    steps = (*earlier, STEPS.get(name, name))
    return Value(shape, dtype, held=Provenance(_merge(name, sources, shape), steps, make))


def _is_part(step: Step, values: Sequence[Value]) -> bool:
    """Whether a parameter is written, with all of its axes, into a part of an array: it is joined with the rest."""
    written = {"dynamic_update_slice": 1, "scatter": 2}.get(step.name)
    if written is None or values[written].held is None:
        return False
    numbers = step.params.get("dimension_numbers")
    kept = () if numbers is None else numbers.inserted_window_dims
    return len(values[written].shape) == len(values[0].shape) and len(kept) < 2


def _merge(step: str, sources: Sequence[tuple[Value, Provenance]], shape: Shape) -> tuple[ShownParameter, ...]:
    """The parameters behind several arrays; those that only scale or shift others come last."""
    merged: dict[str, ShownParameter] = {}
    for value, held in sources:
        side = _side(value.shape, shape, step)
        for parameter in held.shown:
            axes = parameter.axes if value.shape == shape or step == "concatenate" else None
            here = merged.setdefault(parameter.path, replace(parameter, axes=axes, side=parameter.side or side))
            merged[parameter.path] = replace(here, stopped=here.stopped and parameter.stopped)
    order = sorted(merged.values(), key=lambda parameter: parameter.side is not None)
    plain = all(parameter.side for parameter in order)
    return tuple(replace(parameter, side=None if plain else parameter.side) for parameter in order)


def _side(shape: Shape, whole: Shape, step: str) -> UseRole | None:
    if step not in BROADCAST or shape == whole:
        return None
    return UseRole.OPERAND if step in SUMS else UseRole.SCALE


def _view(parameter: ShownParameter, step: Step, values: Sequence[Value], target: tuple[Shape, int]) -> ShownParameter:
    """A parameter seen through one view more."""
    if parameter.axes is None:
        return parameter
    read = _READERS.get(step.name)
    return parameter if read is None else read(parameter, parameter.axes, step, (values, *target))


Reader = Callable[[ShownParameter, Axes, Step, tuple[Sequence[Value], Shape, int]], ShownParameter]


def _transpose(parameter: ShownParameter, axes: Axes, step: Step, _: Any) -> ShownParameter:
    return replace(parameter, axes=axes.permuted(step.params["permutation"]))


def _squeeze(parameter: ShownParameter, axes: Axes, step: Step, _: Any) -> ShownParameter:
    rank = len(axes.array)
    return replace(parameter, axes=axes.without(axis % rank for axis in step.params["dimensions"]))


def _reshape(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    return replace(parameter, axes=axes.reshaped(target[1]))


def _broadcast(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    return replace(parameter, axes=axes.broadcast(target[1], step.params["broadcast_dimensions"]))


def _slice(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    return _cut(parameter, axes, step.params["start_indices"], target[1])


def _dynamic_slice(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    values, shape, _ = target
    starts = [value.number for value in values[1:]]
    known = [int(start) if start is not None else 0 for start in starts]
    return _cut(parameter, axes, known, shape)


def _split(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    _, shape, output = target
    axis, sizes = int(step.params["axis"]), [int(size) for size in step.params["sizes"]]
    starts = [0] * len(shape)
    starts[axis] = sum(sizes[:output])
    return _cut(parameter, axes, starts, shape)


def _cut(parameter: ShownParameter, axes: Axes, starts: Sequence[int], shape: Shape) -> ShownParameter:
    parts = parameter.parts
    for axis, (first, count) in enumerate(zip(starts, shape, strict=True)):
        if count == axes.extent(axis):
            continue
        parts = _with_part(parts, axes.position(axis), int(first), count)
        axes = axes.cut(axis, count)
    return replace(parameter, axes=axes, parts=parts)


def _with_part(parts: Parts, position: tuple[int, int] | None, first: int, count: int) -> Parts:
    """The parts after one cut more, counted within the part that was shown before."""
    if position is None:
        return parts
    own, step = position
    before = next((part for part in parts if part[0] == own), (own, 0, 0))
    return (*(part for part in parts if part[0] != own), (own, before[1] + first * step, count * step))


def _gather(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    """Some of a stack, chosen by indices: the indices' axes come where the program puts them."""
    numbers, (_, shape, _) = step.params["dimension_numbers"], target
    sizes = step.params["slice_sizes"]
    kept = [axis for axis in range(len(axes.array)) if axis not in numbers.collapsed_slice_dims]
    if any(sizes[axis] != axes.extent(axis) for axis in kept):
        return replace(parameter, axes=None)
    array: list[tuple[int, ...]] = [()] * len(shape)
    result = axes
    for target_axis, axis in zip(numbers.offset_dims, kept, strict=True):
        array[target_axis] = axes.array[axis]
    for target_axis, size in enumerate(shape):
        if target_axis not in numbers.offset_dims and size != 1:
            result = replace(result, sizes=(*result.sizes, size))
            array[target_axis] = (len(result.sizes) - 1,)
    return replace(parameter, axes=replace(result, array=tuple(array)))


def _pad(parameter: ShownParameter, axes: Axes, step: Step, target: Any) -> ShownParameter:
    return (
        parameter
        if target[1] == tuple(axes.extent(axis) for axis in range(len(axes.array)))
        else replace(parameter, axes=None)
    )


_READERS: dict[str, Reader] = {
    "transpose": _transpose,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "split": _split,
    "gather": _gather,
    "pad": _pad,
}


def slice_at(value: Value, index: int, step: Step) -> Value:
    """Takes an index of a parameter's first axis, as a loop over stacked layers does."""
    held = value.held
    if held is None:
        raise ValueError("expected a value that shows parameters")
    shown = tuple(_slice_at(parameter, index) for parameter in held.shown)
    shape, dtype = step.outs[0]
    return Value(shape, dtype, held=Provenance(shown, held.steps, lambda drawn: step.first(held.make(drawn))))


def _slice_at(parameter: ShownParameter, index: int) -> ShownParameter:
    if parameter.axes is None:
        return parameter
    parts = _with_part(parameter.parts, parameter.axes.position(0), index, 1)
    return replace(parameter, axes=parameter.axes.without((0,)), parts=parts)
