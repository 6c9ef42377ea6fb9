"""Modules of Flax linen, Flax nnx and Equinox, as their users write them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as fnn
from flax import nnx

from zoo.jax.families.rows import (
    CLASSES,
    WIDTH,
    WORDS,
    batched,
    classifier,
    linen,
    normal,
    pixels,
    series,
    vectors,
    words,
)


class ConvNeXtBlock(fnn.Module):
    """Liu et al. (2022), with a small layer scale."""

    @fnn.compact
    def __call__(self, x):
        c = x.shape[-1]
        y = fnn.Conv(c, (5, 5), feature_group_count=c)(x)
        y = fnn.Dense(4 * c)(fnn.LayerNorm()(y))
        y = fnn.Dense(c)(fnn.gelu(y))
        return x + self.param("gamma", fnn.initializers.constant(1e-6), (c,)) * y


class ConvNeXt(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        x = fnn.LayerNorm()(fnn.Conv(16, (2, 2), 2)(x))
        for width in (16, 32):
            if width != x.shape[-1]:
                x = fnn.Conv(width, (2, 2), 2)(fnn.LayerNorm()(x))
            for _ in range(2):
                x = ConvNeXtBlock()(x)
        return fnn.Dense(CLASSES)(fnn.LayerNorm()(x.mean((1, 2))))


class MixerGMLP(fnn.Module):
    """Liu et al. (2021), gMLP: a spatial gate of half the channels whose map starts near zero and bias at one."""

    @fnn.compact
    def __call__(self, ids):
        x = fnn.Embed(WORDS, WIDTH)(ids)
        n = x.shape[1]
        for _ in range(3):
            y = fnn.gelu(fnn.Dense(128)(fnn.LayerNorm()(x)))
            u, v = jnp.split(y, 2, -1)
            v = fnn.LayerNorm()(v).swapaxes(1, 2)
            v = fnn.Dense(n, kernel_init=fnn.initializers.normal(1e-3), bias_init=fnn.initializers.ones)(v)
            x = x + fnn.Dense(WIDTH)(u * v.swapaxes(1, 2))
        return fnn.Dense(WORDS)(fnn.LayerNorm()(x))


class Adaptive(fnn.Module):
    """Peebles and Xie (2023), DiT: norms scaled, shifted and gated by a condition, those maps zero at first."""

    @fnn.compact
    def __call__(self, x, t, label):
        x = fnn.Conv(WIDTH, (2, 2), 2)(x).reshape(x.shape[0], -1, WIDTH)
        x = x + self.param("pos", fnn.initializers.normal(0.02), (1, x.shape[1], WIDTH))
        angle = t[:, None] * jnp.exp(-jnp.arange(8) / 2)
        c = fnn.Dense(WIDTH)(fnn.silu(fnn.Dense(WIDTH)(jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1))))
        c = fnn.silu(c + fnn.Embed(CLASSES, WIDTH)(label))
        plain = {"use_bias": False, "use_scale": False}
        for _ in range(2):
            m = fnn.Dense(6 * WIDTH, kernel_init=fnn.initializers.zeros)(c)[:, None]
            s1, b1, g1, s2, b2, g2 = jnp.split(m, 6, -1)
            y = fnn.LayerNorm(**plain)(x) * (1 + s1) + b1
            x = x + g1 * fnn.MultiHeadDotProductAttention(4)(y, y)
            y = fnn.LayerNorm(**plain)(x) * (1 + s2) + b2
            x = x + g2 * fnn.Dense(WIDTH)(fnn.gelu(fnn.Dense(4 * WIDTH)(y)))
        s, b = jnp.split(fnn.Dense(2 * WIDTH, kernel_init=fnn.initializers.zeros)(c)[:, None], 2, -1)
        return fnn.Dense(12, kernel_init=fnn.initializers.zeros)(fnn.LayerNorm(**plain)(x) * (1 + s) + b)


class BothWays(fnn.Module):
    """Two LSTMs, one reversed, joined; attention pooling by a learned vector."""

    @fnn.compact
    def __call__(self, x):
        x = fnn.Bidirectional(fnn.RNN(fnn.OptimizedLSTMCell(16)), fnn.RNN(fnn.OptimizedLSTMCell(16)))(x)
        w = fnn.softmax(fnn.Dense(1, use_bias=False)(jnp.tanh(fnn.Dense(16)(x))), 1)
        return fnn.Dense(CLASSES)((w * x).sum(1))


class ValueHeads(fnn.Module):
    """Espeholt et al. (2018), IMPALA's residual network with a policy (first) and a value."""

    @fnn.compact
    def __call__(self, x):
        for width in (16, 32):
            x = fnn.max_pool(fnn.Conv(width, (3, 3))(x), (3, 3), (2, 2), "SAME")
            for _ in range(2):
                y = fnn.Conv(width, (3, 3))(fnn.relu(x))
                x = x + fnn.Conv(width, (3, 3))(fnn.relu(y))
        x = fnn.relu(x).reshape(x.shape[0], -1)
        x = fnn.relu(fnn.Dense(64)(x))
        return fnn.Dense(CLASSES)(x), fnn.Dense(1)(x)


class NnxMamba(nnx.Module):
    """A selective state space with an associative scan over a stack of layers in a list."""

    def __init__(self, rngs):
        d, n = WIDTH, 4
        self.embed, self.head = nnx.Embed(WORDS, d, rngs=rngs), nnx.Linear(d, WORDS, use_bias=False, rngs=rngs)
        self.norms = nnx.List([nnx.RMSNorm(d, rngs=rngs) for _ in range(3)])
        self.enter = nnx.List([nnx.Linear(d, 2 * d, use_bias=False, rngs=rngs) for _ in range(3)])
        self.select = nnx.List([nnx.Linear(d, d + 2 * n, rngs=rngs) for _ in range(3)])
        self.exit = nnx.List([nnx.Linear(d, d, use_bias=False, rngs=rngs) for _ in range(3)])
        self.a_log = nnx.List([nnx.Param(jnp.log(jnp.tile(jnp.arange(1.0, n + 1), (d, 1)))) for _ in range(3)])
        self.skip = nnx.List([nnx.Param(jnp.ones(d)) for _ in range(3)])

    def __call__(self, ids):
        x = self.embed(ids)
        for i in range(3):
            u, z = jnp.split(self.enter[i](self.norms[i](x)), 2, -1)
            u = jax.nn.silu(u)
            dt, b, c = jnp.split(self.select[i](u), [WIDTH, WIDTH + 4], -1)
            dt = jax.nn.softplus(dt - 4.0)
            a = jnp.exp(dt[..., None] * -jnp.exp(self.a_log[i][...]))
            bu = dt[..., None] * b[:, :, None] * u[..., None]
            _, h = jax.lax.associative_scan(
                lambda left, right: (left[0] * right[0], right[0] * left[1] + right[1]), (a, bu), axis=1
            )
            y = jnp.einsum("btdn,btn->btd", h, c) + self.skip[i][...] * u
            x = x + self.exit[i](y * jax.nn.silu(z))
        return self.head(x)


class NnxHighwayConv(nnx.Module):
    """Convolutions with gates that carry (Srivastava et al., 2015), instance norms by GroupNorm."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.h = nnx.List([nnx.Conv(16, 16, (3, 3), rngs=rngs) for _ in range(3)])
        self.t = nnx.List(
            [nnx.Conv(16, 16, (3, 3), bias_init=nnx.initializers.constant(-1.0), rngs=rngs) for _ in range(3)]
        )
        self.norm = nnx.GroupNorm(16, num_groups=16, rngs=rngs)
        self.head = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.elu(self.stem(x))
        for h, t in zip(self.h, self.t, strict=True):
            gate = jax.nn.sigmoid(t(x))
            x = gate * jax.nn.elu(h(x)) + (1 - gate) * x
        return self.head(self.norm(x).max((1, 2)))


class EqxCross(eqx.Module):
    """Jaegle et al. (2021), Perceiver IO: learned latents read the input, work, and a learned query reads them."""

    latents: jax.Array
    query: jax.Array
    enter: eqx.nn.MultiheadAttention
    work: list
    read: eqx.nn.MultiheadAttention
    norms: list
    mlps: list
    head: eqx.nn.Linear

    def __init__(self, key):
        k = jax.random.split(key, 10)
        self.latents, self.query = (
            0.02 * jax.random.normal(k[0], (6, WIDTH)),
            0.02 * jax.random.normal(k[1], (1, WIDTH)),
        )
        self.enter = eqx.nn.MultiheadAttention(4, WIDTH, key_size=8, value_size=8, key=k[2])
        self.read = eqx.nn.MultiheadAttention(4, WIDTH, key=k[3])
        self.work = [eqx.nn.MultiheadAttention(4, WIDTH, key=q) for q in jax.random.split(k[4], 2)]
        self.mlps = [eqx.nn.MLP(WIDTH, WIDTH, 64, 1, jax.nn.gelu, key=q) for q in jax.random.split(k[5], 2)]
        self.norms = [eqx.nn.LayerNorm(n) for n in (8, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH)]
        self.head = eqx.nn.Linear(WIDTH, CLASSES, key=k[6])

    def __call__(self, x):
        x = jax.vmap(self.norms[0])(x)
        z = self.latents + self.enter(self.latents, x, x)
        for i, (work, mlp) in enumerate(zip(self.work, self.mlps, strict=True)):
            y = jax.vmap(self.norms[1 + 2 * i])(z)
            z = z + work(y, y, y)
            z = z + jax.vmap(mlp)(jax.vmap(self.norms[2 + 2 * i])(z))
        z = jax.vmap(self.norms[5])(z)
        return self.head(self.read(self.query, z, z)[0])


class EqxSpline(eqx.Module):
    """Gaussian bumps on every edge (FastKAN), their weights a raw array."""

    weights: list[jax.Array]
    grid: Any = eqx.field(static=True)

    def __init__(self, key):
        self.grid = tuple(-2 + 4 * i / 7 for i in range(8))
        sizes = (WIDTH, 24, CLASSES)
        keys = jax.random.split(key, 2)
        self.weights = [0.1 * jax.random.normal(k, (o, i, 8)) for k, i, o in zip(keys, sizes, sizes[1:], strict=False)]

    def __call__(self, x):
        for w in self.weights:
            bumps = jnp.exp(-jnp.square((x[:, None] - jnp.array(self.grid)) * 7 / 4))
            x = jnp.einsum("ig,oig->o", bumps, w)
        return x


def noisy() -> tuple[Any, ...]:
    return normal(4, 8, 8, 3), 10 * jnp.abs(normal(4, seed=4)), jnp.arange(4)


MODELS = (
    classifier("linen_conv_next", "cnn", linen(ConvNeXt(), pixels), pixels),
    classifier("linen_g_mlp", "transformer", linen(MixerGMLP(), words), words, classes=WORDS, data="text"),
    classifier("linen_adaptive_norms", "generative", linen(Adaptive(), noisy), noisy, classes=None, logits=None),
    classifier("linen_both_ways", "recurrent", linen(BothWays(), series), series),
    classifier("linen_impala", "agents", linen(ValueHeads(), pixels), pixels, logits=lambda output: output[0]),
    classifier("nnx_mamba", "recurrent", lambda: NnxMamba(nnx.Rngs(0)), words, classes=WORDS, data="text"),
    classifier("nnx_highway_conv", "cnn", lambda: NnxHighwayConv(nnx.Rngs(0)), pixels),
    classifier("equinox_perceiver_io", "transformer", batched(EqxCross), series),
    classifier("equinox_fast_kan", "mlp", batched(EqxSpline), vectors),
)
