"""The memory behind a tensor."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._subclasses.fake_tensor import FakeTensor


def is_strided(tensor: Tensor) -> bool:
    """Whether a tensor has one storage with strides: no sparse, nested or opaque one."""
    return tensor.layout is torch.strided and not tensor.is_nested


def storage_of(tensor: Tensor) -> int | None:
    """A number that tells storages apart as long as they live; None where a tensor has none."""
    if not is_strided(tensor):
        return None
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # opaque wrappers, such as those of vmap
        return None


def is_wrapped(tensor: Tensor) -> bool:
    """Whether a tensor stands for another one inside torch.vmap, torch.func.grad and their kin."""
    return _functorch.is_functorch_wrapped_tensor(tensor)


def unwrapped(tensor: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor that another one stands for inside torch.vmap and its kin, and on which of its axes that one's lie."""
    if not is_wrapped(tensor):
        return tensor, tuple(range(tensor.dim()))
    inner, axes = unwrapped(_functorch.get_unwrapped(tensor))
    if not _functorch.is_batchedtensor(tensor):
        return inner, axes
    batch = _functorch.maybe_get_bdim(tensor)
    return inner, (*axes[:batch], *axes[batch + 1 :])


def wrapped_like(values: Tensor, tensor: Tensor) -> Tensor:
    """What stands inside torch.vmap and its kin for other values of the tensor that a tensor stands for there."""
    if not is_wrapped(tensor):
        return values
    inner, level = wrapped_like(values, _functorch.get_unwrapped(tensor)), _functorch.maybe_get_level(tensor)
    if _functorch.is_batchedtensor(tensor):
        return _functorch._add_batch_dim(inner, _functorch.maybe_get_bdim(tensor), level)
    return _functorch._wrap_for_grad(inner, level)


def is_inside_transform() -> bool:
    """Whether torch.vmap or one of its kin is at work."""
    return _functorch.peek_interpreter_stack() is not None


def outside_transforms() -> AbstractContextManager[Any]:
    """The context of functions that torch.vmap and its kin have no part in."""
    return temporarily_clear_interpreter_stack() if is_inside_transform() else nullcontext()


def is_abstract(tensor: Tensor) -> bool:
    """Whether a tensor has a shape but no values: on the meta device, or fake."""
    tensor = unwrapped(tensor)[0] if is_wrapped(tensor) else tensor
    return tensor.is_meta or isinstance(tensor, FakeTensor)
