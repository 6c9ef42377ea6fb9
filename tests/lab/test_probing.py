import math

import numpy as np
import pytest

from fanwise import Normal, Orthogonal, he_normal, ones, zeros
from fanwise.lab import Architecture, backward, forward, initialize, probe

NETWORK = Architecture((784, 100, 100, 10))


def profile_of(architecture, law, data, *, key=0):
    return probe(architecture, initialize(architecture, law, key), data.train_x, data.train_y)


def test_he_weights_keep_signal_and_gradient(digits):
    layers = profile_of(Architecture((784, *[512] * 5, 10)), he_normal, digits).layers
    assert [layer.path for layer in layers] == [f"layers.{i}" for i in range(6)]
    assert [layer.units for layer in layers] == [512] * 5 + [10]
    # theory: second moment 2 at every layer; over width 512 its log wanders by sqrt(5 / 512) = 0.1 a layer
    assert all(1 < layer.second_moment < 4 for layer in layers[:5])
    assert max(layer.gradient_std for layer in layers[:5]) < 2 * min(layer.gradient_std for layer in layers[:5])
    assert all(layer.saturated is None for layer in layers)
    assert all(layer.identical == 0 for layer in layers)


def test_every_number_is_that_of_the_passes(digits):
    architecture = Architecture((784, 30, 20, 10), "sigmoid", "batch")
    parameters = initialize(architecture, Normal(1.0), key=0)
    passed = forward(architecture, parameters, digits.test_x)
    found = backward(architecture, parameters, passed, digits.test_y)
    profile = probe(architecture, parameters, digits.test_x, digits.test_y)
    for i, layer in enumerate(profile.layers):
        pre = passed.layers[i].pre.astype(np.float64)
        assert layer.std == pytest.approx(pre.std(), rel=1e-6)
        assert layer.second_moment == pytest.approx(np.square(pre).mean(), rel=1e-6)
        own = found.pre[i].astype(np.float64) * len(digits.test_y)  # of each example, not of the mean
        assert layer.gradient_std == pytest.approx(own.std(), rel=1e-5)
        weight = found.parameters[f"layers.{i}.weight"].astype(np.float64)
        assert layer.weight_gradient_std == pytest.approx(weight.std(), rel=1e-5)
    assert profile.loss == found.loss
    assert profile.accuracy == np.mean(passed.logits.argmax(axis=1) == digits.test_y)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "sigmoid", "gelu"])
def test_zero_weights_are_dead_and_identical(digits, nonlinearity):
    profile = profile_of(Architecture((784, 20, 10), nonlinearity), zeros, digits)
    assert [layer.dead for layer in profile.layers] == [1, 1]
    assert [layer.identical for layer in profile.layers] == [0.95, 0.9]
    assert [layer.weight_gradient_std for layer in profile.layers[:1]] == [0]
    assert profile.loss == pytest.approx(math.log(10), abs=1e-14)


def test_dead_units_are_counted(digits):
    parameters = initialize(NETWORK, he_normal, key=0)
    before = probe(NETWORK, parameters, digits.train_x, digits.train_y).layers[1].dead
    alive = np.flatnonzero((forward(NETWORK, parameters, digits.train_x).layers[1].output > 0).any(axis=0))
    parameters["layers.1.bias"][alive[:7]] = -1e3
    after = probe(NETWORK, parameters, digits.train_x, digits.train_y).layers[1].dead
    assert after == pytest.approx(before + 0.07)


def test_a_relu_unit_with_a_constant_positive_activation_is_not_dead_and_a_constant_tanh_unit_is(digits):
    for nonlinearity, dead in (("relu", 0.0), ("tanh", 0.25)):
        architecture = Architecture((784, 4, 10), nonlinearity)
        parameters = initialize(architecture, he_normal, key=0)
        parameters["layers.0.weight"][:, 2] = 0
        parameters["layers.0.bias"][2] = 1
        assert probe(architecture, parameters, digits.train_x, digits.train_y).layers[0].dead == dead


def test_identical_units_are_counted_beyond_the_first(digits):
    parameters = initialize(NETWORK, he_normal, key=0)
    weight, bias = parameters["layers.0.weight"], parameters["layers.0.bias"]
    weight[:, 10:13] = weight[:, [3]]  # three copies of unit 3
    bias[12] = 1  # of which one differs by its bias
    weight[:, 20:22] = 0.0
    weight[:, 21] = -0.0  # the same number as 0.0
    assert probe(NETWORK, parameters, digits.test_x, digits.test_y).layers[0].identical == pytest.approx(0.03)


@pytest.mark.parametrize(("nonlinearity", "edge"), [("tanh", 2.1785), ("sigmoid", 4.357)])
def test_saturation_begins_where_the_slope_is_a_twentieth(nonlinearity, edge):
    # 1 - tanh^2 = 0.05 at atanh(sqrt(0.95)) = 2.17848; the sigmoid is a tanh at half the argument
    architecture = Architecture((1, 1, 2), nonlinearity)
    parameters = initialize(architecture, ones, key=0)
    x = np.array([[-1.002], [-0.998], [0.5], [0.998], [1.002]], np.float32) * np.float32(edge)
    profile = probe(architecture, parameters, x, np.array([0, 1, 0, 1, 0]))
    assert profile.layers[0].saturated == 0.4
    assert profile.layers[1].saturated is None


def test_moments_beyond_float32_are_still_told(digits):
    profile = profile_of(Architecture((784, 20, 10)), Normal(1e18), digits)
    assert profile.layers[0].second_moment == pytest.approx(784e36, rel=0.5)
    assert profile.layers[1].second_moment > 1e70
    assert math.isfinite(profile.loss)


def test_what_really_overflows_is_told_as_such(digits):
    profile = profile_of(NETWORK, Normal(1e20), digits)
    assert math.isfinite(profile.layers[0].std)
    assert not math.isfinite(profile.layers[2].std)
    assert math.isnan(profile.loss)
    assert profile.accuracy == 0


def test_a_linear_network_of_orthogonal_matrices_keeps_the_second_moment(digits):
    layers = profile_of(Architecture((784, *[784] * 3), "linear"), Orthogonal(), digits).layers
    assert [layer.second_moment for layer in layers] == pytest.approx([1, 1, 1], rel=1e-4)


def test_examples_must_fit(digits):
    parameters = initialize(NETWORK, he_normal, key=0)
    x, y = digits.test_x, digits.test_y
    for examples, message in (
        ((x[:1], y[:1]), "at least two examples"),
        ((x[:0], y[:0]), r"expected \(n, 784\)"),
        ((x[:, :64], y), r"expected \(360, 784\): widths\[0\] is 784"),
        ((x, y[:5]), r"expected \(5, 784\)"),
        ((x, y + 1), r"expected integers in \[0, 10\)"),
        ((x, y / 2), r"expected integers in \[0, 10\)"),
    ):
        with pytest.raises(ValueError, match=message):
            probe(NETWORK, parameters, *examples)
