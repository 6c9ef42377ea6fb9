"""Convolutions and pooling of NumPy arrays with channels in the second axis, and their gradients."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
"""Zeros before and after each spatial axis."""


def windows(x: Array, kernel: Sequence[int], stride: int) -> Array:
    """Every window of an input, as a view of shape (n, channels, *places, *kernel)."""
    axes = tuple(range(2, 2 + len(kernel)))
    whole = np.lib.stride_tricks.sliding_window_view(x, tuple(kernel), axes)
    every: Any = (slice(None), slice(None), *(slice(None, None, stride) for _ in kernel))
    return np.asarray(whole[every])


def padded(x: Array, padding: Pairs) -> Array:
    """The input with zeros around it."""
    return np.pad(x, ((0, 0), (0, 0), *padding)) if any(map(any, padding)) else x


def convolve(x: Array, weight: Array, stride: int) -> Array:
    """The products of every window with a kernel, (n, out, *places).

    y[n, o, p] = sum over c and k of x[n, c, stride p + k] w[o, c, k], which is what libraries call a convolution.

    Args:
        x: padded, shape (n, in, *space).
        weight: shape (out, in, *kernel).
        stride: of the windows.
    """
    number = weight.ndim - 2
    taken = [1, *range(2 + number, 2 + 2 * number)]
    summed = np.tensordot(windows(x, weight.shape[2:], stride), weight, (taken, list(range(1, 2 + number))))
    return np.moveaxis(summed, -1, 1)


def convolve_back(x: Array, weight: Array, stride: int, gradient: Array) -> tuple[Array, Array]:
    """The gradients at a convolution's padded input and at its kernel.

    Args:
        x: as for `convolve`.
        weight: the same.
        stride: the same.
        gradient: at its output.
    """
    number = weight.ndim - 2
    places = [0, *range(2, 2 + number)]
    at_weight = np.tensordot(gradient, windows(x, weight.shape[2:], stride), (places, places))
    at_x = np.zeros(x.shape, gradient.dtype)
    for offset in product(*map(range, weight.shape[2:])):
        tap: Any = (slice(None), slice(None), *offset)
        part = np.tensordot(gradient, weight[tap], (1, 0))
        reached: Any = (..., *_reached(offset, stride, gradient.shape[2:]))
        at_x[reached] += np.moveaxis(part, -1, 1)
    return at_x, at_weight


def _reached(offset: Sequence[int], stride: int, places: Sequence[int]) -> Iterator[slice]:
    """The values of an input that one tap of a kernel reads."""
    for first, count in zip(offset, places, strict=True):
        yield slice(first, first + stride * (count - 1) + 1, stride)


def max_pool(x: Array, size: int) -> tuple[Array, Array]:
    """The largest value of each window that does not overlap another, and where in its window it lies.

    Args:
        x: shape (n, channels, *space); what does not fill a window at its end is left out, as in other libraries.
        size: of the window along each axis.
    """
    number = x.ndim - 2
    view = windows(x, (size,) * number, size)
    flat = view.reshape(*view.shape[: 2 + number], -1)
    where = flat.argmax(-1)
    return np.take_along_axis(flat, where[..., None], -1)[..., 0], where


def max_pool_back(shape: Sequence[int], size: int, where: Array, gradient: Array) -> Array:
    """The gradient at the input of `max_pool`: at the largest value of each window, 0 elsewhere."""
    flat = np.zeros((*where.shape, size ** (len(shape) - 2)), gradient.dtype)
    np.put_along_axis(flat, where[..., None], gradient[..., None], -1)
    return _in_place(flat, shape, size)


def average_pool(x: Array, size: int) -> Array:
    """The mean of each window that does not overlap another; arguments as of `max_pool`."""
    number = x.ndim - 2
    view = windows(x, (size,) * number, size)
    return np.asarray(view.mean(tuple(range(2 + number, 2 + 2 * number)), dtype=x.dtype))


def average_pool_back(shape: Sequence[int], size: int, gradient: Array) -> Array:
    """The gradient at the input of `average_pool`: an even share at each value of a window."""
    count = size ** (len(shape) - 2)
    flat = np.repeat(gradient[..., None] / gradient.dtype.type(count), count, -1)
    return _in_place(flat, shape, size)


def _in_place(flat: Array, shape: Sequence[int], size: int) -> Array:
    """The values of windows, (n, channels, *places, window), where they stand in an array of a shape."""
    number, places = len(shape) - 2, flat.shape[2:-1]
    order = [0, 1, *(axis for i in range(number) for axis in (2 + i, 2 + number + i))]
    cropped = flat.reshape(*flat.shape[:-1], *(size,) * number).transpose(order)
    whole = np.zeros(tuple(shape), flat.dtype)
    covered = (*flat.shape[:2], *(size * count for count in places))
    whole[tuple(map(slice, covered))] = cropped.reshape(covered)
    return whole


def padding_of(wanted: int | str, space: Sequence[int], kernel: Sequence[int], stride: int) -> Pairs:
    """Zeros before and after each axis.

    Args:
        wanted: how many, "valid" for none, or "same" for an output of ceil(size / stride) places, of which the odd zero
            comes after.
        space: sizes of what is convolved.
        kernel: of the window.
        stride: of the window.
    """
    if wanted != "same":
        count = 0 if wanted == "valid" else int(wanted)
        return ((count, count),) * len(kernel)
    totals = [
        max((math.ceil(size / stride) - 1) * stride + width - size, 0)
        for size, width in zip(space, kernel, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)
