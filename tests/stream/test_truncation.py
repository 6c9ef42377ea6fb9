import math

import numpy as np
import pytest
import scipy.stats
from scipy.special import ndtri

from fanwise.stream.truncation import Truncation, upper_quantile

CASES = [(-2, 2), (-1, 3), (3, math.inf), (-math.inf, 0.5), (-0.1, 0.1), (-4, -2), (0, 1), (-math.inf, math.inf)]


@pytest.mark.parametrize(("low", "high"), CASES)
def test_moments_against_scipy(low, high):
    mean, std = Truncation(low, high).moments()
    law = scipy.stats.truncnorm(low, high)
    assert mean == pytest.approx(law.mean(), abs=1e-12)
    assert std == pytest.approx(law.std(), rel=1e-11)


def test_two_sigmas():
    """The constant that JAX, Keras and timm divide by."""
    assert Truncation(-2, 2).moments()[1] == pytest.approx(0.8796256610342398, abs=1e-15)


@pytest.mark.parametrize("low", [9.0, 20.0, 36.0])
def test_far_tail_against_the_asymptotic_series(low):
    """Mean low + 1/low - 2/low^3 + 10/low^5 - 74/low^7, the continued fraction of Mills' ratio expanded."""
    series = low + 1 / low - 2 / low**3 + 10 / low**5 - 74 / low**7
    assert Truncation(low, math.inf).moments()[0] == pytest.approx(series, abs=710 / low**9)


def test_upper_quantile_against_scipy():
    tail = np.concatenate([10.0 ** -np.arange(1, 299, 0.37), np.linspace(1e-6, 1 - 1e-6, 100_001)])
    np.testing.assert_allclose(upper_quantile(tail), -ndtri(tail), rtol=2e-15, atol=2e-16)


@pytest.mark.parametrize(("low", "high"), [*CASES, (9, 10), (30, 31), (-1e-3, 2e-3)])
def test_quantiles_against_scipy(low, high):
    shares = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999999])
    np.testing.assert_allclose(
        Truncation(low, high).quantile(shares), scipy.stats.truncnorm(low, high).ppf(shares), rtol=1e-12, atol=1e-13
    )
