"""Elementwise operations on a few numbers, in NumPy: JAX takes longer to start one than to compute it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from fanwise.jax.trace.calls import Step

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
    "select_n": lambda which, *cases: np.choose(which.astype(np.int8), cases),
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


def first_on_host(step: Step, arrays: list[Any]) -> Any:
    """The first output of an elementwise step on NumPy arrays of one shape: in NumPy where it has the function."""
    function = FUNCTIONS.get(step.name)
    if function is None or any(array.dtype.kind not in "fb" for array in arrays):
        return np.asarray(step.first(*(jnp.asarray(array) for array in arrays)))
    with np.errstate(all="ignore"):
        return np.asarray(function(*arrays) if step.name != "integer_pow" else function(*arrays, step.params["y"]))
