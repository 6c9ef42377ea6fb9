"""`read` and `write`: one parameter's values as NumPy arrays."""

from collections.abc import Callable
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from fanwise.keras.trace.variables import as_array, dtype_of, shape_of, variables
from fanwise.plan.row import nearest
from fanwise.stream.formats import FORMATS, Array


def read(model: Any, path: str) -> Array:
    """A copy of a parameter's values.

    Args:
        model: any built Keras model or layer.
        path: the parameter's path, as `parameters` lists it.

    Returns:
        Shape of the parameter, in its own dtype.

    Raises:
        KeyError: no such parameter.
        TypeError: no Keras model.
        ValueError: a model that was not built.

    Example:
        >>> import keras
        >>> read(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a")], name="m"), "m/a/bias").shape
        (2,)
    """
    return values_of(held_variable(model, path))


def write(model: Any, path: str, values: Array) -> None:
    """Puts values into a parameter, rounded to its dtype.

    Args:
        model: any built Keras model or layer.
        path: the parameter's path.
        values: real numbers, of the parameter's shape.

    Raises:
        KeyError: no such parameter.
        TypeError: no Keras model, or values that are no numbers.
        ValueError: another shape, or finite values that the dtype cannot hold. Nothing was written.
    """
    variable = held_variable(model, path)
    given = np.asarray(values)
    if given.dtype.kind not in "biufV" or given.dtype.names:
        raise TypeError(f"values = {short_repr(values)} for {path!r}: expected real numbers")
    if given.shape != shape_of(variable):
        raise ValueError(f"values of shape {given.shape} for {path!r}, which has {shape_of(variable)}")
    form = FORMATS.get(dtype_of(variable))
    wide = np.asarray(given, np.float64)
    largest = float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
    if form is not None and largest > form.largest:
        raise ValueError(
            f"values for {path!r} reach {largest:.4g}, more than {form.name} can hold ({form.largest:.4g})"
        )
    variable.assign(wide.astype(np.float64 if form is not None and form.name == "float64" else np.float32))


def reader(model: Any) -> Callable[[str], Array]:
    """A function that reads a parameter's values by its path; see `read`."""
    by_path = variables(model)
    return lambda path: values_of(by_path[path])


def held_variable(model: Any, path: str) -> Any:
    """The variable of a path.

    Raises:
        KeyError: there is none; the message lists the nearest names.
    """
    held = variables(model)
    if path not in held:
        raise KeyError(
            f"no parameter {path!r}{nearest(path, held)}" if held else f"no parameter {path!r}: there is none"
        )
    return held[path]


def values_of(variable: Any) -> Array:
    """A copy of a variable's values."""
    return np.array(as_array(variable.value))
