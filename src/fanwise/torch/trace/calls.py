"""Calls of torch's functions: their arguments, and which of these are data and which act as parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from fanwise.graph.tracking import call as tracking
from fanwise.graph.tracking.call import parts_of

__all__ = ["Arguments", "Call", "Part", "along_axes", "data_of", "parts_of"]

Call: TypeAlias = tracking.Call[Tensor]
"""The description of a call; data come from the model's inputs or are constants."""

Part: TypeAlias = tracking.Part[Tensor]
"""A tensor that acts as a parameter if it is one, and as data if not."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of a call.

    Args:
        args: positional arguments.
        named: named ones.
        weights: tells whether an argument is made of parameters.
        name: bare name of the function.
    """

    args: tuple[Any, ...]
    named: Mapping[str, Any]
    weights: Callable[[Any], bool]
    name: str

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """The argument at a position or of a name."""
        if position < len(self.args):
            return self.args[position]
        return self.named.get(name, default)

    def tensor(self, position: int, name: str) -> Tensor | None:
        """The same, None where it is no tensor."""
        value = self.get(position, name)
        return value if isinstance(value, Tensor) else None


def data_of(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    """The tensors that are given."""
    return tuple(tensor for tensor in tensors if tensor is not None)


def along_axes(numbers: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One number for each axis of a window: of its stride, padding or dilation."""
    if isinstance(numbers, int):
        return (numbers,) * dims
    return tuple(int(number) for number in numbers) * (dims if len(numbers) == 1 else 1)
