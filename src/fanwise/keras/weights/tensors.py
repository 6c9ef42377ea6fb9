"""NumPy's numbers as tensors of the backend, whole or sharded."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from fanwise.keras.trace.backend import backend
from fanwise.stream.box import Box, Shape, checked_shape
from fanwise.stream.formats import FORMATS, Array

WHOLE = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
"""Dtypes that hold constants, and no weights."""

Draw = Callable[[Box], Array]
"""The numbers of a box of a variable."""


def float_dtype(dtype: Any) -> str:
    """Name of a floating-point dtype in which weights are drawn; Keras' floatx for None.

    Raises:
        TypeError: another dtype, or a name that Keras does not know.
        ValueError: float64 on JAX, which would store float32.
    """
    name = keras.config.floatx() if dtype is None else _name(dtype)
    if name not in FORMATS:
        raise TypeError(f"dtype = {dtype!r}: expected one of {', '.join(FORMATS)}")
    if name == "float64" and backend() == "jax":
        import jax  # noqa: PLC0415  (only where JAX is the backend)

        if not jax.config.read("jax_enable_x64"):
            raise ValueError("dtype = 'float64': JAX stores float32 unless jax.config.update('jax_enable_x64', True)")
    return name


def any_dtype(dtype: Any) -> str:
    """Name of a dtype that holds constants: floating point, integers or bool.

    Raises:
        TypeError: another dtype, or a name that is none.
    """
    name = keras.config.floatx() if dtype is None else _name(dtype)
    if name in FORMATS:
        return float_dtype(name)
    if name not in WHOLE:
        raise TypeError(f"dtype = {dtype!r}: expected bool, an integer type, or one of {', '.join(FORMATS)}")
    return name


def static_shape(shape: Any) -> Shape:
    """A shape as integers; TensorFlow's own counts too.

    Raises:
        TypeError: no shape, or one that is not fully known.
        ValueError: a negative entry, or 2**63 elements and more.
    """
    own = isinstance(shape, Iterable) and not isinstance(shape, (str, bytes, Sequence, np.ndarray))
    return checked_shape(tuple(shape) if own else shape)


def placed(draw: Draw, shape: Shape, dtype: str, layout: Any) -> Any:
    """A tensor of the backend.

    Args:
        draw: gives the numbers of any box.
        shape: of the whole variable.
        dtype: its name.
        layout: a `keras.distribution.TensorLayout` or a `jax.sharding.Sharding`: each device then draws its own part,
            and nothing else is ever held; None for one tensor.

    Raises:
        TypeError: a layout of another kind.
        ValueError: a layout on a backend that has none.
    """
    if layout is None:
        return keras.ops.convert_to_tensor(draw(Box.whole(shape)), dtype)
    if backend() != "jax":
        raise ValueError(f"layout = {layout!r}: the {backend()} backend of Keras has no layouts, JAX has")
    from fanwise.keras.weights.sharding import sharded  # noqa: PLC0415  (only where JAX is the backend)

    return sharded(draw, shape, layout)


def _name(dtype: Any) -> str:
    try:
        name: str = keras.backend.standardize_dtype(dtype)
    except (ValueError, TypeError):
        return str(dtype)
    return name


def plain_number(value: Any) -> Any:
    """A tensor or array of one number as a Python number; anything else as it is."""
    if keras.ops.is_tensor(value) or (isinstance(value, np.ndarray) and value.ndim == 0):
        array = keras.ops.convert_to_numpy(value)
        return array.item() if array.ndim == 0 else value
    return value
