"""Weights that a Keras model makes of its variables: the laws of torch, measured through the forward."""

import math
from statistics import fmean, stdev

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402

WIDTH, ROWS, KEYS = 48, 64, 10
X = np.random.default_rng(0).standard_normal((ROWS, 32)).astype(np.float32)


class Net(keras.Model):
    """A map whose weight is made, after a map and before a head."""

    def __init__(self, shapes, make):
        super().__init__()
        self.enter, self.head, self.make = keras.layers.Dense(WIDTH), keras.layers.Dense(10), make
        draw = keras.initializers.RandomNormal(stddev=0.3, seed=1)
        self.own = [self.add_weight(shape=shape, initializer=draw, name=name) for name, shape in shapes.items()]

    def call(self, x):
        self.pre = self.make(ops.tanh(self.enter(x)), *self.own)
        return self.head(ops.relu(self.pre))


def low_rank(x, u, v):
    return ops.matmul(x, ops.matmul(u, v))


def skew(x, w):
    return ops.matmul(x, w - ops.transpose(w))


def codes(x, code, first, second):
    return ops.matmul(x, ops.matmul(ops.tanh(ops.matmul(code, first)), second))


def absolute(x, w):
    return ops.matmul(x, ops.abs(w))


def positive(x, w):
    return ops.matmul(x, ops.softplus(w - 4.0))


def rolled(x, w):
    """A circulant matrix."""
    return ops.matmul(x, ops.stack([ops.roll(w, i) for i in range(WIDTH)]))


def taken(x, w):
    """The same, by constant indices."""
    return ops.matmul(x, ops.take(w, (np.arange(WIDTH)[None] + np.arange(WIDTH)[:, None]) % WIDTH))


MEMBERS = {
    low_rank: {"u": (WIDTH, 6), "v": (6, WIDTH)},
    skew: {"w": (WIDTH, WIDTH)},
    codes: {"code": (WIDTH, 8), "first": (8, 16), "second": (16, WIDTH)},
    absolute: {"w": (WIDTH, WIDTH)},
    positive: {"w": (WIDTH, WIDTH)},
    rolled: {"w": (WIDTH,)},
    taken: {"w": (WIDTH,)},
}


@pytest.mark.parametrize("make", MEMBERS, ids=lambda make: make.__name__)
def test_a_made_map_gives_unit_second_moment(make):
    net = Net(MEMBERS[make], make)
    net(X)
    plan = fwk.plan(net, fwk.Inputs((X,)))
    rows = [row for row in plan if row.path.rpartition("/")[2] in MEMBERS[make]]
    assert len(rows) == len(MEMBERS[make])
    assert all(row.law is not None and not row.guess for row in rows), rows
    sizes = []
    for key in range(KEYS):
        fwk.apply(net, plan, key=key)
        net(X)
        sizes.append(float(ops.convert_to_numpy(ops.mean(ops.square(net.pre)))))
    assert abs(fmean(sizes) - 1) < 4 * stdev(sizes) / math.sqrt(KEYS) + 0.05
