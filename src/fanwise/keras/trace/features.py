"""Which features of a weight op a view of its output holds: the view is applied to their numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from fanwise.stream.formats import Array

MOST = 1 << 22
"""Values whose features are followed; beyond that a view is taken as the same values."""

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "reshape": np.reshape,
    "transpose": np.transpose,
    "squeeze": np.squeeze,
    "expand_dims": np.expand_dims,
    "swapaxes": np.swapaxes,
    "moveaxis": np.moveaxis,
    "split": np.split,
    "array_split": np.array_split,
    "take": np.take,
    "cast": lambda labels, *args, **named: labels,
    "convert_to_tensor": lambda labels, *args, **named: labels,
    "getitem": lambda labels, key: labels[key],
    "unstack": lambda labels, num=None, axis=0: [np.take(labels, i, axis) for i in range(labels.shape[axis])],
}


def applied(name: str, args: Sequence[Any], named: Mapping[str, Any], labels: Array) -> Any:
    """The numbers of the features as the view leaves them; None where it is not one that can be followed."""
    function = _FUNCTIONS.get(name)
    if function is None or labels.size > MOST:
        return None
    rest = {key: value for key, value in named.items() if key not in ("x", "dtype")}
    try:
        return function(labels, *(_plain(value) for value in args[1:]), **{k: _plain(v) for k, v in rest.items()})
    except (TypeError, ValueError, IndexError):  # a signature that differs from NumPy's
        return None


def runs_of(labels: Array) -> tuple[tuple[int, int], ...] | None:
    """The runs of consecutive features that labels hold, as (first, count); None where they hold none."""
    if labels.size == 0:
        return None
    found = np.unique(labels)
    breaks = np.flatnonzero(np.diff(found) != 1) + 1
    return tuple((int(run[0]), len(run)) for run in np.split(found, breaks))


def _plain(value: Any) -> Any:
    """A value with the tensors in it as arrays."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value
