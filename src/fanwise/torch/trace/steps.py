"""Names of the steps between a parameter and what the model makes of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fanwise.torch.trace import function_names as names
from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.storage import is_abstract, is_wrapped


def step_between(function: Invocation, holds_parameter: Callable[[Any], bool]) -> str:
    """The name of a function of parameters, as the planner knows it.

    A mask is a product with zeros and ones; a write of a parameter into a part of a tensor joins it with the rest.

    Args:
        function: of parameters and constants.
        holds_parameter: whether an argument is made of parameters.
    """
    name = function.name
    others = [tensor for tensor in tensors_in([function.args[1:], function.named]) if holds_parameter(tensor)]
    if name in names.MASKS and len([tensor for tensor in function.tensors if holds_parameter(tensor)]) == 1:
        return "mul"
    if name in names.WRITES and not others:
        return "mul"
    first = function.args[0] if function.args else None
    if name == "copy" or (name in names.SUMS and not holds_parameter(first) and _is_nothing(first)):
        return "clone"
    return "cat" if _is_part(function) else name


def _is_nothing(value: Any) -> bool:
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
