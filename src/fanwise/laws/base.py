"""What every initializer is: a frozen value that is called with a shape and a key."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from numpy.typing import DTypeLike

from fanwise.laws.layout import Layout
from fanwise.stream.box import Box, Shape, ShapeLike, checked_box, checked_shape
from fanwise.stream.fill import checked_target
from fanwise.stream.formats import Array, Format, as_format
from fanwise.stream.key import Key, KeyLike, as_key


@dataclass(frozen=True)
class Moments:
    """What a law promises of the numbers it returns, before they are rounded to a dtype.

    Args:
        mean: average over the elements.
        std: standard deviation over the elements.
        low: no number is below.
        high: no number is above.
    """

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Site:
    """Site of a draw: one map of a parameter, and the part of it that is wanted.

    Args:
        shape: global shape of the parameter, whose C order counts the stream's elements.
        part: the box that the map fills: one fused block, or everything.
        box: the box that is wanted, inside `part`.
        layout: roles of the axes, nothing fused; None where the user gave none.
        key: the stream; None where the user gave none.
        form: the dtype to return.
    """

    shape: Shape
    part: Box
    box: Box
    layout: Layout | None
    key: Key | None
    form: Format

    def known_layout(self) -> Layout:
        """The layout given, or the default of the shape.

        Raises:
            ValueError: no layout was given and the shape has fewer than two axes.
        """
        return known_layout(self.layout, self.part.shape)

    def known_key(self) -> Key:
        """The key given.

        Raises:
            TypeError: none was.
        """
        if self.key is None:
            raise TypeError("key = None: random numbers need one, such as key=0 or key=Key(0).child('layer.weight')")
        return self.key


class Initializer(ABC):
    """A law for the values of one parameter.

    A frozen value: it holds no state, so one initializer may serve every layer, and equal arguments give equal bits.
    """

    @final
    def __call__(
        self,
        shape: ShapeLike,
        *,
        key: KeyLike | None = None,
        layout: Layout | None = None,
        dtype: DTypeLike = "float32",
        box: Box | None = None,
        out: Array | None = None,
    ) -> Array:
        """Draws the parameter, or a box of it.

        Args:
            shape: global shape of the parameter. Without a layout it is (fan_in, fan_out), or
                (*kernel, in, out) from three axes on, as in JAX and Keras.
            key: the stream, a `Key` or a seed; laws that draw nothing need none. The same key gives the same
                numbers, so give every parameter its own: ``Key(0).child("encoder.0.weight")``.
            layout: roles of the axes.
            dtype: float64, float32, float16 or bfloat16.
            box: the part wanted, all by default: ``init(shape, box=b)`` equals ``init(shape)[b.slices()]``.
            out: array of the box's shape and this dtype to write into; any strides.

        Returns:
            Shape `box.shape`; `out` where it was given. A parameter without elements comes back empty, whatever its
            fans.

        Raises:
            TypeError: an argument of the wrong kind, or no key where one is needed.
            ValueError: a shape, layout, box or `out` that do not fit, or a scale that the dtype cannot hold.
            MemoryError: more bytes than this machine has.
        """
        form, stream = as_format(dtype), None if key is None else as_key(key)
        sizes = checked_layout_shape(shape, layout)
        wanted = checked_box(box, sizes)
        parts = []
        for part, own in self._parts(sizes, layout):  # raises what does not fit before anything is allocated
            cut = wanted if part.shape == sizes else wanted.meet(part)
            parts.append((self._resolved(part.shape, own), Site(sizes, part, cut, own, stream, form)))
        target = checked_target(wanted, form.dtype(), out)
        draw_parts(parts, wanted, target)
        return target

    @final
    def moments(self, shape: ShapeLike, *, layout: Layout | None = None) -> Moments:
        """Mean, std and bounds of the numbers that this law returns for a shape and layout.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: the shape does not fit the layout or the law.
        """
        parts = self._parts(checked_layout_shape(shape, layout), layout)
        return mixture([(part.size, self._moments(part.shape, own)) for part, own in parts])

    @final
    def check_dtype(self, shape: ShapeLike, *, layout: Layout | None = None, dtype: DTypeLike = "float32") -> None:
        """Raises where a dtype cannot hold the numbers that would be drawn; nothing is drawn.

        Whole matrices are drawn before it can be told: they pass.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: a shape or layout that do not fit, or a scale that the dtype cannot hold.
        """
        form = as_format(dtype)
        for part, own in self._parts(checked_layout_shape(shape, layout), layout):
            if part.size:
                self._resolved(part.shape, own)._check_format(part.shape, form)

    def _check_format(self, shape: Shape, form: Format) -> None:  # noqa: B027  (matrices are drawn before it is known)
        """Raises where a format cannot hold the numbers of one map.

        Called on the law that `_resolved` gave for this shape, which is not empty.
        """

    def _parts(self, shape: Shape, layout: Layout | None) -> tuple[tuple[Box, Layout | None], ...]:
        """The maps that the law fills, each with the fans of its own."""
        return fused_parts(shape, layout)

    def _resolved(self, shape: Shape, layout: Layout | None) -> "Initializer":
        """The law without fans that this law is for one map; itself where fans mean nothing to it.

        Args:
            shape: of the map.
            layout: roles of its axes, nothing fused; None where the user gave none.

        Raises:
            ValueError: the law does not fit the shape.
        """
        self._moments(shape, layout)  # raises what does not fit
        return self

    @abstractmethod
    def _draw(self, site: Site, out: Array) -> None:
        """Writes the numbers of ``site.box``, which is not empty, into an array of its shape and dtype.

        Called on the law that `_resolved` gave for ``site.part.shape`` and ``site.layout``.
        """

    @abstractmethod
    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        """Moments of one map; raises where the law does not fit the shape."""


def known_layout(layout: Layout | None, shape: Shape) -> Layout:
    """The layout given, or the default one of the shape."""
    return Layout.default(len(shape)) if layout is None else layout


def checked_layout_shape(shape: ShapeLike, layout: Layout | None) -> Shape:
    """The shape as integers, once it fits the layout.

    Raises:
        TypeError: `layout` is not a Layout, or the shape not a shape.
        ValueError: they do not fit.
    """
    if layout is None:
        return checked_shape(shape)
    if not isinstance(layout, Layout):
        raise TypeError(f"layout = {layout!r}: expected a fanwise.Layout, such as Layout.dense('out in')")
    return layout.checked(shape)


def fused_parts(shape: Shape, layout: Layout | None) -> tuple[tuple[Box, Layout | None], ...]:
    """Every map of a parameter: its box and its own layout."""
    return ((Box.whole(shape), None),) if layout is None else layout.blocks(shape)


def mixture(parts: Sequence[tuple[int, Moments]]) -> Moments:
    """Moments of numbers that come in parts of the given sizes; all 0 where there are no numbers."""
    total = sum(size for size, _ in parts)
    if total == 0:
        return Moments(0.0, 0.0, 0.0, 0.0)
    mean = sum(size * m.mean for size, m in parts) / total
    second = sum(size * (m.std**2 + m.mean**2) for size, m in parts) / total
    filled = [m for size, m in parts if size]
    std = filled[0].std if len(filled) == 1 else math.sqrt(max(second - mean**2, 0.0))
    return Moments(mean, std, min(m.low for m in filled), max(m.high for m in filled))


def draw_parts(parts: Sequence[tuple[Initializer, Site]], wanted: Box, out: Array) -> None:
    """Draws every part by its own law.

    Args:
        parts: resolved laws and sites of one parameter and dtype.
        wanted: the box that the sites' boxes make up.
        out: array of its shape.
    """
    for law, site in parts:
        if site.box.size:
            law._draw(site, out if site.box is wanted else out[_index(site.box, wanted)])


def _index(box: Box, wanted: Box) -> tuple[Any, ...]:
    """What cuts a box out of an array of another; the ellipsis keeps a scalar an array."""
    return (*box.relative_to(wanted.start).slices(), ...)
