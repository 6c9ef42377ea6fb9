"""Transformers, and mixers."""

import math
from typing import Any

import jax
from flax import linen
from jax import Array

from zoo.jax.batches import images, sentences
from zoo.jax.laws import default, glorot, gpt_small, scaled
from zoo.jax.libraries import built
from zoo.model import maker


class Block(linen.Module):
    """Attention and a perceptron, each behind a norm."""

    law: Any = gpt_small
    out: Any = gpt_small
    norm: bool = True

    @linen.compact
    def __call__(self, x: Array, _: Any = None) -> tuple[Array, None]:
        """What it makes of its input."""
        kinds = {"kernel_init": self.law, "out_kernel_init": self.out}
        x = x + linen.MultiHeadDotProductAttention(4, name="attn", **kinds)(self._normed(x, "norm1"))
        y = linen.gelu(linen.Dense(4 * x.shape[-1], kernel_init=self.law, name="up")(self._normed(x, "norm2")))
        return x + linen.Dense(x.shape[-1], kernel_init=self.out, name="down")(y), None

    def _normed(self, x: Array, name: str) -> Array:
        return linen.LayerNorm(name=name)(x) if self.norm else x


class Transformer(linen.Module):
    """Reads tokens, or the patches of pictures."""

    depth: int = 6
    width: int = 64
    classes: int = 256
    law: Any = gpt_small
    out: Any = scaled(gpt_small, 1 / math.sqrt(12))
    head: Any = gpt_small
    norm: bool = True
    pictures: bool = False
    scanned: bool = False
    cut: int = -1

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        x = self._embedded(x)
        if self.scanned:
            layers = linen.scan(
                linen.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth
            )
            x, _ = layers(self.law, self.out, name="blocks")(x, None)
        else:
            blocks = [Block(self.law, self.out, self.norm, name=f"block{i}") for i in range(self.depth)]
            for i, block in enumerate(blocks):
                x, _ = block(x)
                x = jax.lax.stop_gradient(x) if i == self.cut else x
        x = linen.LayerNorm(name="norm")(x) if self.norm else x
        x = x.mean(1) if self.pictures else x
        return linen.Dense(self.classes, use_bias=False, kernel_init=self.head, name="head")(x)

    def _embedded(self, x: Array) -> Array:
        if self.pictures:
            x = linen.Conv(self.width, (4, 4), strides=4, name="patches")(x)
            x = x.reshape(x.shape[0], -1, self.width)
        else:
            x = linen.Embed(256, self.width, embedding_init=gpt_small, name="tokens")(x)
        return x + self.param("positions", gpt_small, x.shape[1:])


class MixerBlock(linen.Module):
    """One of each."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        y = linen.LayerNorm()(x).swapaxes(1, 2)
        y = linen.Dense(x.shape[1], name="token1")(linen.gelu(linen.Dense(64, name="token0")(y)))
        x = x + y.swapaxes(1, 2)
        y = linen.Dense(256, name="channel0")(linen.LayerNorm()(x))
        return x + linen.Dense(x.shape[2], name="channel1")(linen.gelu(y))


class Mixer(linen.Module):
    """Perceptrons over tokens and over channels by turns."""

    depth: int = 4

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        x = linen.Conv(64, (4, 4), strides=4, name="patches")(x).reshape(x.shape[0], -1, 64)
        blocks = [MixerBlock(name=f"block{i}") for i in range(self.depth)]
        for block in blocks:
            x = block(x)
        x = linen.LayerNorm()(x).mean(1)
        return linen.Dense(10, kernel_init=linen.initializers.zeros, name="head")(x)


tuned = maker("jax", "transformer", "tuned")
MODELS = (
    tuned("gpt", built(Transformer(), sentences), sentences),
    tuned("gpt_scanned", built(Transformer(scanned=True), sentences), sentences),
    tuned("gpt_default", built(Transformer(depth=4, law=default, out=default, head=default), sentences), sentences),
    tuned("vit", built(Transformer(pictures=True, classes=10, depth=4, law=glorot, out=glorot), images), images),
    tuned("mixer", built(Mixer(), images), images),
)
