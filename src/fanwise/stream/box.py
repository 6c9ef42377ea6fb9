"""Shapes and boxes: which elements of a parameter are meant."""

import math
import operator
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, ...]
ShapeLike: TypeAlias = int | Sequence[int]

ELEMENT_LIMIT = 1 << 63


@dataclass(frozen=True)
class Box:
    """A rectangular part of a parameter: where it starts and how large it is, in elements.

    Args:
        start: first index along every axis of the global shape.
        shape: extent along every axis.

    Raises:
        TypeError: an entry is not an integer.
        ValueError: an entry is negative, or start and shape differ in length.

    Example:
        >>> Box((2, 0), (3, 4)).slices()
        (slice(2, 5, None), slice(0, 4, None))
    """

    start: Shape
    shape: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", checked_shape(self.start, name="box.start"))
        object.__setattr__(self, "shape", checked_shape(self.shape, name="box.shape"))
        if len(self.start) != len(self.shape):
            raise ValueError(f"box.start = {self.start} and box.shape = {self.shape} differ in length")

    @classmethod
    def whole(cls, shape: ShapeLike) -> "Box":
        """The box of all elements."""
        return _whole(checked_shape(shape))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def slices(self) -> tuple[slice, ...]:
        """The index that cuts this box out of the whole array."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))

    def meet(self, other: "Box") -> "Box":
        """What two boxes of one parameter share; its shape has a zero where they share nothing."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stops = (min(a + n, b + m) for a, n, b, m in zip(*self._ends(), *other._ends(), strict=True))
        return _unchecked(start, tuple(max(stop - a, 0) for a, stop in zip(start, stops, strict=True)))

    def relative_to(self, origin: Shape) -> "Box":
        """This box counted from `origin` instead of the parameter's first element."""
        return Box(tuple(a - b for a, b in zip(self.start, origin, strict=True)), self.shape)

    def _ends(self) -> tuple[Shape, Shape]:
        return self.start, self.shape


def checked_shape(shape: ShapeLike, *, name: str = "shape") -> Shape:
    """The shape as a tuple of Python integers.

    Args:
        shape: a sequence of integers (NumPy integers too), or one integer for one axis.
        name: what an error calls it.

    Raises:
        TypeError: text, None, fractions or bools where integers belong.
        ValueError: a negative entry, or 2**63 elements and more.
    """
    sizes = checked_extents(shape, name=name)
    if math.prod(sizes) >= ELEMENT_LIMIT:
        raise ValueError(f"{name} = {shape!r} has {math.prod(sizes)} elements; the limit is 2**63 - 1")
    return sizes


def checked_extents(extents: ShapeLike, *, name: str) -> Shape:
    """Sizes of parts that lie side by side along one axis, as a tuple of Python integers: they add up, however many.

    Args:
        extents: a sequence of integers, or one integer.
        name: what an error calls it.

    Raises:
        TypeError: text, None, fractions or bools where integers belong.
        ValueError: a negative entry.
    """
    return extents if _is_checked(extents) else _checked_sizes(extents, name=name)


def _is_checked(shape: object) -> TypeGuard[Shape]:
    """Whether a shape is a tuple of sizes already: the common case, and a loop is its fastest test."""
    if type(shape) is not tuple:
        return False
    for entry in shape:  # noqa: SIM110  (all() of a generator takes three times as long)
        if type(entry) is not int or entry < 0:
            return False
    return True


def _checked_sizes(shape: object, *, name: str) -> Shape:
    entries = (shape,) if isinstance(shape, (int, np.integer)) else shape
    if isinstance(entries, (str, bytes)) or not isinstance(entries, (Sequence, np.ndarray)):
        raise TypeError(f"{name} = {shape!r}: expected a sequence of integers, such as (784, 100)")
    return tuple(_checked_size(entry, name=f"{name} = {shape!r}") for entry in entries)


def _checked_size(entry: object, *, name: str) -> int:
    if isinstance(entry, (bool, np.bool_)):
        raise TypeError(f"{name}: {entry!r} is not an integer")
    try:
        size = operator.index(entry)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: {entry!r} is not an integer") from None
    if size < 0:
        raise ValueError(f"{name}: {size} is negative")
    return size


def checked_box(box: Box | None, shape: Shape) -> Box:
    """The box asked for, the whole where it is None.

    Raises:
        TypeError: `box` is not a Box.
        ValueError: the box reaches outside the shape.
    """
    if box is None:
        return _whole(shape)
    if not isinstance(box, Box):
        raise TypeError(f"box = {box!r}: expected fanwise.Box(start, shape)")
    if len(box.shape) != len(shape):
        raise ValueError(f"{box} has {len(box.shape)} axes, the shape {shape} has {len(shape)}")
    if any(a + n > size for a, n, size in zip(box.start, box.shape, shape, strict=True)):
        raise ValueError(f"{box} reaches outside the shape {shape}")
    return box


@lru_cache(maxsize=1024)
def _whole(shape: Shape) -> Box:
    return _unchecked((0,) * len(shape), shape)


def _unchecked(start: Shape, shape: Shape) -> Box:
    """A box whose entries come from boxes and shapes that were checked before."""
    box = object.__new__(Box)
    vars(box).update(start=start, shape=shape)
    return box


def check_memory(shape: Shape, itemsize: int) -> None:
    """Refuses an array larger than this machine's memory before anything is allocated.

    Raises:
        MemoryError: with the size asked for and the size there is.
    """
    needed, there = math.prod(shape) * itemsize, physical_memory()
    if there is not None and needed > there:
        raise MemoryError(
            f"shape {shape} needs {needed / 2**30:,.0f} GiB and this machine has {there / 2**30:,.0f} GiB: "
            f"draw it in parts with box=Box(start, shape)"
        )


@lru_cache(maxsize=1)
def physical_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def pieces(box: Box, limit: int) -> Iterator[Box]:
    """Cuts a box into boxes of at most `limit` elements, in C order, each a few whole rows or part of one."""
    axis, below = len(box.shape), 1
    while axis and below * box.shape[axis - 1] <= limit:
        axis -= 1
        below *= box.shape[axis]
    if axis == 0 or box.size == 0:
        yield box
        return
    step = max(limit // below, 1)
    for outer in np.ndindex(*box.shape[: axis - 1]):
        for first in range(0, box.shape[axis - 1], step):
            offset = (*outer, first, *(0,) * (len(box.shape) - axis))
            rows = min(step, box.shape[axis - 1] - first)
            start = tuple(a + b for a, b in zip(box.start, offset, strict=True))
            yield Box(start, (*(1,) * len(outer), rows, *box.shape[axis:]))


def runs(box: Box, shape: Shape) -> tuple[NDArray[np.uint64], int]:
    """The runs of consecutive elements that a box is made of.

    Args:
        box: a box with at least one element.
        shape: the global shape whose C order counts the elements.

    Returns:
        The global index of each run's first element, shape (rows,), in C order of the box; the length of a run.
    """
    axis, run, stride = len(shape), 1, 1
    while axis and run == stride:  # the axes right of here are taken whole
        axis -= 1
        run, stride = run * box.shape[axis], stride * shape[axis]
    offset = stride // shape[axis] * box.start[axis] if shape else 0
    starts = np.array([offset], np.uint64)
    for a, n, size in reversed(list(zip(box.start[:axis], box.shape[:axis], shape[:axis], strict=True))):
        steps = (np.arange(n, dtype=np.uint64) + np.uint64(a)) * np.uint64(stride)
        starts = np.add.outer(steps, starts).ravel()
        stride *= size
    return starts, run
