"""Convolutions at the border: how much of a window falls on values, and not on the zeros around them.

Fans count whole windows. At the border a window reads fewer values, so what comes out is smaller there, and the next
window reads the middle, where values are larger, more often than the border. A *profile* says how a second moment is
spread over each spatial axis; profiles of the axes are taken to multiply.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.kinds import CONVOLUTIONS
from fanwise.graph.op import Op, OpKind
from fanwise.stream.box import Shape

Profile: TypeAlias = tuple[NDArray[np.float64], ...]
"""For each spatial axis, the second moment at each place over its mean; () where nothing is known: even."""


@dataclass(frozen=True)
class Passage:
    """What a convolution makes of a second moment that is spread unevenly.

    Args:
        share: second moment over that of whole windows on an even picture.
        alike: the same of the product of two places, over `share`: windows at other places miss other taps.
        profile: of what comes out.
    """

    share: float = 1.0
    alike: float = 1.0
    profile: Profile = ()


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution: `few` coarse places, `step` of `many` fine ones apart.

    Args:
        few: output places of a convolution, input places of a transposed one.
        many: the other.
        window: taps.
        step: stride.
        apart: dilation.
        begin: zeros before the first fine place.
    """

    few: int
    many: int
    window: int
    step: int
    apart: int
    begin: int

    def taps(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """For each tap the coarse places where it falls on a fine one, and those."""
        coarse = np.arange(self.few)
        taps = []
        for tap in range(self.window):
            fine = coarse * self.step + tap * self.apart - self.begin
            inside = (fine >= 0) & (fine < self.many)
            taps.append((coarse[inside], fine[inside]))
        return taps


def forward(op: Op, read: Shape, kernel: Shape, profile: Profile = ()) -> Passage:
    """From what a convolution reads to what it gives.

    Args:
        op: a convolution, transposed or not, with "stride", "padding" and "dilation" in its detail.
        read: shape of what it reads.
        kernel: sizes of its window.
        profile: of what it reads.

    Returns:
        Nothing changes for anything but a convolution.

    Example:
        >>> detail = {"stride": (1,), "padding": 1}
        >>> op = Op(0, "conv", "conv1d", "", 0, 0, (-1,), shape=(1, 1, 5), axis=-2, detail=detail)
        >>> round(forward(op, (1, 1, 5), (3,)).share, 4)      # 13 of 15 taps
        0.8667
    """
    return _passage(axes_of(op, read, kernel), profile, to_fine=op.kind == OpKind.CONV_TRANSPOSE)


def backward(op: Op, read: Shape, kernel: Shape, profile: Profile = ()) -> Passage:
    """From the gradient at what a convolution gives to that at what it reads; `profile` is of the former."""
    return _passage(axes_of(op, read, kernel), profile, to_fine=op.kind != OpKind.CONV_TRANSPOSE)


def axes_of(op: Op, read: Shape, kernel: Shape) -> tuple[Axis, ...]:
    """The spatial axes of a convolution; () for anything else."""
    dims = len(kernel)
    if op.kind not in CONVOLUTIONS or not dims or min(len(read), len(op.shape)) <= dims:
        return ()
    each = {name: _each(op.detail.get(name, 1), dims) for name in ("stride", "dilation")}
    first = -dims if op.axis < -1 else -dims - 1  # channels stand before the window's axes, or last
    axes = []
    for i, window in enumerate(kernel):
        before, after = read[first + i], op.shape[first + i]
        few, many = (before, after) if op.kind == OpKind.CONV_TRANSPOSE else (after, before)
        axis = Axis(few, many, window, each["stride"][i], each["dilation"][i], 0)
        axes.append(replace(axis, begin=_begin(op, axis, i, dims)))
    return tuple(axes)


def resized(profile: Profile, shape: Shape) -> Profile:
    """The profile over axes of other lengths: neighbours averaged or repeated."""
    if len(profile) != len(shape) or not all(shape):
        return ()
    return tuple(_resized(along, size) for along, size in zip(profile, shape, strict=True))


def mixed(parts: Sequence[tuple[float, Profile]], shape: Shape) -> Profile:
    """The profile of a sum of independent tensors, by their second moments."""
    if not any(profile for _, profile in parts):
        return ()
    total = sum(size for size, _ in parts) or 1.0
    even = tuple(np.ones(size) for size in shape)
    fitted = [(size / total, resized(profile, shape) or even) for size, profile in parts]
    return tuple(np.sum([share * spread[axis] for share, spread in fitted], axis=0) for axis in range(len(shape)))


def _passage(axes: tuple[Axis, ...], profile: Profile, *, to_fine: bool) -> Passage:
    share = alike = 1.0
    profiles = []
    for i, axis in enumerate(axes):
        size = axis.few if to_fine else axis.many
        even = profile[i] if len(profile) == len(axes) and len(profile[i]) == size else np.ones(size)
        mean, pairs, after = _along(axis, even, to_fine=to_fine)
        share, alike = share * mean, alike * pairs
        profiles.append(after)
    return Passage(share, alike, tuple(profiles))


def _along(axis: Axis, even: NDArray[np.float64], *, to_fine: bool) -> tuple[float, float, NDArray[np.float64]]:
    size = axis.many if to_fine else axis.few
    after, pairs = np.zeros(size), 0.0
    for coarse, fine in axis.taps():
        into, source = (fine, coarse) if to_fine else (coarse, fine)
        np.add.at(after, into, even[source])
        pairs += float(np.sum(np.sqrt(even[source])) / size) ** 2
    whole = axis.window / (axis.step if to_fine else 1)
    mean = float(after.mean()) if size else 0.0
    if not mean:
        return 0.0, 0.0, np.ones(size)
    return mean / whole, min(pairs / mean, 1.0), after / mean


def _resized(along: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    if len(along) == size:
        return along
    if len(along) > size:
        values = np.array([part.mean() for part in np.array_split(along, size)])
    else:
        values = along[np.arange(size) * len(along) // size]
    return np.asarray(values / (values.mean() or 1.0))


def _begin(op: Op, axis: Axis, axis_index: int, dims: int) -> int:
    """Zeros before the first fine place: a number, a word, or pairs as those of `lax.conv_general_dilated`."""
    padding, reach = op.detail.get("padding", 0), (axis.window - 1) * axis.apart
    if isinstance(padding, str):
        total = max((axis.few - 1) * axis.step + reach + 1 - axis.many, 0)
        return {"same": total // 2, "causal": reach}.get(padding.lower(), 0)
    if isinstance(padding, Sequence) and len(padding) == dims and all(isinstance(pair, Sequence) for pair in padding):
        low = int(padding[axis_index][0])
        return reach - low if op.kind == OpKind.CONV_TRANSPOSE else low
    return _each(padding, dims)[axis_index]


def _each(value: object, dims: int) -> tuple[int, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(int(number) for number in value) if len(value) == dims else (int(value[0]),) * dims
    return (int(str(value)),) * dims
