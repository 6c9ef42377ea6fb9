"""Separable convolutions as two: together they give what Keras' layer gives, and each has its own fans."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.keras.trace.separable import is_separable, separated  # noqa: E402

LAYERS = {
    "plain": (lambda: layers.SeparableConv2D(6, 3), (2, 9, 9, 4), (9, 4)),
    "strided": (lambda: layers.SeparableConv2D(6, 3, strides=2), (2, 9, 9, 4), (9, 4)),
    "padded": (lambda: layers.SeparableConv2D(6, 5, padding="same"), (2, 9, 9, 4), (25, 4)),
    "multiplied": (lambda: layers.SeparableConv2D(6, 3, depth_multiplier=3), (2, 9, 9, 4), (9, 12)),
    "dilated": (lambda: layers.SeparableConv2D(6, 3, dilation_rate=2), (2, 9, 9, 4), (9, 4)),
    "without a bias": (lambda: layers.SeparableConv2D(6, 3, use_bias=False), (2, 9, 9, 4), (9, 4)),
    "of one dimension": (lambda: layers.SeparableConv1D(6, 5), (2, 20, 4), (5, 4)),
}


def built(name):
    make, shape, _ = LAYERS[name]
    layer = make()
    layer.build(shape)
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer, rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", LAYERS)
def test_the_two_together_are_the_layer(name):
    layer, x = built(name)
    assert is_separable(layer)
    y = keras.ops.convert_to_tensor(x)
    for _, compute in separated(layer):
        y = compute(y)
    expected = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_each_has_the_fans_of_its_own_map(name):
    layer, _ = built(name)
    first, second = (call for call, _ in separated(layer))
    depthwise, pointwise = (call.parts[0] for call in (first, second))
    fans = [part.layout.fans(tuple(part.input.shape)).fan_in for part in (depthwise, pointwise)]
    assert fans == list(LAYERS[name][2])
    assert [str(part.role) for part in second.parts] == ["weight", "bias"][: 2 if layer.use_bias else 1]
    assert (first.axis, second.axis) == (-1, -1)


def test_the_activation_is_left_to_the_recorder():
    layer = layers.SeparableConv2D(6, 3, activation="relu")
    layer.build((2, 9, 9, 4))
    y = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 9, 9, 4)).astype("float32"))
    for _, compute in separated(layer):
        y = compute(y)
    assert (keras.ops.convert_to_numpy(y) < 0).any()


def test_channels_first_have_their_features_on_axis_1():
    layer = layers.SeparableConv2D(6, 3, data_format="channels_first")
    layer.build((2, 4, 9, 9))
    assert [call.axis for call, _ in separated(layer)] == [-3, -3]


class Own(layers.SeparableConv2D):
    """A layer that computes something else."""

    def call(self, inputs):
        return 2 * super().call(inputs)


class More(layers.SeparableConv2D):
    """A layer with a variable besides."""

    def build(self, shape):
        super().build(shape)
        self.gate = self.add_weight(shape=(1,), name="gate")


@pytest.mark.parametrize("make", [lambda: Own(6, 3), lambda: More(6, 3), lambda: layers.Conv2D(6, 3)])
def test_what_is_more_or_less_is_none(make):
    layer = make()
    layer.build((2, 9, 9, 4))
    assert not is_separable(layer)
