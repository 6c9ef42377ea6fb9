"""Perceptrons, each initialised as its field does it."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax import Array

from zoo.jax.batches import digits, vectors
from zoo.jax.laws import default, glorot, gpt_small, he, lecun, orthogonal
from zoo.jax.libraries import built, of_equinox
from zoo.model import maker


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


class NnxMlp(nnx.Module):
    """With a batch norm."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Linear(128, 128, rngs=rngs), nnx.Linear(128, 128, rngs=rngs)
        self.norm, self.head = nnx.BatchNorm(128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        return self.head(jax.nn.silu(self.second(jax.nn.relu(self.norm(self.first(x))))))


def equinox_mlp(key: Array) -> Any:
    return equinox.nn.MLP(128, 10, 128, 2, key=key)


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


tuned = maker("jax", "mlp", "tuned")
MODELS = (
    tuned("mlp_he_3", built(Mlp((256, 128, 10)), digits), digits),
    tuned("mlp_he_10", built(Mlp(deep(10)), vectors), vectors),
    tuned("mlp_he_20", built(Mlp(deep(20)), vectors), vectors),
    tuned("mlp_he_30", built(Mlp(deep(30)), vectors), vectors),
    tuned("mlp_leaky_10", built(Mlp(deep(10), linen.leaky_relu), vectors), vectors),
    tuned("mlp_tanh_xavier", built(Mlp(deep(6), jnp.tanh, glorot), vectors), vectors),
    tuned("mlp_tanh_orthogonal", built(Mlp(deep(12), jnp.tanh, orthogonal), vectors), vectors),
    tuned("mlp_selu_20", built(Mlp(deep(20), linen.selu, lecun), vectors), vectors),
    tuned("mlp_gelu_normed", built(Mlp(deep(8), linen.gelu, default, normed=True), vectors), vectors),
    tuned("mlp_default_3", built(Mlp((128, 128, 10), law=default), digits), digits),
    tuned("mlp_default_4_silu", built(Mlp(deep(4), linen.silu, default), vectors), vectors),
    tuned("mlp_funnel", built(Mlp((256, 256, 128, 64, 32, 10)), digits), digits),
    tuned("mlp_residual_scaled", built(Residual(32, 32**-0.5), vectors), vectors),
    tuned("mlp_residual_normed", built(Residual(8, 1.0, norm=True), vectors), vectors),
    tuned("mlp_rezero", built(Residual(16, None), vectors), vectors),
    tuned("mlp_highway", built(Highway(), vectors), vectors),
    tuned("experts", built(Experts(), vectors), vectors),
    tuned("plain_he_12", partial(plain_he, 12), vectors),
    tuned("nnx_mlp", lambda key: NnxMlp(nnx.Rngs(key)), vectors),
    tuned("equinox_mlp_3", of_equinox(equinox_mlp), vectors),
)
