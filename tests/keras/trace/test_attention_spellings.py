"""Attention in every spelling that models of Keras have: one law for the queries, scores of unit variance."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")
ops, layers = keras.ops, keras.layers

import fanwise.keras as fwk  # noqa: E402

WIDTH, HEADS, SIZE = 64, 4, 16
SCALE, FOUR = SIZE**-0.5, math.sqrt(SIZE)
DRAWS = 4
CLOSE = 0.2
"""A head's variance is that of products of 16 values over 96 places, in four heads and 4 draws: its standard error is
2 to 4 %."""


@dataclass(frozen=True)
class Spelling:
    """A way to write attention.

    Args:
        name: of it.
        scores: from query and key, (batch, heads, places, 16) each, to what the softmax reads.
        std: of the scores of queries and keys of unit second moment.
        attend: from query, key and value to what the output map reads; a softmax of `scores` by default.
        value: of a parameter that `scores` is given.
    """

    name: str
    scores: Callable[..., Any]
    std: float = 1.0
    attend: Callable[..., Any] | None = None
    value: float | None = None


class Model(keras.Model):
    """Maps of queries, keys, values and outputs around a spelling."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.q, self.k, self.v, self.out = (layers.Dense(WIDTH, use_bias=False, name=name) for name in NAMES)
        if spelling.value is not None:
            start = keras.initializers.Constant(spelling.value)
            self.own = self.add_weight(shape=(), initializer=start, name="own")

    def call(self, x):
        q, k, v = self.operands(x)
        attend = self.spelling.attend
        joined = ops.matmul(ops.softmax(self.scores(q, k), -1), v) if attend is None else attend(q, k, v)
        return self.out(ops.reshape(ops.transpose(joined, (0, 2, 1, 3)), x.shape))

    def operands(self, x):
        shape = (*x.shape[:2], HEADS, SIZE)
        return tuple(ops.transpose(ops.reshape(m(x), shape), (0, 2, 1, 3)) for m in (self.q, self.k, self.v))

    def scores(self, q, k):
        return self.spelling.scores(q, k) if self.spelling.value is None else self.spelling.scores(q, k, self.own)


NAMES = ("queries", "keys", "values", "outputs")


def pairs(q, k):
    return ops.matmul(q, ops.swapaxes(k, -1, -2))


def swapped(x):
    return ops.transpose(x, (0, 2, 1, 3))


def heads_later(q, k):
    return ops.einsum("bqhd,bkhd->bhqk", swapped(q), swapped(k))


def channels_first(q, k):
    return ops.einsum("bhdi,bhdj->bhij", ops.swapaxes(q, 2, 3), ops.swapaxes(k, 2, 3))


def summed(q, k):
    return ops.sum(ops.expand_dims(q, 3) * ops.expand_dims(k, 2), -1)


def ready(scale):
    def attend(q, k, v):
        return swapped(ops.dot_product_attention(swapped(q), swapped(k), swapped(v), scale=scale))

    return attend


def by_hand(q, k, v):
    scores = pairs(q, k)
    powers = ops.exp(scores - ops.max(scores, -1, keepdims=True))
    return ops.matmul(powers / ops.sum(powers, -1, keepdims=True), v)


def hidden(places):
    return ops.convert_to_tensor(np.triu(np.full((places, places), -1e9, np.float32), 1))


SPELLINGS = (
    Spelling("matmul", lambda q, k: pairs(q, k) * SCALE),
    Spelling("matmul unscaled", pairs, FOUR),
    Spelling("operator", lambda q, k: q @ ops.swapaxes(k, -1, -2) / math.sqrt(SIZE)),
    Spelling("scale in q", lambda q, k: pairs(q * SCALE, k)),
    Spelling("scale in k", lambda q, k: pairs(q, ops.multiply(SCALE, k))),
    Spelling("scale in both", lambda q, k: pairs(q * SIZE**-0.25, k * SIZE**-0.25)),
    Spelling("half of the scale", lambda q, k: pairs(q * SIZE**-0.25, k), 2.0),
    Spelling("root of a tensor", lambda q, k: pairs(q, k) / ops.sqrt(ops.cast(SIZE, q.dtype))),
    Spelling("tensor in q", lambda q, k: pairs(ops.full((1,), SCALE) * q, k)),
    Spelling("learned scale", lambda q, k, s: pairs(q, k) * s, value=SCALE),
    Spelling("learned log of the scale", lambda q, k, s: pairs(q, k) * ops.exp(s), value=math.log(SCALE)),
    Spelling("learned temperature", lambda q, k, s: pairs(q, k) / s, value=4.0),
    Spelling("einsum", lambda q, k: ops.einsum("bhid,bhjd->bhij", q, k) * SCALE),
    Spelling("einsum, keys first", lambda q, k: ops.einsum("bhjd,bhid->bhij", k, q), FOUR),
    Spelling("einsum, dots", lambda q, k: ops.einsum("...id,...jd->...ij", q, k), FOUR),
    Spelling("heads later", lambda q, k: heads_later(q, k) * SCALE),
    Spelling("heads later, unscaled", heads_later, FOUR),
    Spelling("channels first", lambda q, k: channels_first(q, k) * SCALE),
    Spelling("channels first, unscaled", channels_first, FOUR),
    Spelling("summed", summed, FOUR),
    Spelling("ready", lambda q, k: pairs(q, k) * SCALE, 1.0, ready(None)),
    Spelling("ready, unscaled", pairs, FOUR, ready(1.0)),
    Spelling("softmax by hand", pairs, FOUR, by_hand),
    Spelling("masked", lambda q, k: ops.where(hidden(k.shape[2]) < 0, -1e9, pairs(q, k) * SCALE)),
    Spelling("added mask", lambda q, k: pairs(q, k) + hidden(k.shape[2]), FOUR),
    Spelling("soft cap", lambda q, k: ops.tanh(pairs(q, k) / 50) * 50, FOUR),
)
every = pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.name)


def built(spelling, places=24):
    keras.utils.clear_session()
    model, inputs = Model(spelling), batch(places)
    model(inputs)
    return model, inputs


def batch(places=24, seed=0):
    return keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=(4, places, WIDTH)).astype("float32"))


def query_row(plan):
    return next(row for row in plan if "queries" in row.path)


def gain(row):
    """Std times sqrt(fan_in) over the size of what feeds it."""
    return row.gain * math.sqrt(row.fed)


@every
def test_scores_have_unit_variance(spelling):
    model, inputs = built(spelling)
    plan, variances = fwk.plan(model, inputs), []
    for key in range(DRAWS):
        fwk.apply(model, plan, key)
        q, k, _ = model.operands(batch(seed=key))
        scores = np.asarray(keras.ops.convert_to_numpy(model.scores(q, k)), np.float64)
        variances.append(scores[scores > -1e4].var())
    assert np.mean(variances) == pytest.approx(1, abs=CLOSE)
    assert gain(query_row(plan)) == pytest.approx(1 / spelling.std, rel=0.005)
    assert ("attention scores" in query_row(plan).reason) == (spelling.std != 1)


@pytest.mark.parametrize("name", ["einsum, keys first", "heads later", "channels first", "channels first, unscaled"])
def test_the_law_does_not_depend_on_the_length(name):
    spelling = next(each for each in SPELLINGS if each.name == name)
    gains = [gain(query_row(fwk.plan(*built(spelling, places)))) for places in (16, 40)]
    assert gains == pytest.approx([1 / spelling.std] * 2, rel=0.005)


def test_a_norm_sets_the_scores_alone():
    cosine = Spelling("cosine", lambda q, k: pairs(ops.normalize(q, -1), ops.normalize(k, -1)) * 10.0)
    assert gain(query_row(fwk.plan(*built(cosine)))) == pytest.approx(1, rel=0.005)
