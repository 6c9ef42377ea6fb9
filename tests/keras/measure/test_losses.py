"""Losses of Keras by name, against closed forms; targets, and what a guess gives."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.graph.visitor import ModelError  # noqa: E402
from fanwise.keras.measure.losses import ARRAYS, DRAWN, JUDGED, loss_of, named_loss, observed, split  # noqa: E402
from fanwise.keras.trace.variables import as_array, is_tensor  # noqa: E402
from fanwise.measure.losses import Loss, Target  # noqa: E402


def tensor(values, dtype="float32"):
    return keras.ops.convert_to_tensor(np.array(values), dtype)


def value_of(outputs, target, loss):
    return float(as_array(loss_of(outputs, target, loss)(outputs)))


LOGITS = [[0.0, math.log(3.0)], [math.log(3.0), 0.0]]
"""Logits of the shares 1/4 and 3/4, and the other way round."""


@pytest.mark.parametrize("target", [np.array([0, 0]), np.array([[1.0, 0.0], [1.0, 0.0]], "float32")])
def test_cross_entropy_is_of_logits_with_labels_or_shares(target):
    expected = (math.log(4) + math.log(4 / 3)) / 2
    assert value_of(tensor(LOGITS), target, "cross_entropy") == pytest.approx(expected, rel=1e-5)


def test_binary_cross_entropy_is_of_logits():
    given = value_of(tensor([[math.log(3.0)]]), np.array([[1.0]]), "binary_cross_entropy_with_logits")
    assert given == pytest.approx(math.log(4 / 3), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse_loss", "mse", "mean_squared_error", keras.losses.mean_squared_error])
def test_squared_errors(loss):
    assert value_of(tensor([[1.0, 2.0]]), np.array([[4.0, 4.0]]), loss) == pytest.approx(6.5)


def test_a_loss_of_keras_takes_the_target_first():
    def order(target, output):
        return keras.ops.mean(output - 2.0 * target)

    assert value_of(tensor([[1.0]]), np.array([[10.0]]), order) == pytest.approx(-19.0)


def test_a_function_sees_the_main_output_and_all_of_them_where_targets_are_several():
    seen = []

    def loss(target, output):
        seen.append(output)
        return tensor(1.0)

    outputs = {"hidden": tensor([[1.0]]), "logits": tensor([[2.0]])}
    value_of(outputs, np.ones((1, 1)), loss)
    value_of(outputs, {"a": np.ones((1, 1)), "b": np.ones((1, 1))}, loss)
    assert seen[0] is outputs["logits"]
    assert seen[1] is outputs


@pytest.mark.parametrize("name", DRAWN)
def test_targets_are_drawn_for_every_known_loss(name):
    probabilities = tensor([[0.25, 0.75], [0.5, 0.5], [0.875, 0.125]])
    loss = loss_of(probabilities, None, name)
    assert loss.drawn
    assert is_tensor(loss.target)
    kind = DRAWN[name]
    assert tuple(loss.target.shape) == ((3,) if kind is Target.CLASS else (3, 2))
    assert math.isfinite(float(as_array(loss(probabilities))))


def test_no_target_is_drawn_for_a_function():
    loss = loss_of(tensor([[1.0, 2.0]]), None, lambda target, output: output)
    with pytest.raises(ModelError, match="needs a target, and none can be drawn for it"):
        loss(tensor([[1.0, 2.0]]))


@pytest.mark.parametrize(
    ("name", "target", "chance", "classes"),
    [
        ("cross_entropy", [0, 1], math.log(4), 4),
        ("sparse_categorical_crossentropy", [0, 1], math.log(4), 4),
        ("categorical_crossentropy", np.eye(4, dtype="float32")[:2], math.log(4), 4),
        ("binary_crossentropy", np.ones((2, 4), "float32"), math.log(2), 2),
        ("mse", np.full((2, 4), 3.0, "float32"), 9.0, 0),
    ],
)
def test_what_a_guess_gives(name, target, chance, classes):
    outputs = tensor(np.full((2, 4), 0.25, "float32"))
    seen = observed(loss_of(outputs, np.array(target), name), outputs, 1.5)
    assert (seen.value, seen.name, seen.classes, seen.drawn) == (1.5, name, classes, False)
    assert seen.chance == pytest.approx(chance)


def test_a_function_is_recognised_by_its_value():
    outputs, target = tensor([[1.0, 2.0], [0.0, 3.0]]), np.array([[2.0, 2.0], [1.0, 1.0]])

    def mine(target, output):
        return keras.ops.mean((target - output) ** 2)

    loss = loss_of(outputs, target, mine)
    assert observed(loss, outputs, value_of(outputs, target, mine)).chance == pytest.approx(2.5)
    assert math.isnan(observed(loss, outputs, 77.0).chance)


def test_errors_that_no_guess_is_known_for():
    assert set(DRAWN) - set(JUDGED) == {"mean_absolute_error", "mae", "huber"}
    outputs, target = tensor([[5.0, 0.5]]), np.array([[1.0, 2.0]])
    loss = loss_of(outputs, target, "mae")
    assert math.isnan(observed(loss, outputs, 2.75).chance)


def test_names():
    assert named_loss(None) is None
    assert named_loss("mse").name == "mse"
    assert named_loss(keras.losses.MeanSquaredError()).name == "mean_squared_error"
    assert named_loss(keras.losses.mean_squared_error).target is Target.NUMBER
    assert named_loss("mse", [1, 2]).target is None
    assert named_loss(SimpleCall()).name == "SimpleCall"


class SimpleCall:
    """A loss that is an object."""

    def __call__(self, target, output):
        return output


def test_what_is_no_loss():
    with pytest.raises(
        ValueError, match=r"'msee': did you mean 'mse'.* expected a loss of keras.losses, .* cross_entropy"
    ):
        named_loss("msee")
    with pytest.raises(TypeError, match=r"a class: expected an instance, as in MeanSquaredError\(\)"):
        named_loss(keras.losses.MeanSquaredError)
    with pytest.raises(TypeError, match="a function of target and output"):
        named_loss(3)


@pytest.mark.parametrize(
    ("batch", "loss", "expected"),
    [
        (("x", "y"), "mse", ("x", "y")),
        (["a", "b", "y"], "mse", (["a", "b"], "y")),
        ({"a": 1, "labels": 2}, "mse", ({"a": 1}, 2)),
        ("x", "mse", ("x", None)),
        (("x", "y"), None, (("x", "y"), None)),
        (("x", "y", "w"), None, (("x", "y", "w"), None)),
    ],
)
def test_split(batch, loss, expected):
    assert split(batch, loss) == expected


def test_sample_weights_are_refused():
    with pytest.raises(ValueError, match=r"a tuple of 3 with a loss: expected a tuple \(inputs, target\)"):
        split(("x", "y", "w"), "mse")


def test_arrays_of_the_backend():
    a, whole = tensor([[1.0, 2.0]]), tensor([1], "int32")
    assert [id(value) for value in ARRAYS.floats({"i": whole, "a": [a]})] == [id(a)]
    assert ARRAYS.fields({"a": 1}) == {"a": 1}
    assert ARRAYS.fields([a]) == {}
    assert ARRAYS.shape(a) == (1, 2)
    assert ARRAYS.shape(np.ones(3)) is None
    assert ARRAYS.class_axis((7, 5, 3)) == 2
    assert float(as_array(ARRAYS.projected(a, np.array([[1.0, -1.0]])))) == -0.5
    assert float(as_array(ARRAYS.number(tensor([1.0, 3.0], "float16")))) == 2.0
    assert str(keras.backend.standardize_dtype(ARRAYS.drawn(np.ones(2), a).dtype)) == "float32"
    assert "int" in keras.backend.standardize_dtype(ARRAYS.drawn(np.ones(2, "int64"), a).dtype)


def test_a_model_without_a_loss_is_probed():
    outputs = tensor([[3.0, 3.0]])
    loss = loss_of(outputs, None, None)
    assert isinstance(loss, Loss)
    assert loss.probe
    assert abs(float(as_array(loss(outputs)))) in (0.0, 3.0)
    assert loss_of(tensor([1], "int32"), None, None) is None
    assert loss_of({"loss": tensor(4.0)}, None, None).name == "the model's own"
    assert value_of({"loss": tensor(4.0)}, None, None) == 4.0
