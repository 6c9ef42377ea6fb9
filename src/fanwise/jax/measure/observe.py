"""`observe`: one run of a model, forward and backward, and what it showed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from fanwise.jax.measure.watched import watched
from fanwise.jax.trace.biases import Joined, with_biases
from fanwise.jax.trace.leaving import said
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

    The program is interpreted twice: on its numbers, and again under differentiation, where the gradient at each op is
    measured as it comes by. What the first pass gave is gone before the second.

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
    seen = _ForwardPass.of(program)
    ready = loss_of(seen.outputs, target, loss, seen.depends) if backward else None
    if ready is None:
        return _observation(program, seen, _BackwardPass(), None)
    backward_pass = _gradients(program, ready)
    given = [jnp.asarray(array) for array in program.given] if ready.named is None else []
    return _observation(program, seen, backward_pass, observed(ready, seen.outputs, backward_pass.value, given))


@dataclass(frozen=True)
class _ForwardPass:
    """Results of the forward pass; the numbers of the ops themselves are gone before the backward pass.

    Args:
        joined: the trace.
        signals: of its ops.
        shares: factors on the gradients of operations that were made means.
        outputs: of the model.
        output: the signal of the first of them that holds several numbers.
        depends: whether an output of floating point is made of another.
    """

    joined: Joined
    signals: tuple[Signal, ...]
    shares: Mapping[int, float]
    outputs: Any
    output: Signal | None
    depends: Callable[[int, int], bool]

    @classmethod
    def of(cls, program: Program) -> "_ForwardPass":
        """The pass of a program on its own numbers."""
        recorder = _recorder(program, None)
        returned = interpret_program(program, recorder, program.values())
        outputs = _outputs(program, [recorder.numbers(value) for value in returned])
        floats = [returned[index] for index in program.outputs]
        joined = with_biases(recognised(recorder.trace(floats)), recorder.outputs, recorder.kept)
        first = next((value for value in floats if value.size > 1), None)
        output = None if first is None else signal_of(numbers([recorder.numbers(first)])[0])
        seen = joined, _signals(recorder, joined), recorder.shares
        return cls(*seen, outputs, output, _depends(recorder, returned))


def _depends(recorder: Recorder, returned: Sequence[Value]) -> Callable[[int, int], bool]:
    """By the ops that were seen on the way."""
    ops, floats = recorder.ops, [value.op for value in returned if jnp.issubdtype(value.dtype, jnp.inexact)]
    return lambda number, other: is_before(ops, floats[other], floats[number])


class _BackwardPass:
    """Results of a backward pass: the loss, E g^2 at the ops and of parameters that it reached; or nothing."""

    def __init__(
        self, value: float = NAN, ops: Mapping[int, float] | None = None, sizes: Mapping[str, float] | None = None
    ) -> None:
        self.value, self.ops, self.sizes = value, ops, dict(sizes or {})


def _recorder(
    program: Program, leaves: Mapping[str, Any] | None, tap: Callable[[int, Any], Any] | None = None
) -> Recorder:
    arrays = program.model.leaves if leaves is None else leaves
    return Recorder({parameter.path: parameter for parameter in program.parameters}, arrays, Watcher(), tap)


def _outputs(program: Program, arrays: Sequence[Any]) -> Any:
    return tree_unflatten(program.structure, [jnp.asarray(array) for array in arrays])


def _gradients(program: Program, loss: Loss) -> _BackwardPass:
    """The loss, and the sizes of its gradients at every op and parameter."""

    def value_of(leaves: dict[str, Any], tap: Callable[[int, Any], Any]) -> Any:
        recorder = _recorder(program, leaves, tap)
        returned = interpret_program(program, recorder, program.values(leaves))
        arrays = [recorder.numbers(value) for value in returned]
        return loss(tree_unflatten(program.structure, arrays)).astype(jnp.float32)

    ops: dict[int, float] = {}
    see = partial(watched, lambda index, gradient: ops.update({index: _moment(gradient)}))

    def seen(given: dict[str, Any], asked: Any) -> Any:
        return value_of(given, lambda index, array: see(index, array, asked))

    try:
        value, (leaves, _) = jax.value_and_grad(seen, (0, 1))(dict(program.model.leaves), jnp.zeros(()))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the loss or its backward pass failed: {said(error)}") from error
    sizes = {path: _moment(gradient) for path, gradient in leaves.items()}
    if 0 in sizes.values():
        sizes = _without_cut(sizes, lambda given: value_of(given, _as_it_is), dict(program.model.leaves))
    return _BackwardPass(float(value), ops, sizes)


def _as_it_is(index: int, array: Any) -> Any:
    """An op's output, at which no gradient is wanted."""
    return array


def _without_cut(
    sizes: Mapping[str, float], function: Callable[[dict[str, Any]], Any], leaves: dict[str, Any]
) -> dict[str, float]:
    """The sizes of the gradients that come to their parameters, zeros among them."""
    connected = reached(function, leaves)
    return {path: size for path, size in sizes.items() if size != 0 or path in connected}


def _observation(
    program: Program, seen: _ForwardPass, backward_pass: _BackwardPass, loss: ObservedLoss | None
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


def _moment(gradient: Any) -> float:
    """E g^2; a parameter to which no gradient comes has one of zeros."""
    array = numbers([gradient])[0]
    return moment_of(sampled(array)) if array.any() else 0.0


def _signals(recorder: Recorder, joined: Joined) -> tuple[Signal, ...]:
    """Signals of the ops that are kept, in the trace's order."""
    measured = Signals()
    arrays = (numbers([recorder.outputs[raw].data])[0] for raw in joined.numbers)
    return tuple(Signal(**measured.of(op, array)) for op, array in zip(joined.trace.ops, arrays, strict=True))


def _with_gradients(seen: _ForwardPass, ops: Mapping[int, float] | None) -> tuple[Signal, ...]:
    """The signals with the gradients there: 0 where none came by."""
    if ops is None:
        return seen.signals
    sizes = [ops.get(raw, 0.0) * seen.shares.get(raw, 1.0) ** 2 for raw in seen.joined.numbers]
    kept = zip(seen.joined.trace.ops, seen.signals, sizes, strict=True)
    return tuple(replace(signal, gradient=size if op.size else NAN) for op, signal, size in kept)
