"""Inputs in words: what they mean, and what is refused."""

import numpy as np
import pytest

from fanwise.adapters.input_specs import MOST_ELEMENTS, Spec, parse


def test_words_become_shapes_dtypes_and_ranges():
    assert parse("32,784") == (Spec("", (32, 784), "float32"),)
    assert parse("4:uint8[0,256)") == (Spec("", (4,), "uint8", 0, 256),)
    assert parse("4:half", dtypes={"half": "float16"}) == (Spec("", (4,), "float16"),)
    assert parse("4", float_dtype="bfloat16") == (Spec("", (4,), "bfloat16"),)
    assert parse(" x = 2 , 3 ; ids = 8,5 : int32 [ -3 , 7 ) ") == (
        Spec("x", (2, 3), "float32"),
        Spec("ids", (8, 5), "int32", -3, 7),
    )


def test_values_are_normal_or_uniform_and_the_same_at_every_call():
    (floats,), (whole,) = parse("200,50"), parse("200,50:int64[10,20)")
    x, n = floats.drawn(0), whole.drawn(1)
    assert (x.dtype, x.shape) == (np.float32, (200, 50))
    assert abs(float(x.mean())) < 5 / np.sqrt(x.size)
    assert abs(float(x.std()) - 1) < 5 / np.sqrt(2 * x.size)
    assert abs(float((2 * x).std()) - 1) > 5 / np.sqrt(2 * x.size)  # the mutant
    assert (n.dtype, set(np.unique(n))) == (np.int64, set(range(10, 20)))
    np.testing.assert_array_equal(x, floats.drawn(0))
    np.testing.assert_array_equal(n, whole.drawn(1))
    assert not np.array_equal(x, floats.drawn(1))
    assert parse("0,3")[0].drawn(0).shape == (0, 3)


def test_complex_values_have_unit_second_moment():
    z = parse("200,50:complex64")[0].drawn(0)
    assert (z.dtype, z.shape) == (np.complex64, (200, 50))
    squares = np.square(np.abs(z.astype(np.complex128)))  # exponential: as much std as mean
    assert float(squares.mean()) == pytest.approx(1, abs=5 / np.sqrt(z.size))
    assert abs(float((z.real * z.imag).mean())) < 5 * 0.5 / np.sqrt(z.size)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "cannot be read; expected"),
        ("3 2", "cannot be read"),
        ("2,-3", "cannot be read"),
        ("2,3;", "cannot be read"),
        ("2:complex32", "expected one of"),
        ("2:int32", "integers need a range"),
        ("2:float32[0,3)", "a range is for integers"),
        ("2:int32[5,5)", r"range \[5,5\), expected"),
        ("2:int8[0,300)", "<= 128"),
        ("a=2;a=3", "a name comes twice"),
        (f"{MOST_ELEMENTS},2", "expected at most"),
        ("x" * 1000, r"xxx\.\.\.'"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, match):
    with pytest.raises(ValueError, match=match):
        parse(text)
