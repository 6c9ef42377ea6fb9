"""Starts that are meant, in programs of JAX: side paths beside frozen arrays, priors, temperatures, couplings."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

import fanwise.jax as fwj  # noqa: E402


def noise(*shape, seed=0, std=1.0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, std, shape), jnp.float32)


X = noise(64, 16, seed=1)
LOWER, UPPER = noise(16, 32, seed=2, std=0.25), noise(32, 10, seed=3, std=0.2)


def held(params, x):
    """A low-rank update of arrays that the function closes over."""
    return jax.nn.relu(x @ LOWER + 2 * (x @ params["a"]) @ params["b"]) @ UPPER


def cut_off(params, x):
    """The base among the parameters, with no gradient back to it."""
    base = jax.lax.stop_gradient(params["base"])
    return jax.nn.relu(x @ base["lower"] + 2 * (x @ params["a"]) @ params["b"]) @ base["upper"]


def merged(params, x):
    base = jax.lax.stop_gradient(params["base"])
    return jax.nn.relu(x @ (base["lower"] + params["a"] @ params["b"])) @ base["upper"]


def bottleneck(params, x):
    h = jax.nn.relu(x @ LOWER)
    return (h + jax.nn.gelu(h @ params["a"]) @ params["b"]) @ UPPER


def gated(params, x):
    h = jax.nn.relu(x @ LOWER)
    return (h + jnp.tanh(params["gate"]) * (jax.nn.gelu(h @ params["a"]) @ params["b"])) @ UPPER


BASE = {"lower": LOWER, "upper": UPPER}
SIDE = {
    "held": (held, {"a": noise(16, 4), "b": jnp.zeros((4, 32))}, "b"),
    "cut off": (cut_off, {"base": BASE, "a": noise(16, 4), "b": jnp.zeros((4, 32))}, "b"),
    "merged": (merged, {"base": BASE, "a": noise(16, 4), "b": jnp.zeros((4, 32))}, "b"),
    "bottleneck": (bottleneck, {"a": noise(32, 4), "b": jnp.zeros((4, 32))}, "b"),
    "gated": (gated, {"a": noise(32, 4), "b": noise(4, 32), "gate": jnp.zeros(())}, "gate"),
}


@pytest.mark.parametrize(
    ("name", "was_zero"),
    [(name, was_zero) for name in SIDE for was_zero in (True, False) if was_zero or name != "merged"],
)
def test_the_base_is_kept(name, was_zero):
    function, params, end = SIDE[name]
    before = function(params, X)
    params = params if was_zero else {**params, end: noise(*params[end].shape, seed=9)}
    plan = fwj.plan((function, params), X)
    _, drawn = fwj.apply((function, params), plan, key=0)
    if was_zero or name != "gated":  # a random gate is not 0, and stays; its last map is
        assert plan[end].std == 0
    assert np.array_equal(function(drawn, X), before)
    assert name == "merged" or plan["a"].std > 0


@pytest.mark.parametrize("name", ["held", "bottleneck"])
def test_shapes_alone_are_enough(name):
    function, params, end = SIDE[name]
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    assert fwj.plan((function, shapes), X)[end].std == 0


def head(params, x):
    return jax.nn.relu(x @ params["lower"]) @ params["upper"] + params["bias"]


@pytest.mark.parametrize(
    ("bias", "is_meant"),
    [
        (jnp.full((10,), -math.log(99)), True),
        (jnp.log(jnp.array([0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.01, 0.01, 0.01])), True),
        (jnp.array([30.0, -2, 5, 7, 11, 2, 4, 8, 16, 32]), True),
        (jnp.zeros(10), False),
        (noise(10), False),
    ],
)
def test_biases_of_heads(bias, is_meant):
    params = {"lower": LOWER, "upper": UPPER, "bias": bias}
    plan = fwj.plan((head, params), X)
    _, drawn = fwj.apply((head, params), plan, key=0)
    assert plan["bias"].meant == is_meant
    assert np.array_equal(drawn["bias"], bias if is_meant else jnp.zeros(10))


def contrast(params, x):
    a, b = (x @ params[name] for name in ("lower", "upper"))
    a, b = (z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (a, b))
    return jnp.exp(params["temperature"]) * a @ b.T


def test_a_temperature_stays():
    params = {"lower": LOWER, "upper": noise(16, 32), "temperature": jnp.asarray(math.log(1 / 0.07))}
    plan = fwj.plan((contrast, params), X)
    assert plan["temperature"].meant
    assert plan["temperature"].law.value == pytest.approx(math.log(1 / 0.07))


def coupling(params, x):
    a, b = jnp.split(x, 2, -1)
    h = jax.nn.relu(a @ params["first"])
    s, t = jnp.split(h @ params["last"], 2, -1)
    return jnp.concatenate([b * jnp.exp(jnp.tanh(s)) + t, a], -1)


def test_a_coupling_born_zero_stays_so():
    params = {"first": noise(8, 32), "last": jnp.zeros((32, 16))}
    plan = fwj.plan((coupling, params), X)
    assert plan["last"].meant
    assert plan["first"].std > 0
    zeros = jax.tree.map(jnp.zeros_like, params)  # nobody has initialised it
    assert fwj.plan((coupling, zeros), X)["last"].std > 0


def attentive(params, x):
    h = (x @ params["map"]).reshape(-1, 4, 8)
    left, right = (jnp.sum(h * params[name], -1) for name in ("left", "right"))
    weights = jax.nn.softmax(jax.nn.leaky_relu(left[:, None] + right[None]), 1)
    return jnp.einsum("ijh,jhd->ihd", weights, h).reshape(-1, 32) @ params["head"]


def test_attention_vectors_of_a_graph_layer_are_maps():
    params = {"map": LOWER, "left": noise(4, 8), "right": noise(4, 8), "head": UPPER}
    plan = fwj.plan((attentive, params), X)
    assert [plan[name].fan_in for name in ("left", "right")] == [8, 8]
    assert plan["left"].gives == pytest.approx(1)


def test_keep():
    params = {"lower": LOWER, "upper": UPPER, "bias": jnp.zeros(10)}
    plan = fwj.plan((head, params), X, keep=["low*", "bias"])
    assert [row.path for row in plan.meant] == ["bias", "lower"]
    with pytest.raises(ValueError, match="keep = 'lowr' matches no parameter: the nearest are 'lower'"):
        fwj.plan((head, params), X, keep="lowr")
    assert fwj.plan((head, params), X, keep="trained").meant == ()
    heavy = {**params, "lower": LOWER**3}  # kurtosis 46: no generator's law
    assert [row.path for row in fwj.plan((head, heavy), X, keep="trained").meant] == ["lower"]
