"""Breaks of most kinds in one network: each is named first, and the network without them is healthy.

`python -m bench false_alarms --framework keras` judges the check on many networks and on all kinds.
"""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import initializers, layers, ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 64)).astype("float32"), RNG.integers(0, 10, 64)
CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Cut(layers.Layer):
    """No gradient comes through."""

    def call(self, x):
        return ops.stop_gradient(x)


def network(law=initializers.HeNormal, act="relu", *, cut=False):
    hidden = [layers.Dense(128, act, kernel_initializer=law(), name=f"d{i}") for i in range(8)]
    parts = [*hidden[:5], *([Cut()] if cut else []), *hidden[5:]]
    head = layers.Dense(10, kernel_initializer="lecun_normal", name="head")
    return keras.Sequential([keras.Input((64,)), *parts, head], name="m")


def after(change, *names):
    """The network with a change of kernels."""

    def build():
        model = network()
        for name in names or [f"d{i}" for i in range(8)]:
            path = f"m/{name}/kernel"
            fwk.write(model, path, change(fwk.read(model, path)))
        return model

    return build


def frozen():
    model = network()
    for i in (2, 3):
        model.layers[i].trainable = False
    return model


def biased():
    model = network()
    for i in range(8):
        fwk.write(model, f"m/d{i}/bias", np.full(128, -3.0))
    return model


def one_object():
    law = initializers.HeNormal(seed=0)
    return network(lambda: law)


def poisoned(kernel):
    kernel[:, 1] = math.nan
    return kernel


def std(value):
    return lambda: initializers.RandomNormal(0.0, value)


BREAKS = {
    "frozen": (frozen, {"frozen"}, "d2"),
    "detached": (lambda: network(cut=True), {"detached"}, "d4"),
    "zeros": (after(np.zeros_like, "d4"), {"zeros"}, "d4"),
    "constant": (after(lambda kernel: np.full_like(kernel, 0.01)), {"constant"}, ""),
    "tiny": (lambda: network(std(0.01)), {"tiny", "wrong_gain"}, ""),
    "huge": (lambda: network(std(1.0)), {"huge", "wrong_gain"}, ""),
    "slip": (lambda: network(lambda: initializers.VarianceScaling(4.0)), {"slip"}, ""),
    "one_layer_up": (after(lambda kernel: 50 * kernel, "d4"), {"one_layer_up"}, "d4"),
    "head": (after(lambda kernel: 30 * kernel, "head"), {"head"}, "head"),
    "nan": (after(poisoned, "d4"), {"nan"}, "d4"),
    "equal_units": (after(lambda kernel: np.repeat(kernel[:, :1], 128, 1), "d4"), {"equal_units"}, "d4"),
    "copies": (one_object, {"copies"}, "d2"),
    "bias": (biased, {"bias"}, ""),
    "saturated": (lambda: network(std(1.0), "tanh"), {"saturated", "huge", "wrong_gain"}, ""),
    "sigmoid_stack": (lambda: network(initializers.GlorotUniform, "sigmoid"), {"alike"}, ""),
    "skipped_init": (after(lambda kernel: np.full_like(kernel, 1e30)), {"skipped_init", "huge"}, ""),
}
SOME = list(BREAKS) if keras.config.backend() != "jax" else list(BREAKS)[:4]
"""JAX compiles each backward pass anew; the rules are the same, what they are shown is told by these."""


def grave(report):
    return [finding for finding in report.findings if finding.severity in ("warning", "error")]


@pytest.mark.parametrize("kind", SOME)
def test_a_break_is_named_first_where_it_is(kind):
    build, names, place = BREAKS[kind]
    first = grave(fwk.check(build, (X, Y), CROSS, seeds=1))[0]
    assert first.kind in names, str(first)
    assert any(f"/{place}" in path for path in first.paths) or first.place.startswith(place)


def test_the_network_itself_is_healthy():
    assert grave(fwk.check(network, (X, Y), CROSS, seeds=2)) == []
    shifted = grave(fwk.check(network, (X + 100, Y), CROSS, seeds=1))
    assert shifted[0].kind == "input"


def test_a_gradient_that_is_zero_is_not_one_that_is_cut():
    """Behind dead units every gradient is 0, and there all the same; behind a cut there is none."""
    model = network()
    fwk.write(model, "m/d6/bias", np.full(128, -100.0))
    kinds = {one.kind for finding in fwk.check(model, (X, Y), CROSS).findings for one in finding.walk()}
    assert "detached" not in kinds
    assert kinds & {"bias", "dead"}
