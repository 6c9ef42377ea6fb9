"""`observe`: one run of a model, forward and backward, and what it showed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from fanwise.graph.op import Op
from fanwise.graph.paths import is_before
from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.source_lines import described
from fanwise.graph.visitor import Watcher
from fanwise.keras.measure.gradients import Tape, by_taps
from fanwise.keras.measure.losses import ARRAYS, loss_of, observed
from fanwise.keras.trace.backend import tensor_kinds
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.run import (
    Inputs,
    ModelError,
    check_backend,
    forward,
    given_tensors,
    main_outputs,
    on_backend,
    prepared,
    without_gradients,
)
from fanwise.keras.trace.variables import as_array, check_model, is_float, is_tensor, shape_of
from fanwise.measure.losses import Loss, LossLike, main_output
from fanwise.measure.observation import NAN, Observation, ObservedLoss, Signal, observation
from fanwise.measure.signal_statistics import Signals, moment_of, signal_of
from fanwise.measure.weight_statistics import weigh
from fanwise.stream.formats import Array


def observe(
    model: Any, inputs: Inputs, target: Any = None, loss: LossLike = None, *, backward: bool = True
) -> Observation:
    """Runs a model once, forward and backward, and measures every op and every parameter.

    The model runs as in `fanwise.keras.run` and is left as it was. Memory: what a training step takes. On JAX the model
    is run twice, once for the numbers and once under differentiation.

    Args:
        model: any built Keras model.
        inputs: what its call takes.
        target: what the loss compares with, None where the batch holds none.
        loss: see `fanwise.keras.measure.losses.loss_of`.
        backward: whether gradients are wanted.

    Raises:
        TypeError: no Keras model.
        ValueError: a model that was not built.
        ModelError: the model, its loss or its backward pass raised an error.
    """
    check_model(model)
    check_backend()
    inputs = on_backend(inputs)
    taped = backward and keras.config.backend() != "jax"
    seen = _ForwardPass(model, inputs, lambda outputs, depends: loss_of(outputs, target, loss, depends), taped=taped)
    gradients, reached = seen.gradients, seen.reached
    if backward and not taped and seen.loss is not None:
        gradients, reached = _differentiate_again(model, inputs, seen.loss, seen)
    output = main_output(seen.outputs, ARRAYS)
    return observation(
        seen.trace,
        [_signal(seen.numbers, gradients, op.index) for op in seen.trace.ops],
        weigh(seen.values, seen.trace, reached),
        given=[signal_of(_array(tensor)) if is_float(tensor) else None for tensor in given_tensors(inputs)],
        output=signal_of(_array(output)) if is_tensor(output) else None,
        loss=seen.observed(given_tensors(inputs)) if backward else None,
        backward=backward,
    )


def _depends(recorder: Recorder, outputs: Any) -> Callable[[int, int], bool]:
    """By the ops that were seen on the way."""
    floats = ARRAYS.floats(outputs)
    return lambda number, other: is_before(recorder.ops, recorder.op_of(floats[other]), recorder.op_of(floats[number]))


class _ForwardPass:
    """Results of the forward pass, with its gradients where the backend keeps a tape."""

    def __init__(self, model: Any, inputs: Inputs, loss_for: Callable[[Any, Any], Loss | None], *, taped: bool) -> None:
        self.numbers: dict[int, dict[str, float]] = {}
        self.tensors: dict[int, Any] = {}
        self._signals = Signals()
        recorder = Recorder(model, Watcher(), given_tensors(inputs), self._see)
        tape = Tape() if taped else None
        recording = without_gradients() if tape is None else tape.recording()
        with prepared(model, recorder, tensor_kinds()):
            with recording:
                self.outputs = forward(model, inputs, recorder)
                with recorder.working():
                    self.loss = loss_for(self.outputs, _depends(recorder, self.outputs))
                    value = None if self.loss is None else self.loss(self.outputs)
            self.trace: Trace = recognised(recorder.trace(main_outputs(self.outputs)))
            self.values = {path: np.array(as_array(held.value)) for path, held in recorder.variables.items()}
        self.value = NAN if value is None else float(as_array(value))
        self.gradients: dict[int, float] = {}
        self.reached: dict[str, float] = {}
        if tape is not None and value is not None:
            self._differentiate(tape, value, recorder.variables)

    def observed(self, given: Sequence[Any]) -> ObservedLoss | None:
        """The loss with its value; None where there is none."""
        return None if self.loss is None else observed(self.loss, self.outputs, self.value, given)

    def _see(self, op: Op, tensor: Any) -> None:
        self.tensors[op.index] = tensor
        self.numbers[op.index] = self._signals.of(op, _array(tensor))

    def _differentiate(self, tape: Tape, value: Any, variables: Mapping[str, Any]) -> None:
        places, trained = list(self.tensors), {p: v for p, v in variables.items() if v.trainable}
        try:
            gradients = tape.gradients(value, [self.tensors[op] for op in places], list(trained.values()))
        except Exception as error:
            raise ModelError(f"the backward pass failed: {described(error)}") from error
        moments = [None if gradient is None else _moment(gradient) for gradient in gradients]
        self.gradients = {p: m for p, m in zip(places, moments, strict=False) if m is not None}
        rest = moments[len(places) :]
        self.reached = {p: m for p, m in zip(trained, rest, strict=True) if m is not None}


def _differentiate_again(
    model: Any, inputs: Inputs, loss: Loss, seen: _ForwardPass
) -> tuple[dict[int, float], dict[str, float]]:
    """Gradients on JAX, of another run."""
    shapes = {
        index: (shape_of(tensor), keras.backend.standardize_dtype(tensor.dtype))
        for index, tensor in seen.tensors.items()
    }
    held = Recorder(model, Watcher(), ()).variables
    trained = {path: variable for path, variable in held.items() if variable.trainable}

    def run(tap: Any) -> Any:
        recorder = Recorder(model, Watcher(), given_tensors(inputs), tap=lambda op, output: tap(op.index, output))
        with prepared(model, recorder, tensor_kinds(), stateless=True):
            outputs = forward(model, inputs, recorder)
            with recorder.working():
                return loss(outputs)

    try:
        places, values = by_taps(run, shapes, list(trained.values()))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the backward pass failed: {described(error)}") from error
    reached = {path: _moment(gradient) for path, gradient in zip(trained, values, strict=True) if gradient is not None}
    return {index: _moment(gradient) for index, gradient in places.items()}, reached


def _moment(gradient: Array) -> float:
    return moment_of(np.asarray(gradient, np.float32 if gradient.dtype != np.float64 else np.float64).ravel())


def _array(tensor: Any) -> Array:
    array = as_array(tensor)
    return array if array.dtype in (np.float32, np.float64) else np.asarray(array, np.float32)


def _signal(numbers: Mapping[int, Mapping[str, float]], gradients: Mapping[int, float], op: int) -> Signal:
    statistics = dict(numbers.get(op, {}))
    return Signal(**statistics, **({"gradient": gradients[op]} if op in gradients else {}))
