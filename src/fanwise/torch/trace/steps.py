"""Names of the steps between a parameter and what the model makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fanwise.torch.trace import function_names as names
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.storage import is_abstract, is_wrapped


def as_step(function: Invocation, holds_parameter: Callable[[Any], bool]) -> Invocation:
    """A function of parameters, under the name by which the planner knows what it does to them.

    A mask is a product with zeros and ones; a write of a parameter into a part of a tensor joins it with the rest.

    Args:
        function: of parameters and constants.
        holds_parameter: whether an argument is made of parameters.
    """
    held = [tensor for tensor in function.tensors if holds_parameter(tensor)]
    name, first = function.name, function.args[0] if function.args else None
    masked = name in names.MASKS or (name in names.WRITES and first is not None)
    if masked and len(held) == 1 and (name in names.MASKS or held[0] is first):
        return replace(function, name="mul", args=tuple(held), named={})
    added = name in names.SUMS and names.writes_in_place(function.function) and not holds_parameter(first)
    if name == "copy" or (added and is_nothing(first)):
        return replace(function, name="clone")
    return replace(function, name="cat") if _is_part(function) else function


def output_of(function: Invocation, position: int) -> Invocation:
    """The function that gives one of the outputs of a function of several."""
    name = function.name.split("_")[position] if function.name in ("var_mean", "std_mean") else function.name
    return replace(function, name=name)


def is_nothing(value: Any) -> bool:
    """Whether a value is a tensor of zeros."""
    return isinstance(value, Tensor) and not is_abstract(value) and not is_wrapped(value) and not bool(value.any())


def _is_part(write: Invocation) -> bool:
    """Whether a tensor is written as it is into a part of another: at some places of an axis, with all of its axes."""
    if write.name not in ("setitem", "index_copy") or len(write.args) < 3:
        return False
    target, value = write.args[0], write.args[-1]
    items = (write.args[1] if isinstance(write.args[1], tuple) else (write.args[1],)) if write.name == "setitem" else ()
    chosen = [item for item in items if not isinstance(item, slice) and item is not Ellipsis]
    rows = all(isinstance(item, Tensor) and item.dim() == 1 and item.dtype != torch.bool for item in chosen)
    return len(chosen) < 2 and rows and isinstance(value, Tensor) and value.dim() == target.dim()
