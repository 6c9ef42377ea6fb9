"""Gradients against finite differences, and what a forward pass promises."""

import numpy as np
import pytest

from fanwise import he_normal, zeros
from fanwise.lab import Architecture, backward, forward, initialize, layers, predict
from fanwise.lab.layers import ACTIVATIONS, EPSILON
from fanwise.lab.network import NORMS, initial_running, updated_running
from fanwise.stream.key import Key

WIDTHS = (7, 6, 5, 3)
EXAMPLES = 4  # fewer than every layer's inputs but the last: a weight's gradient then fixes that at its outputs
STEP = 1e-5
TOLERANCE = 1e-6
"""Of a central difference with step h in float64: rounding 2^-53 |loss| / h = 2e-11 times some ten operations, and
truncation h^2 / 6 = 2e-11 times a third derivative, up to 1e3 where a norm divides by the std of four numbers. Beside
gradients of about 0.1 that is 2e-7 at most; found: 2e-9."""


def problem(architecture, seed=24):
    """Float64 parameters, all of them random, with inputs and labels."""
    rng = np.random.default_rng(seed)
    parameters = {name: 0.7 * rng.standard_normal(shape) for name, shape in architecture.shapes().items()}
    return parameters, rng.standard_normal((EXAMPLES, WIDTHS[0])), rng.integers(0, WIDTHS[-1], EXAMPLES)


def loss_at(architecture, parameters, x, y):
    return backward(architecture, parameters, forward(architecture, parameters, x), y).loss


def central_difference(architecture, place):
    losses = []
    for sign in (1, -1):
        parameters, x, y = problem(architecture)
        parameters[place[0]][place[1]] += sign * STEP
        losses.append(loss_at(architecture, parameters, x, y))
    return (losses[0] - losses[1]) / (2 * STEP)


def gradient_error(architecture):
    """Largest difference of any gradient from its central difference, over the largest gradient."""
    parameters, x, y = problem(architecture)
    passed = forward(architecture, parameters, x)
    kinks = [np.abs(record.normalized).min() for record in passed.layers[:-1]]
    assert min(kinks) > 100 * STEP  # no step crosses the kink of relu
    found = backward(architecture, parameters, passed, y).parameters
    places = [(name, index) for name, value in parameters.items() for index in np.ndindex(value.shape)]
    differences = [central_difference(architecture, place) - found[place[0]][place[1]] for place in places]
    return np.abs(differences).max() / max(np.abs(value).max() for value in found.values())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
def test_gradients_are_those_of_finite_differences(nonlinearity, norm):
    assert gradient_error(Architecture(WIDTHS, nonlinearity, norm)) < TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_check_finds_a_norm_with_constant_moments(monkeypatch, norm):
    def constant_moments(whitened, gradient, *, axis):
        return gradient / np.sqrt(whitened.variance + EPSILON)

    monkeypatch.setattr(layers, "whiten_backward", constant_moments)
    assert gradient_error(Architecture(WIDTHS, "tanh", norm)) > 1e4 * TOLERANCE


def test_the_check_finds_a_slope_taken_at_the_wrong_place(monkeypatch):
    def wrong(x):
        y = np.tanh(x)
        return y, 1 - x * x

    monkeypatch.setattr(layers, "ACTIVATIONS", {**ACTIVATIONS, "tanh": wrong})
    assert gradient_error(Architecture(WIDTHS, "tanh")) > 1e4 * TOLERANCE


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_at_the_pre_activations_give_those_of_the_parameters(norm):
    architecture = Architecture(WIDTHS, "gelu", norm)
    parameters, x, y = problem(architecture)
    passed = forward(architecture, parameters, x)
    found = backward(architecture, parameters, passed, y)
    assert [at_pre.shape for at_pre in found.pre] == [(EXAMPLES, width) for width in WIDTHS[1:]]
    assert set(found.parameters) == set(architecture.shapes())
    for i, (record, at_pre) in enumerate(zip(passed.layers, found.pre, strict=True)):
        np.testing.assert_allclose(found.parameters[f"layers.{i}.weight"], record.inputs.T @ at_pre, atol=1e-15)
        np.testing.assert_allclose(found.parameters[f"layers.{i}.bias"], at_pre.sum(axis=0), atol=1e-15)


def test_a_forward_pass_by_hand():
    architecture = Architecture((2, 2, 1))
    parameters = {
        "layers.0.weight": np.array([[1, -1], [2, 0]], np.float32),
        "layers.0.bias": np.array([0.5, 0], np.float32),
        "layers.1.weight": np.array([[3], [5]], np.float32),
        "layers.1.bias": np.array([-1], np.float32),
    }
    passed = forward(architecture, parameters, np.array([[1, 1], [-2, 0]], np.float32))
    np.testing.assert_array_equal(passed.layers[0].pre, [[3.5, -1], [-1.5, 2]])
    np.testing.assert_array_equal(passed.layers[0].normalized, passed.layers[0].pre)
    np.testing.assert_array_equal(passed.layers[0].output, [[3.5, 0], [0, 2]])
    np.testing.assert_array_equal(passed.logits, [[9.5], [9]])


@pytest.mark.parametrize("norm", NORMS)
def test_float32_stays_float32(norm):
    architecture = Architecture(WIDTHS, "sigmoid", norm)
    parameters = initialize(architecture, he_normal, key=0)
    x = np.ones((EXAMPLES, 7), np.float32) * np.arange(EXAMPLES, dtype=np.float32)[:, None]
    passed = forward(architecture, parameters, x)
    found = backward(architecture, parameters, passed, np.zeros(EXAMPLES, np.int64))
    arrays = [*found.parameters.values(), *found.pre, passed.logits, *(record.pre for record in passed.layers)]
    running = updated_running(architecture, initial_running(architecture), passed)
    assert {array.dtype for array in [*arrays, *running.values()]} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("norm", "axis"), [("batch", 0), ("layer", 1)])
def test_a_norm_makes_mean_zero_and_variance_one(norm, axis):
    architecture = Architecture((7, 6, 3), "tanh", norm)
    parameters, x, _ = problem(architecture)
    parameters |= {"layers.0.norm.scale": np.ones(6), "layers.0.norm.shift": np.zeros(6)}
    record = forward(architecture, parameters, x).layers[0]
    np.testing.assert_allclose(record.normalized.mean(axis=axis), 0, atol=1e-14)
    variance = record.pre.var(axis=axis)
    np.testing.assert_allclose(record.normalized.var(axis=axis), variance / (variance + EPSILON), rtol=1e-13)
    np.testing.assert_allclose(
        forward(architecture, parameters, x).layers[-1].pre, predict(architecture, parameters, x)
    )


def test_running_moments_follow_the_batches():
    architecture = Architecture((7, 6, 3), "relu", "batch")
    parameters, x, _ = problem(architecture)
    record = forward(architecture, parameters, x).layers[0]
    running = initial_running(architecture)
    for _ in range(400):  # 0.9^400 = 5e-19 of the first values is left
        running = updated_running(architecture, running, forward(architecture, parameters, x))
    np.testing.assert_allclose(running["layers.0.norm.mean"], record.pre.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(running["layers.0.norm.variance"], record.pre.var(axis=0, ddof=1), rtol=1e-12)
    alone = predict(architecture, parameters, x[:1], running=running)
    np.testing.assert_allclose(predict(architecture, parameters, x, running=running)[:1], alone, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_a_prediction_is_the_logits_of_the_forward_pass(norm):
    architecture = Architecture(WIDTHS, "gelu", norm)
    parameters, x, _ = problem(architecture)
    np.testing.assert_array_equal(predict(architecture, parameters, x), forward(architecture, parameters, x).logits)


@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
def test_zero_weights_leave_every_hidden_weight_without_gradient(digits, nonlinearity):
    architecture = Architecture((784, 20, 20, 10), nonlinearity)
    parameters = initialize(architecture, zeros, key=0)
    passed = forward(architecture, parameters, digits.test_x)
    found = backward(architecture, parameters, passed, digits.test_y)
    assert not found.parameters["layers.0.weight"].any()
    assert not found.parameters["layers.1.weight"].any()
    assert found.parameters["layers.2.bias"].any()
    assert abs(found.loss - np.log(10)) < 1e-15 * 10


def test_the_law_is_asked_for_every_weight_by_name():
    asked = []

    def law(shape, *, key):
        asked.append((shape, key))
        return np.full(shape, 0.5)

    parameters = initialize(Architecture((4, 3, 2), norm="layer"), law, Key(7).child("net"))
    assert asked == [((4, 3), Key(7, "net.layers.0.weight")), ((3, 2), Key(7, "net.layers.1.weight"))]
    values = {name: (value.shape, value.dtype, set(value.ravel())) for name, value in parameters.items()}
    f32 = np.dtype(np.float32)
    assert values == {
        "layers.0.weight": ((4, 3), f32, {0.5}),
        "layers.0.bias": ((3,), f32, {0.0}),
        "layers.0.norm.scale": ((3,), f32, {1.0}),
        "layers.0.norm.shift": ((3,), f32, {0.0}),
        "layers.1.weight": ((3, 2), f32, {0.5}),
        "layers.1.bias": ((2,), f32, {0.0}),
    }


def test_a_law_that_gives_another_shape_is_refused():
    def transposed(shape, *, key):
        return np.zeros(shape[::-1])

    with pytest.raises(ValueError, match=r"shape \(3, 4\) for 'layers.0.weight', expected \(4, 3\)"):
        initialize(Architecture((4, 3)), transposed, key=0)


def test_weights_beyond_float32_become_infinite_without_a_warning():
    parameters = initialize(Architecture((4, 3)), lambda shape, *, key: np.full(shape, 1e300), key=0)
    assert np.isinf(parameters["layers.0.weight"]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"widths": (784,)}, ValueError, r"widths = \(784,\): expected at least two"),
        ({"widths": 784}, TypeError, "widths = 784: expected a tuple"),
        ({"widths": "784"}, TypeError, "widths = '784': expected a tuple"),
        ({"widths": (784, 0, 10)}, ValueError, r"widths\[1\] = 0"),
        ({"widths": (784, 1.0)}, TypeError, r"widths\[1\] = 1.0"),
        ({"widths": (True, 10)}, TypeError, r"widths\[0\] = True"),
        ({"nonlinearity": "relu6"}, ValueError, "nonlinearity = 'relu6': expected one of linear, relu, tanh"),
        ({"nonlinearity": ["relu"]}, TypeError, "nonlinearity"),
        ({"norm": None}, TypeError, "norm = None: expected one of none, batch, layer"),
        ({"norm": "group"}, ValueError, "norm = 'group': expected one of none, batch, layer"),
    ],
)
def test_an_architecture_checks_its_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Architecture(**{"widths": (4, 3), **arguments})


def test_an_architecture_is_a_value():
    assert Architecture([np.int64(4), 3]) == Architecture((4, 3))
    assert hash(Architecture((4, 3))) == hash(Architecture((4, 3)))
    assert Architecture((4, 3)).layers[0].norm == "none"
