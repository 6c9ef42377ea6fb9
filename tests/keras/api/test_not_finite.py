"""Values that are not finite on Keras: the function that makes them, its line, and a model that cannot be run."""

import keras
import numpy as np
import pytest

from fanwise.keras import ModelError, check


class Between(keras.Model):
    """A function between two maps."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = keras.layers.Dense(16), keras.layers.Dense(4), function

    def call(self, x):
        return self.last(self.function(self.first(x)))


def batch():
    numbers = np.random.default_rng(1)
    return numbers.normal(size=(32, 8)).astype("float32"), numbers.integers(4, size=32)


def built(function):
    model = Between(lambda x: x)
    model(batch()[0])
    model.function = function
    return model


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("log", lambda h: keras.ops.log(keras.ops.relu(h))),
        ("div", lambda h: keras.ops.divide(h * 0, keras.ops.norm(h * 0, axis=-1, keepdims=True))),
        ("gradients before sqrt", lambda h: h + keras.ops.sqrt(h * 0)),
    ],
)
def test_the_function_is_named_with_its_line(name, function):
    found = check(built(function), batch(), "cross_entropy").findings[0]
    assert found.code == "NAN002"
    assert name in found.message
    assert f"test_not_finite.py:{function.__code__.co_firstlineno}" in found.message


def test_an_error_of_the_model_says_where_in_its_sources():
    def wrong(h):
        return keras.ops.matmul(h, keras.ops.ones((3, 3)))

    with pytest.raises(ModelError) as error:
        check(built(wrong), batch(), "cross_entropy")
    assert f"test_not_finite.py:{wrong.__code__.co_firstlineno + 1}" in str(error.value)
