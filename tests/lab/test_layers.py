import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from fanwise.lab.layers import ACTIVATIONS, correct, cross_entropy, overflow_allowed
from fanwise.laws.nonlinearities import nonlinearity

GRID = np.linspace(-9, 9, 2001)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_slopes_are_those_of_the_laws(name):
    law = nonlinearity(name)
    values, slopes = ACTIVATIONS[name](GRID)
    # both sides round a few times at sizes up to 1, times x up to 9 for gelu
    np.testing.assert_allclose(values, law.function(GRID), rtol=0, atol=9 * 2**-51)
    np.testing.assert_allclose(slopes, law.slope(GRID), rtol=0, atol=9 * 2**-51)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_stays_float32_and_empty_stays_empty(name):
    for x in (GRID.astype(np.float32), np.zeros((0, 3), np.float32)):
        values, slopes = ACTIVATIONS[name](x)
        assert values.dtype == slopes.dtype == np.float32
        assert values.shape == slopes.shape == x.shape


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nothing_overflows_at_large_arguments(name):
    with overflow_allowed():
        values, slopes = ACTIVATIONS[name](np.array([-1e30, 1e30], np.float32))
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()


def test_the_loss_and_its_gradient_are_scipys():
    logits = np.random.default_rng(0).standard_normal((6, 4)) * 5
    labels = np.array([0, 1, 2, 3, 0, 1])
    loss, gradient = cross_entropy(logits, labels)
    rows = np.arange(6)
    # a handful of float64 roundings at sizes below 32
    assert abs(loss + log_softmax(logits, axis=1)[rows, labels].mean()) < 32 * 2**-50
    np.testing.assert_allclose(gradient, (softmax(logits, axis=1) - np.eye(4)[labels]) / 6, atol=2**-50)


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_large_logits_give_their_exact_loss(size):
    logits = np.array([[size, -size], [size, -size]], np.float32)
    loss, gradient = cross_entropy(logits, np.array([1, 0]))
    assert loss == float(logits[0, 0])  # (2 size + 0) / 2
    np.testing.assert_array_equal(gradient, [[0.5, -0.5], [0, 0]])
    assert gradient.dtype == np.float32


@pytest.mark.parametrize(
    ("logits", "loss"), [([-np.inf, 0.0], np.inf), ([np.inf, 0.0], np.nan), ([np.nan, 0.0], np.nan)]
)
def test_logits_that_are_not_finite_are_not_hidden(logits, loss):
    found, _ = cross_entropy(np.array([logits, [0.0, 0.0]], np.float32), np.array([0, 1]))
    np.testing.assert_equal(found, loss)


def test_only_finite_logits_can_be_right():
    logits = np.array([[2.0, 1.0], [1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
    np.testing.assert_array_equal(correct(logits, np.zeros(4, int)), [True, False, False, False])
