"""What the axes of a weight mean, and the fans that follow.

Storage shape does not tell how large a weight should be: (3, 3, 64, 128) is a convolution to one library and a
stack of nine matrices to another. A `Layout` names the role of every axis; `Layout.fans` counts, for one linear map
(one gate, one projection, one expert, one group), how many input values feed one output value and back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from fanwise.stream.arguments import checked_count
from fanwise.stream.box import Box, Shape, ShapeLike, checked_extents, checked_shape

ROLES = ("in", "out", "kernel", "stack", "lookup")

Order: TypeAlias = str | Sequence[str]
"""Roles in storage order: ``"out in kernel kernel"`` or a sequence of them."""


@dataclass(frozen=True)
class Fans:
    """Counts of one linear map; averages over positions where a stride makes them differ, so they may be fractions.

    Args:
        fan_in: how many input values feed one output value.
        fan_out: how many output values one input value feeds.
    """

    fan_in: float
    fan_out: float


@dataclass(frozen=True)
class Fused:
    """Several maps stored side by side along one axis: Q, K and V, gate and up, the gates of an LSTM.

    Args:
        axis: the storage axis along which they follow each other.
        sizes: extent of each along that axis; an empty tuple with `count` means equal ones.
        count: how many equal ones, where `sizes` is empty.
    """

    axis: int
    sizes: tuple[int, ...] = ()
    count: int = 0

    def extents(self, total: int) -> tuple[int, ...]:
        """Extent of every block along an axis of `total`.

        Raises:
            ValueError: the blocks do not add up to the axis.
        """
        sizes = self.sizes or (total // self.count,) * self.count
        if sum(sizes) != total:
            blocks = f"sizes {self.sizes}" if self.sizes else f"{self.count} equal blocks"
            raise ValueError(f"{blocks} do not fill axis {self.axis}, which has {total}")
        return sizes


@dataclass(frozen=True)
class Layout:
    """Roles of a weight's axes, in storage order, and what else decides its fans.

    Build one with `dense`, `conv`, `conv_transpose`, `depthwise`, `embedding` or `einsum`.

    Args:
        axes: one role an axis. "in" and "out": the channels that are summed over and produced; "kernel": the window;
            "stack": independent maps of one shape (experts, scanned layers, batched einsum axes); "lookup": the
            rows of an embedding. A role may stand several times.
        groups: channel groups of a convolution; 0 means depthwise, one group for each input channel.
        grouped: the role whose axis counts the channels of all groups: "out" where storage is (out, in / groups),
            as in most convolutions, "in" where it is (in, out / groups), as in transposed ones.
        stride: one stride for each kernel axis; empty means 1. Dilation and padding change no fan.
        transposed: the layer upsamples: its stride thins the inputs of an output, not the outputs of an input.
        fused: maps stored side by side along one axis.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown role, a stride that fits no kernel axis, groups without one axis to count them.

    Example:
        >>> Layout.conv("out in kernel kernel", groups=4).fans((32, 4, 3, 3))
        Fans(fan_in=36, fan_out=72)
    """

    axes: tuple[str, ...]
    groups: int = 1
    grouped: str = "out"
    stride: tuple[int, ...] = ()
    transposed: bool = False
    fused: Fused | None = None

    def __post_init__(self) -> None:
        unknown = [role for role in self.axes if role not in ROLES]
        if unknown or not self.axes:
            raise ValueError(f"axes = {self.axes!r}: expected roles among {', '.join(ROLES)}")
        if self.grouped not in ("in", "out"):
            raise ValueError(f"grouped = {self.grouped!r}: expected 'in' or 'out'")
        checked_count(self.groups, name="groups", low=0)
        if self.groups != 1 and (self.axes.count("in"), self.axes.count("out")) != (1, 1):
            raise ValueError(f"groups = {self.groups} need one 'in' and one 'out' axis, not axes = {self.axes!r}")
        if self.stride and len(self.stride) != self.axes.count("kernel"):
            raise ValueError(f"stride = {self.stride} needs one entry for each kernel axis of {self.axes!r}")

    @classmethod
    def dense(cls, order: Order = "in out") -> "Layout":
        """A matrix product, inputs and outputs in this storage order.

        "out in" is PyTorch's Linear, "in out" Keras' and Flax's Dense; "in out out" a general dense layer onto
        (heads, width); "stack in out" a stack of experts.
        """
        return cls(_roles(order))

    @classmethod
    def conv(
        cls, order: Order = "kernel kernel in out", *, groups: int = 1, stride: int | Sequence[int] = 1
    ) -> "Layout":
        """A convolution of any number of dimensions: "kernel" stands once for each.

        "kernel kernel in out" is Keras' and Flax's Conv2D, "out in kernel kernel" PyTorch's. The input axis holds the
        channels of one group.
        """
        return cls(_roles(order), checked_count(groups, name="groups"), "out", _strides(order, stride))

    @classmethod
    def conv_transpose(
        cls,
        order: Order = "kernel kernel in out",
        *,
        groups: int = 1,
        stride: int | Sequence[int] = 1,
    ) -> "Layout":
        """A transposed (upsampling) convolution; each output value receives about kernel / stride taps.

        "in out kernel kernel" is PyTorch's (out holds the channels of one group), "kernel kernel out in" Keras',
        "kernel kernel in out" Flax's.
        """
        return cls(_roles(order), checked_count(groups, name="groups"), "in", _strides(order, stride), transposed=True)

    @classmethod
    def depthwise(cls, order: Order = "kernel kernel in out", *, stride: int | Sequence[int] = 1) -> "Layout":
        """A depthwise convolution stored as (*kernel, in, multiplier), as Keras does.

        Where storage is (in * multiplier, 1, *kernel), as in PyTorch, use `conv` with ``groups=in``.
        """
        return cls(_roles(order), 0, "in", _strides(order, stride))

    @classmethod
    def embedding(cls, order: Order = "lookup out") -> "Layout":
        """A table of vectors: each output value reads one weight, so fan_in is 1."""
        return cls(_roles(order))

    @classmethod
    def einsum(cls, equation: str, *, operand: int = 1) -> "Layout":
        """The weight's layout in an einsum of one input and one weight, such as ``"bsd,dhk->bshk"``.

        Labels of the weight that the input shares and the output lacks are "in"; those that the output alone shares
        are "out"; those that both share are "stack".

        Args:
            equation: two operands and an output; "..." may stand in the input and the output.
            operand: position of the weight, 0 or 1.

        Raises:
            ValueError: no such equation, or a weight label that stands in neither of the others.
        """
        operands, arrow, result = equation.replace(" ", "").partition("->")
        terms = operands.split(",")
        if not arrow or len(terms) != 2 or operand not in (0, 1):
            raise ValueError(f"equation = {equation!r}: expected two operands and an output, such as 'bi,io->bo'")
        return cls(tuple(_einsum_role(label, terms[1 - operand], result) for label in terms[operand]))

    @classmethod
    def default(cls, ndim: int) -> "Layout":
        """The layout of a weight that says nothing: (in, out), or (*kernel, in, out) as in JAX and Keras.

        Raises:
            ValueError: fewer than two axes, from which no fan can be told.
        """
        if ndim < 2:
            raise ValueError(
                f"a shape with {ndim} axes has no fans: give at least (fan_in, fan_out), or a law that needs no fans"
            )
        return _default(ndim)

    def fuse(self, axis: int, parts: int | Sequence[int]) -> "Layout":
        """Layout of several maps side by side along a storage axis.

        Args:
            axis: the axis, counted from 0.
            parts: how many equal maps, or the extent of each.

        Raises:
            ValueError: no such axis, or one that cannot be cut (a kernel axis, a grouped convolution).

        Example:
            >>> Layout.dense("out in").fuse(0, (512, 128, 128)).block_fans((768, 512))[1]
            Fans(fan_in=512, fan_out=128)
        """
        if not 0 <= axis < len(self.axes):
            raise ValueError(f"axis = {axis}: expected one of the {len(self.axes)} axes, counted from 0")
        if self.axes[axis] == "kernel" or self.groups != 1:
            raise ValueError(f"axis = {axis} ('{self.axes[axis]}', groups = {self.groups}) cannot hold fused maps")
        if isinstance(parts, int):
            return replace(self, fused=Fused(axis, (), checked_count(parts, name="parts")))
        return replace(self, fused=Fused(axis, checked_extents(parts, name="parts")))

    def blocks(self, shape: ShapeLike) -> tuple[tuple[Box, "Layout"], ...]:
        """Every map of a fused weight: its box and its own layout; the whole where nothing is fused."""
        sizes = self.checked(shape)
        if self.fused is None:
            return ((Box.whole(sizes), self),)
        boxes, first = [], 0
        for extent in self.fused.extents(sizes[self.fused.axis]):
            boxes.append(along(Box.whole(sizes), self.fused.axis, first, extent))
            first += extent
        return tuple((box, replace(self, fused=None)) for box in boxes)

    def block_fans(self, shape: ShapeLike) -> tuple[Fans, ...]:
        """Fans of every fused map, in storage order."""
        return tuple(layout._fans(box.shape) for box, layout in self.blocks(shape))

    def fans(self, shape: ShapeLike) -> Fans:
        """Fans of a weight of this layout and global shape.

        Raises:
            ValueError: the shape does not fit the layout, or its fused maps have different fans (`block_fans`).
        """
        fans = self.block_fans(shape)
        if len(set(fans)) > 1:
            raise ValueError(f"the fused maps have different fans, {fans}: ask for block_fans")
        return fans[0]

    def checked(self, shape: ShapeLike) -> Shape:
        """The shape as integers, once it fits this layout."""
        sizes = checked_shape(shape)
        if len(sizes) != len(self.axes):
            raise ValueError(
                f"shape = {sizes} has {len(sizes)} axes, the layout ({' '.join(self.axes)}) {len(self.axes)}"
            )
        if self.groups > 1 and (channels := self.extent(sizes, self.grouped)) % self.groups:
            raise ValueError(
                f"groups = {self.groups} do not divide the {channels} '{self.grouped}' channels of {sizes}"
            )
        return sizes

    def extent(self, shape: Shape, role: str) -> int:
        """Product of the sizes of all axes with this role; 1 where there is none."""
        return math.prod(size for size, axis in zip(shape, self.axes, strict=True) if axis == role)

    def group_count(self, shape: Shape) -> int:
        """Number of channel groups, depthwise resolved."""
        return self.groups or self.extent(shape, "in")

    def _fans(self, shape: Shape) -> Fans:
        extents = dict.fromkeys(ROLES, 1)
        for role, size in zip(self.axes, shape, strict=True):
            extents[role] *= size
        inputs, outputs, window = extents["in"], extents["out"], extents["kernel"]
        groups = max(self.groups or inputs, 1)
        if self.grouped == "out":
            outputs //= groups
        else:
            inputs //= groups
        thinned = window / math.prod(self.stride)
        fan_in, fan_out = (thinned, window) if self.transposed else (window, thinned)
        return Fans(_tidy(inputs * fan_in), _tidy(outputs * fan_out))


@lru_cache(maxsize=32)
def _default(ndim: int) -> Layout:
    return Layout(("kernel",) * (ndim - 2) + ("in", "out"))


def along(box: Box, axis: int, first: int, extent: int) -> Box:
    """The part of a box with `extent` elements from `first` on along an axis, counted within the box."""
    start, shape = list(box.start), list(box.shape)
    start[axis], shape[axis] = start[axis] + first, extent
    return Box(tuple(start), tuple(shape))


def _tidy(count: float) -> float:
    return int(count) if float(count).is_integer() else count


def _roles(order: Order) -> tuple[str, ...]:
    return tuple(order.split()) if isinstance(order, str) else tuple(order)


def _strides(order: Order, stride: int | Sequence[int]) -> tuple[int, ...]:
    kernel_axes = _roles(order).count("kernel")
    strides = (stride,) * kernel_axes if isinstance(stride, int) else tuple(stride)
    checked = tuple(checked_count(step, name="stride") for step in strides)
    return () if set(checked) == {1} else checked


def _einsum_role(label: str, other: str, result: str) -> str:
    shared, kept = label in other, label in result
    if not shared and not kept:
        raise ValueError(
            f"label {label!r} of the weight stands neither in the input {other!r} nor in the output {result!r}"
        )
    if shared and kept:
        return "stack"
    return "in" if shared else "out"
