"""`observe`: one run of a model, forward and backward, and what it showed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from fanwise.jax.measure.backward_pass import BackwardPass
from fanwise.jax.measure.forward_pass import ForwardPass
from fanwise.jax.measure.losses import loss_of, numbers, observed
from fanwise.jax.trace.run import Inputs, ModelError, Program, program_of
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import NAN, Observation, ObservedLoss, Signal, observation
from fanwise.measure.signal_statistics import signal_of
from fanwise.measure.weight_statistics import weigh


def observe(
    model: Any, inputs: Inputs, target: Any = None, loss: LossLike = None, *, backward: bool = True
) -> Observation:
    """Runs a model once, forward and backward, and measures every op and every parameter.

    The program is interpreted twice: on its numbers, and again under differentiation, where the gradient at each op is
    measured as it comes by. What the first pass gave is gone before the second, which is compiled as a whole where its
    operations give much: memory is that of a training step.

    Args:
        model: with values; one of shapes alone has none.
        inputs: what it is called with.
        target: what the loss compares with, None where the batch has none.
        loss: see `fanwise.jax.measure.losses.loss_of`.
        backward: whether gradients are wanted.

    Raises:
        TypeError: not a model.
        ModelError: the model, its loss or its backward pass raised an error, or the model has no values.
    """
    program = program_of(model, inputs)
    if program.is_abstract:
        raise ModelError("the model or its inputs are shapes alone and have no values to check: materialize it first")
    seen = ForwardPass.of(program)
    ready = loss_of(seen.outputs, target, loss, seen.depends) if backward else None
    if ready is None:
        return _observation(program, seen, BackwardPass(), None)
    backward_pass = BackwardPass.of(program, ready, seen.forms if seen.is_large else None)
    given = [jnp.asarray(array) for array in program.given] if ready.named is None else []
    return _observation(program, seen, backward_pass, observed(ready, seen.outputs, backward_pass.value, given))


def _observation(
    program: Program, seen: ForwardPass, backward_pass: BackwardPass, loss: ObservedLoss | None
) -> Observation:
    trace = seen.joined.trace
    arrays = dict(zip(program.model.leaves, numbers(list(program.model.leaves.values())), strict=True))
    given = numbers([jnp.asarray(array) for array in program.given])
    return observation(
        trace,
        _with_gradients(seen, backward_pass.ops),
        weigh(arrays, trace, backward_pass.sizes),
        given=[signal_of(array) if np.issubdtype(array.dtype, np.inexact) else None for array in given],
        output=seen.output,
        loss=loss,
        backward=True,
    )


def _with_gradients(seen: ForwardPass, ops: Mapping[int, float] | None) -> tuple[Signal, ...]:
    """The signals with the gradients there: 0 where none came by."""
    if ops is None:
        return seen.signals
    sizes = [ops.get(raw, 0.0) * seen.shares.get(raw, 1.0) ** 2 for raw in seen.joined.numbers]
    kept = zip(seen.joined.trace.ops, seen.signals, sizes, strict=True)
    return tuple(replace(signal, gradient=size if op.size else NAN) for op, signal, size in kept)
