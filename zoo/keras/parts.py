"""What the Keras models of false_alarms.py are put together from: the record of one model, batches, laws and blocks.

A batch is the same at every call. A model draws its weights from the seed that Keras was given last.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops
from numpy.typing import NDArray

from fanwise.lab.data import load_digits

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)
SQUARES = keras.losses.MeanSquaredError()

Array = NDArray[Any]
Batch = tuple[Any, Array]
Law = Callable[[], Any]
"""Makes an initializer anew for each layer: one that is called twice gives the same numbers twice."""
Parts = list[Any]


@dataclass(frozen=True)
class Subject:
    """A model to check.

    Args:
        name: unique in the collection.
        build: makes the model with its own initial weights.
        batch: the inputs and the target.
        loss: of target and output.
        family: "mlp", "cnn", "rnn", "transformer" or "other".
    """

    name: str
    build: Callable[[], Any]
    batch: Callable[[], Batch]
    loss: Any
    family: str


# Batches


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


# Laws

he, lecun, glorot = initializers.HeNormal, initializers.LecunNormal, initializers.GlorotUniform


def scaled(gain: float) -> Law:
    """N(0, gain^2 / fan_in)."""
    return lambda: initializers.VarianceScaling(gain**2, "fan_in", "untruncated_normal")


def spread(std: float) -> Law:
    return lambda: initializers.RandomNormal(0.0, std)


def constant(value: float) -> Law:
    return lambda: initializers.Constant(value)


def he_out() -> Any:
    return initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def torch_default() -> Any:
    """U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    return initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


small = spread(0.02)


# Blocks


def chain(shape: Sequence[int | None], parts: Iterable[Any], dtype: str = "float32") -> Any:
    """The layers one after the other, as a functional model."""
    x = start = keras.Input(shape, dtype=dtype)
    for part in parts:
        x = part(x)
    return keras.Model(start, x)


def deep(depth: int, width: int = 256, fan_in: int = 128) -> tuple[int, ...]:
    """The widths of a network of `depth` maps."""
    return (fan_in, *[width] * (depth - 1), 10)


def mlp(*widths: int, act: str = "relu", law: Law = glorot, norm: Any = None, last: Law | None = None) -> Parts:
    """Dense maps d0, d1, ..., each with its norm and its function, and a head."""
    parts: Parts = []
    for number, (_, width) in enumerate(pairwise(widths[:-1])):
        bent = [layers.Activation(act)] if norm else []
        dense = layers.Dense(width, None if norm else act, kernel_initializer=law(), name=f"d{number}")
        parts += [dense, *([norm()] if norm else []), *bent]
    return [*parts, layers.Dense(widths[-1], kernel_initializer=(last or law)(), name="head")]


def conv(width: int, kernel: int = 3, *, name: str, law: Law = he, **options: Any) -> Any:
    """A convolution that keeps the size."""
    return layers.Conv2D(width, kernel, padding="same", kernel_initializer=law(), name=name, **options)


def headed(width: int = 10, law: Law = glorot) -> Parts:
    """The mean over positions and a head."""
    return [layers.GlobalAveragePooling2D(), layers.Dense(width, kernel_initializer=law(), name="head")]


VGG = {
    "vgg_11": (32, "M", 64, "M", 128, 128, "M", 256, 256, "M"),
    "vgg_16": (32, 32, "M", 64, 64, "M", 128, 128, 128, "M", 256, 256, 256, "M"),
}


def vgg(name: str, act: str = "relu", law: Law = he) -> Parts:
    """Convolutions c0, c1, ... in a row, without norms."""
    parts: Parts = []
    for width in VGG[name]:
        number = sum(isinstance(part, layers.Conv2D) for part in parts)
        pooled = width == "M"
        parts.append(layers.MaxPooling2D(2) if pooled else conv(int(width), name=f"c{number}", law=law, activation=act))
    dense = layers.Dense(256, act, kernel_initializer=law(), name="d0")
    return [*parts, layers.Flatten(), dense, layers.Dense(10, kernel_initializer=spread(0.01)(), name="head")]


def residual(x: Any, parts: Parts, scale: float = 1.0) -> Any:
    """X + scale * branch(x)."""
    y = x
    for part in parts:
        y = part(y)
    return x + scale * y if scale != 1 else x + y


class Cut(layers.Layer):
    """No gradient comes through."""

    def call(self, x: Any) -> Any:
        """The same numbers, cut off."""
        return ops.stop_gradient(x)


class Attention(layers.Layer):
    """Self-attention with one fused projection, by hand."""

    def __init__(self, width: int, heads: int = 4, last: Law = small, **options: Any):
        super().__init__(**options)
        self.heads = heads
        self.qkv = layers.Dense(3 * width, kernel_initializer=small(), name="qkv")
        self.proj = layers.Dense(width, kernel_initializer=last(), name="proj")

    def call(self, x: Any) -> Any:
        """The mix of the values."""
        batch, length, width = x.shape
        size = width // self.heads
        parts = ops.reshape(self.qkv(x), (batch, length, 3, self.heads, size))
        q, k, v = (parts[:, :, place] for place in range(3))
        return self.proj(ops.reshape(ops.nn.dot_product_attention(q, k, v, is_causal=True), (batch, length, width)))


class Block(layers.Layer):
    """A transformer's block, norms before the branches."""

    def __init__(self, width: int, attention: Any, laws: tuple[Law, Law], *, normed: bool = True, **options: Any):
        super().__init__(**options)
        norms = [layers.LayerNormalization(name=f"ln{i}") if normed else layers.Identity() for i in (1, 2)]
        self.ln1, self.ln2 = norms
        self.attention = attention
        self.up = layers.Dense(4 * width, "gelu", kernel_initializer=laws[0](), name="up")
        self.down = layers.Dense(width, kernel_initializer=laws[1](), name="down")

    def call(self, x: Any) -> Any:
        """The stream after attention and perceptron."""
        y = self.ln1(x)
        x = x + (self.attention(y, y) if isinstance(self.attention, layers.MultiHeadAttention) else self.attention(y))
        return x + self.down(self.up(self.ln2(x)))


class Gpt(keras.Model):
    """A small decoder as GPT-2 starts: std 0.02, the ends of branches 1 / sqrt(2 depth) smaller."""

    def __init__(self, depth: int = 6, width: int = 128, cut: int | None = None, tied: bool = False):
        super().__init__(name="gpt")
        last = spread(0.02 / math.sqrt(2 * depth))
        self.tokens = layers.Embedding(256, width, embeddings_initializer=small(), name="tokens")
        self.places = layers.Embedding(32, width, embeddings_initializer=small(), name="places")

        def block(number: int) -> Any:
            attention = Attention(width, last=last, name="attn")
            return Block(width, attention, (small, last), name=f"block{number}")

        self.blocks = [block(0)] * depth if tied else [block(i) for i in range(depth)]
        self.cut = cut
        self.norm = layers.LayerNormalization(name="norm")
        self.head = layers.Dense(256, use_bias=False, kernel_initializer=small(), name="head")

    def call(self, x: Any) -> Any:
        """The logits of the next token."""
        y = self.tokens(x) + self.places(ops.arange(x.shape[1]))
        for number, block in enumerate(self.blocks):
            y = ops.stop_gradient(block(y)) if number == self.cut else block(y)
        return self.head(self.norm(y))


class Vit(keras.Model):
    """Patches, Keras' attention and its defaults, the mean of the tokens."""

    def __init__(self, depth: int = 6, width: int = 128, *, normed: bool = True, law: Law = glorot, tied: bool = False):
        super().__init__(name="vit")
        self.patches = layers.Conv2D(width, 4, 4, name="patches")
        self.places = self.add_weight(shape=(1, 64, width), initializer=small(), name="places")

        def block(number: int) -> Any:
            attention = layers.MultiHeadAttention(4, width // 4, kernel_initializer=law(), name="attn")
            return Block(width, attention, (law, law), normed=normed, name=f"block{number}")

        self.blocks = [block(0)] * depth if tied else [block(i) for i in range(depth)]
        self.norm = layers.LayerNormalization(name="norm")
        self.head = layers.Dense(10, kernel_initializer=spread(0.01)(), name="head")

    def call(self, x: Any) -> Any:
        """The logits."""
        y = ops.reshape(self.patches(x), (x.shape[0], 64, -1)) + self.places
        for block in self.blocks:
            y = block(y)
        return self.head(ops.mean(self.norm(y), axis=1))


class Stack(keras.Model):
    """Parts in a list of the model, one after the other; a sum where a part is itself a list."""

    def __init__(self, parts: Parts, scale: float = 1.0):
        super().__init__(name="stack")
        self.parts, self.scale = parts, scale

    def call(self, x: Any) -> Any:
        """What the last one gives."""
        for part in self.parts:
            x = residual(x, part.layers, self.scale) if isinstance(part, keras.Sequential) else part(x)
        return x


def built(model: Any, batch: Callable[[], Batch]) -> Any:
    """A subclassed model once it has its weights."""
    model(batch()[0])
    return model
