"""One run forward and backward, against numbers by hand."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.graph.visitor import ModelError  # noqa: E402
from fanwise.keras.measure.observe import observe  # noqa: E402
from fanwise.keras.trace.run import Inputs  # noqa: E402
from fanwise.keras.trace.variables import as_array  # noqa: E402

X = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")


def network(frozen=False):
    """y = relu(x diag(1, -1)) (1, 2)^T."""
    first = layers.Dense(2, "relu", use_bias=False, name="a", trainable=not frozen)
    model = keras.Sequential([keras.Input((2,)), first, layers.Dense(1, name="b")], name="m")
    model.set_weights([np.diag([1.0, -1.0]), np.array([[1.0], [2.0]]), np.zeros(1)])
    return model


def test_signals_of_the_ops():
    seen = observe(network(), Inputs((X,)), np.zeros((2, 1)), "mse")
    assert [str(op.kind) for op in seen.trace.ops] == ["linear", "activation", "linear"]
    assert [signal.second_moment for signal in seen.signals] == pytest.approx([30 / 4, 10 / 4, 5.0])
    assert seen.inputs[0].second_moment == pytest.approx(30 / 4)
    assert seen.outputs.second_moment == pytest.approx(5.0)
    assert seen.given == (0,)


def test_the_loss_and_its_gradients():
    seen = observe(network(), Inputs((X,)), np.zeros((2, 1)), "mse")
    assert seen.loss.value == pytest.approx(5.0)
    assert seen.loss.chance == 0.0
    # y = (1, 3), dL/dy = y; dL/dh = y (1, 2); through relu the second unit gets none
    assert seen.signals[2].gradient == pytest.approx(5.0)
    assert seen.signals[1].gradient == pytest.approx((1 + 4 + 9 + 36) / 4)
    assert seen.signals[0].gradient == pytest.approx((1 + 9) / 4)
    assert seen.values["m/b/kernel"].gradient == pytest.approx(100 / 2)  # (1 + 9, 0)
    assert seen.values["m/b/bias"].gradient == pytest.approx(16.0)


def test_values_of_the_parameters():
    values = observe(network(), Inputs((X,)), np.zeros((2, 1)), "mse").values
    assert list(values) == ["m/a/kernel", "m/b/kernel", "m/b/bias"]
    assert (values["m/a/kernel"].count, values["m/a/kernel"].mean) == (4, 0.0)
    assert values["m/b/kernel"].second_moment == pytest.approx(2.5)
    assert all(value.reached for value in values.values())


def test_without_a_backward_pass_there_is_neither_loss_nor_gradient():
    seen = observe(network(), Inputs((X,)), np.zeros((2, 1)), "mse", backward=False)
    assert seen.loss is None
    assert not seen.backward
    assert all(math.isnan(signal.gradient) for signal in seen.signals)
    assert not any(value.reached for value in seen.values.values())
    assert seen.outputs.second_moment == pytest.approx(5.0)


def test_a_frozen_parameter_gets_no_gradient():
    values = observe(network(frozen=True), Inputs((X,)), np.zeros((2, 1)), "mse").values
    assert not values["m/a/kernel"].reached
    assert values["m/b/kernel"].reached


def test_integers_are_given_and_have_no_signal():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(5, 2, name="e")], name="m")
    seen = observe(model, Inputs((np.zeros((2, 3), "int32"),)))
    assert seen.given == (None,)
    assert seen.inputs == ()
    assert seen.loss.probe


def test_the_model_is_as_before():
    model = network()
    before = [np.array(as_array(value)) for value in model.variables]
    observe(model, Inputs((X,)), np.zeros((2, 1)), "mse")
    assert all(np.array_equal(as_array(value), old) for value, old in zip(model.variables, before, strict=True))
    assert as_array(model(X)).ravel().tolist() == [1.0, 3.0]


def test_a_loss_that_fails_is_an_error_of_the_model():
    def loss(target, output):
        raise OverflowError("by design")

    with pytest.raises(ModelError, match="OverflowError: by design"):
        observe(network(), Inputs((X,)), np.zeros((2, 1)), loss)
