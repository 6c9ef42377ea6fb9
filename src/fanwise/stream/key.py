"""Names of random streams: ``Key(seed).child("encoder.0.weight")``."""

import hashlib
import operator
import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

SPEC = b"fanwise stream v1"
"""The version tag that opens every hashed message: a later version of the stream gets another tag."""

SEED_LIMIT = 1 << 128


@dataclass(frozen=True)
class Key:
    """Name of one random stream: a seed and the dotted path of a parameter.

    Two keys that differ in seed, path or domain give unrelated streams; equal keys give the same numbers on
    every machine. A key is a value: drawing from it changes nothing, so one key used twice gives the same
    numbers twice. Give each parameter its own with `child`.

    Args:
        seed: an integer in [0, 2**128). NumPy integers count by their value; bool, float and str are refused.
        path: dotted name of the parameter, "" for the root.
        domain: "" for the elements of a parameter; any other word names a derived stream (see `derive`).

    Raises:
        TypeError: the seed is not an integer, or path or domain is not a str.
        ValueError: the seed is outside [0, 2**128).

    Example:
        >>> Key(0).child("encoder").child("0.weight") == Key(0).child("encoder.0.weight")
        True
        >>> Key(0).child("encoder.0.weight")
        Key(seed=0, path='encoder.0.weight', domain='')
    """

    seed: int
    path: str = ""
    domain: str = ""

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < SEED_LIMIT:
            object.__setattr__(self, "seed", _checked_seed(self.seed))
        _check_text("path", self.path)
        _check_text("domain", self.domain)

    def child(self, name: str) -> "Key":
        """Key of the parameter `name` below this one: the paths are joined by a dot.

        Raises:
            TypeError: `name` is not a str.
            ValueError: `name` is empty, which would be this key again.
        """
        _check_text("name", name)
        if not name:
            raise ValueError("name must not be empty: Key.child('') would be the same stream again")
        return Key(self.seed, f"{self.path}.{name}" if self.path else name, self.domain)

    def derive(self, domain: str) -> "Key":
        """Key of another stream for the same parameter, such as the positions of a sparse matrix.

        A derived stream never meets a parameter's own stream, whatever the paths are called.
        """
        _check_text("domain", domain)
        if not domain:
            raise ValueError("domain must not be empty: '' is the stream of the parameter's own elements")
        return Key(self.seed, self.path, f"{self.domain}/{domain}" if self.domain else domain)

    def philox(self) -> "PhiloxKey":
        """The 128 bits that select this stream's words (docs/stream-v1.md, section 1).

        BLAKE2b with a 16-byte digest of: version tag, domain and its length, seed, path.

        References:
            Saarinen and Aumasson, "The BLAKE2 Cryptographic Hash and Message Authentication Code", RFC 7693,
            2015.
        """
        domain = self.domain.encode()
        message = SPEC + len(domain).to_bytes(4, "little") + domain
        message += self.seed.to_bytes(16, "little") + self.path.encode()
        return PhiloxKey(hashlib.blake2b(message, digest_size=16).digest())


@dataclass(frozen=True)
class PhiloxKey:
    """What a stream is to the generator.

    Args:
        packed: 16 bytes: Philox key words 0 and 1, then counter words 2 and 3, each little-endian.
    """

    packed: bytes

    @property
    def words(self) -> tuple[int, int, int, int]:
        """Key words 0 and 1, counter words 2 and 3."""
        k0, k1, s0, s1 = struct.unpack("<4I", self.packed)
        return k0, k1, s0, s1

    @property
    def key(self) -> tuple[int, int]:
        """Philox key words 0 and 1."""
        return self.words[:2]

    @property
    def stream(self) -> tuple[int, int]:
        """Counter words 2 and 3."""
        return self.words[2:]


KeyLike: TypeAlias = Key | int
"""What every `key=` argument takes: a `Key`, or an integer seed, which means ``Key(seed)``."""


def as_key(key: KeyLike) -> Key:
    """The key that a `key=` argument means.

    Raises:
        TypeError: `key` is neither a `Key` nor an integer (None, floats, text, generators and arrays are not).
        ValueError: the seed is out of range.
    """
    return key if isinstance(key, Key) else Key(key)


def _checked_seed(seed: object) -> int:
    hint = "expected an integer in [0, 2**128), for example key=0 or secrets.randbits(128)"
    if isinstance(seed, (bool, np.bool_, np.ndarray)):
        raise TypeError(f"seed = {seed!r} is not an integer: {hint}")
    try:
        value = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"seed = {seed!r} is not an integer: {hint}") from None
    if not 0 <= value < SEED_LIMIT:
        raise ValueError(f"seed = {value} is out of range: {hint}")
    return value


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} = {value!r} is not a str")
