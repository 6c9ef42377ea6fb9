"""Integers wider than 32 bits in uint32 words: sums, rotations, bits and products against Python's own integers."""

import itertools

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax.stream.integers import (  # noqa: E402
    as_signed,
    as_unsigned,
    inside_trace,
    is_traced,
    mulhi,
    mulhi_signed,
    rotated,
    u32,
    wide_sum,
)

EDGES = (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFFFFF)
WIDE = (0, 1, 0xFFFFFFFF, 1 << 32, 0x0123456789ABCDEF, (1 << 63) + 5, (1 << 64) - 1)


def words(numbers):
    """The low words of 64-bit numbers in the first row, their high words in the second."""
    return jnp.asarray(np.array([[n & 0xFFFFFFFF for n in numbers], [n >> 32 for n in numbers]], np.uint32))


def numbers(rows):
    low, high = np.asarray(rows).astype(object)
    return [int(low_word) + (int(high_word) << 32) for low_word, high_word in zip(low, high, strict=True)]


def test_the_low_word():
    assert [int(u32(n)) for n in (5, (7 << 32) + 5, -1)] == [5, 5, 0xFFFFFFFF]
    assert u32(1).dtype == np.uint32


def test_the_high_word_of_a_product_with_a_constant():
    left = jnp.asarray(np.array(EDGES, np.uint32))
    for constant in EDGES:
        assert np.asarray(mulhi(left, np.uint32(constant))).tolist() == [n * constant >> 32 for n in EDGES]


def test_the_floor_of_signed_products():
    pairs = [(a, b) for a in (-(2**31), -1, 0, 3, 2**31 - 1) for b in (-(2**31), -5, 1, 2**31 - 1)]
    left, right = (jnp.asarray(np.array(side, np.int32)) for side in zip(*pairs, strict=True))
    assert np.asarray(mulhi_signed(left, right)).tolist() == [a * b >> 32 for a, b in pairs]


def test_sums_carry_and_wrap():
    pairs = list(itertools.product(WIDE, WIDE))
    left, right = (words(side) for side in zip(*pairs, strict=True))
    assert numbers(wide_sum(left, right)) == [(a + b) % (1 << 64) for a, b in pairs]


@pytest.mark.parametrize("bits", [1, 24, 31, 32, 33, 41, 63])
def test_rotations(bits):
    expected = [((n >> bits) | (n << (64 - bits))) % (1 << 64) for n in WIDE]
    assert numbers(rotated(words(WIDE), bits)) == expected


def test_bits_stay_what_they_are():
    assert as_unsigned(jnp.array([-1, 5], jnp.int32)).tolist() == [0xFFFFFFFF, 5]
    assert as_unsigned(jnp.float32(1)).item() == 0x3F800000
    assert as_signed(jnp.array([0x80000000, 5], jnp.uint32)).tolist() == [-(2**31), 5]


def test_what_is_known_only_when_the_program_runs():
    seen = []
    jax.make_jaxpr(lambda x: seen.append((is_traced(x), inside_trace())) or x)(1.0)
    assert seen == [(True, True)]
    assert (is_traced(1.0), is_traced(jnp.ones(2)), inside_trace()) == (False, False, False)


def test_a_constant_inside_a_program_is_no_traced_value_but_inside_a_trace():
    seen = []
    jax.jit(lambda: seen.append((is_traced(np.ones(2)), inside_trace())))()
    assert seen == [(False, True)]
