"""The statistics of weights in every framework and in the NumPy network: closed forms on weights made for them."""

import math

import numpy as np
import pytest

import fanwise
from fanwise import lab

from .networks import MLP, examples, weights

BINS = 32
RNG = np.random.default_rng(5)
NORMAL = RNG.normal(0, 0.25, (32, 32)).astype(np.float32)


def measured(framework, weight):
    """What is told of the second weight of `MLP` when it holds these numbers."""
    model = framework.build(MLP, weights(MLP, b_weight=lambda w: weight))
    report = framework.api.check(model, framework.given(examples(MLP))["x"], backward=False)
    return report.observations[0].values[framework.path("b.weight")]


def test_moments(framework):
    wide, found = NORMAL.astype(np.float64), measured(framework, NORMAL)
    assert found.count == 32 * 32
    assert found.mean == pytest.approx(wide.mean(), abs=1e-7)
    assert found.second_moment == pytest.approx(np.square(wide).mean(), rel=1e-6)
    assert found.kurtosis == pytest.approx(((wide - wide.mean()) ** 4).mean() / wide.var() ** 2, rel=1e-4)
    assert found.largest == pytest.approx(np.abs(wide).max(), rel=1e-7)
    assert (found.zeros, found.infinite, found.repeated, found.twin) == (0, 0, 0, "")
    assert not found.constant


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_equal_values(framework, value):
    found = measured(framework, np.full((32, 32), value, np.float32))
    assert found.mean == pytest.approx(np.float32(value), rel=1e-7)
    assert found.second_moment == pytest.approx(np.float32(value).astype(float) ** 2, rel=1e-6)
    assert found.constant
    assert math.isnan(found.kurtosis)
    assert found.zeros == (value == 0)
    assert found.repeated == pytest.approx(31 / 32)


def test_shares_of_zeros_and_of_what_is_not_finite(framework):
    weight = NORMAL.copy()
    weight[:8] = 0
    weight[8, :4] = [np.nan, np.inf, -np.inf, np.nan]
    found = measured(framework, weight)
    assert found.zeros == 0.25
    assert found.infinite == 4 / 1024
    finite = weight[np.isfinite(weight)].astype(np.float64)
    assert found.second_moment == pytest.approx(np.square(finite).mean(), rel=1e-6)
    assert (found.histogram, math.isnan(found.kurtosis)) == ((), True)


def test_units_that_repeat_others(framework):
    """Columns of (in, out) are units: a half of them is the other half again."""
    found = measured(framework, np.tile(NORMAL[:, :16], (1, 2)))
    assert found.repeated == 0.5
    assert measured(framework, np.tile(NORMAL[:16], (2, 1))).repeated == 0


def test_parts_are_eighths_of_the_units(framework):
    scales = np.repeat(np.arange(1, 9), 4).astype(np.float32)
    found = measured(framework, NORMAL * scales)
    expected = [np.square((NORMAL * scales)[:, 4 * i : 4 * i + 4].astype(np.float64)).mean() for i in range(8)]
    assert found.parts == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("rows", "overlap"), [("orthogonal", 0.0), ("normal", None), ("one direction", math.sqrt(32))])
def test_overlap_of_units(framework, rows, overlap):
    made = {"normal": NORMAL, "orthogonal": np.linalg.qr(NORMAL)[0].astype(np.float32)}
    made["one direction"] = np.outer(NORMAL[:, 0], np.arange(1, 33)).astype(np.float32)
    unit = (made[rows] / np.linalg.norm(made[rows], axis=0)).astype(np.float64)
    cosines = (unit.T @ unit)[~np.eye(32, dtype=bool)]
    expected = math.sqrt(32 * np.square(cosines).mean())
    assert overlap is None or expected == pytest.approx(overlap, abs=1e-4)
    assert measured(framework, made[rows]).overlap == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_twins_are_named(framework):
    model = framework.build(MLP, weights(MLP, a_bias=lambda b: NORMAL[0], b_bias=lambda b: NORMAL[0]))
    found = framework.api.check(model, framework.given(examples(MLP))["x"], backward=False).observations[0].values
    assert [found[framework.path(f"{name}.bias")].twin for name in "ab"] == ["", framework.path("a.bias")]
    assert found[framework.path("a.weight")].twin == ""


def histogram(weight):
    """Counts in 32 equal bins from -largest to largest."""
    largest = np.abs(weight).max()
    return np.histogram(weight.astype(np.float64), np.linspace(-largest, largest, BINS + 1))[0]


def test_the_histogram_of_normal_weights(framework):
    expected, found = histogram(NORMAL), np.array(measured(framework, NORMAL).histogram)
    assert found.sum() == 1024
    assert np.abs(np.cumsum(found) - np.cumsum(expected)).max() <= 1  # an edge may fall either way


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_zeros_lie_in_the_bin_on_the_right_of_the_middle(framework, share):
    """The bin that starts at 0, in a weight that is half zeros and in a weight that is all zeros."""
    weight = np.where(np.arange(1024).reshape(32, 32) < share * 1024, 0, np.abs(NORMAL) + 0.1).astype(np.float32)
    found = measured(framework, weight).histogram
    assert found[BINS // 2] == share * 1024
    assert sum(found[: BINS // 2]) == 0


# The network in NumPy is a fourth adapter.


def of_lab(weight):
    architecture = lab.Architecture((16, 32, 32, 10))
    values = {f"layers.{i}.{kind}": None for i in range(3) for kind in ("weight", "bias")}
    start = weights(MLP, b_weight=lambda w: weight)
    held = dict(zip(values, start.values(), strict=True))
    report = lab.check(architecture, held, examples(MLP)["x"], np.arange(64) % 10)
    return report.observations[0].values["layers.1.weight"]


def test_the_numpy_network_tells_the_same(framework):
    found, expected = measured(framework, NORMAL), of_lab(NORMAL)
    for name in ("count", "mean", "second_moment", "kurtosis", "largest", "zeros", "infinite", "repeated", "overlap"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-7), name
    assert found.parts == pytest.approx(expected.parts, rel=1e-5)
    assert found.histogram == expected.histogram


def test_all_zeros_lie_in_one_bin_here_and_there(framework):
    zeros = np.zeros((32, 32), np.float32)
    assert measured(framework, zeros).histogram == of_lab(zeros).histogram


def test_a_start_of_the_numpy_network_is_recognised(framework):
    """The law that `check` recognises in values does not depend on who measured them."""
    drawn = fanwise.he_normal((32, 32), key=3)
    model = framework.build(MLP, weights(MLP, b_weight=lambda w: drawn))
    report = framework.api.check(model, framework.given(examples(MLP))["x"])
    laws = {layer.name: layer.law for layer in report.layers}
    assert next(law for name, law in laws.items() if framework.path("b.weight").startswith(name)) == "He normal"
