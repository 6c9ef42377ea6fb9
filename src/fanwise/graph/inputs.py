"""What a model is called with, its parameters aside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Inputs:
    """Arguments of a model's call.

    Args:
        args: positional ones.
        kwargs: named ones. Whatever in them is no array (a flag, a mode) is given to the model as it is.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
