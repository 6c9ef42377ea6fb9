"""Origins of the tensors of a run: ops, the model's inputs, its variables, or neither."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import keras

from fanwise.graph.op import UseRole
from fanwise.graph.tracking.tracker import Source
from fanwise.keras.trace.calls import Part

Known = TypeVar("Known")


class _ById(Generic[Known]):
    """Knowledge of tensors, by identity; they are kept, so that no other gets the `id` of one."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Any, Known]] = {}

    def __contains__(self, value: Any) -> bool:
        return id(value) in self._entries

    def get(self, value: Any) -> Known | None:
        entry = self._entries.get(id(value))
        return None if entry is None else entry[1]

    def put(self, tensor: Any, known: Known) -> None:
        self._entries[id(tensor)] = (tensor, known)


class TensorOrigins:
    """The origins of the tensors that a run met.

    Args:
        variables: of the model, by path.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._paths = {id(variable): path for path, variable in variables.items()}
        self._sources: _ById[Source] = _ById()
        self._held: _ById[Part] = _ById()
        self._constants: _ById[None] = _ById()
        for variable in variables.values():
            self.hold(variable.value, Part(variable, UseRole.OPERAND))

    def path(self, part: Part) -> str | None:
        """The path of the variable that a part is; None where it is none of the model's parameters."""
        return self._paths.get(id(part.input))

    def source(self, value: Any) -> Source | None:
        """The op or the input that a tensor comes from; None for any other."""
        return self._sources.get(value)

    def held(self, value: Any) -> Part | None:
        """The variable that a value is or was made of; None for data and constants."""
        if isinstance(value, keras.Variable):
            return Part(value, UseRole.OPERAND) if id(value) in self._paths else None
        return None if value in self._sources else self._held.get(value)

    def is_constant(self, value: Any) -> bool:
        """Whether a value comes neither from data nor from a variable."""
        return value not in self._sources and self.held(value) is None

    def is_unseen(self, value: Any) -> bool:
        """Whether nothing is known of a value: neither what made it, nor that it was made of constants."""
        return self.is_constant(value) and value not in self._constants

    def is_made_of_variables(self, tensor: Any) -> bool:
        """Whether `hold` was told of a tensor."""
        return tensor in self._held

    def follow(self, tensor: Any, source: Source) -> None:
        """Remembers where a tensor comes from."""
        self._sources.put(tensor, source)

    def hold(self, tensor: Any, part: Part) -> None:
        """Remembers which variable a tensor was made of."""
        self._held.put(tensor, part)

    def constant(self, tensor: Any) -> None:
        """Remembers that a tensor was made of constants."""
        self._constants.put(tensor, None)
