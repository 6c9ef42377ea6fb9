"""Batches of the models of JAX: the same at every call."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanwise.lab.data import load_digits


def normal(*shape: int, seed: int = 1) -> Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def labels(x: Array, classes: int = 10) -> Array:
    """The classes that a random linear teacher gives."""
    flat = x.reshape(x.shape[0], -1)
    return (flat @ normal(flat.shape[1], classes, seed=3)).argmax(1)


def vectors(count: int = 64, width: int = 128) -> tuple[Array, Array]:
    """Standard normal features and a teacher's classes."""
    x = normal(count, width)
    return x, labels(x)


def images(count: int = 16, side: int = 16) -> tuple[Array, Array]:
    """Standardised pictures in colour: random, and smooth over a few pixels as pictures are."""
    coarse = jax.image.resize(normal(count, side // 4, side // 4, 3), (count, side, side, 3), "bilinear")
    x = coarse + 0.3 * normal(count, side, side, 3, seed=5)
    x = (x - x.mean()) / x.std()
    return x, labels(x)


def digits(count: int = 64) -> tuple[Array, Array]:
    """Handwritten digits as vectors of 784 pixels in [0, 1]."""
    data = load_digits()
    low, high = data.train_x.min(), data.train_x.max()
    return jnp.asarray((data.train_x[:count] - low) / (high - low)), jnp.asarray(data.train_y[:count])


def digit_images(count: int = 64) -> tuple[Array, Array]:
    """The same as pictures of 28 x 28."""
    x, y = digits(count)
    return x.reshape(-1, 28, 28, 1), y


def pictures() -> tuple[Array, Array]:
    """Pictures to be given back."""
    x, _ = images()
    return x, x


def sentences(count: int = 8, length: int = 32, high: int = 256) -> tuple[Array, Array]:
    """Token ids of a sequence that can be learnt, and their successors."""
    generator = np.random.default_rng(2)
    start, step = generator.integers(0, high, (count, 1)), 1 + generator.integers(0, 7, (count, 1))
    x = jnp.asarray((start + step * np.arange(length + 1)) % high, jnp.int32)
    return x[:, :-1], x[:, 1:]


def series(count: int = 32, length: int = 12, width: int = 16) -> tuple[Array, Array]:
    """Standard normal sequences and a teacher's classes."""
    x = normal(count, length, width)
    return x, labels(x)


def first_channels() -> tuple[Array, Array]:
    """Pictures as Equinox has them, channels first."""
    x, y = images()
    return x.transpose(0, 3, 1, 2), y
