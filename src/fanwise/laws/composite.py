"""Laws made of laws: blocks side by side, and sub-pixel copies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanwise.laws.base import Initializer, Moments, Site, draw_parts, known_layout, mixture
from fanwise.laws.layout import Fused, Layout, along
from fanwise.stream.arguments import checked_choice, checked_count
from fanwise.stream.box import Box, Shape, checked_extents
from fanwise.stream.formats import Array, Format

REPEAT = ("inner", "outer")


@dataclass(frozen=True)
class Blocks(Initializer):
    """Several laws side by side along one axis, each with the fans of its own block.

    For blocks that share one law, a layout does it: ``init(shape, layout=Layout.dense("out in").fuse(0, 3))``.

    Args:
        laws: one initializer a block.
        axis: the storage axis along which the blocks follow each other, counted from 0.
        sizes: extent of each block; None where they are equal.

    Raises:
        TypeError: something that is not an initializer.
        ValueError: no laws, sizes that do not match them, a negative axis; when called: blocks that do not fill
            the axis.

    Example:
        An LSTM's bias, whose second of four gates (the forget gate) starts at 1:

        >>> from fanwise import Ones, Zeros
        >>> Blocks((Zeros(), Ones(), Zeros(), Zeros()), axis=0)((8,))
        array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """

    laws: Sequence[Initializer]
    axis: int
    sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "laws", tuple(self.laws))
        strangers = [law for law in self.laws if not isinstance(law, Initializer)]
        if strangers:
            raise TypeError(f"laws holds {strangers[0]!r}: expected initializers")
        if not self.laws:
            raise ValueError("laws is empty: expected one initializer for each block")
        checked_count(self.axis, name="axis", low=0)
        if self.sizes is not None:
            object.__setattr__(self, "sizes", checked_extents(self.sizes, name="sizes"))
            if len(self.sizes) != len(self.laws):
                raise ValueError(f"sizes = {self.sizes} for {len(self.laws)} laws: expected one for each")

    def boxes(self, shape: Shape) -> tuple[Box, ...]:
        """The box of every block of a map of this shape."""
        if self.axis >= len(shape):
            raise ValueError(f"axis = {self.axis}: the shape {shape} has {len(shape)} axes")
        extents = Fused(self.axis, tuple(self.sizes or ()), len(self.laws)).extents(shape[self.axis])
        firsts = (sum(extents[:i]) for i in range(len(extents)))
        return tuple(
            along(Box.whole(shape), self.axis, first, extent) for first, extent in zip(firsts, extents, strict=True)
        )

    def _parts(self, shape: Shape, layout: Layout | None) -> tuple[tuple[Box, Layout | None], ...]:
        """One part: where the layout cuts the same axis, the blocks are what it cuts out."""
        if layout is not None and layout.fused is not None and layout.fused.axis == self.axis:
            layout = replace(layout, fused=None)
        return super()._parts(shape, layout)

    def _resolved(self, shape: Shape, layout: Layout | None) -> "Blocks":
        pairs = zip(self.laws, self.boxes(shape), strict=True)
        return replace(self, laws=[law._resolved(box.shape, layout) for law, box in pairs])

    def _check_format(self, shape: Shape, form: Format) -> None:
        for law, box in zip(self.laws, self.boxes(shape), strict=True):
            if box.size:
                law._check_format(box.shape, form)

    def _draw(self, site: Site, out: Array) -> None:
        pairs = []
        for law, box in zip(self.laws, self.boxes(site.part.shape), strict=True):
            part = Box(tuple(a + b for a, b in zip(site.part.start, box.start, strict=True)), box.shape)
            pairs.append((law, replace(site, part=part, box=site.box.meet(part))))
        draw_parts(pairs, site.box, out)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        boxes = self.boxes(shape)
        return mixture([(box.size, law._moments(box.shape, layout)) for law, box in zip(self.laws, boxes, strict=True)])


@dataclass(frozen=True)
class ICNR(Initializer):
    """A convolution before a pixel shuffle: the sub-pixels of one channel start with equal kernels.

    The upsampled image then starts without checkerboard artefacts, like one resized by nearest neighbours.

    Args:
        base: the law of the distinct kernels; its fans are those of the whole convolution.
        copies: how many output channels share a kernel: the upsampling factor squared, for images.
        repeat: "inner" where the sub-pixels of a channel are neighbours among the outputs (PyTorch's PixelShuffle),
            "outer" where all channels of one sub-pixel are (TensorFlow's depth_to_space).

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: when called: copies that do not divide the outputs, or a layout with several output axes.

    References:
        Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017, section 3.
    """

    base: Initializer
    copies: int = 4
    repeat: str = "inner"

    def __post_init__(self) -> None:
        if not isinstance(self.base, Initializer):
            raise TypeError(f"base = {self.base!r}: expected an initializer")
        checked_count(self.copies, name="copies")
        checked_choice(self.repeat, REPEAT, name="repeat")

    def _resolved(self, shape: Shape, layout: Layout | None) -> "ICNR":
        self._out_axis(shape, known_layout(layout, shape))
        return replace(self, base=self.base._resolved(shape, layout))

    def _check_format(self, shape: Shape, form: Format) -> None:
        self.base._check_format(shape, form)

    def _draw(self, site: Site, out: Array) -> None:
        axis = self._out_axis(site.part.shape, site.known_layout())
        whole = np.empty(site.part.shape, out.dtype)
        self.base._draw(replace(site, box=site.part), whole)
        channels = np.arange(site.part.shape[axis])
        distinct = site.part.shape[axis] // self.copies
        source = channels - channels % self.copies if self.repeat == "inner" else channels % max(distinct, 1)
        out[...] = np.take(whole, source, axis)[site.box.relative_to(site.part.start).slices()]

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        self._out_axis(shape, known_layout(layout, shape))
        return self.base._moments(shape, layout)

    def _out_axis(self, shape: Shape, layout: Layout) -> int:
        if layout.axes.count("out") != 1:
            raise ValueError(f"ICNR needs one 'out' axis, the layout has {' '.join(layout.axes)}")
        axis = layout.axes.index("out")
        if shape[axis] % self.copies:
            raise ValueError(f"copies = {self.copies} do not divide the {shape[axis]} outputs of {shape}")
        return axis
