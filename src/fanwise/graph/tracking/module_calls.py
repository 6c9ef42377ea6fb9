"""Which module of a model runs, and which of its calls this is."""


class ModuleCalls:
    """The calls of modules that have begun and not ended, one inside the other."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, int]] = [("", 0)]
        self._numbers: dict[str, int] = {}

    @property
    def caller(self) -> tuple[str, int]:
        """Path of the innermost module, and which of its calls runs, from 0; ("", 0) for the model itself."""
        return self._stack[-1]

    def enter(self, path: str, *, new: bool = True) -> None:
        """A call of a module begins; with `new` false it counts as part of the call that ran last."""
        number = self._numbers.get(path, -1) + new
        self._numbers[path] = number
        self._stack.append((path, max(number, 0)))

    def leave(self) -> str:
        """The innermost call ends; its module's path is returned."""
        return self._stack.pop()[0]
