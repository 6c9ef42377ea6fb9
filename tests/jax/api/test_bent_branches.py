"""Branches of JAX models that do not end in a map: what stands behind their last map counts."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax import Inputs, apply, plan  # noqa: E402
from fanwise.plan.branches import BranchSizes  # noqa: E402

WIDTH, DEPTH, SEEDS = 64, 8, 4
RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


INPUT = normal(256, WIDTH)
ENDS = {
    "relu": lambda y, h: jax.nn.relu(y),
    "absolute": lambda y, h: jnp.abs(y),
    "gate of itself": lambda y, h: y * (1 + jnp.tanh(y)),
    "gate of the stream": lambda y, h: jnp.abs(y) * jax.nn.relu(h) * 2,
    "cosine transform": lambda y, h: jnp.fft.irfft(jax.nn.relu(y) * 3, n=WIDTH, norm="ortho"),
}
"""What the branch makes of its last map's output y; h is what the branch reads."""


def stream(end, p, x):
    """Where the stream begins and where it ends."""
    x = first = x @ p["entry"]
    for block in p["blocks"]:
        h = jax.nn.standardize(x)
        x = x + end(jnp.tanh(h @ block["inner"]) @ block["outer"], h)
    return first, x


def growth(name):
    """By what the plan lets the second moment of the stream grow, the mean of seeds."""

    def forward(p, x):
        return stream(ENDS[name], p, x)[1] @ p["head"]

    entry, head, *maps = (normal(WIDTH, size) for size in (WIDTH, 10, *[WIDTH] * 2 * DEPTH))
    blocks = [{"inner": inner, "outer": outer} for inner, outer in zip(maps[::2], maps[1::2], strict=True)]
    model = forward, {"entry": entry, "blocks": blocks, "head": head}
    planned, growths = plan(model, Inputs((INPUT,))), []
    for seed in range(1, SEEDS + 1):
        first, last = stream(ENDS[name], apply(model, planned, key=seed)[1], INPUT)
        growths.append(float(jnp.mean(last**2) / jnp.mean(first**2)))
    return sum(growths) / SEEDS


@pytest.mark.parametrize("name", ENDS)
def test_a_stream_grows_by_at_most_e(name):
    assert 1.2 < growth(name) < math.e


def test_maps_that_have_their_share_grow_it_by_more(monkeypatch):
    """The mutant: what stands behind the last map does not count."""
    monkeypatch.setattr(BranchSizes, "shares", lambda self, before: {})
    assert growth("absolute") > 2 * math.e
