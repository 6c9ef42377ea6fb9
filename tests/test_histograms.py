"""The histogram of a weight: 0 lies in one bin, whatever else the weight holds, and in every framework."""

import os

import numpy as np
import pytest

from fanwise import lab
from fanwise.measure.weight_statistics import BINS

os.environ.setdefault("KERAS_BACKEND", "torch")
ZERO = BINS // 2
"""The bin from 0 on: bins are equal, from -largest to largest."""
X = np.random.default_rng(0).normal(size=(8, 20)).astype(np.float32)
ALL, SOME = np.zeros((20, 10), np.float32), np.zeros((20, 10), np.float32)
SOME[0] = 0.25


def by_lab(weight):
    network = lab.Architecture((20, 10))
    parameters = {"layers.0.weight": weight, "layers.0.bias": np.ones(10, np.float32)}
    return lab.observe(network, parameters, X, np.zeros(8, np.int64)).values["layers.0.weight"]


def by_torch(weight):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    adapter = pytest.importorskip("fanwise.torch")
    model = torch.nn.Linear(20, 10)
    adapter.write(model, "weight", weight.T)
    return adapter.check(model, torch.from_numpy(X)).observations[0].values["weight"]


def by_jax(weight):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    adapter = pytest.importorskip("fanwise.jax")
    model = (lambda p, x: x @ p["w"], {"w": jax.numpy.asarray(weight)})
    return adapter.check(model, jax.numpy.asarray(X)).observations[0].values["w"]


def by_keras(weight):
    keras = pytest.importorskip("keras", reason="keras is not installed")
    adapter = pytest.importorskip("fanwise.keras")
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10, name="d")], name="m")
    adapter.write(model, "m/d/kernel", weight)
    return adapter.check(model, X).observations[0].values["m/d/kernel"]


@pytest.mark.parametrize("measured", [by_lab, by_torch, by_jax, by_keras])
def test_zeros_lie_in_the_bin_that_holds_zero(measured):
    every, some = measured(ALL).histogram, measured(SOME).histogram
    assert every == tuple(200 if i == ZERO else 0 for i in range(BINS))
    assert some == tuple({ZERO: 190, BINS - 1: 10}.get(i, 0) for i in range(BINS))
