"""Convolutional networks."""

from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from zoo.jax.batches import digit_images, first_channels, images, pictures
from zoo.jax.laws import he, scaled
from zoo.jax.libraries import built, of_equinox
from zoo.model import maker


class Vgg(linen.Module):
    """Plain convolutions, a pool after every second."""

    channels: tuple[int, ...] = (32, 32, 64, 64, 128, 128, 128, 128)
    act: Any = linen.relu
    law: Any = he
    norm: bool = False

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        for i, width in enumerate(self.channels):
            x = linen.Conv(width, (3, 3), kernel_init=self.law, name=f"conv{i}")(x)
            x = self.act(linen.BatchNorm(use_running_average=False)(x) if self.norm else x)
            x = linen.max_pool(x, (2, 2), strides=(2, 2)) if i in (1, 3, 5) else x
        return linen.Dense(10, name="head")(x.reshape(x.shape[0], -1))


class Lenet(linen.Module):
    """Flax's defaults throughout."""

    cut: bool = False

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        x = linen.avg_pool(linen.relu(linen.Conv(16, (5, 5), name="conv0")(x)), (2, 2), strides=(2, 2))
        x = linen.avg_pool(linen.relu(linen.Conv(32, (5, 5), name="conv1")(x)), (2, 2), strides=(2, 2))
        x = jax.lax.stop_gradient(x) if self.cut else x
        x = linen.relu(linen.Dense(120, name="dense0")(x.reshape(x.shape[0], -1)))
        return linen.Dense(10, name="head")(linen.relu(linen.Dense(84, name="dense1")(x)))


class ResNet(linen.Module):
    """Two convolutions a block, with batch norms, or none."""

    blocks: int = 4
    norm: bool = True
    zero_last: bool = True
    cut: int = -1

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        conv = partial(linen.Conv, 32, (3, 3), kernel_init=he, use_bias=not self.norm)
        x = linen.relu(conv(name="stem")(x))
        pairs = [(conv(name=f"block{i}a"), conv(name=f"block{i}b")) for i in range(self.blocks)]
        for i, (first, second) in enumerate(pairs):
            y = second(linen.relu(self._normed(first(x), f"norm{i}a", zero=False)))
            x = linen.relu(x + self._normed(y, f"norm{i}b", zero=self.zero_last))
            x = jax.lax.stop_gradient(x) if i == self.cut else x
        return linen.Dense(10, name="head")(x.mean((1, 2)))

    def _normed(self, x: Array, name: str, *, zero: bool) -> Array:
        start = linen.initializers.zeros if zero else linen.initializers.ones
        return linen.BatchNorm(use_running_average=False, scale_init=start, name=name)(x) if self.norm else x


class Mobile(linen.Module):
    """Depthwise and pointwise convolutions by turns."""

    norm: bool = True

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        x = linen.relu(linen.Conv(32, (3, 3), kernel_init=he, name="stem")(x))
        for i in range(5):
            x = linen.Conv(x.shape[-1], (3, 3), feature_group_count=x.shape[-1], kernel_init=he, name=f"depth{i}")(x)
            x = linen.relu(linen.BatchNorm(use_running_average=False)(x) if self.norm else x)
            x = linen.Conv(48, (1, 1), kernel_init=he, name=f"point{i}")(x)
            x = linen.relu(linen.BatchNorm(use_running_average=False)(x) if self.norm else x)
        return linen.Dense(10, name="head")(x.mean((1, 2)))


class UNet(linen.Module):
    """Down, up, and what was left on the way merged."""

    norm: bool = False
    cut: bool = False

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        skips = []
        for i, width in enumerate((24, 48)):
            x = self._pair(x, width, f"down{i}")
            skips.append(x)
            x = linen.max_pool(x, (2, 2), strides=(2, 2))
        x = self._pair(x, 96, "bottom")
        for i, width in enumerate((48, 24)):
            up = linen.initializers.variance_scaling(2.0 * 4, "fan_in", "normal")  # each output reads a quarter
            x = linen.ConvTranspose(width, (2, 2), strides=(2, 2), kernel_init=scaled(up, 0.5), name=f"up{i}")(x)
            x = self._pair(jnp.concatenate([skips.pop(), x], -1), width, f"merge{i}")
            x = jax.lax.stop_gradient(x) if self.cut and not i else x
        return linen.Conv(3, (1, 1), name="head")(x)

    def _pair(self, x: Array, width: int, name: str) -> Array:
        for i in range(2):
            x = linen.Conv(width, (3, 3), kernel_init=he, name=f"{name}{'ab'[i]}")(x)
            x = linen.relu(linen.GroupNorm(8)(x) if self.norm else x)
        return x


class Autoencoder(linen.Module):
    """Convolutions to a code and back."""

    act: Any = linen.relu

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        for i, width in enumerate((16, 32, 64)):
            x = self.act(linen.Conv(width, (3, 3), strides=2, kernel_init=he, name=f"down{i}")(x))
        x = self.act(linen.Dense(64, kernel_init=he, name="code")(x.reshape(x.shape[0], -1)))
        x = self.act(linen.Dense(256, kernel_init=he, name="open")(x)).reshape(x.shape[0], 2, 2, 64)
        for i, width in enumerate((32, 16, 16)):
            x = jax.image.resize(x, (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), "nearest")
            x = self.act(linen.Conv(width, (3, 3), kernel_init=he, name=f"up{i}")(x))
        return linen.Conv(3, (3, 3), name="head")(x)


class EquinoxConv(equinox.Module):
    """Equinox's defaults throughout."""

    convolutions: list[Any]
    head: Any

    def __init__(self, key: Array) -> None:
        keys = jax.random.split(key, 3)
        self.convolutions = [equinox.nn.Conv2d(3, 16, 3, key=keys[0]), equinox.nn.Conv2d(16, 32, 3, key=keys[1])]
        self.head = equinox.nn.Linear(32, 10, key=keys[2])

    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        for convolution in self.convolutions:
            x = jax.nn.relu(convolution(x))
        return self.head(x.mean((1, 2)))


tuned = maker("jax", "cnn", "tuned")
MODELS = (
    tuned("lenet_default", built(Lenet(), digit_images), digit_images),
    tuned("vgg_11", built(Vgg(), images), images),
    tuned("vgg_bn", built(Vgg(norm=True), images), images),
    tuned("resnet", built(ResNet(), images), images),
    tuned("resnet_plain_gamma", built(ResNet(zero_last=False), images), images),
    tuned("mobilenet", built(Mobile(), images), images),
    tuned("mobilenet_plain", built(Mobile(norm=False), images), images),
    tuned("unet_plain", built(UNet(), pictures), pictures, "mse_loss"),
    tuned("unet", built(UNet(norm=True), pictures), pictures, "mse_loss"),
    tuned("autoencoder_conv", built(Autoencoder(), pictures), pictures, "mse_loss"),
    tuned("equinox_conv", of_equinox(EquinoxConv), first_channels),
)
