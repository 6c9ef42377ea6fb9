"""Arrays of one value: what a dtype cannot hold is refused instead of being turned into something else."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from fanwise.jax.stream.draw import Sharding, placed
from fanwise.jax.stream.integers import is_traced
from fanwise.stream.box import ShapeLike, check_memory, checked_shape


def fill_array(value: Any, shape: ShapeLike, dtype: Any, out_sharding: Sharding | None) -> Array:
    """The value everywhere, or an array broadcast to the shape.

    Raises:
        TypeError: no numbers, or no dtype.
        ValueError: what the dtype cannot hold, or a value that does not broadcast to the shape.
    """
    sizes, kind = checked_shape(shape), jnp.result_type(float) if dtype is None else _dtype(dtype)
    if not is_traced(value):
        checked_constant(value, kind)
    if np.broadcast_shapes(np.shape(value), sizes) != sizes:
        raise ValueError(f"value has shape {np.shape(value)}, which does not broadcast to {sizes}")
    check_memory(sizes, kind.itemsize)
    return placed(lambda: jnp.full(sizes, value, kind), sizes, kind, out_sharding)


def checked_constant(value: Any, dtype: Any = None) -> Any:
    """The value, once it is a number and the dtype, if any, holds it; infinities are what masks are made of.

    Raises:
        TypeError: no numbers.
        ValueError: NaN, or out of the dtype's range.
    """
    if is_traced(value):
        return value
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "biufcV" or (
        numbers.dtype.kind == "V" and not jnp.issubdtype(numbers.dtype, np.number)
    ):
        raise TypeError(f"value = {value!r}: expected a number or an array of numbers")
    wide = numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)
    if np.isnan(wide).any():
        raise ValueError(f"value = {value!r}: expected numbers, no NaN")
    if dtype is not None and numbers.size:
        _check_held(numbers, wide, _dtype(dtype))
    return value


def _check_held(numbers: np.ndarray[Any, Any], wide: np.ndarray[Any, Any], kind: np.dtype[Any]) -> None:
    if numbers.dtype.kind == "c" and not jnp.issubdtype(kind, np.complexfloating):
        raise ValueError(f"value is complex: {kind.name} cannot hold it")
    if jnp.issubdtype(kind, np.integer) or kind == np.bool_:
        low, high = (0, 1) if kind == np.bool_ else (jnp.iinfo(kind).min, jnp.iinfo(kind).max)
        if not (np.floor(wide) == wide).all() or wide.min() < low or wide.max() > high:
            raise ValueError(f"value = {wide.tolist()!r}: {kind.name} holds integers from {low} to {high}")
        return
    limits, size = jnp.finfo(kind), np.abs(wide)
    infinite = np.isinf(wide)
    if infinite.any() and not np.isinf(wide[infinite].astype(kind)).all():
        raise ValueError(f"value = {wide.tolist()!r}: {kind.name} has no infinities")
    if (size[~infinite] > float(limits.max)).any():
        raise ValueError(f"value = {wide.tolist()!r} is more than {kind.name} can hold ({float(limits.max):.4g})")
    if ((size > 0) & (size < float(limits.smallest_subnormal) / 2)).any():
        raise ValueError(f"value = {wide.tolist()!r} would be stored as 0 in {kind.name}")


def _dtype(dtype: Any) -> np.dtype[Any]:
    """A dtype of JAX, in 32 bits where its 64-bit mode is off (JAX warns of it)."""
    try:
        resolved: np.dtype[Any] = jnp.zeros(0, dtype).dtype
    except TypeError as error:
        raise TypeError(f"dtype = {dtype!r}: expected a dtype of JAX, such as jnp.float32") from error
    return resolved
