"""What a model is called with, its parameters aside."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Inputs:
    """Arguments of a model's call.

    Args:
        args: positional ones.
        kwargs: named ones. Whatever in them is no array (a flag, a mode) is given to the model as it is.
        guess: how they were made up where nobody gave them, for a message when the model does not run on them.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    guess: str = field(default="", compare=False)


def described(inputs: Inputs, dtype_of: Callable[[Any], str | None]) -> str:
    """Inputs in words: the shapes and dtypes of their arrays, such as "64,784:float32; mask=64,12:bool".

    Args:
        inputs: of a model.
        dtype_of: the name of an array's dtype; None for what is no array.

    Example:
        >>> described(Inputs((3,), {"fast": True}), lambda value: None)
        '3; fast=True'
    """
    leaves = [*(leaf for argument in inputs.args for leaf in _leaves("", argument)), *_leaves("", inputs.kwargs)]
    return "; ".join(f"{name}{_text(value, dtype_of)}" for name, value in leaves)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values in nested tuples, lists and mappings, with the name that each has in the innermost mapping."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{key}=", item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _leaves(name, item)
    else:
        yield name, value


def _text(value: Any, dtype_of: Callable[[Any], str | None]) -> str:
    dtype = dtype_of(value)
    if dtype is None:
        return str(value) if isinstance(value, bool | int | float) else type(value).__name__
    return f"{','.join(str(int(size)) for size in value.shape)}:{dtype}"
