"""The dtypes that JAX arrays are drawn in, and the promotion rules that fanwise's own arithmetic is written for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.laws.base import Moments
from fanwise.stream.formats import FORMATS, Format

ROUNDED = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "float8_e4m3fnuz", "float8_e5m2fnuz")
"""8-bit floats: drawn in float32, then rounded to nearest by JAX."""

COMPLEX = {"complex64": "float32", "complex128": "float64"}
"""The dtype of the parts of a complex one, by name."""


@contextmanager
def standard_promotion() -> Iterator[None]:
    """JAX's own promotion of dtypes and ranks, whatever stricter rules the user's program has set for its code."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@dataclass(frozen=True)
class Kind:
    """A dtype and the format in which its values are drawn.

    Args:
        dtype: of the array.
        form: that of the numbers before the last rounding; the dtype itself but for 8-bit floats.
    """

    dtype: np.dtype[Any]
    form: Format

    def check_reach(self, moments: Moments) -> None:
        """Refuses numbers that an 8-bit float would turn into NaN or inf or, all of them, into 0.

        Raises:
            ValueError: with the largest number and what the dtype can hold.
        """
        if self.dtype.name not in ROUNDED:
            return
        limits, reach = jnp.finfo(self.dtype), max(-moments.low, moments.high)
        if reach > float(limits.max):
            raise ValueError(f"values reach {reach:.4g}, more than {self.dtype.name} can hold ({float(limits.max):g})")
        smallest = float(limits.smallest_subnormal)
        if 0 < reach <= smallest / 2:
            raise ValueError(f"values reach {reach:.4g}: all would be stored as 0 in {self.dtype.name}")


def as_kind(dtype: Any) -> Kind:
    """The dtype that a `dtype` argument means.

    None and Python's `float` mean JAX's default: float32, in 64-bit mode float64.

    Raises:
        TypeError: a dtype in which nothing is drawn, or float64 without JAX's 64-bit mode.
    """
    name = _name_of(jnp.result_type(float) if dtype is None or dtype is float else dtype)
    if name not in FORMATS and name not in ROUNDED:
        raise TypeError(f"dtype = {dtype!r}: expected one of {', '.join((*FORMATS, *ROUNDED))}")
    if name == "float64" and not jax.config.read("jax_enable_x64"):
        raise TypeError(
            "dtype = float64 needs JAX's 64-bit mode: jax.config.update('jax_enable_x64', True), or ask for float32"
        )
    return Kind(jnp.dtype(name), FORMATS.get(name, FORMATS["float32"]))


def _name_of(dtype: Any) -> str:
    try:
        return str(jnp.dtype(dtype).name)
    except TypeError:
        return ""


def is_complex(dtype: Any) -> bool:
    """Whether a dtype is one of complex numbers."""
    return complex_name(dtype) in COMPLEX


def complex_name(dtype: Any) -> str:
    """Name of a dtype, "" where there is none; Python's `complex` means JAX's default, as `float` does."""
    try:
        return "" if dtype is None else str(jnp.dtype(jnp.result_type(complex) if dtype is complex else dtype).name)
    except TypeError:
        return ""
