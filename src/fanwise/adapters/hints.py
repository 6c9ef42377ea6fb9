"""Where something else than a model of the framework came: what fanwise has for it, for the end of a message."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

ARRAYS = "; a network written in NumPy is checked in Python: fanwise.check_weights([W1, b1, W2, b2], x, y)"
TENSORFLOW = "; of plain TensorFlow, fanwise.keras.from_tensorflow(module) makes a layer that can be checked"
DEEPEST = 3
"""Levels of containers that are looked into."""


def hint_for(value: Any) -> str:
    """What to do with arrays of NumPy, with what holds them, or with a tf.Module; "" for anything else.

    Example:
        >>> hint_for({"W1": np.zeros((3, 4))})[:42], hint_for({"W1": 3})
        ('; a network written in NumPy is checked in', '')
    """
    kinds = value.__mro__ if isinstance(value, type) else type(value).__mro__
    if any(kind.__module__.partition(".")[0] == "tensorflow" for kind in kinds):
        return TENSORFLOW
    return ARRAYS if _holds_arrays(value, DEEPEST) else ""


def _holds_arrays(value: Any, depth: int) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.dtype.kind == "f")
    return depth > 0 and any(_holds_arrays(each, depth - 1) for each in _parts(value))


def _parts(value: Any) -> Iterable[Any]:
    """What a container or an object of the user's own class holds."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return value
    try:
        return [] if isinstance(value, type) else list(vars(value).values())
    except TypeError:  # nothing that has attributes of its own
        return []
