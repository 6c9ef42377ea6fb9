"""Spectra of Jacobians against singular values of random networks, and against known numbers."""

import math

import numpy as np
import pytest

from fanwise.theory.meanfield.isometry import jacobian_variance, largest_squared_singular_value

WIDTH, NETS = 400, 4
EDGES = {1: 4.0, 2: 6.75, 3: 9.4815, 5: 14.930, 10: 28.531, 50: 137.271}  # Fuss-Catalan, at high precision


def squared_singular_values(depth, *, relu, orthogonal):
    """Of the Jacobian of a network of square layers, each behind its slopes; mean 1."""
    found = []
    for seed in range(NETS):
        numbers = np.random.default_rng([depth, seed])
        product = np.eye(WIDTH)
        for _ in range(depth):
            weights = numbers.standard_normal((WIDTH, WIDTH)) / math.sqrt(WIDTH)
            weights = np.linalg.qr(weights)[0] if orthogonal else weights
            slopes = math.sqrt(2) * (numbers.random(WIDTH) < 0.5) if relu else np.ones(WIDTH)
            product = slopes[:, None] * (weights @ product)
        found.append(np.linalg.svd(product, compute_uv=False) ** 2)
    return np.concatenate(found)


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_the_spread_is_that_of_random_networks(depth, orthogonal, relu):
    values = squared_singular_values(depth, relu=relu, orthogonal=orthogonal)
    spread = float(values.var() / values.mean() ** 2)
    expected = jacobian_variance("relu" if relu else "linear", depth, orthogonal=orthogonal)
    reach = 12 * (1 + depth) ** 2 / WIDTH  # moments of spectra are exact to O(1 / width)
    assert spread == pytest.approx(expected, abs=reach)
    if expected > 2 * reach:
        assert spread != pytest.approx(expected / 2, abs=reach)  # the mutant: half of it


@pytest.mark.parametrize(("depth", "edge"), EDGES.items())
def test_the_edge_of_a_gaussian_product(depth, edge):
    assert largest_squared_singular_value(depth) == pytest.approx(edge, rel=1e-4)


def test_the_edge_holds_in_a_network():
    values = squared_singular_values(2, relu=False, orthogonal=False)
    assert values.max() == pytest.approx(largest_squared_singular_value(2), rel=5 * WIDTH ** (-2 / 3))


def test_small_signals_of_tanh_are_isometric_with_orthogonal_weights_alone():
    """f'^2 = 1 - 2 x^2 + ...: mu_2 / mu_1^2 - 1 = 4 Var x^2 = 8 q^2, while the scatter of Gaussian weights stays."""
    assert jacobian_variance("tanh", 100, q=1e-4, orthogonal=True) == pytest.approx(100 * 8e-8, rel=0.01)
    assert jacobian_variance("tanh", 100, q=1e-4) == pytest.approx(100, rel=1e-6)


@pytest.mark.parametrize("bad", [{"depth": 0}, {"depth": 3, "q": 0.0}, {"depth": 3, "q": -1.0}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=r"depth|q ="):
        jacobian_variance("tanh", **bad)
