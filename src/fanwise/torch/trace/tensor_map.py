"""What is known of tensors, as long as they live."""

import weakref
from typing import Any, Generic, TypeVar, overload

from torch import Tensor

Value = TypeVar("Value")
Other = TypeVar("Other")


class TensorMap(Generic[Value]):
    """Values by the identity of tensors; a value goes when its tensor does.

    Every op of a run asks several times. `torch.utils.weak.WeakIdKeyDictionary` makes a weak reference for each
    question; here a question is one look into a dictionary by `id`, whose entries leave before an `id` is used again.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Tensor], Value]] = {}

    def __setitem__(self, tensor: Tensor, value: Value) -> None:
        entries, key = self._entries, id(tensor)
        entries[key] = weakref.ref(tensor, lambda _: entries.pop(key, None)), value

    def __bool__(self) -> bool:
        return bool(self._entries)

    def pop(self, tensor: Tensor) -> Value:
        """Takes a tensor's value out."""
        return self._entries.pop(id(tensor))[1]

    def discard(self, tensor: Tensor) -> None:
        """Forgets a tensor."""
        self._entries.pop(id(tensor), None)

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._entries

    def __getitem__(self, tensor: Tensor) -> Value:
        return self._entries[id(tensor)][1]

    @overload
    def get(self, tensor: Tensor) -> Value | None: ...

    @overload
    def get(self, tensor: Tensor, default: Other) -> Value | Other: ...

    def get(self, tensor: Tensor, default: Any = None) -> Any:
        """The value of a tensor, the default where it has none."""
        entry = self._entries.get(id(tensor))
        return default if entry is None else entry[1]
