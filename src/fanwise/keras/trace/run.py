"""Runs a Keras model once, layer by layer, shows a visitor each op, and returns the trace."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from fanwise.graph.inputs import Inputs
from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.source_lines import outermost, said_by
from fanwise.graph.visitor import ModelError, Visitor, Watcher
from fanwise.keras.trace.patching import followed
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.variables import check_model, is_tensor, tensors_in

__all__ = ["Inputs", "ModelError", "Visitor", "Watcher", "run"]


BACKENDS = ("tensorflow", "jax", "torch")


def run(model: Any, inputs: Inputs, visitor: Visitor | None = None) -> Trace:
    """Executes a model once and traces what it does.

    Nothing is left behind: variables, layers, functions and operators are as before. The model runs for inference, so
    that no dropout hides a parameter, but batch norms take the batch's own statistics. A layer of Keras is one op, or
    two where it applies an activation; what a model or a layer of one's own does between is followed through Keras'
    functions and the operators of tensors. What neither sees, such as a call of the backend itself, is an op "other"
    named "unseen", which reads the op before it.

    Args:
        model: any built Keras model or layer.
        inputs: what its call takes.
        visitor: what is shown each op.

    Returns:
        The ops in order, with norms written by hand and fused projections named (`fanwise.graph.patterns`).

    Raises:
        TypeError: no Keras model.
        ValueError: a model that was not built.
        ModelError: the call raised an error; the message names the layer and the op.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu", name="a")])
        >>> trace = run(model, Inputs((np.ones((2, 3), "float32"),)))
        >>> [(str(op.kind), op.module) for op in trace.ops]
        [('linear', 'a'), ('activation', 'a')]
    """
    check_model(model)
    check_backend()
    inputs = on_backend(inputs)
    recorder = Recorder(model, visitor or Watcher(), given_tensors(inputs))
    with prepared(model, recorder), without_gradients():
        outputs = forward(model, inputs, recorder)
        return recognised(recorder.trace(main_outputs(outputs)))


def check_backend() -> None:
    """Refuses what Keras computes with where its tensors cannot be followed.

    Raises:
        ValueError: another backend than TensorFlow, JAX and PyTorch.
    """
    if keras.config.backend() not in BACKENDS:
        raise ValueError(f"Keras computes with {keras.config.backend()}: expected one of {', '.join(BACKENDS)}")


def on_backend(inputs: Inputs) -> Inputs:
    """The inputs as tensors of the backend, so that they can be recognised."""
    args = tuple(_convert(value) for value in inputs.args)
    return Inputs(args, {name: _convert(value) for name, value in (inputs.kwargs or {}).items()})


def _convert(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        floats = value.dtype == np.float64
        return keras.ops.convert_to_tensor(value.astype(keras.config.floatx()) if floats else value)
    if isinstance(value, (tuple, list)):
        return type(value)(_convert(item) for item in value)
    if isinstance(value, Mapping):
        return {name: _convert(item) for name, item in value.items()}
    return keras.ops.convert_to_tensor(value) if is_tensor(value) else value


def given_tensors(inputs: Inputs) -> list[Any]:
    """The tensors among a model's inputs, in order."""
    return list(tensors_in([*inputs.args, dict(inputs.kwargs or {})]))


@contextmanager
def prepared(
    model: Any, recorder: Recorder, kinds: Sequence[type] | None = None, *, stateless: bool = False
) -> Iterator[None]:
    """The context of a run: variables that it changes are put back, and layers, functions and operators are followed.

    Args:
        model: what is run.
        recorder: what is told.
        kinds: classes of the tensors whose operators are followed, the backend's own by default.
        stateless: whether the run is in a scope in which no variable changes.
    """
    held = {id(variable) for variable in recorder.variables.values()}
    with ExitStack() as stack:
        if not stateless:
            stack.callback(recorder.writes.restore)
            for variable in (variable for variable in model.variables if id(variable) not in held):
                recorder.writes.keep(variable)
        chosen = tuple(kinds or {type(keras.ops.zeros((1,)))})
        stack.enter_context(followed(recorder, model, chosen))
        yield


def without_gradients() -> AbstractContextManager[None]:
    """The context in which nothing is remembered for a backward pass."""
    if keras.config.backend() != "torch":
        return nullcontext()
    import torch  # noqa: PLC0415  (only where PyTorch is the backend)

    return torch.no_grad()


@outermost
def forward(model: Any, inputs: Inputs, recorder: Recorder) -> Any:
    """Calls the model and returns its outputs.

    Raises:
        ModelError: it raised an error.
    """
    try:
        return model(*inputs.args, **dict(inputs.kwargs or {}))
    except Exception as error:
        raise ModelError(
            f"the model could not be run on these inputs: {type(error).__name__} {recorder.location}: "
            f"{said_by(error, recorder.failed_on)}"
        ) from error


def main_outputs(outputs: Any) -> list[Any]:
    """The tensors that a model returns, its logits first where it names them."""
    if isinstance(outputs, Mapping) and is_tensor(outputs.get("logits")):
        return [outputs["logits"], *(tensor for tensor in tensors_in(outputs) if tensor is not outputs["logits"])]
    return list(tensors_in(outputs))
