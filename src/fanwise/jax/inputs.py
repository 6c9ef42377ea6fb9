"""What a model is called with: arrays, mappings, or words such as ``"8,128:int32[0,50257)"``."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.jax.run import Inputs
from fanwise.stream.key import Key

GRAMMAR = (
    "expected [name=]sizes[:dtype] or [name=]sizes:integer dtype[low,high), joined by ';', such as '32,224,224,3' or "
    "'8,128:int32[0,50257)'"
)
MOST_ELEMENTS = 1 << 31
DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "int32", "int64", "uint32", "uint8")

_SIZE, _BOUND = r"[0-9]{1,10}", r"-?[0-9]{1,19}"
_SPEC = re.compile(
    rf"(?:(?P<name>[A-Za-z_][A-Za-z_0-9]*)=)?(?P<shape>{_SIZE}(?:,{_SIZE})*)"
    rf"(?::(?P<dtype>[a-z]+[0-9]*)(?:\[(?P<low>{_BOUND}),(?P<high>{_BOUND})\))?)?"
)
_SPACE = re.compile(r"\s*([,;:=\[)])\s*")


def as_inputs(inputs: Any, *, abstract: bool = False) -> Inputs:
    """What an `inputs` argument means.

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
        return _parsed(inputs, abstract=abstract)
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
    named = [f"{name}={_shape_text(value)}" for name, value in given.kwargs.items()]
    return "; ".join([*(_shape_text(value) for value in given.args), *named])


def _shape_text(value: Any) -> str:
    if not isinstance(value, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return str(value) if isinstance(value, bool | int | float) else type(value).__name__
    return f"{','.join(str(size) for size in value.shape)}:{jnp.dtype(value.dtype).name}"


def _parsed(text: str, *, abstract: bool) -> Inputs:
    parts = [_matched(text, part) for part in _SPACE.sub(r"\1", text.strip()).split(";")]
    names = [part["name"] for part in parts if part["name"]]
    if len(set(names)) < len(names):
        raise ValueError(f"inputs = {text[:100]!r}: a name comes twice")
    made = [(part["name"], _array(text, part, number, abstract=abstract)) for number, part in enumerate(parts)]
    return Inputs(tuple(value for name, value in made if not name), {name: value for name, value in made if name})


def _matched(text: str, part: str) -> re.Match[str]:
    match = _SPEC.fullmatch(part)
    if match is None:
        raise ValueError(f"inputs = {text[:100]!r}: {part[:100]!r} cannot be read; {GRAMMAR}")
    if match["dtype"] and match["dtype"] not in DTYPES:
        raise ValueError(f"inputs = {text[:100]!r}: dtype {match['dtype']!r}, expected one of {', '.join(DTYPES)}")
    return match


def _array(text: str, part: re.Match[str], number: int, *, abstract: bool) -> Any:
    shape = tuple(int(size) for size in part["shape"].split(","))
    dtype = jnp.zeros(0, part["dtype"] or "float32").dtype
    if math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"inputs = {text[:100]!r}: {math.prod(shape)} elements, expected at most {MOST_ELEMENTS}")
    low, high = _range(text, part, dtype)
    if abstract:
        return jax.ShapeDtypeStruct(shape, dtype)
    generator = np.random.default_rng(Key(0, f"inputs.{number}").philox().key[0])
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.asarray(generator.integers(low, high, shape), dtype)
    return jnp.asarray(generator.standard_normal(shape), dtype)


def _range(text: str, part: re.Match[str], dtype: Any) -> tuple[int, int]:
    """The range of integers; (0, 0) for floats, which have none."""
    if not jnp.issubdtype(dtype, jnp.integer):
        if part["high"]:
            raise ValueError(f"inputs = {text[:100]!r}: a range is for integers, {part['dtype']} numbers are normal")
        return 0, 0
    if part["high"] is None:
        raise ValueError(f"inputs = {text[:100]!r}: integers need a range, such as {part['dtype']}[0,50257)")
    low, high, limits = int(part["low"]), int(part["high"]), jnp.iinfo(dtype)
    if not limits.min <= low < high <= int(limits.max) + 1:
        raise ValueError(f"inputs = {text[:100]!r}: range [{low},{high}) does not fit {dtype.name}")
    return low, high
