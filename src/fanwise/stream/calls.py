"""Which stream an initializer object draws from, where a framework calls it again and again with a shape alone."""

from collections.abc import Hashable
from threading import Lock

from fanwise.stream.key import Key, KeyLike, as_key

_COUNTING = Lock()


class Streams:
    """The streams of one initializer object.

    A variable whose path is known has the stream of (seed, path), however often and in whatever order it is drawn. Of
    the calls without a path, the first in each scope has the stream of (seed, scope) and each later one its own, so no
    two of them repeat a number.

    Args:
        seed: of every stream, a seed or a `Key`.

    Example:
        >>> streams = Streams(0)
        >>> streams.of("dense/kernel") == streams.of("dense/kernel") == Key(0, "dense/kernel")
        True
        >>> streams.next() == Key(0), streams.next() == Key(0)
        (True, False)
    """

    def __init__(self, seed: KeyLike) -> None:
        self.root = as_key(seed)
        self._calls: dict[Hashable, int] = {}

    def of(self, path: str) -> Key:
        """The stream of a variable."""
        return self.root.child(path)

    def next(self, scope: str = "") -> Key:
        """The stream of the next call in a scope."""
        with _COUNTING:
            number = self._calls.get(scope, 0)
            self._calls[scope] = number + 1
        return self._numbered(scope, number)

    def latest(self, scope: str = "") -> Key:
        """The stream of the last call in a scope, once more; that of the first where there was none yet."""
        return self._numbered(scope, max(self._calls.get(scope, 0) - 1, 0))

    def _numbered(self, scope: str, number: int) -> Key:
        own = self.root.child(scope) if scope else self.root
        return own if number == 0 else own.derive(f"call {number}")
