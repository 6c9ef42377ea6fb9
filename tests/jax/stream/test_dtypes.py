"""The dtypes that JAX arrays are drawn in: what a name means, and what 8-bit floats can hold."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax.stream.dtypes import ROUNDED, as_kind  # noqa: E402
from fanwise.laws.base import Moments  # noqa: E402


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_dtype_is_its_own_format_however_it_is_named(name):
    for dtype in (name, getattr(jnp, name), jnp.dtype(name)):
        kind = as_kind(dtype)
        assert (kind.dtype, kind.form.name) == (jnp.dtype(name), name)


@pytest.mark.parametrize("name", ROUNDED)
def test_8_bit_floats_are_drawn_in_float32(name):
    kind = as_kind(name)
    assert (kind.dtype.name, kind.form.name) == (name, "float32")


def test_the_default_and_float64_follow_the_64_bit_mode():
    assert as_kind(None).dtype == np.float32
    with pytest.raises(TypeError, match="dtype = float64 needs JAX's 64-bit mode"):
        as_kind("float64")
    with jax.enable_x64(True):
        assert as_kind(None).dtype == as_kind(np.float64).dtype == np.float64
        assert as_kind("float64").form.name == "float64"


@pytest.mark.parametrize("dtype", ["int32", "complex64", "float8_e8m0fnu", "bool", "no dtype", 3, object()])
def test_dtypes_in_which_nothing_is_drawn(dtype):
    with pytest.raises(TypeError, match=r"dtype = .*: expected one of float64, float32"):
        as_kind(dtype)


def reach(low, high):
    return Moments(0.0, 1.0, low, high)


REFUSED = {
    "too large above": ("float8_e4m3fn", reach(-1, 449), "values reach 449, more than float8_e4m3fn can hold"),
    "too large below": ("float8_e4m3fn", reach(-449, 1), "values reach 449, more than float8_e4m3fn can hold"),
    "too small": ("float8_e5m2", reach(-(2.0**-17), 2.0**-17), "all would be stored as 0 in float8_e5m2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_that_an_8_bit_float_cannot_hold(name):
    dtype, moments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        as_kind(dtype).check_reach(moments)


HELD = {
    "the largest": ("float8_e4m3fn", reach(-448, 448)),
    "just above half of the smallest": ("float8_e5m2", reach(-(2.0**-17) * 1.01, 0)),
    "nothing but 0": ("float8_e5m2", reach(0, 0)),
    "of other dtypes the law says it": ("float16", reach(-1e9, 1e9)),
}


@pytest.mark.parametrize("name", HELD)
def test_numbers_that_it_holds(name):
    dtype, moments = HELD[name]
    as_kind(dtype).check_reach(moments)
