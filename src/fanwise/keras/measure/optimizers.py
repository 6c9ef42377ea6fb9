"""Optimizers of Keras: their first step, as it is taken by another of the same configuration."""

from typing import Any

import keras

from fanwise.keras.trace.variables import as_array
from fanwise.measure.optimizers import Optimizer, by_class
from fanwise.stream.formats import Array


def optimizer_of(value: Any) -> Optimizer | None:
    """The optimizer that an object is, or a class with its defaults; None for others.

    Args:
        value: of `keras.optimizers`.
    """
    if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer):
        return optimizer_of(value())
    if not isinstance(value, keras.optimizers.Optimizer):
        return None
    kind, options = type(value), value.get_config()

    def step(weight: Array, gradient: Array) -> Array:
        variable = keras.Variable(weight.copy(), name="kernel")
        kind.from_config(options).apply([keras.ops.convert_to_tensor(gradient)], [variable])
        moved: Array = as_array(variable.value).copy()
        return moved

    return by_class(kind.__name__, as_array(keras.ops.convert_to_tensor(value.learning_rate)), step)
