"""Attention in every spelling that JAX programs have: one law for the queries, scores of unit variance."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax import apply, plan  # noqa: E402

WIDTH, HEADS, SIZE = 64, 4, 16
SCALE, FOUR = SIZE**-0.5, math.sqrt(SIZE)
DRAWS = 4
CLOSE = 0.2
"""A head's variance is that of products of 16 values over 96 places, in four heads and 4 draws: its standard error is
2 to 4 %."""
NAMES = ("q", "k", "v", "out")


@dataclass(frozen=True)
class Spelling:
    """A way to write attention.

    Args:
        name: of it.
        scores: from query and key, (batch, heads, places, 16) each, to what the softmax reads.
        std: of the scores of queries and keys of unit second moment.
        attend: from the spelling, query, key and value to what the output map reads; a softmax of `scores` by default.
        values: parameters that are no maps.
    """

    name: str
    scores: Callable[..., Any]
    std: float = 1.0
    attend: Callable[..., Any] | None = None
    value: float | None = None

    def __call__(self, parameters, x):
        q, k, v = self.operands(parameters, x)
        if self.attend is not None:
            joined = self.attend(q, k, v)
        else:
            joined = jax.nn.softmax(self.read(parameters, q, k), -1) @ v
        return joined.transpose(0, 2, 1, 3).reshape(x.shape) @ parameters["out"]

    def operands(self, parameters, x):
        return tuple((x @ parameters[name]).reshape(*x.shape[:2], HEADS, SIZE).transpose(0, 2, 1, 3) for name in "qkv")

    def read(self, parameters, q, k):
        return self.scores(q, k) if self.value is None else self.scores(q, k, parameters["own"])

    def parameters(self):
        keys = jax.random.split(jax.random.key(0), len(NAMES))
        maps = {name: jax.random.normal(key, (WIDTH, WIDTH)) / 8 for name, key in zip(NAMES, keys, strict=True)}
        return maps if self.value is None else maps | {"own": jnp.array(self.value)}

    def planned(self, places=24):
        return plan((self, self.parameters()), (batch(places),))


def batch(places=24, seed=1):
    return jax.random.normal(jax.random.key(seed), (4, places, WIDTH))


def pairs(q, k):
    return q @ k.swapaxes(-1, -2)


def causal(scores, low):
    return jnp.where(jnp.tril(jnp.ones(scores.shape[-2:])) > 0, scores, low)


def heads_later(q, k):
    return jnp.einsum("bqhd,bkhd->bhqk", q.transpose(0, 2, 1, 3), k.transpose(0, 2, 1, 3))


def channels_first(q, k):
    return jnp.einsum("bhdi,bhdj->bhij", q.swapaxes(2, 3), k.swapaxes(2, 3))


def ready(scale):
    def attend(q, k, v):
        parts = (part.transpose(0, 2, 1, 3) for part in (q, k, v))
        return jax.nn.dot_product_attention(*parts, scale=scale).transpose(0, 2, 1, 3)

    return attend


def turned(q, k, v):
    return jax.nn.softmax(k @ q.swapaxes(-1, -2) * SCALE, -2).swapaxes(-1, -2) @ v


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


SPELLINGS = (
    Spelling("matmul", lambda q, k: pairs(q, k) * SCALE),
    Spelling("matmul unscaled", pairs, FOUR),
    Spelling("scale in q", lambda q, k: pairs(q * SCALE, k)),
    Spelling("scale in k", lambda q, k: pairs(q, k * SCALE)),
    Spelling("scale in both", lambda q, k: pairs(q * SIZE**-0.25, k * SIZE**-0.25)),
    Spelling("half of the scale", lambda q, k: pairs(q, k * SIZE**-0.25), 2.0),
    Spelling("root of an array", lambda q, k: pairs(q / jnp.sqrt(SIZE).astype(q.dtype), k)),
    Spelling("array of one value", lambda q, k: pairs(q, k) * jnp.full((1,), SCALE)),
    Spelling("learned scale", lambda q, k, s: pairs(q, k) * s, value=SCALE),
    Spelling("learned log of the temperature", lambda q, k, s: pairs(q, k) / jnp.exp(s), value=math.log(4)),
    Spelling("einsum", lambda q, k: jnp.einsum("bhid,bhjd->bhij", q, k) * SCALE),
    Spelling("einsum, keys first", lambda q, k: jnp.einsum("bhjd,bhid->bhij", k, q), FOUR),
    Spelling("einsum, dots", lambda q, k: jnp.einsum("...id,...jd->...ij", q, k), FOUR),
    Spelling("heads later", lambda q, k: heads_later(q, k) * SCALE),
    Spelling("heads later, unscaled", heads_later, FOUR),
    Spelling("channels first", lambda q, k: channels_first(q, k) * SCALE),
    Spelling("channels first, unscaled", channels_first, FOUR),
    Spelling("vmap", lambda q, k: jax.vmap(jax.vmap(lambda a, b: a @ b.T))(q, k), FOUR),
    Spelling("tensordot", lambda q, k: jax.vmap(jax.vmap(lambda a, b: jnp.tensordot(a, b, (1, 1))))(q, k) * SCALE),
    Spelling("summed", lambda q, k: (q[:, :, :, None] * k[:, :, None]).sum(-1), FOUR),
    Spelling("ready", lambda q, k: pairs(q, k) * SCALE, 1.0, ready(None)),
    Spelling("ready, unscaled", pairs, FOUR, ready(1.0)),
    Spelling("turned", lambda q, k: pairs(q, k) * SCALE, 1.0, turned),
    Spelling("masked", lambda q, k: causal(pairs(q, k) * SCALE, -1e9)),
    Spelling("masked first", lambda q, k: causal(pairs(q, k), -1e9) * SCALE),
    Spelling("sloped", lambda q, k: pairs(q, k) - 1e-3 * jnp.arange(k.shape[2]), FOUR),
    Spelling("soft cap", lambda q, k: jnp.tanh(pairs(q, k) / 50) * 50, FOUR),
)
every = pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.name)


def gain(row):
    """Std times sqrt(fan_in) over the size of what feeds it."""
    return row.gain * math.sqrt(row.fed)


@every
def test_scores_have_unit_variance(spelling):
    made, variances = spelling.planned(), []
    for key in range(DRAWS):
        _, parameters = apply((spelling, spelling.parameters()), made, key)
        q, k, _ = spelling.operands(parameters, batch(seed=key))
        scores = np.asarray(spelling.read(parameters, q, k), np.float64)
        variances.append(scores[scores > -1e4].var())
    assert np.mean(variances) == pytest.approx(1, abs=CLOSE)
    assert gain(made["q"]) == pytest.approx(1 / spelling.std, rel=0.005)
    assert ("attention scores" in made["q"].reason) == (spelling.std != 1)


@pytest.mark.parametrize("name", ["einsum, keys first", "heads later", "channels first", "channels first, unscaled"])
def test_the_law_does_not_depend_on_the_length(name):
    spelling = next(each for each in SPELLINGS if each.name == name)
    assert [gain(spelling.planned(places)["q"]) for places in (16, 40)] == pytest.approx(
        [1 / spelling.std] * 2, rel=0.005
    )


def test_a_norm_sets_the_scores_alone():
    cosine = Spelling("cosine", lambda q, k: pairs(unit(q), unit(k)) * 10.0)
    assert gain(cosine.planned()["q"]) == pytest.approx(1, rel=0.005)
