"""`apply`: the numbers of a plan, put into a model."""

from collections.abc import Collection
from functools import partial
from typing import Any

import keras

from fanwise.keras.trace.variables import dtype_of, parameters, variables
from fanwise.keras.weights.tensors import placed
from fanwise.plan.model_fit import check_fits, chosen_rows
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
from fanwise.plan.row_values import check_row, row_values
from fanwise.stream.box import Box
from fanwise.stream.formats import Array
from fanwise.stream.key import Key, KeyLike, as_key


def apply(
    model: Any,
    plan: Plan,
    key: KeyLike,
    *,
    only: str | Collection[str] | None = None,
    skip_loaded: Collection[str] = (),
) -> Any:
    """Fills a model's parameters by the laws of a plan.

    Element i of a parameter is a function of the seed, the parameter's path and i alone: the same bits on every
    backend, and in whatever layout JAX holds it, where each device draws its own part. Parameters without a law, and
    all other variables, stay as they are.

    Args:
        model: any built Keras model.
        plan: for this model: the same paths and shapes; dtypes may differ.
        key: the stream of the whole model, a `Key` or a seed; each parameter has the child named by its path.
        only: a pattern of paths as in a shell, such as ``"head/*"``, or several: the others are left alone.
        skip_loaded: paths of parameters that came from a checkpoint and are left alone.

    Returns:
        The model.

    Raises:
        TypeError: an argument of the wrong kind, or a parameter of a dtype in which nothing is drawn.
        ValueError: a plan for another model, all that differs in one message; a model that was not built; a dtype that
            cannot hold the numbers. Whatever is raised, nothing was changed.

    Example:
        >>> import numpy as np
        >>> from fanwise.keras import plan
        >>> layers = [keras.layers.Dense(100, "relu", name="hidden"), keras.layers.Dense(10, name="head")]
        >>> model = keras.Sequential([keras.Input((784,)), *layers], name="digits")  # the numbers go by these names
        >>> made = apply(model, plan(model), key=0)
        >>> round(float(np.std(keras.ops.convert_to_numpy(model.layers[0].kernel)) * 784**0.5), 2)
        1.0
    """
    stream, held = as_key(key), variables(model)
    check_fits(parameters(model), plan)
    targets = [(held[row.path], row) for row in chosen_rows(plan, only, skip_loaded)]
    for variable, row in targets:
        check_row(row, dtype_of(variable))
    for variable, row in targets:
        variable.assign(_numbers(variable, row, stream))
    return model


def _numbers(variable: Any, row: Row, stream: Key) -> Any:
    dtype = dtype_of(variable)
    draw = partial(_part, row, stream, dtype)
    return placed(draw, row.shape, dtype, _sharding(variable))


def _part(row: Row, stream: Key, dtype: str, box: Box) -> Array:
    return row_values(row, stream, dtype, box)


def _sharding(variable: Any) -> Any:
    """The sharding of a variable, where several devices of JAX hold it."""
    if keras.config.backend() != "jax":
        return None
    sharding = variable.value.sharding
    return sharding if len(sharding.device_set) > 1 else None
