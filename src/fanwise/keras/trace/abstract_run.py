"""The trace of a Keras model, read from a pass over shapes in which nothing is computed."""

from collections.abc import Iterator
from typing import Any

import keras
from keras.src import backend

from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.keras.trace.backend import tensor_kinds
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.run import Inputs, forward, given_tensors, main_outputs, prepared
from fanwise.keras.trace.variables import is_tensor, shape_of, tensors_in


def structure(model: Any, inputs: Inputs) -> Trace | None:
    """The trace of a model, from a pass over tensors that have shapes and no values.

    The model is left as it was: no variable is written.

    Args:
        model: any built Keras model.
        inputs: what its call takes, on the backend.

    Returns:
        None where the model cannot run without values, for what it does depends on them.
    """
    traces: list[Trace] = []

    def traced(*args: Any, **named: Any) -> Any:
        given = Inputs(args, named)
        if any(_has_values(tensor) for tensor in given_tensors(given)):
            raise _ValuesError
        recorder = Recorder(model, Watcher(), given_tensors(given))
        with prepared(model, recorder, tensor_kinds(), stateless=True):
            outputs = forward(model, given, recorder)
            traces.append(recognised(recorder.trace(main_outputs(outputs))))
        return next(tensors_in(outputs))

    try:
        backend.compute_output_spec(traced, *_symbols(inputs.args), **_symbols(dict(inputs.kwargs or {})))
    except Exception:  # whatever a model raises that asks its input for values
        return None
    return traces[-1] if traces else None


class _ValuesError(Exception):
    """A backend that tries a model on values of its own."""


def _has_values(tensor: Any) -> bool:
    """PyTorch's own tensors have values unless they are on the device "meta"; the other backends give symbols."""
    return bool(keras.config.backend() == "torch" and tensor.device.type != "meta")


def _symbols(value: Any) -> Any:
    """Nested values with a symbol for each tensor."""
    if isinstance(value, dict):
        return {name: _symbols(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_each(value))
    if not is_tensor(value):
        return value
    return keras.KerasTensor(shape_of(value), keras.backend.standardize_dtype(value.dtype))


def _each(values: Any) -> Iterator[Any]:
    return (_symbols(value) for value in values)
