"""Which features of a weight op a view of its output holds: the view is applied to their numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from fanwise.graph.details import Runs
from fanwise.graph.tracking.views import ViewChain, runs_of
from fanwise.stream.box import Shape
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
    "cast": lambda numbers, *args, **named: numbers,
    "convert_to_tensor": lambda numbers, *args, **named: numbers,
    "getitem": lambda numbers, key: numbers[key],
    "unstack": lambda numbers, num=None, axis=0: [np.take(numbers, i, axis) for i in range(numbers.shape[axis])],
}


@dataclass(frozen=True)
class ViewStep:
    """A view as a function of the array that is viewed.

    Args:
        name: of the function.
        args: its positional arguments; the first is what is viewed.
        named: its named arguments.
        output: which of its outputs is meant.
        shape: of that output.
    """

    name: str
    args: Sequence[Any]
    named: Mapping[str, Any]
    output: int
    shape: Shape

    def __call__(self, numbers: Array) -> Array | None:
        """The view of an array; None where it is not one that can be followed."""
        views = applied(self.name, self.args, self.named, numbers)
        several = isinstance(views, list) and self.output < len(views)
        view = views[self.output] if several else views
        return view if isinstance(view, np.ndarray) and view.shape == self.shape else None


def applied(name: str, args: Sequence[Any], named: Mapping[str, Any], numbers: Array) -> Any:
    """A view of the numbers of features: an array, a list of them, or None where it is not one that can be followed.

    Args:
        name: of the function.
        args: its positional arguments; the first is what is viewed.
        named: its named arguments.
        numbers: of the features.
    """
    function = _FUNCTIONS.get(name)
    if function is None or numbers.size > MOST:
        return None
    rest = {key: _plain(value) for key, value in named.items() if key not in ("x", "dtype")}
    try:
        return function(numbers, *(_plain(value) for value in args[1:]), **rest)
    except (TypeError, ValueError, IndexError):  # a signature that differs from NumPy's
        return None


def runs_of_features(chain: ViewChain) -> Runs | None:
    """The features that a view shows; None where that cannot be told."""
    numbers = chain.replayed(chain.numbers())
    return None if numbers is None else runs_of(numbers, chain.extent)


def _plain(value: Any) -> Any:
    """A value with the tensors in it as arrays."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value
