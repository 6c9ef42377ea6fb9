"""Tensors without values that a pass left in caches: found and forgotten."""

import functools
import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from fanwise.torch.trace.function_names import tensors_in

DEPTH = 5
"""From a cache by its entries to what they hold: dictionaries, links and tuples between."""


class Forgetting(TorchFunctionMode):
    """Clears the caches of functions that hold tensors made within this context, if some are still held after it.

    A function under `functools.lru_cache` that makes a grid of positions keeps it; one made without values would be
    used in every run from then on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: list[weakref.ref[Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Executes a function and notes what it made."""
        output = func(*args, **dict(kwargs or {}))
        self._made += [weakref.ref(tensor) for tensor in tensors_in(output) if isinstance(tensor, FakeTensor)]
        return output

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the context."""
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        if any(made() is not None for made in self._made):
            _forget()


def _forget() -> None:
    for found in gc.get_objects():
        if type(found) is functools._lru_cache_wrapper and _holds_fake(found, DEPTH):
            found.cache_clear()


def _holds_fake(value: Any, depth: int) -> bool:
    if isinstance(value, FakeTensor):
        return True
    if depth == 0 or (depth < DEPTH and type(value).__name__ not in ("dict", "tuple", "list", "_lru_list_elem")):
        return False
    return any(_holds_fake(inner, depth - 1) for inner in gc.get_referents(value) if inner is not value)
