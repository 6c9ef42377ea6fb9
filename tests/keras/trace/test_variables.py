"""The paths of variables: Keras' own, counted within the model; what is one, and what is no parameter."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.keras.trace.variables import (  # noqa: E402
    aliases,
    check_model,
    component_names,
    is_tensor,
    layers_of,
    own_variables,
    parameters,
    tensors_in,
    variables,
)


def unnamed():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)], name="m"
    )


def test_a_path_does_not_depend_on_what_was_built_before():
    first = list(variables(unnamed()))
    for _ in range(3):
        layers.Dense(1), layers.BatchNormalization()
    assert list(variables(unnamed())) == first
    assert first == [
        *("m/dense/kernel", "m/dense/bias", "m/batch_normalization/gamma", "m/batch_normalization/beta"),
        *("m/dense_1/kernel", "m/dense_1/bias"),
    ]


def test_a_name_that_a_user_gave_is_not_given_again():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense_of_mine"), layers.Dense(2)], name="m")
    assert [path.split("/")[1] for path in variables(model)] == ["dense_of_mine"] * 2 + ["dense"] * 2
    assert "dense_of_mine" not in component_names(model)


def test_frozen_layers_hold_parameters_and_norms_their_statistics():
    model = unnamed()
    model.layers[0].trainable = False
    found = {one.path: one.trained for one in parameters(model)}
    assert found["m/dense/kernel"] is False
    assert found["m/dense_1/kernel"] is True
    assert not [path for path in found if "moving" in path]
    assert len(found) == 6


def test_parameters_are_told_with_shape_and_dtype():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="float16", name="a")], name="m")
    assert [(one.path, one.shape, one.dtype) for one in parameters(model)] == [
        ("m/a/kernel", (4, 3), "float16"),
        ("m/a/bias", (3,), "float16"),
    ]


class Twice(keras.Model):
    """Two variables of one path, and a layer that stands in a list several times."""

    def __init__(self):
        super().__init__(name="twice")
        self.blocks = [layers.Dense(4, name="d")] * 3
        self.single = layers.Dense(4, name="s")

    def build(self, shape):
        self.blocks[0].build(shape)
        self.single.build(shape)
        self.first = self.add_weight(shape=(2,), name="gate")
        self.second = self.add_weight(shape=(3,), name="gate")

    def call(self, x):
        return self.single(self.blocks[0](x))


@pytest.fixture
def twice():
    model = Twice()
    model.build((None, 4))
    model.built = True
    return model


def test_two_variables_of_one_path_are_told_apart(twice):
    found = {path: tuple(variable.shape) for path, variable in variables(twice).items()}
    assert found["twice/gate"] == (2,)
    assert found["twice/gate#2"] == (3,)


def test_places_of_a_layer_in_a_list_are_its_other_names(twice):
    found = {one.path: one.aliases for one in parameters(twice)}
    assert found["d/kernel" if "d/kernel" in found else "twice/d/kernel"] == tuple(
        f"{'' if 'd/kernel' in found else 'twice/'}d[{i}]/kernel" for i in (1, 2)
    )
    assert not [names for path, names in found.items() if "s/" in path and names]
    assert set(aliases(twice)) == {id(variable) for variable in twice.blocks[0].variables}


def test_layers_are_listed_once_with_the_model_itself():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    model = keras.Sequential([keras.Input((4,)), inner, inner, layers.Dense(2)])
    found = layers_of(model)
    assert model in found
    assert found.count(inner) == 1


def test_the_variables_of_a_layer_itself():
    layer = layers.SeparableConv2D(6, 3)
    layer.build((1, 9, 9, 4))
    assert {name: tuple(one.shape) for name, one in own_variables(layer).items()} == {
        "depthwise_kernel": (3, 3, 4, 1),
        "pointwise_kernel": (1, 1, 4, 6),
        "bias": (6,),
    }


def test_tensors_in_nested_values():
    first, second = (keras.ops.convert_to_tensor(np.full((2,), i, "float32")) for i in (1, 2))
    nested = {"a": [first, 3, "text"], "b": (None, {"c": second}), "d": np.ones(2)}
    assert [float(tensor[0]) for tensor in tensors_in(nested)] == [1, 2]
    assert not is_tensor(keras.Variable(np.ones(2)))
    assert is_tensor(first)


def test_what_is_no_model_and_what_is_not_built():
    with pytest.raises(TypeError, match=r"model = dict: expected a keras\.Model or a layer"):
        check_model({})
    with pytest.raises(ValueError, match="is not built and has no weights yet"):
        check_model(keras.Sequential([layers.Dense(3)]))
    check_model(unnamed())
