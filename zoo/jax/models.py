"""Healthy models of JAX on which false_alarms.py judges the check, initialised as their field does it."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import equinox
import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax import Array

from zoo.jax.parts import Subject, digit_images, digits, images, pictures, sentences, series, vectors

he, lecun = linen.initializers.he_normal(), linen.initializers.lecun_normal()
glorot, orthogonal = linen.initializers.glorot_normal(), linen.initializers.orthogonal()
gpt_small = linen.initializers.normal(0.02)
default = linen.linear.default_kernel_init


def scaled(init: Any, factor: float) -> Any:
    """An initializer times a factor."""
    return lambda *args: factor * init(*args)


class Mlp(linen.Module):
    """A stack of maps.

    Attributes:
        cut: the layer behind which no gradient comes through.
    """

    widths: tuple[int, ...]
    act: Any = linen.relu
    law: Any = he
    head: Any = lecun
    normed: bool = False
    cut: int = -1

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        layers = [linen.Dense(w, kernel_init=self.law, name=f"layer{i:02d}") for i, w in enumerate(self.widths[:-1])]
        for i, layer in enumerate(layers):
            x = layer(x)
            x = self.act(linen.LayerNorm()(x) if self.normed else x)
            x = jax.lax.stop_gradient(x) if i == self.cut else x
        return linen.Dense(self.widths[-1], kernel_init=self.head, name="head")(x)


class Residual(linen.Module):
    """Residual perceptrons: scale is a factor, or None for a learned one that starts at 0."""

    depth: int
    scale: float | None
    norm: bool = False
    last: Any = lecun

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        first, last = (partial(linen.Dense, 128, kernel_init=law) for law in (he, self.last))
        pairs = [(first(name=f"in{i:02d}"), last(name=f"out{i:02d}")) for i in range(self.depth)]
        for i, (inner, outer) in enumerate(pairs):
            y = linen.LayerNorm(name=f"norm{i:02d}")(x) if self.norm else x
            factor = self.param(f"alpha{i:02d}", linen.initializers.zeros, ()) if self.scale is None else self.scale
            x = x + factor * outer(linen.relu(inner(y)))
        x = linen.LayerNorm(name="norm")(x) if self.norm else x
        return linen.Dense(10, name="head")(x)


class Highway(linen.Module):
    """Gated perceptrons that start near the identity."""

    depth: int = 6

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        for i in range(self.depth):
            gate = linen.Dense(128, name=f"gate{i}", bias_init=linen.initializers.constant(-1.0))(x)
            gate = linen.sigmoid(gate)
            x = gate * linen.relu(linen.Dense(128, kernel_init=he, name=f"map{i}")(x)) + (1 - gate) * x
        return linen.Dense(10, name="head")(x)


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


class Recurrent(linen.Module):
    """A cell over time; its last state is read."""

    cell: Any

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        return linen.Dense(10, name="head")(linen.RNN(self.cell, name="body")(x)[:, -1])


class Experts(linen.Module):
    """Every expert runs, and a softmax weighs them."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        init = linen.initializers.variance_scaling(2.0, "fan_in", "normal", batch_axis=0)
        up, down = self.param("up", init, (4, 128, 256)), self.param("down", init, (4, 256, 128))
        gates = linen.softmax(linen.Dense(4, use_bias=False, kernel_init=gpt_small, name="router")(x))
        made = jnp.einsum("ebh,ehd->ebd", linen.relu(jnp.einsum("bd,edh->ebh", x, up)), down)
        return linen.Dense(10, name="head")(linen.LayerNorm()(x + jnp.einsum("ebd,be->bd", made, gates)))


class Sets(linen.Module):
    """A map of each element, and one of their mean."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        for i in range(2):
            x = linen.relu(linen.Dense(64, kernel_init=he, name=f"each{i}")(x))
        x = linen.relu(linen.Dense(64, kernel_init=he, name="all0")(x.mean(1)))
        return linen.Dense(10, name="head")(x)


class NnxMlp(nnx.Module):
    """With a batch norm."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Linear(128, 128, rngs=rngs), nnx.Linear(128, 128, rngs=rngs)
        self.norm, self.head = nnx.BatchNorm(128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        return self.head(jax.nn.silu(self.second(jax.nn.relu(self.norm(self.first(x))))))


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


# How they are built


def of_linen(module: linen.Module, batch: Callable[[], Any], change: Any = None, key: Any = None) -> Any:
    """A linen module with variables of its own, and what a break makes of its parameters."""
    variables = dict(module.init(key, *batch()[:-1]))
    if change is not None:
        variables["params"] = change(variables["params"])
    return module, variables


def built(module: linen.Module, batch: Callable[[], Any], change: Any = None) -> Callable[[Array], Any]:
    return lambda key: of_linen(module, batch, change, key)


def of_equinox(make: Callable[[Array], Any]) -> Callable[[Array], Any]:
    return lambda key: (lambda net, x: jax.vmap(net)(x), make(key))


def equinox_mlp(key: Array) -> Any:
    return equinox.nn.MLP(128, 10, 128, 2, key=key)


def first_channels() -> tuple[Array, Array]:
    """Pictures as Equinox has them, channels first."""
    x, y = images()
    return x.transpose(0, 3, 1, 2), y


def plain_he(depth: int, key: Array) -> Any:
    """A function and its parameters, He throughout."""

    def plain(p: Mapping[str, Array], x: Array) -> Array:
        for i in range(depth):
            x = jax.nn.relu(x @ p[f"w{i:02d}"] + p[f"b{i:02d}"])
        return x @ p["z_head"]

    keys = jax.random.split(key, depth + 1)
    p = {f"w{i:02d}": math.sqrt(2 / 128) * jax.random.normal(keys[i], (128, 128)) for i in range(depth)}
    p |= {f"b{i:02d}": jnp.zeros(128) for i in range(depth)}
    return plain, p | {"z_head": jax.random.normal(keys[-1], (128, 10)) / math.sqrt(128)}


def deep(depth: int, width: int = 128) -> tuple[int, ...]:
    return (*(width,) * (depth - 1), 10)


MODULES: Mapping[str, tuple[linen.Module, Callable[[], Any], str]] = {
    "mlp_he_3": (Mlp((256, 128, 10)), digits, "mlp"),
    "mlp_he_10": (Mlp(deep(10)), vectors, "mlp"),
    "mlp_he_20": (Mlp(deep(20)), vectors, "mlp"),
    "mlp_he_30": (Mlp(deep(30)), vectors, "mlp"),
    "mlp_leaky_10": (Mlp(deep(10), linen.leaky_relu), vectors, "mlp"),
    "mlp_tanh_xavier": (Mlp(deep(6), jnp.tanh, glorot), vectors, "mlp"),
    "mlp_tanh_orthogonal": (Mlp(deep(12), jnp.tanh, orthogonal), vectors, "mlp"),
    "mlp_selu_20": (Mlp(deep(20), linen.selu, lecun), vectors, "mlp"),
    "mlp_gelu_normed": (Mlp(deep(8), linen.gelu, default, normed=True), vectors, "mlp"),
    "mlp_default_3": (Mlp((128, 128, 10), law=default), digits, "mlp"),
    "mlp_default_4_silu": (Mlp(deep(4), linen.silu, default), vectors, "mlp"),
    "mlp_funnel": (Mlp((256, 256, 128, 64, 32, 10)), digits, "mlp"),
    "mlp_residual_scaled": (Residual(32, 32**-0.5), vectors, "mlp"),
    "mlp_residual_normed": (Residual(8, 1.0, norm=True), vectors, "mlp"),
    "mlp_rezero": (Residual(16, None), vectors, "mlp"),
    "mlp_highway": (Highway(), vectors, "mlp"),
    "lenet_default": (Lenet(), digit_images, "cnn"),
    "vgg_11": (Vgg(), images, "cnn"),
    "vgg_bn": (Vgg(norm=True), images, "cnn"),
    "resnet": (ResNet(), images, "cnn"),
    "resnet_plain_gamma": (ResNet(zero_last=False), images, "cnn"),
    "mobilenet": (Mobile(), images, "cnn"),
    "mobilenet_plain": (Mobile(norm=False), images, "cnn"),
    "unet_plain": (UNet(), pictures, "cnn"),
    "unet": (UNet(norm=True), pictures, "cnn"),
    "autoencoder_conv": (Autoencoder(), pictures, "cnn"),
    "gpt": (Transformer(), sentences, "transformer"),
    "gpt_scanned": (Transformer(scanned=True), sentences, "transformer"),
    "gpt_default": (Transformer(depth=4, law=default, out=default, head=default), sentences, "transformer"),
    "vit": (Transformer(pictures=True, classes=10, depth=4, law=glorot, out=glorot), images, "transformer"),
    "mixer": (Mixer(), images, "transformer"),
    "lstm": (Recurrent(linen.OptimizedLSTMCell(64)), series, "rnn"),
    "gru": (Recurrent(linen.GRUCell(64)), series, "rnn"),
    "experts": (Experts(), vectors, "other"),
    "sets": (Sets(), series, "other"),
}
"""Modules of linen, their batches and families."""
MADE: Mapping[str, tuple[Callable[[Array], Any], Callable[[], Any], str]] = {
    "plain_he_12": (partial(plain_he, 12), vectors, "mlp"),
    "nnx_mlp": (lambda key: NnxMlp(nnx.Rngs(key)), vectors, "mlp"),
    "equinox_mlp_3": (of_equinox(equinox_mlp), vectors, "mlp"),
    "equinox_conv": (of_equinox(EquinoxConv), first_channels, "cnn"),
}
"""What other libraries, or none, make."""


def loss_of(batch: Callable[[], Any]) -> str:
    return "mse_loss" if batch is pictures else "cross_entropy"


def _subjects() -> Sequence[Subject]:
    linens = [
        Subject(name, built(module, batch), batch, loss_of(batch), kind)
        for name, (module, batch, kind) in MODULES.items()
    ]
    return [*linens, *(Subject(name, make, batch, loss_of(batch), kind) for name, (make, batch, kind) in MADE.items())]


HEALTHY: Mapping[str, Subject] = MappingProxyType({one.name: one for one in _subjects()})
