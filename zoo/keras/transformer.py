"""Transformers, and mixers."""

import math
from typing import Any

import keras
from keras import layers, ops

from zoo.keras.batches import images, sentences
from zoo.keras.laws import Law, glorot, small, spread
from zoo.keras.layers import Parts, built, headed, residual, run_all
from zoo.keras.losses import CROSS_ENTROPY
from zoo.model import maker


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


def mixer() -> Any:
    """An MLP over positions and one over channels, with norms before both."""
    start = keras.Input((32, 32, 3))
    x = layers.Reshape((64, 96))(layers.Conv2D(96, 4, 4, name="patches")(start))
    for i in range(6):
        tokens, channels = _mixing(i)
        x = residual(residual(x, tokens), channels)
    return keras.Model(start, run_all(layers.LayerNormalization()(x), [layers.GlobalAveragePooling1D(), *headed()[1:]]))


def _mixing(i: int) -> tuple[Parts, Parts]:
    across: Parts = [layers.LayerNormalization(), layers.Permute((2, 1)), layers.Dense(128, "gelu", name=f"tu{i}")]
    across += [layers.Dense(64, name=f"td{i}"), layers.Permute((2, 1))]
    inner: Parts = [layers.LayerNormalization(), layers.Dense(384, "gelu", name=f"cu{i}")]
    return across, [*inner, layers.Dense(96, name=f"cd{i}")]


tuned = maker("keras", "transformer", "tuned", CROSS_ENTROPY)


MODELS = (
    tuned("gpt", lambda: built(Gpt(), sentences), sentences),
    tuned("vit", lambda: built(Vit(), images), images),
    tuned("mixer", mixer, images),
)
