"""Programs that give much: measured as they come by, differentiated in one compiled program, with the same numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fanwise.graph.inputs import Inputs
from fanwise.jax.measure import backward_pass, forward_pass
from fanwise.jax.measure.observe import observe
from fanwise.jax.measure.watched import FEW, moment_of_size, probe, size_of


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape) * (shape[0] ** -0.5 if len(shape) == 2 else 1.0)


@jax.custom_vjp
def doubled_back(x):
    return x


doubled_back.defvjp(lambda x: (x, None), lambda _, gradient: (2 * gradient,))


def normed(p, x):
    y = lax.conv_general_dilated(x, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = (y - y.mean((0, 1, 2))) * lax.rsqrt(y.var((0, 1, 2)) + 1e-5) * p["g"] + p["b"]
    return jax.nn.relu(y).mean((1, 2)) @ p["w"]


def scanned(p, x):
    return lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["stack"])[0] @ p["w"]


def attended(p, x):
    q, k, v = (x @ p[name] for name in "qkv")
    return (jax.nn.softmax(q @ k.swapaxes(1, 2) / 4) @ v).mean(1) @ p["w"]


def masked(p, x):
    chosen = jnp.where(x[:, :1] > 0, x, 0.5 * x)  # by numbers of the inputs alone
    return jax.nn.gelu(doubled_back(chosen @ p["a"])) @ p["w"]


def cut(p, x):
    return jax.nn.relu(lax.stop_gradient(x @ p["a"])) @ p["w"] + (x @ p["unused"]).sum() * 0


MODELS = {
    "normed": (
        normed,
        {"k": 0.2 * normal(3, 3, 3, 8), "g": jnp.ones(8), "b": jnp.zeros(8), "w": normal(8, 4)},
        (16, 40, 40, 3),
    ),
    "scanned": (scanned, {"stack": normal(3, 16, 16) / 4, "w": normal(16, 4)}, (32, 16)),
    "attended": (attended, {name: normal(16, 16, seed=ord(name)) for name in "qkv"} | {"w": normal(16, 4)}, (8, 5, 16)),
    "masked": (masked, {"a": normal(16, 512), "w": normal(512, 4)}, (32, 16)),
    "cut": (cut, {"a": normal(16, 16), "w": normal(16, 4), "unused": normal(16, 16)}, (32, 16)),
}


def observed(name):
    function, params, shape = MODELS[name]
    x = normal(*shape, seed=1)
    return observe((function, params), Inputs((x,)), jnp.arange(len(x)) % 4, "cross_entropy")


@pytest.mark.parametrize("name", MODELS)
def test_large_programs_give_the_same_numbers(name, monkeypatch):
    small = observed(name)
    monkeypatch.setattr(forward_pass, "KEPT", 0)
    monkeypatch.setattr(backward_pass, "_step_by_step", None)  # it may not be called
    large = observed(name)
    assert [op.kind for op in large.trace.ops] == [op.kind for op in small.trace.ops]
    assert large.loss.value == pytest.approx(small.loss.value, rel=1e-5)
    for op, one, other in zip(small.trace.ops, small.signals, large.signals, strict=True):
        for field in ("second_moment", "mean", "gradient", "likeness", "zeros", "silent", "saturated", "places"):
            expected = pytest.approx(getattr(one, field), rel=1e-3, abs=1e-7, nan_ok=True)
            assert getattr(other, field) == expected, (op, field)
    for path, value in small.values.items():
        assert large.values[path].reached == value.reached
        assert large.values[path].gradient == pytest.approx(value.gradient, rel=1e-3, abs=1e-15, nan_ok=True)


def test_programs_that_need_numbers_are_differentiated_step_by_step(monkeypatch):
    def halved(p, x):
        h = lax.while_loop(lambda h: jnp.abs(h).max() > 1, lambda h: 0.5 * h, lax.stop_gradient(x @ p["a"]))
        return h @ p["w"]

    model = halved, {"a": normal(16, 16), "w": normal(16, 4)}
    given = Inputs((normal(32, 16, seed=1),)), jnp.arange(32) % 4, "cross_entropy"
    expected = observe(model, *given).values["w"].gradient
    monkeypatch.setattr(forward_pass, "KEPT", 0)
    assert expected > 0
    assert observe(model, *given).values["w"].gradient == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("count", [7, FEW, 2 * FEW, 300_007])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 3e-17, 1e-22, 1e-30, 1e10, 0.0])
def test_sizes_of_gradients_of_any_scale(count, scale):
    """E g^2 to what a sample of 65,536 values allows: four standard errors, sqrt(2 / 65536) each, and float32's own."""
    values = (np.random.default_rng(0).standard_normal(count) * scale).astype(np.float32)
    expected = float(np.square(values.astype(np.float64)).mean())
    error = 4 * math.sqrt(2 / (1 << 16)) if count > 1 << 17 else 1e-4
    assert moment_of_size(jax.jit(size_of)(jnp.asarray(values))) == pytest.approx(expected, rel=error, abs=0)


@pytest.mark.parametrize("count", [7, 2 * FEW])
def test_sizes_of_gradients_that_are_no_numbers(count):
    assert moment_of_size(size_of(jnp.full(count, jnp.inf))) == math.inf
    assert math.isnan(moment_of_size(size_of(jnp.full(count, jnp.nan))))
    assert moment_of_size(size_of(jnp.full(count, 1e30))) == math.inf
    assert moment_of_size(size_of(jnp.full(count, 3 + 4j))) == pytest.approx(25)
    assert moment_of_size(probe((count,))) == 0
