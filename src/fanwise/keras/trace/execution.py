"""Calls of layers and functions: executed, and replayed on arrays in place of their tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from fanwise.graph.tracking.probes import Probe, probe
from fanwise.keras.trace.variables import as_array, is_tensor, shape_of


@dataclass(frozen=True)
class Execution:
    """A call that can be carried out, once or more.

    Args:
        function: what is called.
        args: positional arguments.
        named: named ones.
        layer: whether it is a layer's own, which takes its variables itself.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    layer: bool = False

    def __call__(self) -> Any:
        """The call's result."""
        return self.function(*self.args, **self.named)

    def on(self, new: Mapping[int, Any]) -> Any:
        """The function's result with other tensors in place of arguments, by their `id`."""
        args, named = (_map(given, lambda leaf: new.get(id(leaf), leaf)) for given in (self.args, dict(self.named)))
        return self.function(*args, **named)

    def reads(self, variables: Sequence[Any]) -> bool:
        """Whether the call takes these variables as they are, and nothing that was made of them before."""
        given = {id(value) for value in _leaves([self.args, dict(self.named)])}
        return self.layer or all(id(variable) in given for variable in variables)

    def replay(self, data: Sequence[Any]) -> Callable[..., Any] | None:
        """The function on NumPy arrays in place of `data`; None where other arrays or variables have a say."""
        slots = {id(tensor): _Slot(position) for position, tensor in enumerate(data)}
        args, named = _replace(self.args, slots), _replace(dict(self.named), slots)
        if any(_is_tensor_like(value) for value in _leaves([args, named])):
            return None
        function = self.function

        def replay(*arrays: Any) -> Any:
            given = [keras.ops.convert_to_tensor(np.asarray(array, np.float32)) for array in arrays]
            return as_array(function(*_fill(args, given), **_fill(named, given)))

        return replay

    def probe(self, data: Sequence[Any]) -> Probe:
        """The function on normal values in place of `data`, with all else that it reads."""
        slots = {id(tensor): _Slot(position) for position, tensor in enumerate(data)}
        args, named = _replace(self.args, slots), _replace(dict(self.named), slots)
        function, types = self.function, [keras.backend.standardize_dtype(tensor.dtype) for tensor in data]

        def computed(*arrays: Any) -> Any:
            given = [keras.ops.convert_to_tensor(one, kind) for one, kind in zip(arrays, types, strict=True)]
            output = function(*_fill(args, given), **_fill(named, given))
            return as_array(output[0] if isinstance(output, (tuple, list)) else output)

        return probe(computed, [shape_of(tensor) for tensor in data])


@dataclass(frozen=True)
class _Slot:
    position: int


def _replace(value: Any, slots: Mapping[int, _Slot]) -> Any:
    return _map(value, lambda leaf: slots.get(id(leaf), leaf))


def _fill(value: Any, tensors: Sequence[Any]) -> Any:
    return _map(value, lambda leaf: tensors[leaf.position] if isinstance(leaf, _Slot) else leaf)


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(_map(item, change) for item in value)
    if isinstance(value, dict):
        return {name: _map(item, change) for name, item in value.items()}
    return change(value)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _is_tensor_like(value: Any) -> bool:
    return isinstance(value, (keras.Variable, np.ndarray)) or is_tensor(value)
