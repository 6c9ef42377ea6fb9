"""The inputs of a run: a batch, or what the shapes of a functional model say."""

from collections.abc import Mapping
from typing import Any

import keras

from fanwise.adapters.input_specs import parse, shown
from fanwise.graph.inputs import described
from fanwise.keras.trace.run import Inputs, given_tensors, on_backend
from fanwise.keras.trace.variables import is_tensor
from fanwise.measure.losses import TARGETS
from fanwise.stream import fill
from fanwise.stream.key import Key

BATCH = 32
"""Examples that are drawn where no batch was given."""


def as_inputs(model: Any, inputs: Any = None) -> Inputs:
    """The arguments of the model's call, on the backend.

    Args:
        model: a built Keras model or layer.
        inputs: an array or tensor, or a list or mapping of them, which the model takes as its one argument; a mapping
            of one serves a model of one input; words such
            as ``"32,784"`` or ``"8,128:int32[0,50257)"``, several without names for a list, with
            names for a mapping; `Inputs` for more arguments; None for a functional model whose inputs are all of
            floating point: 32 examples of normal numbers, with 16 for an unknown length.

    Raises:
        TypeError: something that holds no tensors.
        ValueError: words that cannot be read, None for a model that does not say what it takes, or that takes integers.
    """
    if isinstance(inputs, Inputs):
        return on_backend(inputs)
    if isinstance(inputs, str):
        inputs = _in_words(inputs)
    read = on_backend(Inputs((_drawn(model) if inputs is None else _alone(model, inputs),)))
    if not given_tensors(read):
        raise TypeError(f"inputs = {type(inputs).__name__}: expected arrays, lists or mappings of them, or a text")
    return read


def _alone(model: Any, inputs: Any) -> Any:
    """The only array of a mapping, for a model with a single input that is no mapping; else the inputs as they are."""
    if not isinstance(inputs, Mapping) or len(inputs) != 1 or not _symbols(model) or _takes_mapping(model):
        return inputs
    return next(iter(inputs.values())) if len(_symbols(model)) == 1 else inputs


def without_target(model: Any, inputs: Any) -> Any:
    """The inputs without a target that a model does not take.

    Args:
        model: a functional one says how many inputs it has, and their names; of any other all is kept.
        inputs: a tuple (inputs, target), as `keras.Model.fit` takes it, or a mapping.
    """
    names = [symbol.name for symbol in _symbols(model)]
    if names and isinstance(inputs, tuple | list) and len(inputs) == len(names) + 1:
        return inputs[0] if len(names) == 1 else list(inputs[:-1])
    if names and isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[0], Mapping | tuple | list):
        return inputs[0] if len(inputs[0]) == len(names) else inputs
    if names and isinstance(inputs, Mapping) and len(inputs) == len(names) + 1:
        rest = {name: value for name, value in inputs.items() if name in names or name not in TARGETS}
        return rest if len(rest) == len(names) else inputs
    return inputs


def _symbols(model: Any) -> Any:
    """The inputs that a functional model declares; none for other models."""
    try:
        return (model.inputs if isinstance(model, keras.Model) else None) or ()
    except AttributeError:  # a subclass on the backend of PyTorch, whose modules refuse what they do not have
        return ()


def _takes_mapping(model: Any) -> bool:
    return not isinstance(model, keras.Sequential) and isinstance(model.input, Mapping)


def _in_words(text: str) -> Any:
    """The argument that words describe."""
    specs = parse(text, float_dtype=keras.config.floatx())
    arrays = [spec.drawn(number) for number, spec in enumerate(specs)]
    if all(spec.name for spec in specs):
        return {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
    if any(spec.name for spec in specs):
        raise ValueError(f"inputs = {shown(text)}: name all of them, for a mapping, or none")
    return arrays if len(arrays) > 1 else arrays[0]


def _drawn(model: Any) -> Any:
    symbols = _symbols(model)
    if not symbols:
        raise ValueError(f"inputs = None: {model.name!r} does not say what it takes: give a batch")
    if not all(keras.backend.is_float_dtype(symbol.dtype) for symbol in symbols):
        raise ValueError(f"inputs = None: {model.name!r} takes integers, whose range no model says: give a batch")
    if _takes_mapping(model):
        return {name: _batch(symbol) for name, symbol in model.input.items()}
    batches = [_batch(symbol) for symbol in symbols]
    return batches[0] if len(batches) == 1 else batches


def _batch(symbol: Any) -> Any:
    shape = tuple(BATCH if axis == 0 else 16 if size is None else size for axis, size in enumerate(symbol.shape))
    return fill.normal(Key(0, f"inputs/{symbol.name}"), shape)


def inputs_text(asked: Any, inputs: Inputs) -> str:
    """The inputs in words: the words that were given, or the shapes."""
    if isinstance(asked, str):
        return asked
    return described(inputs, lambda value: keras.backend.standardize_dtype(value.dtype) if is_tensor(value) else None)
