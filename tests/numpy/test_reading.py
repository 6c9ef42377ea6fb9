"""Weights, inputs and targets in the forms in which people hold them, and what is said of those that do not fit."""

import math

import numpy as np
import pytest

from fanwise import NONLINEARITIES, Nonlinearity, check_weights
from fanwise.numpy.activations import read_activation
from fanwise.numpy.geometry import Windows
from fanwise.numpy.reading import Choices, read

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 20))
Y = RNG.integers(4, size=32)


def w(*shape):
    return np.random.default_rng(list(shape)).normal(size=shape) / math.sqrt(shape[0])


W1, W2, W3 = w(20, 12), w(12, 8), w(8, 4)
B1, B2, B3 = np.zeros(12), np.ones(8), np.full(4, 0.5)


def logits(x=X, weights=((W1, B1), (W2, B2), (W3, B3))):
    for i, (weight, bias) in enumerate(weights):
        x = x @ weight + bias
        x = np.maximum(x, 0) if i < len(weights) - 1 else x
    return x


def given(weights, x=X, y=None, **options):
    windows = {name: options.pop(name) for name in ("layout", "stride", "padding", "pool") if name in options}
    return read(weights, x, y, Choices(**options, windows=Windows(**windows)))


def output(reading):
    x = reading.x
    for stage in reading.chain.stages:
        x, _ = stage.run(x, reading.chain.arrays)
    return x


FORMS = {
    "list": [W1, B1, W2, B2, W3, B3],
    "pairs": [(W1, B1), (W2, B2), (W3, B3)],
    "tuple of lists": ([W1, B1], [W2, B2], [W3, B3]),
    "weights, then biases": [W1, W2, W3, B1, B2, B3],
    "rows": [W1, B1[None], W2, B2[None], W3, B3[None]],
    "columns": [W1.T, B1[:, None], W2.T, B2[:, None], W3.T, B3[:, None]],
    "out first": [W1.T, B1, W2.T, B2, W3.T, B3],
    "both ways": [W1, B1, W2.T, B2, W3, B3],
    "dict": {"W1": W1, "b1": B1, "W2": W2, "b2": B2, "W3": W3, "b3": B3},
    "dict, weights first": {"W1": W1, "W2": W2, "W3": W3, "b1": B1, "b2": B2, "b3": B3},
    "dict, biases first": {"b1": B1, "W1": W1, "b2": B2, "W2": W2, "b3": B3, "W3": W3},
    "dict of other names": {"fc1_w": W1, "fc1_b": B1, "fc2_w": W2, "fc2_b": B2, "out_w": W3, "out_b": B3},
    "dict of keras names": {"a/kernel": W1, "a/bias": B1, "b/kernel": W2, "b/bias": B2, "c/kernel": W3, "c/bias": B3},
    "dict of words": {"in": W1, "in_bias": B1, "mid": W2, "mid_bias": B2, "out": W3, "out_bias": B3},
    "dict without names": {"p": W1, "q": B1, "r": W2, "s": B2, "t": W3, "u": B3},
    "dict of pairs": {"one": (W1, B1), "two": (W2, B2), "three": (W3, B3)},
    "dict of dicts": {"one": {"W": W1, "b": B1}, "two": {"W": W2, "b": B2}, "three": {"W": W3, "b": B3}},
    "lists of numbers": [W1.tolist(), B1.tolist(), W2.tolist(), B2.tolist(), W3.tolist(), B3.tolist()],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_network(form):
    reading = given(FORMS[form], y=Y)
    np.testing.assert_allclose(output(reading), logits(), rtol=1e-12)
    assert reading.aim.loss == "cross_entropy"


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("list", ["W1", "b1", "W2", "b2", "W3", "b3"]),
        ("pairs", ["W1", "b1", "W2", "b2", "W3", "b3"]),
        ("dict of other names", ["fc1_w", "fc1_b", "fc2_w", "fc2_b", "out_w", "out_b"]),
        ("dict of pairs", [f"{n}.{kind}" for n in ("one", "two", "three") for kind in ("weight", "bias")]),
        ("dict of dicts", [f"{n}.{kind}" for n in ("one", "two", "three") for kind in "Wb"]),
    ],
)
def test_names(form, names):
    reading = given(FORMS[form])
    assert list(reading.chain.arrays) == names
    for path, access in reading.chain.access.items():
        array = eval(access, {"weights": FORMS[form]})
        assert np.shares_memory(array, reading.chain.arrays[path])


def test_biases_may_be_left_out():
    reading = given([W1, (W2, None), (W3, B3)])
    np.testing.assert_allclose(output(reading), logits(weights=((W1, 0), (W2, 0), (W3, B3))), rtol=1e-12)


SQUARE = [w(20, 20), w(20, 20) * 2]


def test_square_weights_are_read_as_their_neighbours():
    rows = given([SQUARE[0], w(20, 4)])
    assert rows.chain.stages[0].uses[0].layout.axes == ("in", "out")
    assert not rows.chain.notes
    turned = given([SQUARE[0], w(4, 20)])
    assert turned.chain.stages[0].uses[0].layout.axes == ("out", "in")


@pytest.mark.parametrize(
    ("dense", "axes"), [(None, ("in", "out")), ("in out", ("in", "out")), ("out in", ("out", "in"))]
)
def test_square_weights_alone(dense, axes):
    reading = given(SQUARE, dense=dense)
    assert {stage.uses[0].layout.axes for stage in reading.chain.stages if stage.uses} == {axes}
    assert bool(reading.chain.notes) == (dense is None)


def test_a_square_weight_between_two_ways_is_asked_about():
    with pytest.raises(ValueError, match="is square, and the other weights are read both ways: give dense="):
        given([w(20, 12), w(12, 12), w(4, 12)])
    assert given([w(20, 12), w(12, 12), w(12, 4)]).chain.stages[2].uses[0].layout.axes == ("in", "out")


@pytest.mark.parametrize("y", [None, Y, np.eye(4)[Y].T, Y[None]])
def test_examples_in_columns(y):
    """W @ x + b: the outputs are those of the transposed network, and targets turn with the inputs."""
    turned = given([W1.T, B1[:, None], W2.T, B2[:, None], W3.T, B3[:, None]], X.T, y)
    np.testing.assert_allclose(output(turned), logits(), rtol=1e-12)
    assert "columns" in turned.chain.notes[0]
    if y is not None:
        assert turned.aim.loss == "cross_entropy"
        np.testing.assert_array_equal(turned.aim.target, Y)


def test_square_weights_before_columns_are_read_out_first():
    x = RNG.normal(size=(20, 33))
    reading = given(SQUARE, x)
    assert reading.x.shape == (33, 20)
    assert reading.chain.stages[0].uses[0].layout.axes == ("out", "in")


def test_one_line_of_targets_is_no_broadcast_in_columns():
    head = [W1.T, w(1, 12)]
    values = RNG.normal(size=32) + 5
    for y in (values, values[None]):
        report = check_weights(head, X.T, y)
        assert not any(finding.code == "LOS002" for finding in report.findings)
    rows = check_weights([W1, w(12, 1)], X, values)
    assert rows.findings[0].code == "LOS002"
    assert check_weights([W1, w(12, 1)], X, values[:, None]).observations[0].loss.broadcast == ()


# Targets


@pytest.mark.parametrize(
    ("y", "loss"),
    [
        (Y, "cross_entropy"),
        (Y.astype(np.uint8), "cross_entropy"),
        (Y.astype(float), "cross_entropy"),
        (Y.tolist(), "cross_entropy"),
        (Y[:, None], "cross_entropy"),
        (np.eye(4)[Y], "cross_entropy"),
        (np.eye(4, dtype=bool)[Y], "cross_entropy"),
        (RNG.integers(2, size=(32, 4)), "binary_cross_entropy_with_logits"),
        (RNG.normal(size=(32, 4)), "mse_loss"),
        (RNG.integers(9, size=(32, 4)), "mse_loss"),
    ],
)
def test_the_loss_follows_from_the_targets(y, loss):
    reading = given(FORMS["list"], y=y)
    assert reading.aim.loss == loss
    assert any(note.startswith("Loss: ") for note in reading.chain.notes)


@pytest.mark.parametrize(
    ("y", "loss"),
    [
        (RNG.integers(2, size=(32, 1)), "binary_cross_entropy_with_logits"),
        (RNG.integers(2, size=(32, 1)) == 1, "binary_cross_entropy_with_logits"),
        (RNG.integers(50, size=(32, 1)), "mse_loss"),
        (RNG.normal(size=(32, 1)), "mse_loss"),
    ],
)
def test_the_loss_of_one_output(y, loss):
    assert given([W1, w(12, 1)], y=y).aim.loss == loss


@pytest.mark.parametrize(
    ("last", "y", "loss", "kept"),
    [
        ("softmax", Y, "cross_entropy", False),
        ("softmax", None, "cross_entropy", False),
        ("sigmoid", RNG.integers(2, size=(32, 4)), "binary_cross_entropy_with_logits", False),
        ("sigmoid", RNG.random((32, 4)), "mse_loss", True),
        ("tanh", np.eye(4)[Y], "mse_loss", True),
        (None, Y, "cross_entropy", False),
    ],
)
def test_the_last_nonlinearity_says_which_loss(last, y, loss, kept):
    reading = given(FORMS["list"], y=y, activation=["relu", "relu", last])
    assert reading.aim.loss == loss
    assert (reading.chain.stages[-1].name == last) == kept


def test_a_softmax_of_ones_own_is_one():
    def softmax(z):
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    assert given(FORMS["list"], y=Y, activation=[np.tanh, np.tanh, softmax]).aim.loss == "cross_entropy"
    with pytest.raises(ValueError, match="softmax mixes the values of an example"):
        given(FORMS["list"], y=Y, activation=softmax)


@pytest.mark.parametrize(
    ("loss", "meant"),
    [
        ("softmax", "cross_entropy"),
        ("CrossEntropyLoss", "cross_entropy"),
        ("nll", "cross_entropy"),
        ("bce", "binary_cross_entropy_with_logits"),
        ("binary cross-entropy", "binary_cross_entropy_with_logits"),
        ("sigmoid", "binary_cross_entropy_with_logits"),
        ("MSE", "mse_loss"),
        ("mean_squared_error", "mse_loss"),
        ("mse_loss", "mse_loss"),
    ],
)
def test_names_of_losses(loss, meant):
    y = {"cross_entropy": Y, "mse_loss": np.ones((32, 4))}.get(meant, np.eye(4)[Y])
    assert given(FORMS["list"], y=y, loss=loss).aim.loss == meant


# Nonlinearities

WRITTEN = {
    "relu": lambda z: z * (z > 0),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "leaky_relu(0.01)": lambda z: np.where(z > 0, z, 0.01 * z),
    "leaky_relu(0.3)": lambda z: np.maximum(0.3 * z, z),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "sin": np.sin,
    "softsign": lambda z: z / (1 + abs(z)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_functions_that_have_a_name_get_it(name):
    assert read_activation(WRITTEN[name]).name == name


@pytest.mark.parametrize("entry", NONLINEARITIES.values(), ids=list(NONLINEARITIES))
def test_every_nonlinearity_is_taken_by_name(entry):
    unit = read_activation(entry.example)
    if entry.name == "linear":
        assert unit is None
        return
    report = check_weights([W1, B1, W2, B2, W3, B3], X, Y, activation=entry.example)
    assert report.observations[0].trace.ops[1].nonlinearity == (
        "gelu" if entry.name == "gelu_tanh" else unit.name.partition("(")[0]
    )


def test_other_functions_keep_their_own_name_and_have_gradients():
    def wiggle(z):
        return z + np.sin(3 * z) / 2

    report = check_weights([W1, B1, W2, B2, W3, B3], X, Y, activation=wiggle)
    assert report.observations[0].trace.ops[1].name == "wiggle"
    assert all(layer.gradient > 0 for layer in report.layers)
    assert not report.findings
    with_slope = Nonlinearity("wiggle", wiggle, lambda z: 1 + 1.5 * np.cos(3 * z))
    told = check_weights([W1, B1, W2, B2, W3, B3], X, Y, activation=with_slope)
    for one, other in zip(report.layers, told.layers, strict=True):
        assert one.gradient == pytest.approx(other.gradient, rel=1e-7)
