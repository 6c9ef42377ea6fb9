"""JAX keys as fanwise keys: one rule, which holds for keys that are traced too.

The words of a JAX key, most significant first, are an integer; it is the seed of a `fanwise.Key` whose domain says how
many words there were:

    jax.random.key(7)                  two words: 0, 7     Key(7, "", "jax key of 2 words")
    jax.random.key(7, impl="rbg")      four words          Key(..., "", "jax key of 4 words")

A raw key, an array of uint32, means what the typed key of the same words means. The hash that turns a `fanwise.Key`
into a stream, BLAKE2b, is computed in uint32 arithmetic where the key is traced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from fanwise.jax.stream.dtypes import standard_promotion
from fanwise.jax.stream.integers import is_traced, rotated, wide_sum
from fanwise.stream.key import SPEC, Key

JaxKey: TypeAlias = Array | NDArray[np.uint32] | Key
"""Values that a `key` argument takes: a typed JAX key, a raw one (uint32, two or four words), or a `fanwise.Key`."""

WORDS = (2, 4)
"""Numbers of words of the keys of JAX's generators: threefry2x32 two, rbg and unsafe_rbg four."""

DIGEST, BLOCK = 16, 128
"""Bytes of a stream's digest, and of what BLAKE2b takes in at a time."""


@dataclass(frozen=True)
class TracedKey:
    """A key whose seed is known only when the program runs.

    Args:
        data: its words, uint32, most significant first.
        path: as in `fanwise.Key`.
        domain: as in `fanwise.Key`.
    """

    data: Array
    path: str = ""
    domain: str = ""

    def child(self, name: str) -> "TracedKey":
        """Key of the parameter `name` below this one."""
        return TracedKey(self.data, f"{self.path}.{name}" if self.path else name, self.domain)

    def derive(self, domain: str) -> "TracedKey":
        """Key of another stream for the same parameter."""
        return TracedKey(self.data, self.path, f"{self.domain}/{domain}" if self.domain else domain)

    @standard_promotion()
    def stream(self) -> Array:
        """The words that `fanwise.Key.philox` gives: key words 0 and 1, counter words 2 and 3."""
        domain, path = self.domain.encode(), self.path.encode()
        before = SPEC + len(domain).to_bytes(4, "little") + domain
        return _digest((before, _seed_bytes(self.data), path))


StreamKey: TypeAlias = Key | TracedKey
"""A key that names a stream."""


def fanwise_key(key: JaxKey) -> Key:
    """The `fanwise.Key` that a JAX key stands for: what one draws, the other draws.

    Args:
        key: a JAX key with a value, typed or raw; a `fanwise.Key` stands for itself.

    Raises:
        TypeError: not a key, or a key that is being traced.
        ValueError: several keys.

    Example:
        >>> fanwise_key(jax.random.key(7))
        Key(seed=7, path='', domain='jax key of 2 words')
    """
    named = stream_key(key)
    if isinstance(named, TracedKey):
        raise TypeError(f"key = {key}: its value is known only when the program runs, expected one that has a value")
    return named


def stream_key(key: JaxKey) -> StreamKey:
    """The key that names the stream, for keys with a value and for traced ones.

    Raises:
        TypeError: not a key.
        ValueError: several keys, or a raw key of the wrong length.
    """
    if isinstance(key, Key):
        return key
    data = _checked_data(key)
    domain = f"jax key of {data.shape[0]} words"
    if is_traced(data):
        return TracedKey(data, "", domain)
    seed = 0
    for word in np.asarray(data).tolist():
        seed = seed << 32 | word
    return Key(seed, "", domain)


def stream_of(key: StreamKey) -> Array:
    """Key words 0 and 1 and counter words 2 and 3 of the key's stream, shape (4,), uint32."""
    return key.stream() if isinstance(key, TracedKey) else jnp.asarray(key.philox().words, jnp.uint32)


def _checked_data(key: Any) -> Array:
    """The words of one JAX key."""
    hint = "expected a JAX key such as jax.random.key(0), or a fanwise.Key"
    if not isinstance(key, Array | np.ndarray):
        raise TypeError(f"key = {key!r}: {hint}")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and key.dtype != np.uint32:
        raise TypeError(f"key has dtype {key.dtype}: {hint}")
    batch = key.shape if typed else key.shape[:-1]
    if batch:
        raise ValueError(f"key holds several keys, shape {key.shape}: expected one, or jax.vmap over them")
    data = jax.random.key_data(key) if typed else key
    if data.ndim != 1 or data.shape[0] not in WORDS:
        raise ValueError(f"key has shape {key.shape}: expected 2 or 4 words of uint32; {hint}")
    return jnp.asarray(data)


def _seed_bytes(data: Array) -> Array:
    """The sixteen bytes of the seed, little-endian, one in a uint32 each."""
    shifts = jnp.arange(0, 32, 8, dtype=jnp.uint32)
    seed = ((data[::-1, None] >> shifts) & 0xFF).reshape(-1)
    return jnp.concatenate([seed, jnp.zeros(16 - seed.shape[0], jnp.uint32)])


# BLAKE2b

_IV = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
"""RFC 7693, section 2.6."""

_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
"""RFC 7693, section 2.7: the order of the message's words in rounds 0 to 9; rounds 10 and 11 are 0 and 1 again."""

_SCHEDULE = np.array((*_SIGMA, *_SIGMA[:2]), np.int32).reshape(24, 4, 2)
"""Pairs of message words for 24 half rounds (the columns, then the diagonals, of 12 rounds) and 4 lanes."""
_TURN = np.array([row * 4 + (lane + row) % 4 for row in range(4) for lane in range(4)], np.int32)
_TURNS = np.array((_TURN, np.argsort(_TURN)), np.int32)
"""After the columns the rows are turned, so that diagonals stand in columns; after those they are turned back."""
_FIRST = 0x01010000 ^ DIGEST  # parameters: a digest of 16 bytes, no key, no tree


def _digest(parts: tuple[bytes, Array, bytes]) -> Array:
    """BLAKE2b with a digest of 16 bytes, as four words; the middle part is known only when the program runs.

    References:
        Saarinen and Aumasson, "The BLAKE2 Cryptographic Hash and Message Authentication Code", RFC 7693, 2015,
        section 3.
    """
    before, seed, after = (_bytes(part) for part in parts)
    size = before.shape[0] + seed.shape[0] + after.shape[0]
    blocks = max(-(-size // BLOCK), 1)
    padding = jnp.zeros(blocks * BLOCK - size, jnp.uint32)
    message = jnp.concatenate([before, seed, after, padding]).reshape(blocks, 16, 2, 4)
    words = (message << jnp.arange(0, 32, 8, dtype=jnp.uint32)).sum(-1, dtype=jnp.uint32)
    state = _constants((_IV[0] ^ _FIRST, *_IV[1:]))
    for number in range(blocks):
        count = min((number + 1) * BLOCK, size)
        state = _compressed(state, words[number].T, count, last=number == blocks - 1)
    return state[:, :2].T.reshape(-1)


def _bytes(part: bytes | Array) -> Array:
    return part if isinstance(part, Array) else jnp.asarray(np.frombuffer(part, np.uint8), jnp.uint32)


def _constants(values: Sequence[int]) -> Array:
    """64-bit words as an array of two rows, the low words and the high ones."""
    return jnp.asarray([[value & 0xFFFFFFFF for value in values], [value >> 32 for value in values]], jnp.uint32)


def _compressed(state: Array, words: Array, count: int, *, last: bool) -> Array:
    """The state, (2, 8), after one block of sixteen words, (2, 16)."""
    flags = (0, 0, 0, 0, count, 0, 0xFFFFFFFFFFFFFFFF if last else 0, 0)
    rows = jnp.concatenate([state, _constants(_IV) ^ _constants(flags)], 1)
    mixed: Array = lax.fori_loop(0, len(_SCHEDULE), partial(_half_round, words), rows)
    return state ^ mixed[:, :8] ^ mixed[:, 8:]


def _half_round(words: Array, number: Array, rows: Array) -> Array:
    """The function G of RFC 7693, section 3.1, on the four columns of the 4 x 4 matrix of words; then it is turned."""
    chosen = words[:, jnp.asarray(_SCHEDULE)[number]]
    a, b, c, d = (rows[:, i : i + 4] for i in (0, 4, 8, 12))
    for which, (first, second) in enumerate(((32, 24), (16, 63))):
        a = wide_sum(wide_sum(a, b), chosen[:, :, which])
        d = rotated(d ^ a, first)
        c = wide_sum(c, d)
        b = rotated(b ^ c, second)
    return jnp.concatenate([a, b, c, d], 1)[:, jnp.asarray(_TURNS)[number % 2]]
