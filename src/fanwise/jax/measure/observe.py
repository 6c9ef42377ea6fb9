"""`observe`: one run of a model, forward and backward, and what it showed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_unflatten

from fanwise.graph.paths import is_before
from fanwise.graph.patterns import recognised
from fanwise.graph.visitor import Watcher
from fanwise.jax.measure.losses import loss_of, numbers, observed
from fanwise.jax.measure.reachability import reached
from fanwise.jax.trace.biases import Joined, with_biases
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.run import Inputs, ModelError, Program, interpret_program, program_of
from fanwise.jax.trace.traced_value import Value
from fanwise.measure.losses import Loss, LossLike
from fanwise.measure.observation import NAN, Observation, ObservedLoss, Signal, observation
from fanwise.measure.signal_statistics import Signals, moment_of, sampled, signal_of
from fanwise.measure.weight_statistics import weigh


def observe(
    model: Any, inputs: Inputs, target: Any = None, loss: LossLike = None, *, backward: bool = True
) -> Observation:
    """Runs a model once, forward and backward, and measures every op and every parameter.

    The program is interpreted twice: on its numbers, and again with a tap of zeros added to the output of each op, with
    respect to which the loss is differentiated.

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
    recorder = _recorder(program, None, None)
    returned = interpret_program(program, recorder, program.values())
    outputs = _outputs(program, [recorder.numbers(value) for value in returned])
    ready = loss_of(outputs, target, loss, _depends(recorder, returned)) if backward else None
    if ready is None:
        return _observation(program, (recorder, returned), _BackwardPass(), None)
    backward_pass = _gradients(program, recorder, ready)
    given = [jnp.asarray(array) for array in program.given] if ready.named is None else []
    seen = observed(ready, outputs, backward_pass.value, given)
    return _observation(program, (recorder, returned), backward_pass, seen)


def _depends(recorder: Recorder, returned: Sequence[Value]) -> Callable[[int, int], bool]:
    """By the ops that were seen on the way."""
    floats = [value for value in returned if jnp.issubdtype(value.dtype, jnp.inexact)]
    return lambda number, other: is_before(recorder.ops, floats[other].op, floats[number].op)


class _BackwardPass:
    """Results of a backward pass: the loss, gradients at the ops, E g^2 of parameters that it reached; or nothing."""

    def __init__(self, value: float = NAN, taps: Sequence[Any] = (), sizes: Mapping[str, float] | None = None) -> None:
        self.value, self.taps, self.sizes = value, tuple(taps), dict(sizes or {})


def _recorder(program: Program, leaves: Mapping[str, Any] | None, taps: Sequence[Any] | None) -> Recorder:
    arrays = program.model.leaves if leaves is None else leaves
    return Recorder({parameter.path: parameter for parameter in program.parameters}, arrays, Watcher(), taps)


def _outputs(program: Program, arrays: Sequence[Any]) -> Any:
    return tree_unflatten(program.structure, [jnp.asarray(array) for array in arrays])


def _gradients(program: Program, seen: Recorder, loss: Loss) -> _BackwardPass:
    """The loss, and its gradients with respect to zeros added at every op and to every parameter."""
    zeros = [jnp.zeros(op.shape, value.dtype) for op, value in zip(seen.ops, seen.outputs, strict=True)]

    def value_of(leaves: dict[str, Any], taps: list[Any]) -> Any:
        recorder = _recorder(program, leaves, taps)
        returned = interpret_program(program, recorder, program.values(leaves))
        arrays = [recorder.numbers(value) for value in returned]
        return loss(tree_unflatten(program.structure, arrays)).astype(jnp.float32)

    try:
        value, (leaves, taps) = jax.value_and_grad(value_of, argnums=(0, 1))(dict(program.model.leaves), zeros)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the loss or its backward pass failed: {type(error).__name__}: {error}") from error
    sizes = {path: _moment(gradient) for path, gradient in leaves.items()}
    if 0 in sizes.values():
        sizes = _without_cut(sizes, lambda given: value_of(given, zeros), dict(program.model.leaves))
    return _BackwardPass(float(value), taps, sizes)


def _without_cut(
    sizes: Mapping[str, float], function: Callable[[dict[str, Any]], Any], leaves: dict[str, Any]
) -> dict[str, float]:
    """The sizes of the gradients that come to their parameters, zeros among them."""
    connected = reached(function, leaves)
    return {path: size for path, size in sizes.items() if size != 0 or path in connected}


def _observation(
    program: Program, seen: tuple[Recorder, Sequence[Value]], backward_pass: _BackwardPass, loss: ObservedLoss | None
) -> Observation:
    recorder, returned = seen
    outputs = [returned[index] for index in program.outputs]
    joined = with_biases(recognised(recorder.trace(outputs)), recorder.outputs, recorder.kept)
    trace = joined.trace
    arrays = dict(zip(program.model.leaves, numbers(list(program.model.leaves.values())), strict=True))
    given = numbers([jnp.asarray(array) for array in program.given])
    first = next((value for value in outputs if value.size > 1), None)
    return observation(
        trace,
        _signals(recorder, joined, backward_pass.taps),
        weigh(arrays, trace, backward_pass.sizes),
        given=[signal_of(array) if np.issubdtype(array.dtype, np.inexact) else None for array in given],
        output=None if first is None else signal_of(numbers([recorder.numbers(first)])[0]),
        loss=loss,
        backward=True,
    )


def _moment(gradient: Any) -> float:
    """E g^2; a parameter to which no gradient comes has one of zeros."""
    array = numbers([gradient])[0]
    return moment_of(sampled(array)) if array.any() else 0.0


def _signals(recorder: Recorder, joined: Joined, taps: Sequence[Any]) -> tuple[Signal, ...]:
    """Signals of the ops that are kept, in the trace's order."""
    measured, signals = Signals(), []
    for op, raw in zip(joined.trace.ops, joined.numbers, strict=True):
        output = numbers([recorder.outputs[raw].data])[0]
        gradient = numbers([taps[raw]])[0] * recorder.shares.get(raw, 1.0) if taps else None
        size = moment_of(sampled(gradient)) if gradient is not None and gradient.size else NAN
        signals.append(Signal(**measured.of(op, output), gradient=size))
    return tuple(signals)
