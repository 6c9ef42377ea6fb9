"""Small models of every library, each with its inputs, as the tests of runs and plans take them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import lax

from zoo.model import Arguments, Model, Traits

WIDTH, HEADS, CLASSES, VOCABULARY, LENGTH, BATCH = 32, 4, 10, 96, 12, 8


def tiny(name: str, family: str, make: Callable[[], tuple[Any, tuple[Any, ...]]], joins: int = 0) -> Model:
    """A tiny model: `make` gives it, in a form that fanwise takes, and its inputs; `joins` counts residual sums."""
    traits = Traits(joins=joins)
    build, batch = (lambda: make()[0]), (lambda: Arguments(make()[1]))
    return Model(name, build, batch, None, family, "jax", use="structure", traits=traits)


def normal(*shape: int, seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def tokens(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(1).integers(0, VOCABULARY, shape), jnp.int32)


def of_linen(module: Any, *inputs: Any) -> tuple[Any, tuple[Any, ...]]:
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return (module, jax.tree.map(lambda leaf: 0.1 * normal(*leaf.shape, seed=3).astype(leaf.dtype), variables)), inputs


# Flax linen


class Mlp(linen.Module):
    @linen.compact
    def __call__(self, x):
        for width in (64, 64):
            x = linen.relu(linen.Dense(width)(x))
        return linen.Dense(CLASSES)(x)


class ConvNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.BatchNorm(use_running_average=False)(linen.Conv(16, (3, 3), use_bias=False)(x)))
        x = linen.relu(linen.GroupNorm(4)(linen.Conv(16, (3, 3), strides=2)(x)))
        x = linen.max_pool(x, (2, 2), strides=(2, 2))
        return linen.Dense(CLASSES)(x.reshape(x.shape[0], -1))


class ResidualBlock(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x):
        norm = partial(linen.BatchNorm, use_running_average=False)
        y = linen.relu(norm()(linen.Conv(self.width, (3, 3), use_bias=False)(x)))
        y = norm()(linen.Conv(self.width, (3, 3), use_bias=False)(y))
        return linen.relu(x + y)


class ResNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(16, (3, 3))(x))
        for _ in range(3):
            x = ResidualBlock(16)(x)
        return linen.Dense(CLASSES)(x.mean((1, 2)))


class Upsampler(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.gelu(linen.Conv(16, (3, 3), feature_group_count=1)(x))
        x = linen.silu(linen.Conv(16, (3, 3), feature_group_count=16)(x))
        x = linen.relu(linen.ConvTranspose(8, (4, 4), strides=(2, 2))(x))
        x = linen.ConvTranspose(8, (4, 4), strides=(2, 2), transpose_kernel=True)(x)
        return linen.Conv(3, (1, 1))(linen.tanh(x))


class Block(linen.Module):
    @linen.compact
    def __call__(self, x, _=None):
        y = linen.LayerNorm()(x)
        x = x + linen.MultiHeadDotProductAttention(HEADS)(y, y)
        y = linen.LayerNorm()(x)
        return x + linen.Dense(WIDTH)(linen.gelu(linen.Dense(4 * WIDTH)(y))), None


class Transformer(linen.Module):
    scanned: bool = True

    @linen.compact
    def __call__(self, ids):
        x = linen.Embed(VOCABULARY, WIDTH)(ids)
        x = x + self.param("positions", linen.initializers.normal(0.02), (LENGTH, WIDTH))
        if self.scanned:
            layers = linen.scan(linen.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            x, _ = layers()(x, None)
        else:
            for _ in range(3):
                x, _ = Block()(x)
        return linen.Dense(VOCABULARY, use_bias=False)(linen.LayerNorm()(x))


class Tied(linen.Module):
    @linen.compact
    def __call__(self, ids):
        table = linen.Embed(VOCABULARY, WIDTH)
        x, _ = Block()(table(ids))
        return table.attend(linen.RMSNorm()(x))


class Recurrent(linen.Module):
    cell: Any

    @linen.compact
    def __call__(self, x):
        return linen.Dense(CLASSES)(linen.RNN(self.cell)(x)[:, -1])


class Experts(linen.Module):
    count: int = 4

    @linen.compact
    def __call__(self, x):
        shape = (self.count, WIDTH, 64)
        up = self.param("up", linen.initializers.lecun_normal(batch_axis=0), shape)
        down = self.param("down", linen.initializers.lecun_normal(batch_axis=0), (self.count, 64, WIDTH))
        gates = jax.nn.softmax(linen.Dense(self.count, use_bias=False)(x))
        hidden = jax.nn.silu(jnp.einsum("bd,edh->ebh", x, up))
        made = jnp.einsum("ebh,ehd->ebd", hidden, down)
        x = x + jnp.einsum("ebd,be->bd", made, gates)
        return linen.Dense(CLASSES)(linen.LayerNorm()(x))


class WeightNormed(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.WeightNorm(linen.Dense(32))(x))
        return linen.Dense(CLASSES)(x)


# Flax nnx


class NnxLayer(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.linear = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        return x + jax.nn.gelu(self.linear(self.norm(x)))


class NnxScanned(nnx.Module):
    """Layers made by `nnx.vmap` and gone through by `nnx.scan`."""

    def __init__(self, rngs):
        make = nnx.vmap(NnxLayer, in_axes=(0,), out_axes=0)
        self.layers = nnx.split_rngs(splits=3)(make)(rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x):
        step = nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.head(step(x, self.layers))


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm(x))
        gate, up = jnp.split(self.up(x), 2, axis=-1)
        return x + self.down(jax.nn.silu(gate) * up)


class NnxTransformer(nnx.Module):
    def __init__(self, rngs):
        self.patches = nnx.Conv(3, WIDTH, (4, 4), strides=4, rngs=rngs)
        self.token = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(2)])
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x).reshape(x.shape[0], -1, WIDTH)
        x = jnp.concatenate([jnp.broadcast_to(self.token[...], (x.shape[0], 1, WIDTH)), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(WIDTH, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, use_running_average=False, rngs=rngs)
        self.last = nnx.Linear(64, CLASSES, rngs=rngs)
        self.drop = nnx.Dropout(0.1, deterministic=True, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(jax.nn.leaky_relu(self.norm(self.first(x)), 0.2)))


# Equinox


class EquinoxNet(equinox.Module):
    convolution: Any
    norm: Any
    linear: Any
    head: Any

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.convolution = equinox.nn.Conv2d(3, 16, 3, stride=2, key=keys[0])
        self.norm = equinox.nn.LayerNorm(16)
        self.linear = equinox.nn.Linear(16, 64, key=keys[1])
        self.head = equinox.nn.Linear(64, CLASSES, key=keys[2])

    def __call__(self, x):
        x = jax.nn.relu(self.convolution(x)).mean((1, 2))
        return self.head(jax.nn.elu(self.linear(self.norm(x))))


def equinox_net():
    net = EquinoxNet(jax.random.key(0))
    return (lambda module, x: jax.vmap(module)(x), net), (normal(BATCH, 3, 9, 9),)


def equinox_attention():
    layer = equinox.nn.MultiheadAttention(HEADS, WIDTH, key=jax.random.key(0))
    return (lambda module, x: jax.vmap(module)(x, x, x), layer), (normal(BATCH, LENGTH, WIDTH),)


class EquinoxCell(equinox.Module):
    cell: Any
    head: Any

    def __init__(self, key):
        self.cell = equinox.nn.GRUCell(16, WIDTH, key=key)
        self.head = equinox.nn.Linear(WIDTH, CLASSES, key=key)

    def __call__(self, x):
        h, _ = lax.scan(lambda h, row: (self.cell(row, h), None), jnp.zeros(WIDTH), x)
        return self.head(h)


def equinox_cell():
    net = EquinoxCell(jax.random.key(0))
    return (lambda module, x: jax.vmap(module)(x), net), (normal(BATCH, LENGTH, 16),)


class EquinoxNormed(equinox.Module):
    convolution: Any
    norm: Any
    head: Any

    def __init__(self, key):
        self.convolution = equinox.nn.Conv2d(3, 8, 3, key=key)
        self.norm = equinox.nn.BatchNorm(8, "batch", mode="batch")
        self.head = equinox.nn.Linear(8, CLASSES, key=key)

    def __call__(self, x, state):
        x, state = self.norm(self.convolution(x), state)
        return self.head(jax.nn.relu(x).mean((1, 2))), state


def equinox_normed():
    net, state = equinox.nn.make_with_state(EquinoxNormed)(jax.random.key(0))

    def call(module, x, state):
        mapped = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return mapped(x, state)[0]

    return (call, net), (normal(BATCH, 3, 9, 9), state)


# Plain functions


def rotary():
    """Attention with rotary positions by `jax.nn.dot_product_attention`, causal."""

    def turned(t):
        angles = jnp.arange(t.shape[1])[:, None] / 10000 ** (jnp.arange(4) / 4)
        a, b = jnp.split(t, 2, -1)
        c, s = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]
        return jnp.concatenate([a * c - b * s, a * s + b * c], -1)

    def network(params, x):
        q, k, v = ((x @ params[name]).reshape(*x.shape[:2], HEADS, -1) for name in "qkv")
        made = jax.nn.dot_product_attention(turned(q), turned(k), v, is_causal=True)
        return (x + made.reshape(x.shape) @ params["o"]) @ params["head"]

    params = {name: 0.2 * normal(WIDTH, WIDTH, seed=i) for i, name in enumerate("qkvo")}
    return (network, params | {"head": normal(WIDTH, CLASSES)}), (normal(2, 6, WIDTH),)


def layer_scaled():
    """Residual branches behind small learned factors."""

    def network(params, x):
        for i in range(3):
            x = x + params[f"gate{i}"] * (jax.nn.gelu(x @ params[f"in{i}"]) @ params[f"out{i}"])
        return x @ params["head"]

    params = {f"gate{i}": jnp.full(WIDTH, 1e-4) for i in range(3)} | {"head": normal(WIDTH, CLASSES)}
    params |= {f"in{i}": normal(WIDTH, 64) for i in range(3)} | {f"out{i}": normal(64, WIDTH) for i in range(3)}
    return (network, params), (normal(BATCH, WIDTH),)


def standardised():
    """A convolution in one dimension whose weights are standardised before they are used."""

    def network(params, x):
        w = params["w"]
        w = (w - w.mean((0, 1))) / jnp.sqrt(w.var((0, 1)) + 1e-5)
        h = lax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
        return jax.nn.relu(h).mean(1) @ params["head"]

    return (network, {"w": normal(5, 8, 16), "head": normal(16, CLASSES)}), (normal(BATCH, LENGTH, 8),)


def scanned_layers():
    """A residual network whose layers are a scan over stacked parameters, with a custom derivative inside."""

    @jax.custom_vjp
    def squash(x):
        return jnp.tanh(x)

    squash.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))

    def network(params, x):
        def layer(h, own):
            return h + squash(h @ own["in"]) @ own["out"], None

        h, _ = lax.scan(jax.checkpoint(layer), x @ params["stem"], params["layers"])
        return h @ params["head"]

    params = {
        "stem": normal(WIDTH, WIDTH),
        "layers": {"in": 0.1 * normal(3, WIDTH, 64), "out": 0.1 * normal(3, 64, WIDTH)},
        "head": normal(WIDTH, CLASSES),
    }
    return (network, params), (normal(BATCH, WIDTH),)


def plain_recurrent():
    """A recurrent network by `lax.scan` over time, its state carried."""

    def network(params, x):
        def step(h, row):
            h = jnp.tanh(row @ params["input"] + h @ params["state"] + params["bias"])
            return h, h

        h, _ = lax.scan(step, jnp.zeros((x.shape[1], WIDTH)), x)
        return h @ params["head"]

    params = {
        "input": normal(16, WIDTH),
        "state": 0.1 * normal(WIDTH, WIDTH),
        "bias": jnp.zeros(WIDTH),
        "head": normal(WIDTH, CLASSES),
    }
    return (network, params), (normal(LENGTH, BATCH, 16),)


def branching():
    """A branch and a while loop whose conditions are known."""

    def network(params, x):
        h = lax.cond(x.shape[0] > 2, lambda h: jax.nn.relu(h @ params["a"]), lambda h: h @ params["a"], x)
        h = lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ params["b"]), h)
        return h @ params["head"]

    params = {"a": normal(WIDTH, 64), "b": 0.1 * normal(64, 64), "head": normal(64, CLASSES)}
    return (network, params), (normal(BATCH, WIDTH),)


IMAGES = normal(BATCH, 8, 8, 3)
MODELS = (
    tiny("linen mlp", "mlp", lambda: of_linen(Mlp(), normal(BATCH, WIDTH))),
    tiny("linen convolutions", "cnn", lambda: of_linen(ConvNet(), IMAGES)),
    tiny("linen resnet", "cnn", lambda: of_linen(ResNet(), IMAGES), joins=3),
    tiny("linen depthwise and transposed", "cnn", lambda: of_linen(Upsampler(), IMAGES)),
    tiny(
        "linen transformer", "transformer", lambda: of_linen(Transformer(scanned=False), tokens(BATCH, LENGTH)), joins=6
    ),
    tiny("linen scanned transformer", "transformer", lambda: of_linen(Transformer(), tokens(BATCH, LENGTH)), joins=6),
    tiny("linen tied", "transformer", lambda: of_linen(Tied(), tokens(BATCH, LENGTH)), joins=2),
    tiny(
        "linen lstm",
        "recurrent",
        lambda: of_linen(Recurrent(linen.OptimizedLSTMCell(WIDTH)), normal(BATCH, LENGTH, 16)),
    ),
    tiny("linen gru", "recurrent", lambda: of_linen(Recurrent(linen.GRUCell(WIDTH)), normal(BATCH, LENGTH, 16))),
    tiny("linen experts", "mlp", lambda: of_linen(Experts(), normal(BATCH, WIDTH)), joins=1),
    tiny("linen weight norm", "mlp", lambda: of_linen(WeightNormed(), normal(BATCH, WIDTH))),
    tiny("nnx net", "mlp", lambda: (NnxNet(nnx.Rngs(0)), (normal(BATCH, WIDTH),))),
    tiny("nnx scanned layers", "mlp", lambda: (NnxScanned(nnx.Rngs(0)), (normal(BATCH, WIDTH),)), joins=3),
    tiny("nnx vision transformer", "transformer", lambda: (NnxTransformer(nnx.Rngs(0)), (IMAGES,)), joins=4),
    tiny("equinox net", "cnn", equinox_net),
    tiny("equinox attention", "transformer", equinox_attention),
    tiny("equinox gru", "recurrent", equinox_cell),
    tiny("equinox batch norm", "cnn", equinox_normed),
    tiny("rotary attention", "transformer", rotary, joins=1),
    tiny("layer scale", "mlp", layer_scaled, joins=3),
    tiny("standardised convolution", "cnn", standardised),
    tiny("scanned layers", "mlp", scanned_layers, joins=3),
    tiny("recurrent function", "recurrent", plain_recurrent),
    tiny("branches and loops", "mlp", branching),
)
