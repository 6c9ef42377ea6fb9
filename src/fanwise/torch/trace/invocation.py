"""A call of a function of torch, which can be executed again with other tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fanwise.torch.trace.function_names import tensors_in, writes_in_place
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.trace.substitute import BATCH_NORM_ARGUMENTS, swapped, with_batch_statistics, without_values


@dataclass(frozen=True)
class Invocation:
    """A function and its arguments.

    Args:
        function: torch's function.
        name: its bare name.
        args: positional arguments.
        named: named ones.
    """

    function: Callable[..., Any]
    name: str
    args: Sequence[Any]
    named: Mapping[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among its arguments, in order."""
        return list(tensors_in([self.args, self.named]))

    def __call__(self) -> Any:
        """The function's result."""
        return self.function(*self.args, **self.named)

    def without_state(self, data: Sequence[Tensor]) -> Any:
        """The same for data with or without values; on values, batch norms take the batch's own statistics."""
        if data and is_abstract(data[0]):
            return without_values(self.function, self.name, self.args, self.named)
        if self.name in BATCH_NORM_ARGUMENTS:
            return with_batch_statistics(self.function, self.name, self.args, self.named)
        return self()

    def with_tensors(self, new: Mapping[int, Any]) -> "Invocation":
        """The call with tensors replaced, by their `id`."""
        return replace(self, args=swapped(list(self.args), new), named=swapped(dict(self.named), new)) if new else self

    def in_a_copy(self) -> Any:
        """The function's result; a copy of the tensor that it writes to, where it writes to one."""
        copies = copies_of_targets(self)
        output = self.with_tensors(copies)()
        return list(copies.values()) or output

    def again(self, new: Mapping[int, Tensor]) -> Any:
        """The function's result with other tensors in place of arguments; None where one of them is no argument."""
        if not set(new) <= {id(tensor) for tensor in self.tensors}:
            return None
        return self.with_tensors(new)()


def copies_of_targets(function: Invocation) -> dict[int, Tensor]:
    """A copy of the tensor that a function writes to, by the `id` of this; nothing for any other function."""
    target = function.args[0] if function.args else None
    if not isinstance(target, Tensor) or not writes_in_place(function.function):
        return {}
    return {id(target): target.detach().clone()}
