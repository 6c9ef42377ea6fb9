"""Arrays of one value: what they hold, and what a dtype cannot hold."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax.init.constants import checked_constant, fill_array  # noqa: E402

FILLED = {
    "a number": (2.5, (2, 3), "float32", [[2.5] * 3] * 2),
    "a row": (np.arange(1, 4), (2, 3), "float32", [[1, 2, 3]] * 2),
    "an integer": (3, (2,), "int8", [3, 3]),
    "a truth value": (True, (2,), "bool", [True, True]),
    "a complex number": (1 + 2j, (1,), "complex64", [1 + 2j]),
    "no axes": (2, (), "bfloat16", 2.0),
    "nothing": (2.0, (0, 3), "float32", []),
}


@pytest.mark.parametrize("name", FILLED)
def test_the_value_is_everywhere(name):
    value, shape, dtype, wanted = FILLED[name]
    array = fill_array(value, shape, dtype, None)
    assert isinstance(array, jax.Array)
    assert (array.shape, array.dtype, array.tolist()) == (shape, jnp.dtype(dtype), wanted)


def test_the_default_dtype_is_that_of_jax():
    assert fill_array(1, 3, None, None).dtype == jnp.float32
    with jax.enable_x64(True):
        assert fill_array(1, 3, None, None).dtype == jnp.float64


def test_a_value_that_does_not_broadcast():
    for value, shape in ((np.ones(2), (3,)), (np.ones((2, 3)), (3,))):
        with pytest.raises(ValueError, match=r"shape.*broadcast"):
            fill_array(value, shape, None, None)


def test_a_traced_value_is_taken_as_it_is():
    array = jax.jit(lambda value: fill_array(value, (2,), "float32", None))(3.0)
    assert array.tolist() == [3, 3]
    jax.jit(lambda value: checked_constant(value, "int8") * 1.0)(1e9)


def test_a_sharding():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert fill_array(2.0, (3,), None, sharding).sharding == sharding


REFUSED = {
    "no infinities": (np.inf, "float8_e4m3fn", "float8_e4m3fn has no infinities"),
    "not a number": ([1.0, np.nan], None, "expected numbers, no NaN"),
    "complex in a float": (1j, "float32", "value is complex: float32 cannot hold it"),
    "more than int8 holds": (128, "int8", "int8 holds integers from -128 to 127"),
    "less than uint8 holds": ([0, -1], "uint8", "uint8 holds integers from 0 to 255"),
    "half an integer": (0.5, "int32", "int32 holds integers"),
    "no truth value": (2, "bool", "bool holds integers from 0 to 1"),
    "more than float16 holds": (-65505.0, "float16", "more than float16 can hold"),
    "more than an 8-bit float holds": (449, "float8_e4m3fn", "more than float8_e4m3fn can hold"),
    "almost nothing": ([1.0, 1e-9], "float16", "would be stored as 0 in float16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_a_dtype_cannot_hold(name):
    value, dtype, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        checked_constant(value, dtype)
    with pytest.raises(ValueError, match=message):
        fill_array(value, np.shape(value), dtype, None)


HELD = [
    (127, "int8"),
    (-128, "int8"),
    (65504.0, "float16"),
    (0.0, "float16"),
    (2.0**-25, "float16"),
    (1e-9, None),
    ([], "int8"),
]


@pytest.mark.parametrize(("value", "dtype"), HELD)
def test_values_that_it_holds_are_given_back(value, dtype):
    assert checked_constant(value, dtype) is value


def test_numbers_of_jax_s_own_dtypes_are_numbers():
    value = np.ones(2, jnp.bfloat16)
    assert checked_constant(value, "float32") is value


def test_what_is_no_number_or_no_dtype():
    with pytest.raises(TypeError, match="value = 'one': expected a number"):
        checked_constant("one")
    with pytest.raises(TypeError, match="dtype = 'no dtype': expected a dtype of JAX"):
        checked_constant(1.0, "no dtype")
    with pytest.raises(TypeError, match="expected a dtype of JAX"):
        fill_array(1.0, (2,), "no dtype", None)
