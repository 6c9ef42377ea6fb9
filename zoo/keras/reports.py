"""Models that people reported to fail at the start, rebuilt small, and the same models mended."""

from functools import partial
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from zoo.keras.batches import Batch, digits
from zoo.keras.laws import Law, glorot
from zoo.keras.layers import chain
from zoo.keras.losses import CROSS_ENTROPY, SQUARES
from zoo.model import Model, maker
from zoo.planting import planted

WORDS, WIDTH, LENGTH = 15000, 128, 32


class Tables(layers.Layer):
    """Tokens and positions, added."""

    def __init__(self, law: Law, **more: Any):
        super().__init__(**more)
        self.tokens = layers.Embedding(WORDS, WIDTH, embeddings_initializer=law(), name="tokens")
        self.positions = layers.Embedding(LENGTH, WIDTH, embeddings_initializer=law(), name="positions")

    def call(self, x: Any) -> Any:
        """The sum."""
        return self.tokens(x) + self.positions(ops.arange(LENGTH))


def reader(law: Law) -> Any:
    """Two blocks with norms behind the sums, and a head over all words."""
    start = keras.Input((LENGTH,), dtype="int32")
    x = Tables(law, name="tables")(start)
    for i in range(2):
        mixed = layers.MultiHeadAttention(4, WIDTH // 4, name=f"attention{i}")(x, x)
        x = layers.LayerNormalization()(x + mixed)
        made = layers.Dense(WIDTH, name=f"down{i}")(layers.Dense(512, "relu", name=f"up{i}")(x))
        x = layers.LayerNormalization()(x + made)
    return keras.Model(start, layers.Dense(WORDS, name="head")(x))


def words() -> Batch:
    """Ids of a language whose words are as often as ranks say, and their successors."""
    x = (np.random.default_rng(0).zipf(1.3, (8, LENGTH)) % WORDS).astype(np.int32)
    return x, np.roll(x, -1, 1)


def line(*widths: int, last: str | None) -> Any:
    """Dense maps of one number, ReLU between them."""
    hidden = [layers.Dense(width, "relu", name=f"d{i}") for i, width in enumerate(widths)]
    return chain((1,), [*hidden, layers.Dense(1, last, name="head")])


def seven() -> Batch:
    """Seven points of y = 2 x - 1."""
    x = np.arange(-1, 6, dtype=np.float32)[:, None]
    return x, 2 * x - 1


def uniform(low: float, high: float) -> Law:
    return partial(initializers.RandomUniform, low, high)


def digit_net(law: Law) -> Any:
    """A hidden layer, dropout, and shares of ten classes."""
    first = layers.Dense(512, "relu", kernel_initializer=law(), name="d0")
    return chain(
        (784,), [first, layers.Dropout(0.2), layers.Dense(10, "softmax", kernel_initializer=law(), name="head")]
    )


SHARES = keras.losses.SparseCategoricalCrossentropy()


def of_report(family: str, name: str, build: Any, batch: Any, loss: Any = CROSS_ENTROPY) -> Model:
    return maker("keras", family, "reports", loss)(name, build, batch)


READER = of_report("transformer", "report_reader", partial(reader, uniform(-0.05, 0.05)), words)
LINE = of_report("mlp", "report_line", partial(line, 16, 16, last=None), seven, SQUARES)
DIGITS = of_report("mlp", "report_digits", partial(digit_net, uniform(-0.05, 0.05)), digits, SHARES)
MODELS = (
    READER,
    planted(READER, "drowned", partial(reader, glorot), "tables"),
    LINE,
    planted(LINE, "no_gradient", partial(line, 4, 2, last="relu")),
    DIGITS,
    planted(DIGITS, "mean", partial(digit_net, uniform(0.0, 1.0)), "d0", mark="one"),
    planted(DIGITS, "mean", partial(digit_net, uniform(0.0, 0.1)), "d0", mark="tenth"),
)
