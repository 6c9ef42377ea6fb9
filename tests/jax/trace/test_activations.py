"""Nonlinearities recognised by their values, however a program writes them; and what is near one, but none."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

import fanwise.jax as fwj  # noqa: E402
from fanwise.graph.details import Activation  # noqa: E402

PARAMS = {"w": jnp.eye(4)}
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
POINTS = np.linspace(-5, 5, 41)


def erf(x):
    return np.vectorize(math.erf)(x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def traced(function):
    return fwj.run((lambda p, x: function(x @ p["w"]), PARAMS), fwj.Inputs((X,))).ops


def only(function):
    """The one op after the map."""
    found, activation = traced(function)
    assert found.kind == "linear"
    return activation


NAMED = {
    "relu": (jax.nn.relu, lambda x: np.maximum(x, 0)),
    "relu6": (jax.nn.relu6, lambda x: np.clip(x, 0, 6)),
    "tanh": (jnp.tanh, np.tanh),
    "sigmoid": (jax.nn.sigmoid, sigmoid),
    "silu": (jax.nn.silu, lambda x: x * sigmoid(x)),
    "softplus": (jax.nn.softplus, lambda x: np.logaddexp(0, x)),
    "elu": (jax.nn.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    "selu": (jax.nn.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    "mish": (jax.nn.mish, lambda x: x * np.tanh(np.logaddexp(0, x))),
    "softsign": (jax.nn.soft_sign, lambda x: x / (1 + np.abs(x))),
    "hardtanh": (jax.nn.hard_tanh, lambda x: np.clip(x, -1, 1)),
    "hardswish": (jax.nn.hard_silu, lambda x: x * np.clip(x + 3, 0, 6) / 6),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_functions_of_jax(name):
    function, formula = NAMED[name]
    op = only(function)
    assert (op.kind, op.nonlinearity) == ("activation", name)
    np.testing.assert_allclose(op.replay(POINTS), formula(POINTS), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("approximate", "told"), [(False, "none"), (True, "tanh")])
def test_both_forms_of_gelu(approximate, told):
    op = only(lambda x: jax.nn.gelu(x, approximate=approximate))
    assert op.detail == Activation("gelu", approximate=told)
    inner = math.sqrt(2 / math.pi) * (POINTS + 0.044715 * POINTS**3)
    formula = POINTS * (1 + (np.tanh(inner) if approximate else erf(POINTS / math.sqrt(2)))) / 2
    np.testing.assert_allclose(op.replay(POINTS), formula, rtol=1e-6, atol=1e-7)


WRITTEN = {
    "relu by a maximum": (lambda x: jnp.maximum(x, 0), "relu"),
    "relu by a choice": (lambda x: jnp.where(x > 0, x, 0), "relu"),
    "silu": (lambda x: x / (1 + jnp.exp(-x)), "silu"),
    "gelu": (lambda x: 0.5 * x * (1 + jax.lax.erf(x / math.sqrt(2))), "gelu"),
    "softsign": (lambda x: x / (1 + jnp.abs(x)), "softsign"),
    "softplus": (lambda x: jnp.log(1 + jnp.exp(x)), "softplus"),
    "squared relu": (lambda x: jnp.square(jax.nn.relu(x)), "relu_squared"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_functions_that_are_written_out(name):
    function, expected = WRITTEN[name]
    assert traced(function)[-1].nonlinearity == expected


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.3])
def test_the_slope_of_a_leaky_relu_is_read(slope):
    op = traced(lambda x: jnp.where(x > 0, x, slope * x))[-1]
    assert op.nonlinearity == "leaky_relu"
    assert op.detail.negative_slope == pytest.approx(slope, rel=1e-6)
    np.testing.assert_allclose(op.replay(POINTS), np.where(POINTS > 0, POINTS, slope * POINTS), rtol=1e-6)


NEAR = {
    "silu of 1.1": lambda x: x * jax.nn.sigmoid(1.1 * x),
    "relu above a hundredth": lambda x: jnp.maximum(x, 0.01),
    "a slope above 1": lambda x: jnp.where(x > 0, x, 1.5 * x),
    "gelu without a half": lambda x: x * (1 + jax.lax.erf(x / math.sqrt(2))),
    "a relu that is shifted": lambda x: jnp.maximum(x - 0.1, 0) + 0.1 * x,
}


@pytest.mark.parametrize("name", NEAR)
def test_what_is_near_one_is_not_taken_for_it(name):
    assert traced(NEAR[name])[-1].nonlinearity is None


def test_a_gate_is_no_nonlinearity_of_one_array():
    """silu(x) y: the product reads two arrays."""
    ops = traced(lambda x: jax.nn.silu(x[:, :2]) * x[:, 2:])
    assert [str(op.kind) for op in ops].count("activation") == 1
    assert ops[-1].kind == "mul"
