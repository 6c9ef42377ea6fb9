"""Attributes that are replaced for a time, by several users at once, and put back when the last of them ends."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

_MISSING = object()


@dataclass(frozen=True)
class Replacement:
    """A value under a name of a class, or of the dictionary of a module or an object.

    Args:
        owner: the class, or the dictionary.
        name: of the attribute.
        value: what stands under it for the time.
    """

    owner: Any
    name: str
    value: Any

    def read(self) -> Any:
        """What stands under the name now."""
        return (vars(self.owner) if isinstance(self.owner, type) else self.owner).get(self.name, _MISSING)

    def write(self, value: Any) -> None:
        """Puts a value under the name, or takes the name away."""
        if isinstance(self.owner, type):
            delattr(self.owner, self.name) if value is _MISSING else setattr(self.owner, self.name, value)
        elif value is _MISSING:
            self.owner.pop(self.name, None)
        else:
            self.owner[self.name] = value


@dataclass(frozen=True)
class _Group:
    """Replacements that come and go together: what stood there before, and who uses them."""

    before: list[tuple[Replacement, Any]] = field(default_factory=list)
    users: set[object] = field(default_factory=set)


_LOCK = RLock()
_GROUPS: dict[Hashable, _Group] = {}


@contextmanager
def replaced(key: Hashable, find: Callable[[], Iterable[Replacement]]) -> Iterator[None]:
    """The context in which attributes are replaced, in every thread; users with the same key share what is there.

    Args:
        key: names the replacements.
        find: gives them; called where nobody uses them yet.
    """
    user = object()
    try:
        _acquire(key, find, user)
        yield
    finally:
        try:
            _release(key, user)
        except KeyboardInterrupt:
            _release(key, user)
            raise


def _acquire(key: Hashable, find: Callable[[], Iterable[Replacement]], user: object) -> None:
    with _LOCK:
        group = _GROUPS.setdefault(key, _Group())
        group.users.add(user)
        if len(group.users) > 1:
            return
        try:
            _install(group, find())
        except BaseException:
            _release(key, user)
            raise


def _install(group: _Group, replacements: Iterable[Replacement]) -> None:
    for replacement in replacements:
        group.before.append((replacement, replacement.read()))
        replacement.write(replacement.value)


def _release(key: Hashable, user: object) -> None:
    """Takes a user away, and the replacements after the last; may be called again when it was interrupted.

    What somebody else has put under a name meanwhile stays.
    """
    with _LOCK:
        group = _GROUPS.get(key, _Group())
        group.users.discard(user)
        if group.users:
            return
        for replacement, before in reversed(group.before):
            if replacement.read() is replacement.value:
                replacement.write(before)
        _GROUPS.pop(key, None)
