"""Starts that are meant, in models of Keras: side paths beside frozen layers, priors, gates, `keep`."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers, ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X = noise(64, 16, seed=1)


def given(model):
    return ops.convert_to_numpy(model(X))


def frozen(units, name, **named):
    return layers.Dense(units, name=name, trainable=False, **named)


def low_rank():
    """Keras' own low-rank update."""
    dense = layers.Dense(32, "relu", name="dense")
    model = keras.Sequential([keras.Input((16,)), dense, frozen(10, "head")], name="model")
    dense.enable_lora(4)
    dense.bias.trainable = False
    return model


def side(start, h, *, up="zeros", scale=None):
    """A bottleneck beside what frozen layers gave."""
    low = layers.Dense(4, "relu", name="down")(start)
    high = layers.Dense(h.shape[-1], kernel_initializer=up, name="up")(low)
    return layers.Add()([h, high if scale is None else scale(high)])


def adapter():
    start = keras.Input((16,))
    h = frozen(32, "lower", activation="relu")(start)
    return keras.Model(start, frozen(10, "head")(side(h, h)), name="model")


def parallel():
    start = keras.Input((16,))
    h = frozen(32, "lower")(start)
    return keras.Model(start, frozen(10, "head")(layers.ReLU()(side(start, h))), name="model")


class Gate(layers.Layer):
    """A factor tanh(g), g = 0 at the start."""

    def build(self, shape):
        self.g = self.add_weight(shape=(), initializer="zeros", name="g")

    def call(self, x):
        return x * ops.tanh(self.g)


def gated():
    start = keras.Input((16,))
    h = frozen(32, "lower")(start)
    joined = side(start, h, up="glorot_uniform", scale=Gate(name="gate"))
    return keras.Model(start, frozen(10, "head")(joined), name="model")


def tuned_head():
    """A frozen network and a small one of the same input, added."""
    start = keras.Input((16,))
    base = frozen(10, "head")(frozen(32, "lower", activation="relu")(start))
    return keras.Model(start, side(start, base), name="model")


SIDE = [low_rank, adapter, parallel, gated, tuned_head]


@pytest.mark.parametrize("build", SIDE, ids=lambda build: build.__name__)
def test_the_base_is_kept(build):
    keras.utils.set_random_seed(0)
    model = build()
    before = given(model)
    plan = fwk.plan(model, X)
    fwk.apply(model, plan, key=0)
    assert np.array_equal(given(model), before)
    assert sum(row.meant for row in plan) == 1


@pytest.mark.parametrize("build", [adapter, parallel, tuned_head], ids=lambda build: build.__name__)
def test_a_random_side_path_gets_an_end_of_zero(build):
    keras.utils.set_random_seed(0)
    model = build()
    before = given(model)
    up = model.get_layer("up")
    up.kernel.assign(noise(*up.kernel.shape))
    assert not np.allclose(given(model), before)
    fwk.apply(model, fwk.plan(model, X), key=0)
    assert np.array_equal(given(model), before)


@pytest.mark.parametrize(("value", "is_meant"), [(-math.log(99), True), (0.25, True), (0.0, False)])
def test_biases_of_heads(value, is_meant):
    head = layers.Dense(10, bias_initializer=keras.initializers.Constant(value), name="head")
    model = keras.Sequential([keras.Input((16,)), layers.Dense(32, "relu"), head], name="model")
    row = fwk.plan(model, X)["model/head/bias"]
    assert row.meant == is_meant
    fwk.apply(model, fwk.plan(model, X), key=0)
    assert np.allclose(ops.convert_to_numpy(head.bias), value)


def test_keep():
    model = keras.Sequential([keras.Input((16,)), layers.Dense(32, name="a"), layers.Dense(10, name="b")], name="model")
    assert [row.path for row in fwk.plan(model, X, keep="*a/*").meant] == ["model/a/kernel", "model/a/bias"]
    with pytest.raises(ValueError, match="keep = 'c/kernel' matches no parameter: the nearest are"):
        fwk.plan(model, X, keep="c/kernel")
    assert fwk.plan(model, X, keep="trained").meant == ()
