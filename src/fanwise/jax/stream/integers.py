"""Products and sums of integers wider than 32 bits, of uint32 arrays: they need no 64-bit mode of JAX.

Products are made of 16-bit halves: JAX's own operation for their high word (`jax.lax.mulhi`, 0.10) does not compile
where the array is partitioned.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Wide: TypeAlias = tuple[Array, Array]
"""64-bit integers: their low words and their high words."""

HALF, SIXTEEN = np.uint32(0xFFFF), np.uint32(16)


def u32(value: int) -> np.uint32:
    """A constant: the low word of an integer."""
    return np.uint32(value & 0xFFFFFFFF)


def mulhi(left: Array | np.uint32, right: Array | np.uint32) -> Array:
    """The high word of the 64-bit product of uint32 numbers, one of which at least is an array."""
    low, high = left & HALF, left >> SIXTEEN
    other_low, other_high = right & HALF, right >> SIXTEEN
    inner = low * other_high + (low * other_low >> SIXTEEN)  # at most (2^16 - 1) 2^16: no carry is lost
    outer = high * other_low + (inner & HALF)
    product: Array = high * other_high + (inner >> SIXTEEN) + (outer >> SIXTEEN)
    return product


def mulhi_signed(left: Array, right: Array) -> Array:
    """floor(left * right / 2^32) of int32 numbers."""
    a, b = as_unsigned(left), as_unsigned(right)
    below = jnp.where(left < 0, b, 0) + jnp.where(right < 0, a, 0)
    return as_signed(mulhi(a, b) - below)


def as_unsigned(value: Array) -> Array:
    """The bits of int32 or float32 numbers."""
    return lax.bitcast_convert_type(value, jnp.uint32)


def as_signed(value: Array) -> Array:
    """The int32 numbers of these bits."""
    return lax.bitcast_convert_type(value, jnp.int32)


def wide_sum(left: Array, right: Array) -> Array:
    """Sums of 64-bit numbers modulo 2^64: the low words in the first row, the high ones in the second."""
    added = left + right
    carry = (added[:1] < left[:1]).astype(jnp.uint32)
    return added + jnp.concatenate([jnp.zeros_like(carry), carry])


def rotated(value: Array, bits: int) -> Array:
    """64-bit numbers, in rows as for `wide_sum`, rotated to the right by 1 to 63 bits."""
    other = value[::-1]
    low, high = (value, other) if bits < 32 else (other, value)
    step = bits % 32
    return low if step == 0 else (low >> np.uint32(step)) | (high << np.uint32(32 - step))


def is_traced(value: object) -> bool:
    """Whether a value is known only when the program runs."""
    return isinstance(value, jax.core.Tracer)


def inside_trace() -> bool:
    """Whether a function is being traced here: what is computed from constants becomes part of its program."""
    return is_traced(lax.full((), 0))
