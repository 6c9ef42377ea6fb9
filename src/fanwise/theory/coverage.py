"""Which places the windows of a pool take together, at the border too: counts and sums along each axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Pooling
from fanwise.stream.box import Shape
from fanwise.theory.padding import Axis
from fanwise.theory.samples import Likeness

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """The windows along one axis, as pairs of a window and a place in it.

    Args:
        few: how many windows.
        many: how many places.
        window: for each pair its window.
        place: for each pair its place.
        divisor: by what a sum over each window is divided.
    """

    few: int
    many: int
    window: NDArray[np.intp]
    place: NDArray[np.intp]
    divisor: Numbers

    @property
    def counts(self) -> Numbers:
        """How many places each window holds."""
        return np.asarray(np.bincount(self.window, minlength=self.few), np.float64)

    def gathered(self, power: int) -> Numbers:
        """For each place the sum of 1 / divisor^power over the windows that hold it."""
        return np.asarray(np.bincount(self.place, self.divisor[self.window] ** -power, self.many), np.float64)


def windows_of(pooling: Pooling, read: Shape, shape: Shape) -> tuple[Windows, ...]:
    """The windows along each pooled axis.

    Args:
        pooling: what is pooled.
        read: shape of what is read.
        shape: of what is given; pooled axes may be left out of it.
    """
    kept = shape if len(shape) == len(read) else ()
    pooled = [axis for axis, size in enumerate(pooling.window) if size != 1 or (kept and kept[axis] != read[axis])]
    return tuple(_along(pooling, axis, read[axis], kept[axis] if kept else 1) for axis in pooled)


def _along(pooling: Pooling, axis: int, many: int, few: int) -> Windows:
    size = pooling.window[axis] or many
    if pooling.stride:
        apart = pooling.dilation[axis] if pooling.dilation else 1
        grid = Axis(few, many, size, pooling.stride[axis], apart, _begin(pooling, axis, (few, many)))
        pairs = grid.taps()
        window, place = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    else:
        ends = [(i * many // few, -(-(i + 1) * many // few)) for i in range(few)]
        window = np.repeat(np.arange(few), [end - first for first, end in ends])
        place = np.concatenate([np.arange(*end) for end in ends])
    counts = np.maximum(np.bincount(window, minlength=few), 1).astype(float)
    full = counts if pooling.takes != "sum" else np.ones(few)
    return Windows(few, many, window, place, np.full(few, float(size)) if pooling.counts_zeros else full)


def _begin(pooling: Pooling, axis: int, sizes: tuple[int, int]) -> int:
    if not isinstance(pooling.padding, str):
        return int(pooling.padding[axis][0])
    few, many = sizes
    apart = pooling.dilation[axis] if pooling.dilation else 1
    reach = (few - 1) * pooling.stride[axis] + (pooling.window[axis] - 1) * apart + 1
    return max(reach - many, 0) // 2 if pooling.padding.lower() == "same" else 0


def averaged(values: Likeness, axes: Sequence[Windows]) -> Likeness:
    """Second moments of sums over windows, each divided by its divisor.

    E y^2 = (n E x^2 + n (n - 1) E x x') / d^2, averaged over the windows
    """
    once = math.prod(float(np.mean(axis.counts / axis.divisor)) for axis in axes)
    own = math.prod(float(np.mean(axis.counts / axis.divisor**2)) for axis in axes)
    pairs = math.prod(float(np.mean((axis.counts / axis.divisor) ** 2)) for axis in axes)
    here = own * values.here + (pairs - own) * values.elsewhere
    alone = math.prod(axis.few for axis in axes) == 1
    return Likeness(here, here if alone else once**2 * values.elsewhere, once**2 * values.another)


def factor_of_mean(axes: Sequence[Windows]) -> float:
    """Mean of what is given over that of what is read."""
    return math.prod(float(np.mean(axis.counts / axis.divisor)) for axis in axes)


def spread_back(gradient: Likeness, axes: Sequence[Windows]) -> Likeness:
    """Second moments of the gradient at the places: g_x = sum over the windows that hold x of g_w / d_w."""
    places, outputs = (math.prod(getattr(axis, side) for axis in axes) for side in ("many", "few"))
    own = math.prod(float(np.mean(axis.gathered(2))) for axis in axes)
    pairs = math.prod(float(np.mean(axis.gathered(1) ** 2)) for axis in axes)
    here = own * gradient.here + (pairs - own) * gradient.elsewhere
    shares = [axis.counts / axis.divisor for axis in axes]
    once = math.prod(float(share.sum()) for share in shares)
    squares = math.prod(float((share**2).sum()) for share in shares)
    whole = squares * gradient.here + (once**2 - squares) * gradient.elsewhere
    elsewhere = (whole - places * here) / (places * (places - 1)) if places > 1 else here
    return Likeness(here, elsewhere if outputs else here, once**2 / places**2 * gradient.another)
