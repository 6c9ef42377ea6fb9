"""Philox4x32-10: the words that every law is made of. The NumPy definition."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.stream.key import PhiloxKey

U64: TypeAlias = NDArray[np.uint64]
U32: TypeAlias = NDArray[np.uint32]

ROUNDS = 10
"""Seven rounds pass the authors' tests with a small margin; ten is their recommendation and ours."""

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox4x32(counters: U64, key: tuple[int, int], stream: tuple[int, int]) -> U32:
    """Philox4x32-10 of the counters (low word, high word, stream[0], stream[1]).

    Args:
        counters: block indices, any shape, uint64: counter words 0 and 1.
        key: the two 32-bit key words.
        stream: counter words 2 and 3, the same for every block.

    Returns:
        Four words a block, shape ``counters.shape + (4,)``, uint32.

    References:
        Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3;
        constants as in their Random123.
    """
    c0, c1 = counters & _LOW, counters >> _32
    c2, c3 = (np.full_like(counters, word) for word in stream)
    m0, m1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = m0 * c0, m1 * c2
        c0 = (product1 >> _32) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _32) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    words = np.empty((*counters.shape, 4), np.uint32)
    for lane, column in enumerate((c0, c1, c2, c3)):
        words[..., lane] = column
    return words


def words_at(philox: PhiloxKey, starts: U64, run: int) -> U32:
    """Words of several runs of consecutive elements.

    Element i of a stream owns word ``i % 4`` of block ``i // 4``.

    Args:
        philox: the stream.
        starts: index of each run's first element, shape (rows,), uint64.
        run: length of every run.

    Returns:
        Shape (rows, run), uint32.
    """
    blocks = (run + 6) // 4  # as many as a run that starts at the last word of a block can touch
    first = np.add.outer(starts >> np.uint64(2), np.arange(blocks, dtype=np.uint64))
    words = philox4x32(first, philox.key, philox.stream).reshape(len(starts), 4 * blocks)
    phase = (starts & np.uint64(3)).astype(np.intp)
    if (phase == 0).all():
        return words[:, :run]
    return np.take_along_axis(words, phase[:, None] + np.arange(run), axis=1)
