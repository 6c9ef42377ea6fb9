"""Lines of the user's sources: where an op is called, and where an exception comes from."""

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType
from typing import Any, TypeVar

from fanwise.stream.box import Shape

Line = tuple[str, int]
"""A file and a line in it, from 1."""

Function = TypeVar("Function", bound=Callable[..., Any])

_LIBRARIES = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_PACKAGES = ("site-packages", "dist-packages")
_OWN = str(Path(__file__).resolve().parents[2]) + os.sep
_OUTERMOST: set[CodeType] = set()


def outermost(function: Function) -> Function:
    """Marks a function that calls a model: what calls the function itself is none of the model's sources."""
    _OUTERMOST.add(function.__code__)
    return function


def is_users(file: str) -> bool:
    """Whether there is such a file, neither of the standard library, nor of an installed package, nor of this one."""
    return not _is_installed(file) and os.path.isfile(file)


@cache
def _is_installed(file: str) -> bool:
    path = os.path.realpath(file)
    return path.startswith((*_LIBRARIES, _OWN)) or not set(_PACKAGES).isdisjoint(Path(path).parts)


def calling_line() -> Line | None:
    """The innermost line of the user's that is running, within a model; None where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in _OUTERMOST:
        if is_users(frame.f_code.co_filename):
            return os.path.abspath(frame.f_code.co_filename), frame.f_lineno
        frame = frame.f_back
    return None


def users_lines(frames: Iterable[tuple[str, int]]) -> list[Line]:
    """The user's lines among frames, innermost first, up to those of this package."""
    within = takewhile(lambda frame: not frame[0].startswith(_OWN), frames)
    return [(os.path.abspath(file), line) for file, line in within if is_users(file)]


def raising_line(error: BaseException) -> Line | None:
    """The innermost line of the user's that an exception passed within a model; any of the user's where none did."""
    lines = [(frame.f_code, line) for frame, line in walk_tb(error.__traceback__)]
    starts = [i for i, (code, _) in enumerate(lines) if code in _OUTERMOST]
    within = [(code.co_filename, line) for code, line in lines[starts[0] if starts else 0 :]]
    return next(((os.path.abspath(file), line) for file, line in reversed(within) if is_users(file)), None)


def described(error: BaseException) -> str:
    """An exception in words: its kind and what it says.

    Example:
        >>> described(ValueError("no such head"))
        'ValueError: no such head'
    """
    return f"{type(error).__name__}: {said_by(error)}"


def said_by(error: BaseException, given: Sequence[Shape] = ()) -> str:
    """What an exception says, shortened, and where it was raised.

    Args:
        error: that was caught.
        given: shapes of what the module was given that raised it.

    Example:
        >>> said_by(ValueError("no such head"), [(64, 8)])
        'no such head (given (64, 8))'
    """
    line = raising_line(error)
    where = [] if line is None else [f"at {line[0]}:{line[1]}"]
    where += [f"given {', '.join(map(str, given))}"] if given else []
    return shortened(str(error)) + (f" ({', '.join(where)})" if where else "")


MOST = 600
"""Letters of a message that are shown."""


def shortened(text: str) -> str:
    """A message of at most `MOST` letters: its beginning and its end where it is longer, as where it holds an array."""
    return text if len(text) <= MOST else f"{text[: MOST // 2]} ... {text[-MOST // 4 :]}"
