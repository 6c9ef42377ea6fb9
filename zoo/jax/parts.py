"""What the models of zoo/jax/models.py and zoo/jax/breaks.py are put together from: records, batches, laws.

A batch is the same at every call.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import tree_map_with_path

from fanwise.lab.data import load_digits


@dataclass(frozen=True)
class Subject:
    """A model to check.

    Args:
        name: unique in the collection.
        build: makes the model from a key of JAX.
        batch: the inputs with the target last.
        loss: as `fanwise.jax.check` takes it.
        family: "mlp", "cnn", "rnn", "transformer" or "other".
        planted: the kind of the break, "" for a healthy model.
        place: where it sits, None for the whole model.
    """

    name: str
    build: Callable[[Array], Any]
    batch: Callable[[], Any]
    loss: str | Callable[[Any, Any], Any] | None
    family: str
    planted: str = ""
    place: str | None = None


# Batches


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


# Laws: what becomes of a parameter

Law = Callable[[Array, Array], Array]


def fan_in(weight: Array) -> int:
    """Of a kernel (*window, in, out)."""
    return math.prod(weight.shape[:-1])


def gained(gain: float) -> Law:
    """N(0, gain^2 / fan_in)."""
    return lambda weight, key: gain / math.sqrt(fan_in(weight)) * jax.random.normal(key, weight.shape)


def spread(std: float) -> Law:
    return lambda weight, key: std * jax.random.normal(key, weight.shape)


def times(factor: float) -> Law:
    return lambda weight, key: factor * weight


def constant(value: float) -> Law:
    return lambda weight, key: jnp.full_like(weight, value)


def swapped(weight: Array, key: Array) -> Array:
    """He by the fan_out."""
    fan_out = fan_in(weight) // weight.shape[-2] * weight.shape[-1]
    return math.sqrt(2 / fan_out) * jax.random.normal(key, weight.shape)


def uniform_default(weight: Array, key: Array) -> Array:
    """U(+-1/sqrt(fan_in)): Equinox's default, and PyTorch's."""
    bound = 1 / math.sqrt(fan_in(weight))
    return jax.random.uniform(key, weight.shape, minval=-bound, maxval=bound)


def half_shard(weight: Array, key: Array) -> Array:
    """The first half of the units with the fan of an eighth."""
    half = weight.shape[-1] // 2
    return weight.at[..., :half].multiply(math.sqrt(8))


def twins(weight: Array, key: Array) -> Array:
    """The second half of the units repeats the first."""
    half = weight.shape[-1] // 2
    return weight.at[..., half : 2 * half].set(weight[..., :half])


def alike(weight: Array, key: Array) -> Array:
    """All units are the first."""
    return jnp.broadcast_to(weight[..., :1], weight.shape)


def poisoned(value: float) -> Law:
    """One unit of a value that is no number."""
    return lambda weight, key: weight.at[..., 1].set(value)


def changed(params: Any, chosen: Callable[[str, Array], bool], law: Law) -> Any:
    """Parameters of which some are drawn by a law."""
    key = jax.random.key(99)

    def one(path: Any, leaf: Array) -> Array:
        name = ".".join(str(entry.key) for entry in path)
        own = jax.random.fold_in(key, sum(map(ord, name)))
        return law(leaf, own).astype(leaf.dtype) if chosen(name, leaf) else leaf

    return tree_map_with_path(one, params)
