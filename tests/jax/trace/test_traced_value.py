"""Values of a traced model: what is data, what a constant, which number it has everywhere, how large it is."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.graph.op import INPUT  # noqa: E402
from fanwise.graph.tracking.views import ViewChain  # noqa: E402
from fanwise.jax.trace import traced_value  # noqa: E402
from fanwise.jax.trace.provenance import parameter_value  # noqa: E402
from fanwise.jax.trace.traced_value import (  # noqa: E402
    Provenance,
    ShownParameter,
    Value,
    constant,
    measured,
    moments_of,
    of_form,
    runs_of_features,
)

FORM = ((2, 3), np.dtype(np.float32))
CHAIN = ViewChain(root=4, shape=(2, 6), axis=-1)

NUMBERS = {
    "a scalar": (np.float32(2.5), 2.5),
    "an integer": (np.int32(3), 3.0),
    "the same everywhere": (np.full((2, 3), -1.5), -1.5),
    "a JAX array": (jnp.full(3, 0.25), 0.25),
    "two numbers": (np.array([1.0, 2.0]), None),
    "no number": (np.zeros((0, 3)), None),
    "a truth value": (np.True_, None),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_number_of_a_constant(name):
    data, number = NUMBERS[name]
    assert constant(data).number == number


def test_nothing_but_a_constant_has_a_number():
    ones = np.ones((2, 3), np.float32)
    assert of_form(FORM, data=ones, op=0).number is None
    assert of_form(FORM, data=ones, op=INPUT).number is None
    assert parameter_value("w", ones, ones).number is None
    assert of_form(FORM).number is None


def test_a_constant_is_made_of_neither_data_nor_parameters():
    ones = np.ones((2, 3), np.float32)
    pair = (constant(ones), parameter_value("w", ones, ones))
    assert constant(ones).is_constant
    assert not of_form(FORM, op=INPUT).is_constant
    assert not pair[1].is_constant
    assert not of_form(FORM, pending=pair).is_constant


def test_a_constant_keeps_the_form_of_its_array():
    value = constant(np.ones((2, 3), np.float16))
    assert (value.shape, value.dtype, value.size) == ((2, 3), np.float16, 6)
    assert constant(3).shape == ()


@pytest.mark.parametrize(
    ("dtype", "is_float"), [("float32", True), ("bfloat16", True), ("complex64", True), ("int32", False)]
)
def test_numbers_that_are_floats(dtype, is_float):
    assert Value((2,), jnp.dtype(dtype)).is_float is is_float


def test_the_source_of_data_is_its_op_and_the_views_since():
    source = of_form(FORM, op=4, given=1, views=CHAIN).source
    assert (source.op, source.views, source.given) == (4, CHAIN, 1)
    assert of_form(FORM).source is None
    assert of_form(FORM, op=0).is_data
    assert not of_form(FORM).is_data


def test_a_view_more_leaves_the_chain_before_as_it_was():
    value = of_form(FORM, op=4, views=CHAIN)
    chain = value.viewed(lambda array: array[:, :2])
    assert chain.replayed(np.arange(12).reshape(2, 6)).tolist() == [[0, 1], [6, 7]]
    assert value.views.steps == ()
    assert of_form(FORM, op=4).viewed(lambda array: array) is None


def test_features_of_a_view():
    assert runs_of_features(CHAIN) == ((0, 6),)
    assert runs_of_features(CHAIN.then(lambda array: array[:, 1::2])) == ((1, 1), (3, 1), (5, 1))
    assert runs_of_features(CHAIN.then(lambda array: array[:0])) is None


def test_features_of_an_output_that_is_too_large_are_not_followed(monkeypatch):
    monkeypatch.setattr(traced_value, "LARGEST", 12)
    assert runs_of_features(CHAIN) == ((0, 6),)
    monkeypatch.setattr(traced_value, "LARGEST", 11)
    assert runs_of_features(CHAIN) is None


MEASURED = {
    "numbers": (np.array([[1.0, -3.0]], np.float32), 5.0),
    "complex ones": (np.array([3 + 4j]), 25.0),
    "more than float16 holds": (np.full(4, 300, np.float16), 90000.0),
    "in double precision": (np.array([1.0, 2.0**-13], np.float32), (1 + 2.0**-26) / 2),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_second_moment(name):
    array, moment = MEASURED[name]
    assert measured(array) == moment


def test_no_second_moment_without_numbers():
    assert math.isnan(measured(None))
    assert math.isnan(measured(np.zeros((0, 3))))
    inside = []
    jax.make_jaxpr(lambda x: (inside.append(measured(x)), x)[1])(1.0)
    assert math.isnan(inside[0])


def test_moments_are_of_the_operands_in_their_order():
    moments = moments_of([constant(np.float32(2)), of_form(FORM, op=0)])
    assert moments(0) == 4
    assert math.isnan(moments(1))
    assert (moments.known(0), moments.known(1)) == (True, False)


def test_paths_are_those_of_every_parameter_shown():
    held = Provenance((ShownParameter("w", None), ShownParameter("g", None)), (), lambda drawn: drawn)
    assert held.paths == ("w", "g")
