"""Uniform, normal and truncated normal numbers in any box of any tensor."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fanwise.stream import native
from fanwise.stream.arguments import checked_count, checked_number
from fanwise.stream.box import Box, Shape, ShapeLike, check_memory, checked_box, checked_shape, pieces, runs
from fanwise.stream.formats import Array, Format, as_format, working_type
from fanwise.stream.key import Key, KeyLike, PhiloxKey, as_key
from fanwise.stream.law import Law, normal_law, truncated_law, uniform_between_law, uniform_law
from fanwise.stream.normal import U32
from fanwise.stream.philox import words_at
from fanwise.stream.truncation import Truncation

PIECE = 1 << 16
"""Elements that the definition computes at a time."""


def words(
    key: KeyLike,
    shape: ShapeLike,
    *,
    box: Box | None = None,
    out: U32 | None = None,
    threads: int | None = None,
) -> U32:
    """The stream's 32-bit words: what every law is computed from.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the parameter; element i in C order owns word i.
        box: the part wanted, all by default.
        out: uint32 array of the box's shape to write into; any strides.
        threads: how many to use at most, all that this process may use by default.

    Returns:
        Shape `box.shape`, uint32.
    """
    sizes = checked_shape(shape)
    part = checked_box(box, sizes)
    target = checked_target(part, np.dtype(np.uint32), out)
    write(target, as_key(key), None, box=part, shape=sizes, threads=threads)
    return target


def uniform(
    key: KeyLike,
    shape: ShapeLike,
    *,
    bound: float,
    dtype: DTypeLike = "float32",
    box: Box | None = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Uniform numbers in [-bound, bound], symmetric around 0; std = bound / sqrt(3).

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the parameter.
        bound: half the width, >= 0. No value exceeds it, whatever the dtype rounds.
        dtype: float64, float32, float16 or bfloat16.
        box: the part wanted, all by default.
        out: array of the box's shape and this dtype to write into; any strides.
        threads: how many to use at most, all that this process may use by default; the numbers do not depend on it.

    Returns:
        Shape `box.shape`; `out` where it was given.

    Raises:
        TypeError: an argument of the wrong kind, or `out` of another dtype.
        ValueError: a number out of range, or one that the dtype cannot hold; nothing is written.
        MemoryError: more bytes than this machine has.
    """
    form = as_format(dtype)
    law = uniform_law(form, checked_number(bound, name="bound", low=0.0))
    return _fill(key, shape, law, form=form, box=box, out=out, threads=threads)


def uniform_between(
    key: KeyLike,
    shape: ShapeLike,
    *,
    low: float,
    high: float,
    dtype: DTypeLike = "float32",
    box: Box | None = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Uniform numbers in [low, high): every value >= low and < high, in every dtype.

    The other arguments, the result and the errors are those of `uniform`. low = high gives that constant.

    Raises:
        ValueError: low > high, or no number of the dtype lies in [low, high).
    """
    form = as_format(dtype)
    first, last = checked_number(low, name="low"), checked_number(high, name="high")
    if first > last:
        raise ValueError(f"low = {first}, high = {last}: expected low <= high")
    if first == last:
        return constant(shape, value=first, dtype=dtype, box=box, out=out)
    law = uniform_between_law(form, first, last)
    return _fill(key, shape, law, form=form, box=box, out=out, threads=threads)


def normal(
    key: KeyLike,
    shape: ShapeLike,
    *,
    std: float = 1.0,
    mean: float = 0.0,
    dtype: DTypeLike = "float32",
    box: Box | None = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Normal numbers; no value is further than 6.34 stds from the mean.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the parameter.
        std: standard deviation, >= 0; 0 gives the mean itself.
        mean: expectation.
        dtype: float64, float32, float16 or bfloat16. float64 holds the same 2**32 values, unrounded.
        box: the part wanted, all by default.
        out: array of the box's shape and this dtype to write into; any strides.
        threads: how many to use at most, all that this process may use by default; the numbers do not depend on it.

    Returns:
        Shape `box.shape`; `out` where it was given.

    Raises:
        TypeError: an argument of the wrong kind, or `out` of another dtype.
        ValueError: a number out of range, or one that the dtype cannot hold; nothing is written.
        MemoryError: more bytes than this machine has.
    """
    form = as_format(dtype)
    law = normal_law(form, checked_number(std, name="std", low=0.0), checked_number(mean, name="mean"))
    return _fill(key, shape, law, form=form, box=box, out=out, threads=threads)


def truncated_normal(
    key: KeyLike,
    shape: ShapeLike,
    *,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    mean: float = 0.0,
    dtype: DTypeLike = "float32",
    box: Box | None = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Normal numbers kept to [low, high] sigmas around the mean, without rejection.

    `std` is that of the numbers returned; the parent's sigma is std / (std of a standard normal kept to
    [low, high]), so the bounds stand at mean + low * sigma and mean + high * sigma. `mean` is the parent's too:
    where low != -high the numbers returned have another.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the parameter.
        std: standard deviation of the numbers returned, >= 0.
        low: lower bound in sigmas, may be -inf.
        high: upper bound in sigmas, may be inf.
        mean: expectation of the parent.
        dtype: float64, float32, float16 or bfloat16.
        box: the part wanted, all by default.
        out: array of the box's shape and this dtype to write into; any strides.
        threads: how many to use at most, all that this process may use by default; the numbers do not depend on it.

    Returns:
        Shape `box.shape`; `out` where it was given.

    Raises:
        TypeError: an argument of the wrong kind, or `out` of another dtype.
        ValueError: a number out of range, bounds that the dtype cannot hold; nothing is written.
        MemoryError: more bytes than this machine has.
    """
    form = as_format(dtype)
    spread, centre = checked_number(std, name="std", low=0.0), checked_number(mean, name="mean")
    law = truncated_law(form, Truncation(low, high), spread, centre)
    return _fill(key, shape, law, form=form, box=box, out=out, threads=threads)


def constant(
    shape: ShapeLike,
    *,
    value: float,
    dtype: DTypeLike = "float32",
    box: Box | None = None,
    out: Array | None = None,
) -> Array:
    """One value everywhere, rounded to the dtype.

    The arguments, the result and the errors are those of `normal`.
    """
    form = as_format(dtype)
    number = checked_constant(form, checked_number(value, name="value"))
    sizes = checked_shape(shape)
    part = checked_box(box, sizes)
    target = checked_target(part, form.dtype(), out)
    target[...] = number
    return target


def checked_constant(form: Format, value: float) -> float:
    """A finite number, once a format can hold it.

    Raises:
        ValueError: it is too large, or would be stored as 0.
    """
    if abs(value) > form.largest:
        raise ValueError(f"value = {value} is more than {form.name} can hold ({form.largest:.4g})")
    if value and abs(value) < form.smallest / 2:
        raise ValueError(f"value = {value} would be stored as 0 in {form.name}")
    return value


def _fill(
    key: KeyLike,
    shape: ShapeLike,
    law: Law,
    *,
    form: Format,
    box: Box | None,
    out: Array | None,
    threads: int | None,
) -> Array:
    sizes = checked_shape(shape)
    part = checked_box(box, sizes)
    stream = as_key(key)
    target = checked_target(part, form.dtype(), out)
    write(target, stream, law, box=part, shape=sizes, threads=threads)
    return target


def write(target: Array, key: Key, law: Law | None, *, box: Box, shape: Shape, threads: int | None = None) -> None:
    """Writes a box of a law's values by the kernel, or by its definition where there is none.

    Args:
        target: array of the box's shape that `checked_target` let pass.
        key: the stream.
        law: what the words become; None for the words themselves.
        box: which elements, inside `shape`.
        shape: global shape of the parameter.
        threads: how many to use at most, all that this process may use by default.
    """
    count = None if threads is None else checked_count(threads, name="threads")
    stream = key.philox()
    if target.size and not native.fill(target, stream, law, box, shape=shape, threads=count):
        define(target, stream, law, box, shape)


def define(target: Array, stream: PhiloxKey, law: Law | None, box: Box, shape: Shape) -> None:
    """The definition of `native.fill` in NumPy, piece by piece, so that the temporaries stay in the cache."""
    for piece in pieces(box, PIECE):
        starts, run = runs(piece, shape)
        drawn = words_at(stream, starts, run).reshape(piece.shape)
        values = drawn if law is None else law.values(drawn, working_type(target.dtype.name))
        target[piece.relative_to(box.start).slices()] = values


def checked_target(box: Box, dtype: np.dtype[Any], out: Array | None) -> Array:
    """The array to write: a new one, or the user's after its checks.

    Raises:
        TypeError: `out` is no array, or one of another dtype.
        ValueError: `out` has another shape than the box, is read-only, misaligned, or overlaps itself.
        MemoryError: a new one would need more bytes than this machine has.
    """
    if out is None:
        check_memory(box.shape, dtype.itemsize)
        return np.empty(box.shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out = {type(out).__name__}: expected a numpy.ndarray")
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype}, expected {dtype.name}")
    if out.shape != box.shape:
        raise ValueError(f"out has shape {out.shape}, expected {box.shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not out.flags.aligned:
        raise ValueError(f"out is not aligned to its items of {dtype.itemsize} bytes")
    if not out.flags.c_contiguous and _may_overlap_itself(out):
        raise ValueError(f"out has overlapping elements (shape {out.shape}, strides {out.strides})")
    return out


def _may_overlap_itself(array: Array) -> bool:
    reached = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size > 1 and stride < reached:
            return True
        reached += stride * max(size - 1, 0)
    return False
