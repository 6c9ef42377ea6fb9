"""The functions of the drop-in that draw nothing: torch's own operations, after the same checks."""

import math
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor

from fanwise.stream.arguments import checked_count
from fanwise.torch.init.fill import bound_or_infinity, check_axes, item_of, overridable
from fanwise.torch.weights.tensors import checked_state


@overridable
def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same value everywhere, in a tensor of any dtype that can hold it.

    Args:
        tensor: what is filled.
        val: a number; complex only for a complex tensor, infinite (a mask of -inf) only where the dtype has infinities.

    Returns:
        The tensor.

    Raises:
        TypeError: not a number.
        ValueError: NaN, a value that the dtype cannot hold (too large, so small that it would become 0, a
            fraction for integers), or a tensor that cannot be filled.

    Example:
        >>> constant_(torch.empty(2), 0.3)
        tensor([0.3000, 0.3000])
    """
    value = _checked_value(val, tensor.dtype)
    return _written(tensor, lambda: tensor.fill_(value))


@overridable
def ones_(tensor: Tensor) -> Tensor:
    """Ones, in a tensor of any dtype.

    Args:
        tensor: what is filled.

    Returns:
        The tensor.

    Raises:
        TypeError: not a dense tensor.
        ValueError: a tensor that cannot be filled.
    """
    return _written(tensor, lambda: tensor.fill_(1))


@overridable
def zeros_(tensor: Tensor) -> Tensor:
    """Zeros, in a tensor of any dtype; arguments, result and errors are those of `ones_`."""
    return _written(tensor, tensor.zero_)


@overridable
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix; ones on the diagonal of a rectangular one.

    Args:
        tensor: two axes, any dtype.

    Returns:
        The tensor.

    Raises:
        TypeError: not a dense tensor.
        ValueError: not two axes, or a tensor that cannot be filled.
    """
    check_axes(tensor, 2, 2)
    return _written(tensor, lambda: tensor.zero_().diagonal().fill_(1))


@overridable
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The identity convolution: in every group ones at the centre tap's diagonal, 0 elsewhere.

    Args:
        tensor: (out, in / groups, *kernel) with one to three kernel axes, any dtype.
        groups: channel groups, each of which keeps as many of its inputs as it can.

    Returns:
        The tensor.

    Raises:
        TypeError: groups that are not an integer.
        ValueError: another number of axes, groups that do not divide the outputs, or a tensor that cannot be filled.

    Example:
        >>> dirac_(torch.empty(2, 2, 3))[0]
        tensor([[0., 1., 0.], [0., 0., 0.]])
    """
    check_axes(tensor, 3, 5)
    count = checked_count(groups, name="groups")
    if tensor.shape[0] % count:
        raise ValueError(f"groups = {count} do not divide the {tensor.shape[0]} outputs of {tuple(tensor.shape)}")
    return _written(tensor, lambda: _centre_diagonals(tensor.zero_(), count).fill_(1))


def _written(tensor: Tensor, write: Callable[[], object]) -> Tensor:
    """The tensor after an operation of torch's that draws nothing."""
    checked_state(tensor)
    with torch.no_grad():
        write()
    return tensor


def _centre_diagonals(tensor: Tensor, groups: int) -> Tensor:
    """The centre tap's diagonal in every group of a convolution, as a view."""
    if tensor.numel() == 0:
        return tensor
    tap = tensor
    for size in tensor.shape[2:]:
        tap = tap.select(2, size // 2)
    return tap.view(groups, -1, tensor.shape[1]).diagonal(dim1=1, dim2=2)


def _checked_value(val: object, dtype: torch.dtype) -> complex:
    """A constant that the dtype can hold; integers stay exact."""
    value = item_of(val)
    if isinstance(value, complex) and dtype.is_complex:
        return complex(_checked_value(value.real, dtype), _checked_value(value.imag, dtype))
    exact = int(value) if isinstance(value, Integral) else bound_or_infinity(value, name="val")
    low, high, smallest = _limits(dtype)
    if math.isinf(exact) and _has_infinities(dtype):
        return exact
    if not low <= exact <= high or 0 < abs(exact) <= smallest / 2 or (smallest == 1 and exact % 1):
        raise ValueError(f"val = {exact}: {dtype} cannot hold it ({low:.4g} to {high:.4g}, smallest {smallest:.4g})")
    return exact


def _has_infinities(dtype: torch.dtype) -> bool:
    """Whether a dtype holds infinite numbers: some 8-bit floats do not."""
    floating = dtype.is_floating_point or dtype.is_complex
    return floating and bool(torch.tensor(math.inf).to(dtype).to(torch.complex64).isinf())


def _limits(dtype: torch.dtype) -> tuple[float, float, float]:
    """Smallest, largest and smallest positive number of a dtype."""
    if dtype is torch.bool:
        return 0, 1, 1
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.iinfo(dtype).min, torch.iinfo(dtype).max, 1
    limits = torch.finfo(dtype)
    return limits.min, limits.max, limits.smallest_normal * limits.eps
