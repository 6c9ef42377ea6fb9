"""Healthy models that were written, and committed, before the rules that first judged them were looked at again."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array

from zoo.jax.batches import digits, images, normal, sentences, series
from zoo.jax.libraries import built, of_equinox
from zoo.model import maker

Weights = dict[str, Any]
orthogonal, normals, zeros = linen.initializers.orthogonal, linen.initializers.normal, linen.initializers.zeros
xavier = linen.initializers.xavier_uniform()


def own(output: Array, _: Array) -> Array:
    """The model's answer is its loss."""
    return output


def dense(key: Array, before: int, after: int) -> Weights:
    """A Glorot normal map and a zero bias."""
    return {"w": jax.nn.initializers.glorot_normal()(key, (before, after)), "b": jnp.zeros(after)}


def stack(key: Array, *widths: int) -> list[Weights]:
    """Such maps one after the other."""
    keys = jax.random.split(key, len(widths) - 1)
    return [dense(k, a, b) for k, a, b in zip(keys, widths, widths[1:], strict=False)]


def run(p: list[Weights], x: Array, act: Callable[[Array], Array]) -> Array:
    """What the maps make of an input."""
    for layer in p[:-1]:
        x = act(x @ layer["w"] + layer["b"])
    return x @ p[-1]["w"] + p[-1]["b"]


def variational(key: Array) -> Any:
    """A VAE of plain functions (Kingma 2014): softplus perceptrons, Glorot normal."""
    one, two = jax.random.split(key)

    def forward(p: Weights, x: Array, noise: Array) -> Array:
        mean, spread = jnp.split(run(p["encode"], x, jax.nn.softplus), 2, -1)
        logits = run(p["decode"], mean + jnp.exp(0.5 * spread) * noise, jax.nn.softplus)
        pixels = (jax.nn.softplus(logits) - logits * x).sum(-1)
        return (pixels + 0.5 * (mean**2 + jnp.exp(spread) - 1 - spread).sum(-1)).mean() / 784

    return forward, {"encode": stack(one, 784, 128, 2 * 12), "decode": stack(two, 12, 128, 784)}


def heat(key: Array) -> Any:
    """A physics-informed perceptron for the heat equation, derivatives under vmap."""

    def forward(p: list[Weights], inner: Array, start: Array) -> Array:
        def u(place: Array) -> Array:
            return run(p, place, jnp.tanh)[0]

        first = jax.vmap(jax.grad(u))(inner)[:, 1]
        second = jax.vmap(jax.hessian(u))(inner)[:, 0, 0]
        known = jax.vmap(u)(start) - jnp.sin(math.pi * start[:, 0])
        return ((first - 0.1 * second) ** 2).mean() + (known**2).mean()

    return forward, stack(key, 2, 32, 32, 32, 32, 1)


def cora(key: Array) -> Any:
    """A graph convolution of two layers over edges by segment sums (Kipf 2017), Glorot."""

    def forward(p: list[Weights], x: Array, source: Array, sink: Array) -> Array:
        degree = jax.ops.segment_sum(jnp.ones(len(sink)), sink, len(x))
        share = jax.lax.rsqrt(degree[source] * degree[sink])[:, None]
        for i, layer in enumerate(p):
            x = jax.ops.segment_sum((x @ layer["w"])[source] * share, sink, len(x)) + layer["b"]
            x = jax.nn.relu(x) if i == 0 else x
        return x

    return forward, stack(key, 64, 32, 7)


def retentive(key: Array) -> Any:
    """A retentive network (Sun 2023): decays of each head, group norm, swish gates, Xavier with gain 2^-2.5."""
    width, heads, depth = 64, 4, 3
    decay = jnp.log(1 - 2.0 ** (-5 - jnp.arange(heads)))

    def block(p: Weights, x: Array) -> Array:
        y = scaled(x) * p["norm1"]
        q, k, v, gate = jnp.split(y @ p["in"], 4, -1)
        q, k, v = (part.reshape(*part.shape[:2], heads, -1) for part in (q, k, v))
        gap = jnp.arange(x.shape[1])[:, None] - jnp.arange(x.shape[1])
        fade = jnp.where(gap >= 0, jnp.exp(decay[:, None, None] * gap), 0)
        fade = fade / jnp.sqrt(fade.sum(-1, keepdims=True))
        scores = jnp.einsum("bthd,bshd->bhts", q, k) * (width // heads) ** -0.5 * fade
        scores = scores / jnp.maximum(jnp.abs(scores.sum(-1, keepdims=True)), 1)
        mixed = scaled(jnp.einsum("bhts,bshd->bthd", scores, v)).reshape(x.shape)
        x = x + (jax.nn.silu(gate) * mixed) @ p["out"]
        y = scaled(x) * p["norm2"]
        return x + (jax.nn.silu(y @ p["gate"]) * (y @ p["up"])) @ p["down"]

    def forward(p: Weights, x: Array) -> Array:
        x = p["embed"][x] * math.sqrt(width)
        for layer in p["blocks"]:
            x = block(layer, x)
        return scaled(x) @ p["head"]

    def law(gain: float) -> Callable[..., Array]:
        return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")

    def drawn(one: Array) -> Weights:
        keys = jax.random.split(one, 5)
        shapes = (("in", 4 * width), ("out", width), ("gate", width), ("up", width), ("down", width))
        weights = {name: law(2**-2.5)(k, (width, size)) for k, (name, size) in zip(keys, shapes, strict=True)}
        return weights | {"norm1": jnp.ones(width), "norm2": jnp.ones(width)}

    first, last, *keys = jax.random.split(key, depth + 2)
    ends = {"embed": width**-0.5 * jax.random.normal(first, (256, width))}
    ends["head"] = width**-0.5 * jax.random.normal(last, (width, 256))
    return forward, ends | {"blocks": [drawn(one) for one in keys]}


def scaled(x: Array) -> Array:
    """The root mean square of the last axis to 1."""
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6)


class Denoiser(linen.Module):
    """A small U-Net of a diffusion: group norms, the last convolution of each block and of all zero."""

    @linen.compact
    def __call__(self, x: Array, time: Array) -> Array:
        """The noise in the pictures."""
        angle = 1000 * time[:, None] * jnp.exp(-jnp.arange(16) / 16 * math.log(10000))
        t = linen.Dense(128)(jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1))
        t = linen.Dense(128)(linen.swish(t))
        a = self._block(linen.Conv(32, (3, 3))(x), t, 32)
        b = self._block(linen.Conv(32, (3, 3), 2)(a), t, 64)
        b = self._block(b, t, 64)
        up = jax.image.resize(b, (*a.shape[:3], 64), "nearest")
        x = self._block(jnp.concatenate([up, a], -1), t, 32)
        return linen.Conv(3, (3, 3), kernel_init=zeros)(linen.swish(linen.GroupNorm(8)(x)))

    def _block(self, x: Array, t: Array, width: int) -> Array:
        y = linen.Conv(width, (3, 3))(linen.swish(linen.GroupNorm(8)(x)))
        y = y + linen.Dense(width)(linen.swish(t))[:, None, None]
        y = linen.Conv(width, (3, 3), kernel_init=zeros)(linen.swish(linen.GroupNorm(8)(y)))
        return y + (x if x.shape[-1] == width else linen.Conv(width, (1, 1))(x))


class Recurrent(linen.Module):
    """PPO with a memory, as PureJaxRL: orthogonal sqrt(2) and 2, a GRU, 0.01 for the policy and 1 for the value."""

    @linen.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Logits of the actions, and the worth, at every step."""
        y = linen.relu(linen.Dense(64, kernel_init=orthogonal(math.sqrt(2)))(x))
        y = linen.RNN(linen.GRUCell(64))(y)
        actor = linen.relu(linen.Dense(64, kernel_init=orthogonal(2.0))(y))
        critic = linen.relu(linen.Dense(64, kernel_init=orthogonal(2.0))(y))
        logits = linen.Dense(4, kernel_init=orthogonal(0.01))(actor)
        return logits, linen.Dense(1, kernel_init=orthogonal(1.0))(critic)[..., 0]


def policy(output: tuple[Array, Array], target: Array) -> Array:
    """The gradient of the policy at ratio one, the value's error and a bonus of entropy."""
    logits, value = output
    logs = jax.nn.log_softmax(logits)
    action, advantage = (target * 4).astype(int) % 4, jnp.sin(9 * target)
    chosen = jnp.take_along_axis(logs, action[..., None], -1)[..., 0]
    entropy = -(jnp.exp(logs) * logs).sum(-1)
    return (-chosen * advantage - 0.01 * entropy + 0.5 * (value - target) ** 2).mean()


class BigVision(linen.Module):
    """The simple ViT of Big Vision (Beyer 2022): fixed places, Xavier, biases N(0, 1e-6), a zero head."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Logits."""
        law = {"kernel_init": xavier, "bias_init": normals(1e-6)}
        x = linen.Conv(64, (4, 4), (4, 4), padding="VALID")(x)
        side = x.shape[1]
        y, z = np.mgrid[:side, :side]
        omega = 10000 ** -(np.arange(16) / 15)
        angles = [part.flatten()[:, None] * omega for part in (z, y)]
        places = np.concatenate([f(part) for part in angles for f in (np.sin, np.cos)], 1)
        x = x.reshape(len(x), -1, 64) + jnp.asarray(places, jnp.float32)
        for _ in range(3):
            y = linen.LayerNorm()(x)
            x = x + linen.MultiHeadDotProductAttention(4, kernel_init=xavier)(y, y)
            y = linen.gelu(linen.Dense(256, **law)(linen.LayerNorm()(x)))
            x = x + linen.Dense(64, **law)(y)
        x = linen.LayerNorm()(x).mean(1)
        return linen.Dense(10, kernel_init=zeros)(x)


class Radiance(linen.Module):
    """JaxNeRF (2020): Glorot uniform, eight maps with a skip behind the fourth, density and colour."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Colour and density of each place."""
        angle = (x[..., None] * 2.0 ** jnp.arange(6)).reshape(len(x), -1)
        seen = jnp.concatenate([x, jnp.sin(angle), jnp.cos(angle)], -1)
        x = seen
        dense = partial(linen.Dense, kernel_init=xavier)
        for i in range(8):
            x = linen.relu(dense(128)(x))
            x = jnp.concatenate([x, seen], -1) if i == 4 else x
        return jnp.concatenate([linen.sigmoid(dense(3)(linen.relu(dense(64)(dense(128)(x))))), dense(1)(x)], -1)


class NnxBlock(nnx.Module):
    """Norms of factor 1 + w, attention, a gated perceptron."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        law = normals(0.02)
        self.norm1, self.norm2 = (nnx.Param(jnp.zeros(width)) for _ in range(2))
        self.attn = nnx.MultiHeadAttention(
            4, width, kernel_init=law, use_bias=False, decode=False, normalize_qk=True, rngs=rngs
        )
        self.gate, self.up = (nnx.Linear(width, 128, use_bias=False, kernel_init=law, rngs=rngs) for _ in range(2))
        self.down = nnx.Linear(128, width, use_bias=False, kernel_init=law, rngs=rngs)

    def __call__(self, x: Array, mask: Array) -> Array:
        """The stream after both branches."""
        x = x + self.attn(scaled(x) * (1 + self.norm1[...]), mask=mask)
        y = scaled(x) * (1 + self.norm2[...])
        return x + self.down(jax.nn.gelu(self.gate(y)) * self.up(y))


class NnxDecoder(nnx.Module):
    """A Gemma of NNX: a tied table times sqrt(width)."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(256, 64, embedding_init=normals(0.02), rngs=rngs)
        self.places = nnx.Param(0.02 * jax.random.normal(rngs.params(), (32, 64)))
        self.one, self.two, self.three = (NnxBlock(64, rngs) for _ in range(3))

    def __call__(self, x: Array) -> Array:
        """Logits of the next token."""
        mask = nnx.make_causal_mask(x)
        x = self.embed(x) * 8 + self.places[...]
        for block in (self.one, self.two, self.three):
            x = block(x, mask)
        return self.embed.attend(scaled(x))


class Controlled(equinox.Module):
    """A neural controlled differential equation by Euler steps (Kidger 2020): softplus inside, tanh at the end."""

    start: equinox.nn.MLP
    field: equinox.nn.MLP
    head: equinox.nn.Linear

    def __init__(self, key: Array) -> None:
        one, two, three = jax.random.split(key, 3)
        self.start = equinox.nn.MLP(16, 24, 48, 1, key=one)
        self.field = equinox.nn.MLP(24, 24 * 16, 48, 1, activation=jax.nn.softplus, final_activation=jnp.tanh, key=two)
        self.head = equinox.nn.Linear(24, 10, key=three)

    def __call__(self, x: Array) -> Array:
        """Logits of one path."""

        def step(h: Array, moved: Array) -> tuple[Array, None]:
            return h + self.field(h).reshape(24, 16) @ moved, None

        h, _ = jax.lax.scan(step, self.start(x[0]), 0.3 * jnp.diff(x, axis=0))
        return self.head(h)


class Coupling(equinox.Module):
    """Six affine couplings with a zero last map in each, as FlowJAX and Glow have them."""

    bodies: list[equinox.nn.MLP]

    def __init__(self, key: Array) -> None:
        def body(one: Array) -> equinox.nn.MLP:
            net = equinox.nn.MLP(6, 12, 48, 2, key=one)
            last = lambda net: [net.layers[-1].weight, net.layers[-1].bias]  # noqa: E731
            return equinox.tree_at(last, net, [jnp.zeros((12, 48)), jnp.zeros(12)])

        self.bodies = [body(one) for one in jax.random.split(key, 6)]

    def __call__(self, x: Array) -> Array:
        """Minus the log-likelihood of one example."""
        change = 0.0
        for body in self.bodies:
            a, b = jnp.split(x, 2)
            shift, scale = jnp.split(body(a), 2)
            x = jnp.concatenate([b * jnp.exp(jnp.tanh(scale)) + shift, a])
            change = change + jnp.tanh(scale).sum()
        return 0.5 * (x**2).sum() + 6 * math.log(2 * math.pi) - change


def mean_of(output: Array, _: Array) -> Array:
    """The mean over examples."""
    return output.mean()


def pixels_and_noise() -> tuple[Array, ...]:
    return digits(32)[0], normal(32, 12, seed=6), jnp.zeros(())


def rod() -> tuple[Array, ...]:
    place = jnp.asarray(np.random.default_rng(3).random((128, 2)), jnp.float32)
    return place, place.at[:, 1].set(0.0), jnp.zeros(())


def papers() -> tuple[Array, ...]:
    place = np.arange(100)
    source = np.concatenate([place, place, (place * 7 + 1) % 100])
    sink = np.concatenate([place, (place * 7 + 1) % 100, place])
    x = normal(100, 64)
    return x, jnp.asarray(source), jnp.asarray(sink), (x @ normal(64, 7, seed=3)).argmax(1)


def noised() -> tuple[Array, ...]:
    x, _ = images(8)
    time = jnp.linspace(0.05, 0.95, 8)
    noise, angle = normal(*x.shape, seed=8), 0.5 * math.pi * time[:, None, None, None]
    return jnp.cos(angle) * x + jnp.sin(angle) * noise, time, noise


def episodes() -> tuple[Array, Array]:
    x = normal(16, 10, 12)
    return x, jnp.tanh(x.sum(-1) / 3)


def scene() -> tuple[Array, Array]:
    x = jnp.asarray(2 * np.random.default_rng(4).random((256, 3)) - 1, jnp.float32)
    return x, jnp.concatenate([0.5 + 0.5 * jnp.sin(3 * x), (x**2).sum(-1, keepdims=True) - 1], -1)


def mixed() -> tuple[Array, Array]:
    return normal(64, 12) @ (jnp.eye(12) + 0.3 * normal(12, 12, seed=5)), jnp.zeros(())


def nnx_built(key: Array) -> Any:
    return NnxDecoder(nnx.Rngs(key))


placed, listed = maker("jax", "fields", "unseen", own), maker("jax", "generative", "unseen", own)
linked, read = maker("jax", "graph", "unseen"), maker("jax", "transformer", "unseen")
acted, heard = maker("jax", "agents", "unseen", policy), maker("jax", "recurrent", "unseen")
MODELS = (
    listed("plain_vae", variational, pixels_and_noise),
    placed("plain_heat_equation", heat, rod),
    linked("plain_graph_convolution", cora, papers),
    read("plain_retention", retentive, sentences),
    listed("linen_denoiser", built(Denoiser(), noised), noised, "mse_loss"),
    acted("linen_recurrent_ppo", built(Recurrent(), episodes), episodes),
    read("linen_big_vision", built(BigVision(), images), images),
    placed("linen_jax_nerf", built(Radiance(), scene), scene, "mse_loss"),
    read("nnx_gemma", nnx_built, sentences),
    heard("equinox_controlled", of_equinox(Controlled), series),
    listed("equinox_couplings", of_equinox(Coupling), mixed, mean_of),
)
