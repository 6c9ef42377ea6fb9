"""Batches of the models of Keras: the same at every call."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanwise.lab.data import load_digits

Array = NDArray[Any]


Batch = tuple[Any, Array]


def normal(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def ids(*shape: int, high: int, seed: int = 2) -> Array:
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.int32)


def labels(x: Array, classes: int = 10) -> Array:
    """The classes that a random linear teacher gives."""
    flat = x.reshape(len(x), -1)
    return (flat @ normal(flat.shape[1], classes, seed=3)).argmax(1)


def vectors(count: int = 64, width: int = 128) -> Batch:
    """Standard normal features and a teacher's classes."""
    x = normal(count, width)
    return x, labels(x)


def images(count: int = 16, side: int = 32) -> Batch:
    """Standardised pictures in colour: random, and smooth over a few pixels as pictures are."""
    coarse = normal(count, side // 4, side // 4, 3).repeat(4, axis=1).repeat(4, axis=2)
    x = coarse + 0.3 * normal(count, side, side, 3, seed=5)
    x = (x - x.mean()) / x.std()
    return x, labels(x)


@lru_cache
def _digits() -> Batch:
    data = load_digits()
    x = data.train_x
    return ((x - x.min()) / (x.max() - x.min())).astype(np.float32), data.train_y


def digits(count: int = 64) -> Batch:
    """Handwritten digits as vectors of 784 pixels in [0, 1]."""
    x, y = _digits()
    return x[:count].copy(), y[:count].copy()


def digit_images(count: int = 64) -> Batch:
    """The same as pictures of 28 x 28."""
    x, y = digits(count)
    return x.reshape(-1, 28, 28, 1), y


def rebuilt(count: int = 32) -> Batch:
    """Digits that are to be given back, in pictures of 28 x 28."""
    x, _ = digit_images(count)
    x = (x - x.mean()) / x.std()
    return x, x


def masks(count: int = 8, side: int = 32) -> Batch:
    """Pictures, and where they are bright."""
    x, _ = images(count, side)
    return x, (x.mean(-1, keepdims=True) > 0.5).astype(np.float32)


def sentences(count: int = 16, length: int = 32, high: int = 256) -> Batch:
    """Token ids of a sequence that can be learnt, and their successors."""
    start, step = ids(count, 1, high=high), 1 + ids(count, 1, high=7, seed=6)
    x = ((start + step * np.arange(length + 1)) % high).astype(np.int32)
    return x[:, :-1], x[:, 1:]


def texts(count: int = 32, length: int = 32, high: int = 256) -> Batch:
    """Token ids and one of two classes."""
    x = ids(count, length, high=high)
    return x, (x.mean(1) > high / 2).astype(np.float32)[:, None]
