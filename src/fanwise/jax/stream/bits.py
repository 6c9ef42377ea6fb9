"""The stream as a pure function of indices in uint32 arithmetic: the bits of `fanwise.stream`, under jit and sharding.

Every element is computed from its own index and the key alone. The index comes from `jax.lax.broadcasted_iota`, so a
compiler that partitions the array partitions the work with it, without communication and without an array that is
larger than a shard. Everything is integer until one conversion and one multiplication; where a mean is added too, the
product is rounded in integers first, because a compiler may contract a product and a sum. Rounding to bfloat16 and
float16 is done on the bits, because a compiler may leave out a conversion that is undone later.

docs/stream-v1.md is the definition.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from fanwise.jax.stream.integers import Wide, as_signed, as_unsigned, mulhi, mulhi_signed, u32
from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import Format
from fanwise.stream.law import Law, Quantiles, Scaled, TruncatedFixed
from fanwise.stream.normal import TABLE, normal_fixed
from fanwise.stream.philox import MULTIPLIERS, ROUNDS, WEYL

SIGN = np.uint32(0x80000000)
Iota = Callable[[int], Array]
"""The index along an axis, as an array of the whole shape."""


def words(stream: Array, shape: Shape, box: Box | None = None, iota: Iota | None = None) -> Array:
    """The stream's words: element i in C order over the global shape owns word i % 4 of block i // 4.

    Args:
        stream: key words 0 and 1 and counter words 2 and 3, shape (4,), uint32.
        shape: global shape of the parameter.
        box: the part wanted, all by default.
        iota: makes the indices along an axis; `jax.lax.broadcasted_iota` by default.

    Returns:
        Shape of the box, uint32.
    """
    part = Box.whole(shape) if box is None else box
    if not part.shape:
        return words(stream, (1,)).reshape(())
    low, high = _flat_index(shape, part, iota or _plain_iota(part.shape))
    block = (low >> 2) | (high << 30), high >> 2
    lanes = philox4x32((*block, stream[2], stream[3]), (stream[0], stream[1]))
    lane = low & 3
    odd = (lane & 1) == 1
    return jnp.where(lane < 2, jnp.where(odd, lanes[1], lanes[0]), jnp.where(odd, lanes[3], lanes[2]))


@partial(jax.jit, inline=True)
def philox4x32(counter: tuple[Array, Array, Array, Array], key: tuple[Array, Array]) -> tuple[Array, ...]:
    """Philox4x32-10.

    References:
        Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = (u32(m) for m in MULTIPLIERS)
    for _ in range(ROUNDS):
        c0, c1, c2, c3 = mulhi(m1, c2) ^ c1 ^ k0, m1 * c2, mulhi(m0, c0) ^ c3 ^ k1, m0 * c0
        k0, k1 = k0 + u32(WEYL[0]), k1 + u32(WEYL[1])
    return c0, c1, c2, c3


def _plain_iota(shape: Shape) -> Iota:
    return lambda axis: lax.broadcasted_iota(jnp.uint32, shape, axis)


def _flat_index(shape: Shape, box: Box, iota: Iota) -> Wide:
    """The index of every element of a box in C order over the global shape, in two words."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    offset = sum(start * stride for start, stride in zip(box.start, strides, strict=True))
    reach = offset + sum((n - 1) * stride for n, stride in zip(box.shape, strides, strict=True))
    axes = [axis for axis in range(len(shape)) if box.shape[axis] != 1] or [0]
    if reach < 1 << 32:
        low = sum((iota(axis) * u32(strides[axis]) for axis in axes), start=u32(offset))
        return jnp.asarray(low), jnp.zeros((), jnp.uint32)
    low, high = jnp.asarray(u32(offset)), jnp.asarray(u32(offset >> 32))
    for axis in axes:
        index, step = iota(axis), u32(strides[axis])
        more = index * step
        carried = mulhi(index, step) + index * u32(strides[axis] >> 32)
        low, high = low + more, high + carried + (low + more < more).astype(jnp.uint32)
    return low, high


# From words to integers


def integers(drawn: Array, scaled: Scaled) -> Array:
    """The integers of the law's own map, int32."""
    if isinstance(scaled.integer, TruncatedFixed):
        drawn = _kept_cells(drawn, scaled.integer)
    is_uniform = scaled.integer is not normal_fixed and not isinstance(scaled.integer, TruncatedFixed)
    numbers: Array = uniform_integers(drawn) if is_uniform else normal_integers(drawn)
    return numbers


def uniform_integers(drawn: Array) -> Array:
    """Odd integers in [-(2**31 - 1), 2**31 - 1]."""
    return as_signed((drawn ^ SIGN) | 1)


@partial(jax.jit, inline=True)
def normal_integers(drawn: Array) -> Array:
    """Standard normal values in units of 2**-28: docs/stream-v1.md, section 5."""
    tail = (drawn << 1) | 1
    row = lax.clz(tail)
    y = as_signed(((tail << row) << 1) ^ SIGN)
    bits = [(row & np.uint32(1 << bit)) != 0 for bit in range(5)]
    value = _coefficient(7, bits)
    for degree in range(6, -1, -1):
        value = mulhi_signed(value, y) + _coefficient(degree, bits)
    return jnp.where(drawn >= SIGN, -value, value)


def _coefficient(degree: int, bits: Sequence[Array]) -> Array:
    """The table's coefficient for a row, chosen bit by bit.

    A lookup by index would be fewer operations, but compilers put what the index is made of into each of eight lookups.
    """
    level: list[Any] = [np.int32(row[degree]) for row in TABLE]
    for bit in bits:
        level = [jnp.where(bit, odd, even) for even, odd in zip(level[::2], level[1::2], strict=True)]
    chosen: Array = level[0]
    return chosen


def _kept_cells(drawn: Array, cells: TruncatedFixed) -> Array:
    """The words of the cells that a truncated normal keeps."""
    share = drawn if cells.count == 1 << 32 else mulhi(drawn, u32(cells.count))
    cell = share + u32(cells.first)
    return jnp.where(cell >= SIGN, ~cell, cell ^ SIGN)


# From integers to values


def values(drawn: Array, law: Law, form: Format) -> Array:
    """The numbers that a law makes of words, in the dtype.

    Args:
        drawn: words, uint32.
        law: of `fanwise.stream.law`.
        form: the dtype; float64 needs JAX's 64-bit mode.
    """
    if isinstance(law.centred, Quantiles):
        return _by_definition(drawn, law, form)
    numbers = _centred(drawn, law, form)
    if not math.isinf(law.low):
        numbers = jnp.maximum(numbers, numbers.dtype.type(law.low))
    if not math.isinf(law.high):
        numbers = jnp.minimum(numbers, numbers.dtype.type(law.high))
    return rounded(numbers, form)


def _centred(drawn: Array, law: Law, form: Format) -> Array:
    """Integer * unit + mean, in the working type."""
    working = jnp.dtype(form.working)
    if not isinstance(law.centred, Scaled):  # a law without spread
        return jnp.full(drawn.shape, law.mean, working)
    whole, unit = integers(drawn, law.centred), law.centred.unit
    if not law.mean:
        return whole.astype(working) * working.type(unit)
    product = _product_in_halves(whole, unit) if working == jnp.float64 else rounded_product(whole, unit)
    numbers: Array = product + working.type(law.mean)
    return numbers


def rounded_product(whole: Array, unit: float) -> Array:
    """float32(whole) * float32(unit), rounded to nearest even by integer operations: nothing is left to contract.

    Args:
        whole: int32.
        unit: positive, a normal float32.
    """
    bits = as_unsigned(whole.astype(jnp.float32))
    fixed = int(np.float32(unit).view(np.uint32))
    factor, factor_exponent = (fixed & 0x7FFFFF) | 0x800000, fixed >> 23
    significand = ((bits & 0x7FFFFF) | 0x800000) << 8
    high, low = mulhi(significand, u32(factor << 8)), significand * u32(factor << 8)
    carry = high >> 31
    high = jnp.where(carry == 1, high, (high << 1) | (low >> 31))
    low = jnp.where(carry == 1, low, low << 1)
    rest = (high & 0x7F) | (low != 0)
    up = ((high >> 7) & 1) & ((rest != 0) | ((high >> 8) & 1))
    exponent = ((bits >> 23) & 0xFF) + u32(factor_exponent - 128) + carry  # one less: the significand carries its own
    product = (bits & SIGN) | ((exponent << 23) + (high >> 8) + up)
    return lax.bitcast_convert_type(jnp.where(whole == 0, 0, product), jnp.float32)


def _product_in_halves(whole: Array, unit: float) -> Array:
    """The float64 product as a sum of two that are exact, whether contracted or not."""
    mantissa, exponent = math.frexp(unit)
    upper = math.ldexp(math.floor(math.ldexp(mantissa, 22)), exponent - 22)
    exact = whole.astype(jnp.float64)
    product: Array = exact * jnp.float64(upper) + exact * jnp.float64(unit - upper)
    return product


def rounded(numbers: Array, form: Format) -> Array:
    """Values of the working type in the dtype, rounded to nearest even on their bits."""
    if form.name == "bfloat16":
        bits = as_unsigned(numbers)
        return _half((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, jnp.bfloat16)
    return _float16(as_unsigned(numbers)) if form.name == "float16" else numbers


def _float16(bits: Array) -> Array:
    exponent = (bits >> 23) & 0xFF
    significand = jnp.where(exponent == 0, 0, (bits & 0x7FFFFF) | 0x800000)
    shift = jnp.where(exponent < 113, jnp.minimum(126 - exponent, 25), 13)  # 2^-14, the smallest normal number, has 113
    kept, rest = significand >> shift, significand & ((u32(1) << shift) - 1)
    half = u32(1) << (shift - 1)
    up = ((rest > half) | ((rest == half) & ((kept & 1) == 1))).astype(jnp.uint32)
    above = jnp.where(exponent < 113, 0, exponent - 113)
    return _half(((bits >> 16) & 0x8000) | ((above << 10) + kept + up), jnp.float16)


def _half(bits: Array, dtype: type) -> Array:
    return lax.bitcast_convert_type(bits.astype(jnp.uint16), dtype)


def _by_definition(drawn: Array, law: Law, form: Format) -> Array:
    """Far tails, which no integers resolve: the words go to the host, where the definition's float64 path answers."""

    def answer(words_there: NDArray[np.uint32]) -> NDArray[np.generic]:
        return law.values(np.asarray(words_there), form.working).astype(form.dtype())

    target = jax.ShapeDtypeStruct(drawn.shape, form.dtype())
    numbers: Array = jax.pure_callback(answer, target, drawn, vmap_method="expand_dims")
    return numbers
