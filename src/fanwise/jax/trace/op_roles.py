"""Knowledge of an operation from its inputs and the ops before it: roles, replays, nonlinearities, softmaxes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from fanwise.graph.details import Product, Reduction, Softmax
from fanwise.graph.kinds import AFTER_SOFTMAX, PROBED, REPLAYABLE, SOFTMAX_STATISTIC
from fanwise.graph.op import INPUT, Op, OpKind, UseRole
from fanwise.graph.tracking.probes import Probe, probe
from fanwise.jax.trace import activations as shapes
from fanwise.jax.trace.calls import Call, Step, first_on_host
from fanwise.jax.trace.op_table import ELEMENTWISE
from fanwise.jax.trace.traced_value import Value

SUMMED = ("reduce_sum", "psum", "psum_invariant")
"""Sums over axes; where `vmap` gives an axis its name, a sum over the name is one."""


def with_roles(call: Call, values: Sequence[Value]) -> Call:
    """A map of the state of a loop over time is a recurrent one."""
    data = [values[operand] for operand in call.data]
    if call.kind != OpKind.LINEAR or not data or not all(value.state for value in data):
        return call
    parts = tuple(replace(part, role=UseRole.RECURRENT) if part.role == UseRole.WEIGHT else part for part in call.parts)
    return replace(call, parts=parts)


def in_order(ops: Sequence[Op], call: Call, values: Sequence[Value]) -> Call:
    """A product with the weights of a softmax on its left, whichever side the program has them on."""
    if (
        not isinstance(call.detail, Product)
        or len(call.data) != 2
        or not _comes_from_softmax(ops, values[call.data[1]])
    ):
        return call
    if _comes_from_softmax(ops, values[call.data[0]]):
        return call
    turned = {"l": "r", "r": "l"}
    sides = tuple(turned.get(side, side) for side in call.detail.sides)
    return replace(call, data=call.data[::-1], detail=replace(call.detail, sides=sides))


def _comes_from_softmax(ops: Sequence[Op], value: Value) -> bool:
    index = -1 if value.op is None else value.op
    while index >= 0 and ops[index].kind in AFTER_SOFTMAX and ops[index].inputs:
        index = ops[index].inputs[0]
    return index >= 0 and ops[index].kind == OpKind.SOFTMAX


def with_keys_on_the_right(ops: Sequence[Op], step: Step, values: Sequence[Value]) -> Op | None:
    """The product that the scores of a softmax are, its operands turned where the softmax is over the left one's axes.

    A softmax over scores is over the keys: they are the right operand. None where nothing is to be turned.
    """
    if step.name != "reduce_max" or not values[0].sides or values[0].op is None:
        return None
    index = values[0].op
    while index >= 0 and ops[index].kind != OpKind.MATMUL and ops[index].inputs:
        index = ops[index].inputs[0]
    over = {values[0].sides[axis] for axis in step.params["axes"]}
    if over != {"l"} or index < 0 or ops[index].kind != OpKind.MATMUL:
        return None
    return replace(ops[index], inputs=ops[index].inputs[::-1], reads=ops[index].reads[::-1])


def within_a_cell(call: Call) -> Call:
    """A sum in a cell that is applied over and over is part of its gating, no residual."""
    return replace(call, kind=OpKind.ELEMENTWISE) if call.kind == OpKind.ADD else call


def is_statistic_times_parameter(values: Sequence[Value]) -> bool:
    """Whether a product is that of a statistic and of a parameter, as in a norm whose scale is multiplied in first."""
    held = [value for value in values if value.held is not None]
    others = [value for value in values if value.held is None and value.pending is None]
    return len(held) == 1 and any(value.inverse or (value.is_data and value.reduced) for value in others)


def replay_of_call(step: Step, call: Call, values: Sequence[Value]) -> Callable[..., Any] | None:
    """The op as a function of NumPy arrays of one axis, where numbers alone have a say beside its inputs."""
    numbers = [value.number for value in values]
    others = [operand for operand in range(len(values)) if numbers[operand] is None]
    if call.kind not in REPLAYABLE or call.parts or others != list(call.data) or step.name not in ELEMENTWISE:
        return None
    if any(not values[operand].is_data or values[operand].dtype.kind == "c" for operand in others):
        return None

    def replay(*arrays: Any) -> Any:
        given = dict(zip(others, arrays, strict=True))
        filled = [
            np.asarray(given[operand], np.float32) if number is None else np.full_like(arrays[0], number, np.float32)
            for operand, number in enumerate(numbers)
        ]
        return np.asarray(first_on_host(step, filled), np.float64)

    return replay


def probe_of_call(step: Step, call: Call, slots: Sequence[int], arrays: Sequence[Any]) -> Probe | None:
    """The op on normal values in place of its data, with all else that it reads; None where that has no numbers.

    Args:
        step: computes it.
        call: what it is.
        slots: the operands that are data, in the order of the op's inputs.
        arrays: what the step reads.
    """
    if call.kind not in PROBED or call.parts or not slots or any(array is None for array in arrays):
        return None
    if not all(jax.numpy.issubdtype(arrays[slot].dtype, jax.numpy.floating) for slot in slots):
        return None
    rest = {operand: array for operand, array in enumerate(arrays) if operand not in slots}
    forms = [(tuple(arrays[slot].shape), arrays[slot].dtype) for slot in slots]

    def function(*values: Any) -> Any:
        drawn = [jax.numpy.asarray(value, dtype) for value, (_, dtype) in zip(values, forms, strict=True)]
        given = rest | dict(zip(slots, drawn, strict=True))
        return step.first(*(given[operand] for operand in range(len(given))))

    return probe(function, [shape for shape, _ in forms])


def holds_program(params: Mapping[str, Any]) -> bool:
    """Whether a primitive carries out a program of its own."""
    each = [item for value in params.values() for item in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(item, Jaxpr | ClosedJaxpr) for item in each)


def moved_sides(sides: tuple[str, ...], step: Step, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Which factor of a product each axis comes from, after a view."""
    if step.name == "transpose" and sides:
        return tuple(sides[axis] for axis in step.params["permutation"])
    return sides if len(sides) == len(shape) and step.name != "reshape" else ()


def named(ops: Sequence[Op], op: Op, step: Step, samples: Mapping[int, shapes.Sample]) -> tuple[Op, tuple[int, ...]]:
    """The op, with what it ends named where it is written out, and the ops that it then stands for."""
    softmax = _softmax(ops, op)
    if softmax is not None:
        return softmax
    recognised = (
        None if op.uses or (op.kind == OpKind.ACTIVATION and len(samples) < 2) else shapes.recognised(step, samples)
    )
    if recognised is None:
        return op, ()
    sample, detail = recognised
    root = sample.root
    if root.reduced or root.op is None:
        return op, ()
    activation = replace(
        op,
        kind=OpKind.ACTIVATION,
        name=detail.nonlinearity,
        inputs=(root.op,),
        reads=(root.shape,),
        detail=detail,
        given=(root.given,) if root.op == INPUT else (),
        replay=shapes.replay_of(detail),
    )
    return activation, sample.ops


def _softmax(ops: Sequence[Op], op: Op) -> tuple[Op, tuple[int, ...]] | None:
    """exp(x - max x) / sum exp(x - max x)."""
    if op.name != "div" or len(op.inputs) != 2 or min(op.inputs) < 0:
        return None
    top, below = (ops[i] for i in op.inputs)
    if top.name != "exp" or below.name != "reduce_sum" or below.inputs != (top.index,):
        return None
    first, gone = top, [top.index, below.index]
    while first.inputs[0] >= 0 and _is_difference(ops[first.inputs[0]]):
        first = ops[first.inputs[0]]
        gone += [first.index, *_statistic(ops, first.inputs[1])]
    read = first.inputs[:1], first.reads[:1], first.given[:1]
    along = below.detail.axes[-1:] if isinstance(below.detail, Reduction) else ()
    op = replace(op, kind=OpKind.SOFTMAX, name="softmax", detail=Softmax(axis=along[0] if along else -1))
    named = replace(op, inputs=read[0], reads=read[1], given=read[2])
    return named, tuple(gone)


def _statistic(ops: Sequence[Op], index: int) -> list[int]:
    chain = []
    while index >= 0 and ops[index].kind in SOFTMAX_STATISTIC and len(ops[index].inputs) == 1:
        chain.append(index)
        if ops[index].kind == OpKind.REDUCE:
            break
        index = ops[index].inputs[0]
    return chain


def _is_difference(op: Op) -> bool:
    return op.minus == 1 and len(op.inputs) == 2
