"""Maps of lengths and correlations against closed forms, SciPy's quadrature, published pairs and real networks."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from fanwise import NONLINEARITIES, gain, gaussian_moments, nonlinearity
from fanwise.laws.gain import as_nonlinearity
from fanwise.laws.quadrature import QuadratureError, normal_mean, normal_panels
from fanwise.theory.meanfield.maps import (
    MeanField,
    chi,
    correlation_map,
    correlation_slope,
    critical,
    critical_at,
    critical_gains,
    critical_line,
    depth_scale,
    fixed_points,
    keeps_every_length,
    length_map,
    length_slope,
    log_slope,
    trajectory,
)
from fanwise.theory.meanfield.moments import Unit, affine, moments_at
from fanwise.theory.meanfield.roots import brackets, root

ENTRIES = [entry.example for entry in NONLINEARITIES.values()]
SLOPES = {  # of the variance map at unit variance, with the gain that keeps it: computed independently
    "relu": 1,
    "leaky_relu(0.01)": 1,
    "tanh": 0.46107,
    "erf": 0.40857,
    "sin": 0.31304,
    "sigmoid": 0.10634,
    "gelu": 1.14406,
    "silu": 1.17259,
    "elu": 0.89097,
    "selu": 0.78265,
    "softplus": 0.49205,
    "mish": 1.07634,
    "hardswish": 1.22392,
    "softsign": 0.47671,
    "hardtanh": 0.38513,
    "relu_squared": 2,
}
EDGE = {  # tanh, sigma_b^2: sigma_w^2 and q on the edge of chaos, computed independently
    1e-4: (1.08602629, 0.04570908),
    2.01e-5: (1.04999563, 0.02591860),
    0.01: (1.42420529, 0.27330091),
    0.05: (1.76095464, 0.57004788),
    0.1: (1.98607264, 0.80579918),
    0.3: (2.50512719, 1.46116945),
    1.0: (3.44321136, 3.03639672),
}
DEPTHS = {  # tanh, sigma_b^2 = 0.05, by sigma_w^2: xi_q, xi_c, c
    1.0: (1.7476, 3.6270, 1),
    1.5: (1.6828, 15.7910, 1),
    1.7: (1.5583, 74.918, 1),
    2.5: (1.1799, 11.7956, 0.446804),
    3.0: (1.0415, 9.0515, 0.299318),
    4.0: (0.8733, 6.9802, 0.165065),
}


def name_of(f):
    return "bent" if f is bent else str(f)


def bent(z):
    """A function of a user: three kinks, no slope, no name in the registry."""
    return np.abs(z - 0.37) + 0.5 * np.maximum(z + 1.21, 0) - np.minimum(z, 2.3)


def scipy_mean(f, kinks=()):
    edges = [-14.0, *sorted(k for k in kinks if abs(k) < 14), 14.0]
    weigh = lambda z: float(f(np.array([z]))[0]) * scipy.stats.norm.pdf(z)  # noqa: E731
    pieces = [(a, b) for a, b in itertools.pairwise(edges)]
    return sum(scipy.integrate.quad(weigh, a, b, epsabs=1e-13, epsrel=1e-13, limit=400)[0] for a, b in pieces)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("q", [0.03, 5.0])
def test_moments_at_any_variance_against_scipys_quadrature(name, q):
    unit, found = nonlinearity(name), moments_at(name, q)
    kinks = [kink / math.sqrt(q) for kink in unit.kinks]
    for value, f in (
        (found.mean, unit.function),
        (found.second_moment, lambda x: unit.function(x) ** 2),
        (found.slope_second_moment, lambda x: unit.slope(x) ** 2),
    ):
        expected = scipy_mean(lambda z, f=f: f(math.sqrt(q) * z), kinks)
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_moments_in_closed_form():
    for q in (1e-6, 0.2, 1.0, 30.0):
        assert moments_at("erf", q).second_moment == pytest.approx(
            2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-11
        )
        assert moments_at("sin", q).second_moment == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-11)
        assert moments_at("relu_squared", q).second_moment == pytest.approx(1.5 * q * q, rel=1e-12)
    assert moments_at("gelu", 1.0) == gaussian_moments("gelu")


@pytest.mark.parametrize("name", ENTRIES)
def test_moments_at_variance_0_are_limits(name):
    limit, near = moments_at(name, 0.0), moments_at(name, 1e-12)
    assert limit.mean == pytest.approx(near.mean, abs=1e-6)
    assert limit.slope_second_moment == pytest.approx(near.slope_second_moment, abs=5e-6)
    bare = moments_at(nonlinearity(name).function, 0.0)
    assert bare.slope_second_moment == pytest.approx(limit.slope_second_moment, abs=1e-9)


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_of_the_variance_map(name):
    assert log_slope(name, 1.0) == pytest.approx(SLOPES[name], abs=6e-6)


@pytest.mark.parametrize("f", [*ENTRIES, bent], ids=name_of)
@pytest.mark.parametrize("q", [0.1, 2.0])
def test_the_slope_is_that_of_the_map(f, q):
    """Central differences; the mutant, a slope without the term of f'', is chi."""
    field, step = MeanField(f, 1.3, 0.1), 1e-4 * q
    numeric = (length_map(field, q + step) - length_map(field, q - step)) / (2 * step)
    assert length_slope(field, q) == pytest.approx(numeric, rel=1e-6, abs=1e-9)
    curved = (length_slope(field, q + step) - length_slope(field, q - step)) / (2 * step)
    assert 1.3**2 * Unit(field.f, q).length_curvature() == pytest.approx(curved, rel=1e-5, abs=1e-8)
    if f in {"tanh", "gelu", "softplus"}:
        assert chi(field, q) != pytest.approx(numeric, rel=1e-3)


def test_published_gains_off_their_fixed_point():
    """tanh 5/3 is chaotic, selu 3/4 dies, tanh 1 falls like 1 / (2 l)."""
    zero, point = fixed_points(MeanField("tanh", 5 / 3))
    assert (zero.q, zero.stability, zero.c, zero.xi_c) == (0.0, "unstable", None, None)
    assert point.q == pytest.approx(1.17848, abs=1e-5)
    assert point.chi == pytest.approx(1.20983, abs=1e-5)
    assert (point.phase, point.stability) == ("chaotic", "stable")
    assert trajectory(MeanField("selu", 0.75), 1.0, 50)[-1] == pytest.approx(0.02386, abs=1e-5)
    falling = trajectory(MeanField("tanh", 1.0), 1.0, 1000)
    assert 100 * falling[100] == pytest.approx(0.50690, abs=1e-4)
    assert 1000 * falling[1000] == pytest.approx(0.50116, abs=1e-4)


def test_gelu_leaves_its_fixed_point():
    field = MeanField("gelu", gain("gelu"))
    ends = {start: trajectory(field, start, 29) for start in (1.0, 1.05, 0.9)}
    assert ends[1.0][-1] == pytest.approx(1.0, abs=1e-4)
    assert ends[1.05][-1] == pytest.approx(4.6365, abs=1e-4)
    assert ends[0.9][-1] == pytest.approx(0.0020, abs=1e-4)
    assert (ends[1.05][10], ends[0.9][10]) == pytest.approx((1.1991, 0.6489), abs=1e-4)
    assert trajectory(MeanField("gelu", math.sqrt(2)), 2.0, 29)[-1] == pytest.approx(5.4e-6, rel=0.02)
    assert [point.stability for point in fixed_points(field)] == ["stable", "unstable"]


def test_torchs_default_shrinks_relu_sixfold():
    assert trajectory(MeanField("relu", 1 / math.sqrt(3)), 1.0, 2) == pytest.approx((1, 1 / 6, 1 / 36), rel=1e-12)


@pytest.mark.parametrize("biases", EDGE)
def test_the_edge_of_chaos_of_tanh(biases):
    found = critical("tanh", math.sqrt(biases))
    assert (found.sigma_w**2, found.q) == pytest.approx(EDGE[biases], abs=1e-6)
    assert found.sigma_b**2 == pytest.approx(biases, rel=1e-14)
    field = MeanField("tanh", found.sigma_w, found.sigma_b)
    assert chi(field, found.q) == pytest.approx(1, abs=1e-11)
    assert length_map(field, found.q) == pytest.approx(found.q, rel=1e-11)
    assert fixed_points(MeanField("tanh", 1.01 * found.sigma_w, found.sigma_b))[-1].phase == "chaotic"
    assert fixed_points(MeanField("tanh", 0.99 * found.sigma_w, found.sigma_b))[-1].phase == "ordered"


def test_the_edge_of_chaos_from_a_length_and_without_biases():
    for q, pair in {1 / 16: (1.1153806244, 2.3687675e-4), 1e-3: (1.0019970113, 1.32538285e-9)}.items():
        found = critical_at("tanh", q)
        assert (found.sigma_w**2, found.sigma_b**2) == pytest.approx(pair, rel=1e-8)
    zero = critical("tanh")
    assert (zero.sigma_w, zero.sigma_b, zero.q) == (1.0, 0.0, 0.0)
    assert critical("erf").sigma_w ** 2 == pytest.approx(math.pi / 4, abs=1e-12)
    assert critical("erf", math.sqrt(0.05)).sigma_w ** 2 == pytest.approx(1.37583901, abs=1e-8)
    assert critical("relu").sigma_w == pytest.approx(math.sqrt(2), rel=1e-15)


def test_the_edge_of_chaos_of_gelu_is_stable_at_large_biases_only():
    small, large = critical("gelu", 0.05), critical("gelu", 0.6)
    assert (small.stability, large.stability) == ("unstable", "stable")
    line = critical_line("gelu", (0.1, 1.0, 10.0))
    assert [pair.stability for pair in line] == ["unstable", "unstable", "stable"]


@pytest.mark.parametrize("weights", DEPTHS)
def test_depth_scales_of_tanh(weights):
    (point,) = fixed_points(MeanField("tanh", math.sqrt(weights), math.sqrt(0.05)))
    assert (point.xi_q, point.xi_c, point.c) == pytest.approx(DEPTHS[weights], rel=1e-3)


def test_depth_scales_near_the_edge():
    (point,) = fixed_points(MeanField("tanh", math.sqrt(1.76), math.sqrt(0.05)))
    assert point.chi == pytest.approx(0.999796, abs=1e-6)
    assert (depth_scale(1.0), depth_scale(1.5), depth_scale(0.0)) == (math.inf, math.inf, 0.0)
    assert depth_scale(-math.exp(-0.25)) == pytest.approx(4)


def test_a_homogeneous_function_keeps_every_length_at_its_gain_alone():
    assert keeps_every_length(MeanField("relu", math.sqrt(2)))
    assert not keeps_every_length(MeanField("relu", 1.4142))
    (point,) = fixed_points(MeanField("relu", math.sqrt(2)))
    assert (point.stability, point.phase, point.c, point.xi_c) == ("marginal", "critical", 1.0, math.inf)
    (small,) = fixed_points(MeanField("relu", 1.0, 0.5))
    assert small.q == pytest.approx(0.5, rel=1e-12)  # sigma_b^2 / (1 - sigma_w^2 / 2)
    assert fixed_points(MeanField("relu", 2.0, 0.5)) == ()


def relu_pair(c):
    """Cho and Saul, "Kernel methods for deep learning", 2009, degree 1, and its derivative, for unit variance."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi, (math.pi - math.acos(c)) / math.pi


CORRELATIONS = (-1, -0.99999, -0.97, -0.5, 0, 0.3, 0.949, 0.951, 0.99, 0.9999, 1 - 1e-6, 1 - 1e-9, 1)


@pytest.mark.parametrize("f", ["relu", lambda z: np.maximum(z, 0.0)], ids=["named", "bare"])
def test_the_correlation_map_of_relu_in_closed_form(f):
    field = MeanField(f, math.sqrt(2))
    found = correlation_map(field, 3.0, CORRELATIONS)
    assert found == pytest.approx([relu_pair(c)[0] for c in CORRELATIONS], abs=1e-11)
    slopes = [correlation_slope(field, 3.0, c) for c in CORRELATIONS]
    assert slopes == pytest.approx([relu_pair(c)[1] for c in CORRELATIONS], abs=1e-9)
    assert found != pytest.approx([max(c, 0) for c in CORRELATIONS], abs=1e-2)  # the mutant: no smoothing


@pytest.mark.parametrize("c", [-0.98, 0.4, 0.97, 0.9999])
def test_the_correlation_map_of_erf_and_sin_in_closed_form(c):
    q, erf = 1.7, MeanField("erf", 1.0)
    expected = math.asin(2 * q * c / (1 + 2 * q)) / math.asin(2 * q / (1 + 2 * q))
    assert correlation_map(erf, q, [c])[0] == pytest.approx(expected, abs=1e-12)
    expected = math.sinh(q * c) / math.sinh(q)
    assert correlation_map(MeanField("sin", 1.0), q, [c])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("f", [*ENTRIES, bent], ids=name_of)
@pytest.mark.parametrize("c", [-0.96, 0.6, 0.995])
def test_the_correlation_map_against_a_plane_of_points(f, c):
    """A two-dimensional midpoint rule, fine enough for kinks: about 1e-6."""
    field = MeanField(f, 1.0, 0.3)
    points = 300 if f in {"erf", "gelu"} else 2000  # these two are slow, and smooth
    grid = ((np.arange(points) + 0.5) / points - 0.5) * 18
    mass = np.exp(-grid * grid / 2) * (18 / points) / math.sqrt(2 * math.pi)
    q, after, total = 0.8, length_map(field, 0.8), 0.0
    for w, weight in zip(grid, mass, strict=True):
        partner = math.sqrt(q) * (c * grid + math.sqrt(1 - c * c) * w)
        total += weight * float(mass @ (field.f.function(math.sqrt(q) * grid) * field.f.function(partner)))
    assert correlation_map(field, q, [c])[0] == pytest.approx((total + 0.09) / after, abs=3e-6)


def test_what_is_known_of_a_function_changes_nothing():
    """Kinks found by bisection and slopes by parts, against those that the registry knows."""
    for name in ("hardtanh", "elu"):
        known, bare = MeanField(name, 1.2, 0.1), MeanField(nonlinearity(name).function, 1.2, 0.1)
        for c in (-0.99, 0.7, 0.99, 0.9999):
            assert correlation_map(bare, 1.5, [c]) == pytest.approx(correlation_map(known, 1.5, [c]), abs=1e-9)
            assert correlation_slope(bare, 1.5, c) == pytest.approx(correlation_slope(known, 1.5, c), abs=2e-9)
        ours = [(point.q, point.chi, point.c) for point in fixed_points(bare)]
        assert np.ravel(ours) == pytest.approx(np.ravel([(p.q, p.chi, p.c) for p in fixed_points(known)]), abs=1e-8)


def test_the_slope_at_1_is_chi():
    for name in ENTRIES:
        (q,) = [point.q for point in fixed_points(MeanField(name, *critical_gains(name)[:1])) if point.q][:1]
        field = MeanField(name, critical_gains(name)[0])
        assert correlation_slope(field, q, 1.0) == pytest.approx(chi(field, q), rel=1e-9)


def test_a_wide_network_follows_the_maps():
    """Two inputs through two layers of 500 units of a function with kinks: five standard errors over 60 networks."""
    rng, n, draws, field = np.random.default_rng(5), 500, 60, MeanField(bent, 0.7, 0.3)
    q0, c0 = 1.2, 0.4
    found = []
    for _ in range(draws):
        u, v = rng.normal(size=(2, n))
        h = math.sqrt(q0) * np.stack([u, c0 * u + math.sqrt(1 - c0 * c0) * v])
        for _ in range(2):
            h = field.f.function(h) @ rng.normal(size=(n, n)) * 0.7 / math.sqrt(n) + 0.3 * rng.normal(size=n)
        found.append([np.mean(h[0] ** 2), np.mean(h[0] * h[1])])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / math.sqrt(draws)
    q1, q2 = trajectory(field, q0, 2)[1:]
    c2 = correlation_map(field, q1, correlation_map(field, q0, [c0]))[0]
    assert np.all(np.abs(mean - [q2, q2 * c2]) < 5 * error)
    assert np.any(np.abs(mean - [q2, q2 * c0]) > 5 * error)  # the mutant: correlations that do not move
    plain = trajectory(MeanField(bent, 0.7), q0, 2)[-1]
    assert np.any(np.abs(mean - [plain, plain * c2]) > 5 * error)  # and one without biases


def test_affine_moves_kinks_and_slopes():
    moved = affine(nonlinearity("hardtanh"), -2.0, 0.5)
    assert sorted(moved.kinks) == [-0.25, 0.75]
    x = np.linspace(-2, 2, 101) + 0.0037
    np.testing.assert_allclose(moved.slope(x), np.where(np.abs(-2 * x + 0.5) < 1, -2.0, 0.0))


def test_panels_crowd_at_a_kink():
    edges = normal_panels(lambda z: np.abs(z - 0.3))
    assert np.diff(edges)[np.searchsorted(edges, 0.3) - 1] < 1e-5
    assert np.diff(normal_panels(np.tanh)).min() > 0.1
    assert normal_mean(lambda z: np.abs(z - 20.0), kinks=(20.0,)) == pytest.approx(20, rel=1e-12)  # beyond what counts


def test_roots():
    assert root(lambda x: x**3 - 2, 0.0, 2.0) == pytest.approx(2 ** (1 / 3), rel=1e-15)
    assert root(lambda x: math.copysign(abs(x - 0.1) ** 9, x - 0.1), 0.0, 5.0) == pytest.approx(0.1, abs=1e-3)
    assert list(brackets(lambda x: x - 1.5, (0.0, 1.0, 2.0, 3.0))) == [(1.0, 2.0)]


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_map_that_overflows_ends_at_infinity():
    field = MeanField(np.exp, 1.0)
    assert trajectory(field, 1.0, 6)[-1] == math.inf
    assert trajectory(MeanField("relu_squared", 1.0), 1.0, 200)[-1] == math.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MeanField("tanhh", 1.0), ValueError, "expected one of linear"),
        (lambda: MeanField("tanh", math.nan), ValueError, "sigma_w = nan"),
        (lambda: MeanField("tanh", -1.0), ValueError, "sigma_w = -1.0: expected a number >= 0"),
        (lambda: MeanField("tanh", 1.0, math.inf), ValueError, "sigma_b = inf"),
        (lambda: MeanField("tanh", "1"), TypeError, "sigma_w = '1'"),
        (lambda: MeanField(lambda z: z * np.nan, 1.0), QuadratureError, "not finite"),
        (lambda: MeanField(lambda z: z.sum(), 1.0), TypeError, "returned shape"),
        (lambda: moments_at("tanh", -1.0), ValueError, "q = -1.0"),
        (lambda: moments_at("tanh", math.nan), ValueError, "q = nan"),
        (lambda: moments_at(lambda z: np.sign(z - 0.3), 1.0), QuadratureError, "jumps"),
        (lambda: moments_at(lambda z: 1 / z, 0.0), ValueError, "expected a finite number"),
        (lambda: length_map(MeanField("tanh", 1.0), -0.1), ValueError, "q = -0.1"),
        (lambda: length_slope(MeanField("sigmoid", 1.0), 0.0), ValueError, "expected q > 0"),
        (lambda: correlation_map(MeanField("tanh", 1.0), 0.0, [0.5]), ValueError, "positive variance"),
        (lambda: correlation_map(MeanField("tanh", 1.0), 1.0, [1.5]), ValueError, r"c = 1.5: .* \[-1, 1\]"),
        (lambda: correlation_map(MeanField("tanh", 1.0), 1.0, [math.nan]), ValueError, "c = nan"),
        (lambda: correlation_map(MeanField("tanh", 0.0), 1.0, [0.5]), ValueError, "variance 0"),
        (lambda: critical("relu", 0.1), ValueError, "no critical pair with sigma_b = 0.1"),
        (lambda: critical("relu", 1e-9), ValueError, "no critical pair"),
        (lambda: critical("tanh", -0.1), ValueError, "sigma_b = -0.1"),
        (lambda: critical_at("sigmoid", 1.0), ValueError, r"sigma_b\^2 would be -"),
        (lambda: critical_at("tanh", 0.0), ValueError, "positive variance"),
        (lambda: critical_gains(np.zeros_like), ValueError, "a moment is 0"),
        (lambda: trajectory(MeanField("tanh", 1.0), 1.0, -1), ValueError, "depth = -1"),
        (lambda: as_nonlinearity(3), TypeError, "expected a name"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
