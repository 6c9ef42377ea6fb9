"""Branches of Keras models that do not end in a map: what stands behind their last map counts."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed")

from keras import layers, ops  # noqa: E402

from fanwise.keras import Inputs, apply, plan  # noqa: E402
from fanwise.plan.branches import BranchSizes  # noqa: E402

WIDTH, DEPTH, SEEDS = 64, 8, 4
INPUT = np.random.default_rng(0).standard_normal((256, WIDTH)).astype(np.float32)
ENDS = {
    "relu": lambda y, h: ops.relu(y),
    "absolute": lambda y, h: ops.abs(y),
    "gate of itself": lambda y, h: y * (1 + ops.tanh(y)),
    "gate of the stream": lambda y, h: ops.abs(y) * ops.relu(h) * 2,
}
"""What the branch makes of its last map's output y; h is what the branch reads."""


def network(end):
    """Pre-norm residual blocks whose last map is followed by a function."""
    given = keras.Input((WIDTH,))
    x = first = layers.Dense(WIDTH, name="entry")(given)
    for _ in range(DEPTH):
        h = layers.LayerNormalization()(x)
        x = x + end(layers.Dense(WIDTH)(ops.tanh(layers.Dense(WIDTH)(h))), h)
    return keras.Model(given, layers.Dense(10)(x)), keras.Model(given, [first, x])


def growth(name):
    """By what the plan lets the second moment of the stream grow, the mean of seeds."""
    keras.utils.clear_session()
    model, stream = network(ENDS[name])
    planned, growths = plan(model, Inputs((INPUT,))), []
    for seed in range(1, SEEDS + 1):
        apply(model, planned, key=seed)
        first, last = (float(np.square(ops.convert_to_numpy(end)).mean()) for end in stream(INPUT))
        growths.append(last / first)
    return sum(growths) / SEEDS


@pytest.mark.parametrize("name", ENDS)
def test_a_stream_grows_by_at_most_e(name):
    assert 1.2 < growth(name) < math.e


def test_maps_that_have_their_share_grow_it_by_more(monkeypatch):
    """The mutant: what stands behind the last map does not count."""
    monkeypatch.setattr(BranchSizes, "shares", lambda self, before: {})
    assert growth("absolute") > 2 * math.e
