"""Tensors that a run writes to, and how they become what they were."""

from collections.abc import Callable
from typing import Generic, TypeVar

Target = TypeVar("Target")


class Writes(Generic[Target]):
    """Parameters are not copied before a run, for there may be many: each is when it is about to be written to.

    Args:
        saved: copies what a target holds, and returns the function that puts it back.
    """

    def __init__(self, saved: Callable[[Target], Callable[[], None]]) -> None:
        self._saved = saved
        self._undo: dict[int, tuple[Target, Callable[[], None]]] = {}

    def keep(self, target: Target) -> None:
        """Copies what a target holds, the first time that it is written to."""
        if id(target) not in self._undo:
            self._undo[id(target)] = (target, self._saved(target))

    def restore(self) -> None:
        """Undoes the writes, the last first."""
        for _, undo in reversed(self._undo.values()):
            undo()
        self._undo.clear()
