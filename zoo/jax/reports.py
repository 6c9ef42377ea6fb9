"""Models that people reported to fail at the start, rebuilt small, and the same models mended."""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array

from zoo.jax.batches import normal, sentences, vectors
from zoo.model import Model, maker
from zoo.planting import planted

Params = Mapping[str, Any]
WIDTH, HEADS, LENGTH, BLOCKS = 256, 8, 32, 4


def unit(x: Array) -> Array:
    """A layer norm without factors."""
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def decoder(p: Params, tokens: Array) -> Array:
    """A small GPT as a plain function."""
    x = p["tokens"][tokens] + p["positions"]
    seen = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))
    for block in p["blocks"]:
        q, k, v = jnp.einsum("btd,xdhe->xbhte", unit(x), block["qkv"])
        scores = jnp.where(seen, q @ k.swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5, -1e9)
        x = x + jnp.einsum("bhte,hed->btd", jax.nn.softmax(scores) @ v, block["out"])
        x = x + jax.nn.gelu(unit(x) @ block["up"]) @ block["down"]
    return unit(x) @ p["head"]


def gpt(fan_in: int, key: Array) -> Any:
    """Its parameters by LeCun's formula, with a number as the fan_in of queries, keys and values."""
    keys = iter(jax.random.split(key, 64))

    def drawn(shape: tuple[int, ...], fan: int) -> Array:
        return jax.random.normal(next(keys), shape) * fan**-0.5

    size = WIDTH // HEADS
    blocks = [
        {
            "qkv": drawn((3, WIDTH, HEADS, size), fan_in),
            "out": drawn((HEADS, size, WIDTH), WIDTH),
            "up": drawn((WIDTH, 4 * WIDTH), WIDTH),
            "down": drawn((4 * WIDTH, WIDTH), 4 * WIDTH),
        }
        for _ in range(BLOCKS)
    ]
    tables = {"tokens": drawn((256, WIDTH), WIDTH), "positions": drawn((LENGTH, WIDTH), WIDTH)}
    return decoder, tables | {"blocks": blocks, "head": drawn((WIDTH, 256), WIDTH)}


class Generator(linen.Module):
    """Maps drawn from a key of the module's own."""

    own: Any

    @linen.compact
    def __call__(self, z: Array) -> Array:
        """What it makes of its input."""
        for i, key in enumerate(jax.random.split(self.own, 3)):
            init = partial(_he, key)
            z = linen.leaky_relu(z @ self.param(f"w{i}", init), 0.2)
        return z @ self.param("head", partial(_he, jax.random.fold_in(self.own, 9)))


def _he(key: Array, _: Array) -> Array:
    return jax.random.normal(key, (128, 128)) * (2 / 128) ** 0.5


def generator(key: Array, *, ignored: bool = False) -> Any:
    module = Generator(jax.random.key(0) if ignored else key)
    return module, dict(module.init(key, normal(4, 128)))


def relu_stack(p: Params, x: Array) -> Array:
    for name in sorted(p)[:-1]:
        x = jax.nn.relu(x @ p[name])
    return x @ p[sorted(p)[-1]]


def stack(widths: tuple[int, ...], key: Array, *, shared: bool = False) -> Any:
    """He's law, with a key of its own for each map or one for all."""
    count = len(widths) - 1
    keys = [key] * count if shared else list(jax.random.split(key, count))
    maps = enumerate(zip(keys, pairwise(widths), strict=True))
    return relu_stack, {f"w{i}": jax.random.normal(one, pair) * (2 / pair[0]) ** 0.5 for i, (one, pair) in maps}


SITES, FEATURES = 40, 4
SHIFTS = np.array([[(i + g) % SITES for i in range(SITES)] for g in range(SITES)])


def symmetric(p: Params, x: Array) -> Array:
    """The logarithm of a wave function that is the same under every shift (Carleo and Troyer 2017)."""
    made = jnp.einsum("bs,fgs->bfg", x, p["kernel"][:, SHIFTS]) + p["bias"][:, None]
    return jnp.log(jnp.cosh(made)).sum((1, 2))


def wave_function(std: float, key: Array) -> Any:
    first, second = jax.random.split(key)
    kernel = std * jax.random.normal(first, (FEATURES, SITES))
    return symmetric, {"kernel": kernel, "bias": 0.01 * jax.random.normal(second, (FEATURES,))}


def spins() -> tuple[Array]:
    return (jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (32, SITES)), jnp.float32),)


class Detr(linen.Module):
    """A decoder of learned queries, norms behind the sums (Carion 2020).

    Attributes:
        from_zero: whether its stream starts at zeros, not at the queries.
    """

    from_zero: bool = False

    @linen.compact
    def __call__(self, memory: Array) -> Array:
        """What it makes of its input."""
        query = jnp.broadcast_to(self.param("queries", linen.initializers.normal(1.0), (16, 64)), (len(memory), 16, 64))
        x = jnp.zeros_like(query) if self.from_zero else query
        for _ in range(4):
            x = linen.LayerNorm()(x + linen.MultiHeadDotProductAttention(4)(x + query, x + query, x))
            x = linen.LayerNorm()(x + linen.MultiHeadDotProductAttention(4)(x + query, memory, memory))
            x = linen.LayerNorm()(x + linen.Dense(64)(linen.relu(linen.Dense(256)(x))))
        return linen.Dense(10)(x.mean(1))


def detr(key: Array, *, from_zero: bool = False) -> Any:
    module = Detr(from_zero)
    return module, dict(module.init(key, memories()[0]))


def memories() -> tuple[Array, Array]:
    return normal(16, 49, 64), jnp.arange(16) % 10


def of_report(family: str, name: str, build: Any, batch: Any, loss: Any = "cross_entropy") -> Model:
    return maker("jax", family, "reports", loss)(name, build, batch)


GPT = of_report("transformer", "report_gpt", partial(gpt, WIDTH), sentences)
GENERATOR = of_report("generative", "report_generator", generator, vectors)
STACK = of_report("mlp", "report_stack", partial(stack, (128, 128, 128, 128, 128, 10)), vectors)
FUNNEL = of_report("mlp", "report_funnel", partial(stack, (128, 96, 64, 32, 10)), vectors)
WAVE = of_report("fields", "report_wave_function", partial(wave_function, SITES**-0.5), spins, None)
DETR = of_report("transformer", "report_queries", detr, memories)
MODELS = (
    GPT,
    planted(GPT, "wrong_fan", partial(gpt, WIDTH // HEADS), "blocks"),
    GENERATOR,
    planted(GENERATOR, "seed", partial(generator, ignored=True)),
    STACK,
    planted(STACK, "copies", partial(stack, (128, 128, 128, 128, 128, 10), shared=True)),
    FUNNEL,
    planted(FUNNEL, "copies", partial(stack, (128, 96, 64, 32, 10), shared=True)),
    WAVE,
    DETR,
    planted(DETR, "zero_stream", partial(detr, from_zero=True)),
)
