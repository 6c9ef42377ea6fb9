"""What the factories return: fans by JAX's rule, halves of a variance, and arguments that are none."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Normal, TruncatedNormal, Uniform  # noqa: E402
from fanwise.jax.init.factories import (  # noqa: E402
    Constant,
    Drawn,
    Initializer,
    ScaledByFans,
    checked_axes,
    checked_dtype,
    is_complex,
    scale_of,
    value_of,
)

FANS = {
    "a matrix": ({}, (4, 3), (4, 3)),
    "a window": ({}, (3, 5, 4, 6), (60, 90)),
    "transposed": ({"in_axis": -1, "out_axis": -2}, (3, 4, 6), (18, 12)),
    "several axes": ({"in_axis": (0, 1), "out_axis": -1}, (2, 4, 3), (8, 3)),
    "a stack": ({"batch_axis": 0}, (7, 4, 3), (4, 3)),
    "an embedding of Flax, whose rows are input and output": ({"out_axis": 0}, (50, 16), (16, 16)),
    "the outputs as inputs": ({"in_axis": -1}, (50, 16), (50, 50)),
    "a window of which nothing is left": ({"in_axis": (0, 1, 2)}, (5, 6, 7), (30, 1)),
    "a vector": ({"in_axis": 0}, (9,), (1, 1)),
    "axes of an array": ({"in_axis": np.array([0, 1])}, (2, 4, 3), (8, 3)),
}


@pytest.mark.parametrize("name", FANS)
def test_fans_count_the_axes_that_are_named_times_those_that_are_not(name):
    axes, shape, fans = FANS[name]
    assert ScaledByFans(1.0, "fan_in", "normal", **axes).fans(shape) == fans


LAWS = {
    "fan_in": ("normal", Normal(math.sqrt(2 / 4))),
    "fan_out": ("truncated_normal", TruncatedNormal(math.sqrt(2 / 16))),
    "fan_avg": ("uniform", Uniform(math.sqrt(3) * math.sqrt(2 / 10))),
    "fan_geo_avg": ("normal", Normal(math.sqrt(2 / 8))),
}


@pytest.mark.parametrize("mode", LAWS)
def test_the_law_of_a_shape(mode):
    distribution, law = LAWS[mode]
    assert ScaledByFans(2.0, mode, distribution)((4, 16)) == law


def test_a_shape_without_inputs_has_no_variance():
    assert ScaledByFans(2.0, "fan_in", "normal")((0, 3)) == Normal(0.0)


def test_axes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"in_axis = \(1, -1\) names an axis of the shape \(4, 3\) twice"):
        ScaledByFans(1.0, "fan_in", "normal", in_axis=(1, -1))((4, 3))
    with pytest.raises(ValueError, match="axis -4 is out of range"):
        ScaledByFans(1.0, "fan_in", "normal", in_axis=-4)((4, 3))
    with pytest.raises(ValueError, match="expected 2 or more"):
        ScaledByFans(1.0, "fan_in", "normal")((4,))
    with pytest.raises(TypeError, match="in_axis = True: expected an integer"):
        checked_axes((0, True), "in_axis")


def test_complex_numbers_have_half_of_the_variance_in_each_part():
    """Real and imaginary part are drawn apart, by the law of variance 1/2."""
    key = jax.random.key(0)
    numbers = Drawn("normal", Normal(1.0))(key, (3, 2), "complex64")
    assert (numbers.real == Drawn("normal", Normal(math.sqrt(0.5)))(key, (3, 2), "float32")).all()
    assert not (numbers.real == numbers.imag).any()
    with pytest.raises(TypeError, match="truncated_normal draws real numbers"):
        Drawn("truncated_normal", TruncatedNormal(1.0))(key, (3, 2), "complex64")


def test_the_dtype_of_a_call_comes_before_that_of_the_initializer():
    for init in (Constant(2.0, "float16"), Drawn("normal", Normal(1.0), dtype="float16")):
        assert isinstance(init, Initializer)
        assert init(jax.random.key(0), (2,)).dtype == jnp.float16
        assert init(jax.random.key(0), (2,), "bfloat16").dtype == jnp.bfloat16


def test_numbers_as_arguments():
    assert [value_of(value, "stddev") for value in (2.0, jnp.float32(2), np.array(2.0))] == [2.0, 2.0, 2.0]
    assert scale_of(jnp.float32(0), "scale") == 0
    with pytest.raises(ValueError, match="scale"):
        scale_of(-1, "scale")
    with pytest.raises(TypeError, match="scale is being traced"):
        jax.jit(lambda value: scale_of(value, "scale"))(1.0)


def test_dtypes_as_arguments():
    assert checked_dtype(None) is None
    assert checked_dtype("complex64") == "complex64"
    assert (is_complex(np.complex128), is_complex("float32"), is_complex("none"), is_complex(None)) == (
        True,
        False,
        False,
        False,
    )
    with pytest.raises(TypeError, match="dtype = 'int32'"):
        checked_dtype("int32")
