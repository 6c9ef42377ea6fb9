"""Elementwise operations in NumPy: JAX takes longer to compile one for a shape, or to start it, than to compute it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

LARGEST = 1 << 22
"""Values of an array beyond which JAX, which uses all cores, is faster even where it has to compile first."""

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "add_any": np.add,
    "and": np.bitwise_and,
    "ceil": np.ceil,
    "clamp": lambda low, value, high: np.minimum(np.maximum(value, low), high),
    "copy": np.asarray,
    "cos": np.cos,
    "div": np.divide,
    "eq": np.equal,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "integer_pow": np.power,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": lambda value: 1 / (1 + np.exp(-value)),
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "name": np.asarray,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "rsqrt": lambda value: 1 / np.sqrt(value),
    "select_n": lambda which, *cases: _chosen(which, cases),
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "stop_gradient": np.asarray,
    "sub": np.subtract,
    "tanh": np.tanh,
    "xor": np.bitwise_xor,
}
"""Functions of NumPy that are primitives of JAX on floats and truth values; integers divide otherwise."""


def on_host(name: str, params: Mapping[str, Any], arrays: Sequence[Any]) -> NDArray[Any] | None:
    """What an operation gives, by NumPy.

    Args:
        name: of the primitive.
        params: what else the primitive is told.
        arrays: what it reads.

    Returns:
        None where NumPy has no such function, or where an array is not in the memory of the processor.
    """
    function = FUNCTIONS.get(name)
    if function is None or not all(map(_is_on_host, arrays)):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(function(*arrays, params["y"]) if name == "integer_pow" else function(*arrays))


def _is_on_host(array: Any) -> bool:
    """Whether NumPy computes with an array as JAX would, without a copy."""
    if not isinstance(array.dtype, np.dtype) or array.dtype.kind not in "fb" or array.size > LARGEST:
        return False
    if isinstance(array, np.ndarray):
        return True
    held = isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer)
    return held and [device.platform for device in array.devices()] == ["cpu"]


def _chosen(which: NDArray[Any], cases: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which.astype(np.int8), cases)
