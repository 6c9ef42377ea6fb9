import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from fanwise import NONLINEARITIES, gain, gaussian_moments, nonlinearity
from fanwise.laws.gain import as_nonlinearity
from fanwise.laws.quadrature import QuadratureError

# Computed at high precision, independently: E f, E f^2, gain 1/sqrt(E f^2), gain 1/std f, E f'^2 / E f^2
TABLE = {
    "relu": (0.3989422804014, 0.5, 1.41421356237, 1.71285855045, 1),
    "leaky_relu(0.01)": (0.3949528575974, 0.50005, 1.414142857, 1.704831627, 1),
    "leaky_relu(0.2)": (0.3191538243212, 0.52, 1.38675049056, 1.54646006036, 1),
    "tanh": (0, 0.39429449039784, 1.59253741972, 1.59253741972, 1.17780723),
    "erf": (0, 0.46455905439754, 1.46716695049, 1.46716695049, 1.2257),
    "sin": (0, 0.43233235838169, 1.52086662318, 1.52086662318, 1.31303529),
    "sigmoid": (0.5, 0.29337903585809, 1.84622854534, 4.80131337204, 0.15283),
    "gelu": (0.28209479177388, 0.42522148257030, 1.5335304412, 1.70092624336, 1.07203),
    "silu": (0.20662096414191, 0.35577551981735, 1.67653247033, 1.7871872221, 1.06663),
    "elu": (0.16052057226656, 0.64494541749292, 1.2451983007, 1.27084341785, 1.03590),
    "selu": (0, 1, 1, 1, 1.07157),
    "softplus": (0.80605918334744, 0.9212459088593, 1.04186683554, 1.91912598011, 0.31846),
    "mish": (0.24040388837479, 0.45234219237588, 1.48684758127, 1.5920253811, 1.05912),
    "hardswish": (0.16621670065612, 0.33156737513791, 1.73665721277, 1.81387147381, 1.08132),
    "softsign": (0, 0.18301402126655, 2.33753336311, 2.33753336311, 1.24401),
    "hardtanh": (0, 0.51605855096171, 1.39203614045, 1.39203614045, 1.32289),
    "relu_squared": (0.5, 1.5, 0.81649658093, 0.894427191, 1.33333),
}


@pytest.mark.parametrize("name", TABLE)
def test_against_independent_values(name):
    mean, second, forward, variance, chi = TABLE[name]
    moments = gaussian_moments(name)
    assert moments.mean == pytest.approx(mean, abs=1e-12)
    assert moments.second_moment == pytest.approx(second, abs=1e-12)
    assert gain(name) == pytest.approx(forward, abs=1e-9)
    assert gain(name, kind="variance") == pytest.approx(variance, abs=1e-9)
    assert moments.slope_second_moment / moments.second_moment == pytest.approx(chi, abs=1e-5)
    assert gain(name, kind="backward") == pytest.approx(1 / math.sqrt(moments.slope_second_moment), rel=1e-15)


@pytest.mark.parametrize("entry", NONLINEARITIES.values(), ids=lambda entry: entry.name)
def test_every_entry_against_scipys_quadrature(entry):
    unit = nonlinearity(entry.example)

    def expectation(f):
        points = [-14.0, *unit.kinks, 14.0]
        weigh = lambda z: float(f(np.array([z]))[0]) * scipy.stats.norm.pdf(z)  # noqa: E731
        pieces = itertools.pairwise(points)
        return sum(scipy.integrate.quad(weigh, a, b, epsabs=1e-12, limit=200)[0] for a, b in pieces)

    moments = gaussian_moments(entry.example)
    assert moments.mean == pytest.approx(expectation(unit.function), abs=1e-10)
    assert moments.second_moment == pytest.approx(expectation(lambda z: unit.function(z) ** 2), abs=1e-10)
    assert moments.slope_second_moment == pytest.approx(expectation(lambda z: unit.slope(z) ** 2), abs=1e-10)


@pytest.mark.parametrize("entry", NONLINEARITIES.values(), ids=lambda entry: entry.name)
def test_a_bare_function_gives_the_same_without_kinks_slope_or_closed_form(entry):
    """Kinks found by bisection, slopes from the panels' polynomials."""
    unit, known = nonlinearity(entry.example), gaussian_moments(entry.example)
    found = gaussian_moments(unit.function)
    assert found.mean == pytest.approx(known.mean, abs=1e-11)
    assert found.second_moment == pytest.approx(known.second_moment, abs=1e-11)
    assert found.slope_second_moment == pytest.approx(known.slope_second_moment, abs=1e-10)


@pytest.mark.parametrize("entry", NONLINEARITIES.values(), ids=lambda entry: entry.name)
def test_slopes_against_central_differences(entry):
    unit = nonlinearity(entry.example)
    z = np.linspace(-5, 5, 1001) + 0.00137
    step = 1e-5
    numeric = (unit.function(z + step) - unit.function(z - step)) / (2 * step)
    smooth = np.min(np.abs(z[:, None] - np.array([*unit.kinks, 99.0])), axis=1) > 2 * step
    # rounding 1e-16 / 1e-5 and the third derivative's 1e-10 / 6
    np.testing.assert_allclose(unit.slope(z)[smooth], numeric[smooth], atol=1e-9)


def test_kinks_at_odd_places_are_found():
    """relu(z - 0.3): E f^2 in closed form, (1 + a^2) Q(a) - a phi(a)."""
    a = 0.3
    exact = (1 + a * a) * scipy.stats.norm.sf(a) - a * scipy.stats.norm.pdf(a)
    assert gain(lambda z: np.maximum(z - a, 0)) == pytest.approx(1 / math.sqrt(exact), rel=1e-11)
    assert gain(lambda z: np.maximum(z - a, 0), kind="backward") == pytest.approx(
        1 / math.sqrt(scipy.stats.norm.sf(a)), rel=1e-9
    )


def test_a_jump_has_a_forward_gain_and_no_backward_one():
    assert gain(lambda z: np.where(z > 0.3, 1.0, -1.0)) == pytest.approx(1, abs=1e-10)
    with pytest.raises(QuadratureError, match="jumps"):
        gain(lambda z: np.where(z > 0.3, 1.0, -1.0), kind="backward")


def test_float32_functions_are_taken_with_their_noise():
    assert gain(lambda z: np.tanh(z.astype(np.float32))) == pytest.approx(TABLE["tanh"][2], rel=1e-6)


def test_parameters():
    assert gain("leaky_relu", negative_slope=0.2) == gain("leaky_relu(0.2)")
    assert gain("prelu(0.25)") == pytest.approx(math.sqrt(2 / (1 + 0.25**2)), rel=1e-15)
    assert gain("elu(0.5)") != gain("elu")
    assert gain("swish") == gain("silu")
    assert gain("relu^2") == gain("relu_squared")


@pytest.mark.parametrize(
    ("f", "parameters", "error", "message"),
    [
        ("leaky_relu", {}, TypeError, "missing a required argument: 'negative_slope'"),
        ("leaky_relu(nan)", {}, ValueError, "negative_slope = nan"),
        ("leaky_relu", {"negative_slope": float("nan")}, ValueError, "negative_slope = nan"),
        ("leaky_relu(x)", {}, ValueError, "must be numbers"),
        ("relu(0.2)", {}, TypeError, "too many positional arguments"),
        ("relu", {"negative_slope": 0.2}, TypeError, "unexpected keyword argument"),
        ("gelu_exact", {}, ValueError, "expected one of linear, identity, relu"),
        (["relu"], {}, TypeError, "expected a name"),
        (5, {}, TypeError, "expected a name"),
        (np.tanh, {"alpha": 1.0}, TypeError, "go with a name"),
        (lambda z: z.sum(), {}, TypeError, r"returned shape \(\)"),
        (np.zeros_like, {}, ValueError, "has no second_moment gain"),
        (lambda z: np.exp(z**2), {}, QuadratureError, r"not finite|does not converge"),
        (lambda z: np.where(z > 13, np.nan, z), {}, QuadratureError, "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_nonlinearities(f, parameters, error, message):
    with pytest.raises(error, match=message):
        gain(f, **parameters)


def test_bad_kind():
    with pytest.raises(ValueError, match="expected one of second_moment, variance, backward"):
        gain("relu", kind="sideways")


def test_a_nonlinearity_passes_through():
    unit = nonlinearity("gelu")
    assert as_nonlinearity(unit) is unit


def test_the_gain_keeps_a_real_deep_network_flat():
    """relu at sqrt 2: E of the product of per-layer ratios is 1, sqrt 2 slips fail."""
    rng, n, draws = np.random.default_rng(0), 64, 400
    ratios = []
    for _ in range(draws):
        x = np.maximum(rng.normal(size=n), 0)
        w = rng.normal(size=(n, n)) * gain("relu") / math.sqrt(n)
        ratios.append(np.mean((x @ w) ** 2) / 1.0)
    error = np.std(ratios) / math.sqrt(draws)
    assert abs(np.mean(ratios) - 1) < 5 * error
    assert abs(2 * np.mean(ratios) - 1) > 5 * error  # the mutant: 2 / sqrt(n), twice the variance
