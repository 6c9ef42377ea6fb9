"""The factor with which an activation gives what is wanted, against closed forms and SciPy."""

import math

import numpy as np
import pytest
from scipy import optimize

from fanwise.calibrate.solving import factor_for


@pytest.mark.parametrize("slope", [1e-5, 0.3, 7.0, 1e5])
def test_homogeneous_statistics_are_solved_in_two_evaluations(slope):
    seen = []

    def statistic(factor):
        seen.append(factor)
        return slope * factor

    assert factor_for(statistic, 2.0) == pytest.approx(2 / slope, rel=1e-9)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("function", "target"), [(np.tanh, 0.9), (np.tanh, 1e-3), (np.arctan, 1.4), (np.square, 3.0), (np.expm1, 5.0)]
)
def test_the_root_is_that_of_brent(function, target):
    x = np.random.default_rng(0).standard_normal(1000)

    def statistic(factor):
        return float(np.sqrt(np.mean(function(factor * x) ** 2)))

    expected = optimize.brentq(lambda factor: statistic(factor) - target, 1e-6, 50, xtol=1e-14)
    assert factor_for(statistic, target) == pytest.approx(expected, rel=1e-6)


def test_a_statistic_that_is_rounded_is_solved_to_its_rounding():
    """Secants of float32 noise lead back and forth; the nearest of them is the solution."""
    x = np.random.default_rng(0).standard_normal(16384).astype(np.float32)
    seen = []

    def statistic(factor):
        seen.append(factor)
        scaled = np.float32(factor) * x
        return float(np.float32(np.sqrt(np.mean(np.square(scaled / (1 + np.exp(-scaled)))))))

    found = factor_for(statistic, 1.0)
    assert found is not None
    assert statistic(found) == pytest.approx(1, abs=1e-6)
    assert len(seen) < 12


def test_what_cannot_be_reached_is_none():
    assert factor_for(lambda factor: math.tanh(factor), 1.01) is None
    assert factor_for(lambda _: 0.0, 1.0) is None
    assert factor_for(lambda _: math.nan, 1.0) is None
    assert factor_for(lambda _: 0.5, 1.0) is None


def test_a_target_below_what_a_function_ever_gives_is_none():
    assert factor_for(lambda factor: math.log1p(math.exp(factor)), 0.5) is None
