"""Inputs of a model: arrays, mappings, or words such as ``"8,128:int32[0,50257)"``."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.adapters.input_specs import Spec, parse
from fanwise.graph.inputs import described
from fanwise.jax.trace.run import Inputs


def as_inputs(inputs: Any, *, abstract: bool = False) -> Inputs:
    """The inputs that an `inputs` argument means.

    Args:
        inputs: `Inputs`; an array, or a shape as `jax.eval_shape` gives it; a tuple of positional arguments; a mapping
            of named ones; or words.
        abstract: words become shapes without numbers.

    Raises:
        TypeError: something else.
        ValueError: words that cannot be read.

    Example:
        >>> as_inputs("2,3").args[0].shape
        (2, 3)
    """
    if isinstance(inputs, Inputs):
        return inputs
    if isinstance(inputs, str):
        return _parse(inputs, abstract=abstract)
    if isinstance(inputs, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return Inputs((inputs,))
    if isinstance(inputs, tuple | list):
        return Inputs(tuple(inputs))
    if isinstance(inputs, Mapping) and all(isinstance(name, str) for name in inputs):
        return Inputs((), dict(inputs))
    raise TypeError(
        f"inputs = {type(inputs).__name__}: expected an array, a tuple of arguments, a mapping of named ones, or a "
        f"text such as '32,784'"
    )


def inputs_text(asked: Any, given: Inputs) -> str:
    """The inputs in words: the words that were given, or the shapes."""
    if isinstance(asked, str):
        return asked
    return described(given, _dtype_of)


def _dtype_of(value: Any) -> str | None:
    is_array = isinstance(value, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
    return jnp.dtype(value.dtype).name if is_array else None


def _parse(text: str, *, abstract: bool) -> Inputs:
    arrays = [(spec.name, _array(spec, number, abstract=abstract)) for number, spec in enumerate(parse(text))]
    return Inputs(tuple(value for name, value in arrays if not name), {name: value for name, value in arrays if name})


def _array(spec: Spec, number: int, *, abstract: bool) -> Any:
    if abstract:
        return jax.ShapeDtypeStruct(spec.shape, jnp.zeros(0, spec.dtype).dtype)
    return jnp.asarray(spec.drawn(number), spec.dtype)
