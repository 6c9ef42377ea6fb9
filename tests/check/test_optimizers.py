"""The first step of each optimizer: by its rule, and as the frameworks take it."""

import math
from functools import partial

import numpy as np
import pytest

from fanwise.measure.optimizers import RULES, Optimizer

RATE = 0.01
SHAPES = ((64, 64), (64, 16), (16, 64))
SIZES = ((0.1, 1e-3), (0.02, 1.0), (1.0, 1e-2))
"""Rms of the weight and of its gradient."""


def of_torch():
    torch = pytest.importorskip("torch")
    held = [torch.nn.Parameter(torch.ones(2))]
    return {
        "sgd": torch.optim.SGD(held, lr=RATE),
        "momentum": partial(torch.optim.SGD, lr=RATE, momentum=0.9),
        "adam": torch.optim.Adam(held, lr=RATE),
        "adamw": partial(torch.optim.AdamW, lr=RATE, weight_decay=0.0),
        "adafactor": partial(torch.optim.Adafactor, lr=RATE, weight_decay=0.0),
        "muon": partial(torch.optim.Muon, lr=RATE, weight_decay=0.0),
    }


def of_optax():
    optax = pytest.importorskip("optax")
    return {
        "sgd": optax.sgd(RATE),
        "momentum": optax.sgd(RATE, momentum=0.9),
        "adam": optax.adam(RATE),
        "adamw": optax.adamw(RATE, weight_decay=0.0),
        "lion": optax.lion(RATE, weight_decay=0.0),
        "adafactor": optax.adafactor(RATE, min_dim_size_to_factor=8),
    }


def of_keras():
    keras = pytest.importorskip("keras")
    optimizers = keras.optimizers
    return {
        "sgd": optimizers.SGD(RATE),
        "momentum": optimizers.SGD(RATE, momentum=0.9),
        "adam": optimizers.Adam(RATE, epsilon=1e-8),
        "adamw": optimizers.AdamW(RATE, weight_decay=0.0, epsilon=1e-8),
        "lion": optimizers.Lion(RATE),
    }


MAKERS = {"torch": of_torch, "jax": of_optax, "keras": of_keras}


def read(framework, value):
    if framework == "torch":
        from fanwise.torch.measure.optimizers import optimizer_of  # noqa: PLC0415
    elif framework == "jax":
        from fanwise.jax.measure.optimizers import optimizer_of  # noqa: PLC0415
    else:
        from fanwise.keras.measure.optimizers import optimizer_of  # noqa: PLC0415
    return optimizer_of(value)


@pytest.mark.parametrize("framework", MAKERS)
def test_the_rule_is_what_the_optimizer_does(framework):
    """Muon's singular values are about 1 (Newton-Schulz leaves 0.7 to 1.2), Adafactor's factors not exact."""
    for name, value in MAKERS[framework]().items():
        by_rule, tried = Optimizer(name, RATE), read(framework, value)
        for shape in SHAPES:
            for size, gradient in SIZES:
                wanted = by_rule.ratio(shape, size, gradient, shape[1])  # torch's rows are outputs
                loose = {"muon": 0.25, "adafactor": 0.1}.get(name, 0.02)
                assert tried.ratio(shape, size, gradient) == pytest.approx(wanted, rel=loose), (name, shape, size)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_by_hand(name):
    wanted = {"sgd": 2.0, "momentum": 2.0, "muon": 0.25, "adafactor": 0.5}.get(name, 1.0)
    assert Optimizer(name, 1.0).ratio((8, 16), 0.5, 2.0, 16) == pytest.approx(wanted / 0.5)


def test_without_a_gradient_or_a_weight_nothing_is_known():
    assert math.isnan(Optimizer("adam", 1.0).ratio((2,), 0.0, 1.0))
    assert math.isnan(Optimizer("adam", 1.0).ratio((2,), 1.0, 0.0))
    assert math.isnan(Optimizer("lion", 1.0).ratio((2,), 1.0, math.nan))


def test_an_optimizer_that_fails_on_a_weight_is_not_judged():
    def fails(weight, gradient):
        raise ValueError("matrices alone")

    assert math.isnan(Optimizer("own", math.nan, fails).ratio((2,), 1.0, 1.0))
    assert Optimizer("own", math.nan, lambda w, g: w - g).ratio((400,), 1.0, 0.5) == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize("framework", MAKERS)
def test_what_is_no_optimizer(framework):
    MAKERS[framework]()
    for value in ("adam:1e-3", 3, np.ones(2), lambda: 3, None):
        assert read(framework, value) is None
