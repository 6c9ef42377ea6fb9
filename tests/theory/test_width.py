"""How far lengths wander at finite width, against closed forms and real networks."""

import itertools
import math

import numpy as np
import pytest
import scipy.special

from fanwise import gain, nonlinearity
from fanwise.theory.meanfield.finite_width import kappa, log_lengths
from fanwise.theory.meanfield.maps import MeanField, trajectory


def network_logs(field, widths, draws, *, start=1.0, seed=0):
    """ln of the second moment of the last layer's pre-activations, over networks of Gaussian weights."""
    rng = np.random.default_rng(seed)
    h = math.sqrt(start) * rng.normal(size=(draws, widths[0]))
    for before, width in itertools.pairwise(widths):
        w = rng.normal(size=(draws, before, width)) * field.sigma_w / math.sqrt(before)
        h = np.einsum("di,dij->dj", field.f.function(h), w) + field.sigma_b * rng.normal(size=(draws, width))
    return np.log(np.mean(h**2, axis=1))


@pytest.mark.parametrize(
    ("name", "sigma_w", "expected"),
    [
        ("linear", 1.0, 2),
        ("relu", math.sqrt(2), 5),
        ("leaky_relu(0.2)", gain("leaky_relu(0.2)"), 5 - 3 * 0.2**2 * 2 / 1.04**2 * 2),
    ],
)
def test_kappa_in_closed_form(name, sigma_w, expected):
    """E f^4 / (E f^2)^2 - 1; leaky: 6 (1 + a^4) / (1 + a^2)^2 - 1 = 5 - 12 a^2 / (1 + a^2)^2."""
    for q in (0.1, 1.0, 7.0):
        assert kappa(MeanField(name, sigma_w), q) == pytest.approx(expected, rel=1e-11)


def test_homogeneous_functions_add_up_over_the_sum_of_inverse_widths():
    """Hanin and Nica, 2020: mean -beta / 2 and variance beta = 5 sum 1 / n, and the last layer's own 2 / n."""
    widths = [50, 100, 200, 400]
    beta = 5 * sum(1 / n for n in widths[:-1])
    last = log_lengths(MeanField("relu", math.sqrt(2)), widths)[-1]
    assert last.variance == pytest.approx(beta + 2 / 400, rel=1e-10)
    assert last.shift == pytest.approx(-beta / 2 - 1 / 400, rel=1e-10)
    assert (last.layer, last.width, last.mean_field) == (4, 400, pytest.approx(1.0))


def test_linear_networks_against_digamma():
    """ln of a product of chi-squares: exact mean and variance, from which first order may differ by 1 / n^2."""
    n, layers = 300, 9
    last = log_lengths(MeanField("linear", 1.0), [n] * layers)[-1]
    mean = layers * (scipy.special.digamma(n / 2) - math.log(n / 2))
    variance = layers * scipy.special.polygamma(1, n / 2)
    assert last.shift == pytest.approx(mean, abs=layers / n**2)
    assert last.variance == pytest.approx(variance, abs=3 * layers / n**2)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "start"),
    [
        ("relu", math.sqrt(2), 0.0, 1.0),
        ("linear", 1.0, 0.2, 0.7),
        ("tanh", gain("tanh"), 0.0, 1.0),
        ("tanh", 1.2, 0.3, 2.0),
        ("gelu_tanh", gain("gelu_tanh"), 0.0, 1.0),
        ("selu", 1.0, 0.0, 1.0),
        ("relu_squared", gain("relu_squared"), 0.0, 1.0),
    ],
)
def test_real_networks_wander_as_predicted(name, sigma_w, sigma_b, start):
    """Mean and variance of 1,500 networks of 5 layers of 80 units: five standard errors and the next order, 1 / n^2."""
    field, widths, draws = MeanField(name, sigma_w, sigma_b), [80] * 5, 1500
    last = log_lengths(field, widths, start=start)[-1]
    logs = network_logs(field, widths, draws, start=start) - math.log(trajectory(field, start, 4)[-1])
    noise = kappa(field, start) + 2
    next_order = 8 * (noise / 80) ** 2 * max(1.0, last.variance / (4 * noise / 80)) ** 2
    spread = logs.std() / math.sqrt(draws)
    kurtosis = np.mean((logs - logs.mean()) ** 4) / logs.var() ** 2
    assert abs(logs.mean() - last.shift) < 5 * spread + next_order
    assert abs(logs.var() - last.variance) < 5 * logs.var() * math.sqrt((kurtosis - 1) / draws) + next_order
    if name in {"relu", "relu_squared", "gelu_tanh"}:  # the mutants: no shift, and the scatter of one layer only
        assert abs(logs.mean()) > 5 * spread
        assert abs(logs.var() - 2 / 80) > 5 * logs.var() * math.sqrt((kurtosis - 1) / draws)


def test_bands():
    layers = log_lengths(MeanField("tanh", gain("tanh")), [256] * 50)
    assert layers[0].shift == pytest.approx(-1 / 256)
    assert layers[0].variance == pytest.approx(2 / 256)
    low, high = layers[-1].band()
    assert low < 1 < high
    assert layers[-1].band(0.0)[0] == layers[-1].band(0.0)[1] == pytest.approx(math.exp(layers[-1].shift))
    assert math.log(high / low) == pytest.approx(4 * math.sqrt(layers[-1].variance))
    assert layers[-1].reliable
    assert layers[-1].variance == pytest.approx(layers[20].variance)  # a stable map forgets
    unstable = log_lengths(MeanField("gelu", gain("gelu")), [256] * 20)
    assert not unstable[-1].reliable
    assert unstable[-1].variance > 10 * unstable[8].variance


def test_any_function():
    unit = nonlinearity("softsign")
    known = log_lengths(MeanField("softsign", 2.0, 0.1), [64] * 4)[-1]
    bare = log_lengths(MeanField(unit.function, 2.0, 0.1), [64] * 4)[-1]
    assert (bare.shift, bare.variance) == pytest.approx((known.shift, known.variance), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda field: log_lengths(field, []), ValueError, "at least one width"),
        (lambda field: log_lengths(field, [10, 0]), ValueError, "width = 0"),
        (lambda field: log_lengths(field, [10.5]), TypeError, "width = 10.5"),
        (lambda field: log_lengths(field, [10], start=0.0), ValueError, "start > 0"),
        (lambda field: log_lengths(field, [10], start=math.nan), ValueError, "start = nan"),
        (lambda field: log_lengths(MeanField("relu", 0.0), [10, 10]), ValueError, "all zeros"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(MeanField("relu", math.sqrt(2)))
