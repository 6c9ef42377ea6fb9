"""Several batches made one, along the axis of their examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanwise.graph.inputs import Inputs


@dataclass(frozen=True)
class Joining:
    """How the arrays of a framework are joined.

    Args:
        array: what they are.
        form: shape and dtype of one.
        join: several of them, one after the other.
    """

    array: type | tuple[type, ...]
    form: Callable[[Any], tuple[tuple[int, ...], Any]]
    join: Callable[[Sequence[Any]], Any]

    def __call__(self, values: Sequence[Any], where: str = "inputs") -> Any:
        """The batches one after the other: arrays along their first axis, everything else must be equal.

        Args:
            values: the same structure of arrays, once a batch.
            where: what they are called in messages.

        Raises:
            ValueError: batches that differ in more than the number of their examples.
        """
        first = values[0]
        if all(isinstance(value, self.array) for value in values):
            return self._arrays(values, where)
        if any(type(value) is not type(first) for value in values):
            raise ValueError(f"{where}: the batches hold {', '.join(type(value).__name__ for value in values)}")
        if isinstance(first, (tuple, list)) and type(first) in (tuple, list):
            return type(first)(self._columns(values, where))
        if isinstance(first, Mapping):
            if any(set(value) != set(first) for value in values):
                raise ValueError(f"{where}: the batches hold other names: {' | '.join(map(str, map(list, values)))}")
            return {name: self([value[name] for value in values], f"{where}[{name!r}]") for name in first}
        if any(value != first for value in values):
            raise ValueError(f"{where}: the batches hold {', '.join(map(repr, values))}: expected equal values")
        return first

    def inputs(self, batches: Sequence[Inputs]) -> Inputs:
        """Several batches of a model as one.

        Raises:
            ValueError: batches that differ in more than the number of their examples.
        """
        if len(batches) == 1:
            return batches[0]
        return Inputs(self([batch.args for batch in batches]), self([dict(batch.kwargs) for batch in batches]))

    def targets(self, values: Sequence[Any]) -> Any:
        """What a loss compares with, joined; None where a batch has none.

        Raises:
            ValueError: as for the batches themselves.
        """
        if any(value is None for value in values):
            return None
        return values[0] if len(values) == 1 else self(values, "target")

    def _columns(self, values: Sequence[Any], where: str) -> list[Any]:
        if len({len(value) for value in values}) > 1:
            raise ValueError(f"{where}: the batches hold {', '.join(str(len(value)) for value in values)} values")
        return [self(column, f"{where}[{i}]") for i, column in enumerate(zip(*values, strict=True))]

    def _arrays(self, arrays: Sequence[Any], where: str) -> Any:
        forms = [self.form(array) for array in arrays]
        if len(arrays) == 1:
            return arrays[0]
        if len({(shape[1:], dtype) for shape, dtype in forms}) > 1 or any(not shape for shape, _ in forms):
            shapes = ", ".join(f"{shape} {dtype}" for shape, dtype in forms)
            raise ValueError(f"{where}: the batches hold {shapes}: expected shapes that differ in the first axis alone")
        return self.join(arrays)
