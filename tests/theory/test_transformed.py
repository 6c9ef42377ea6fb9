"""Constants of DKS and TAT, against the reference values and against what they promise."""

import math

import numpy as np
import pytest

from fanwise import NONLINEARITIES, gain, nonlinearity
from fanwise.theory.meanfield.maps import MeanField, chi, correlation_map, length_map, length_slope, trajectory
from fanwise.theory.meanfield.moments import Unit
from fanwise.theory.meanfield.pairs import Pair
from fanwise.theory.meanfield.transformed import dks, tat, tat_leaky_relu

LEAKY = {20: (0.18138027, 1.39150929), 50: (0.43052295, 1.29894779), 100: (0.57043953, 1.22840424)}
HOMOGENEOUS = {"linear", "relu", "leaky_relu(0.2)", "relu_squared"}
NO_DKS = HOMOGENEOUS | {"relu6", "hardtanh"}
JUMPING = HOMOGENEOUS | {"relu6", "hardtanh", "selu", "hardswish"}
EXAMPLES = [entry.example for entry in NONLINEARITIES.values()]


@pytest.mark.parametrize("depth", LEAKY)
def test_tats_leaky_relu(depth):
    found = tat_leaky_relu(depth)
    assert (found.negative_slope, found.scale) == pytest.approx(LEAKY[depth], abs=1e-8)
    field = MeanField(f"leaky_relu({found.negative_slope!r})", found.scale)
    c = 0.0
    for _ in range(depth):
        c = correlation_map(field, 1.0, [c])[0]
    assert c == pytest.approx(0.9, abs=1e-9)


@pytest.mark.parametrize("depth", [5, 10])
def test_a_shallow_network_cannot_reach_the_target(depth):
    with pytest.raises(ValueError, match="even ReLU takes correlation 0 only to"):
        tat_leaky_relu(depth)


def test_relu_itself_after_ten_layers():
    with pytest.raises(ValueError, match=r"only to 0\.8715"):
        tat_leaky_relu(10)


def test_dks_of_tanh():
    found = dks("tanh", 50)
    constants = (found.in_scale, found.in_shift, found.out_shift, found.out_scale)
    assert constants == pytest.approx((0.12844048, 0.57077955, -0.50980724, 10.60444762), abs=6e-8)


@pytest.mark.parametrize(("depth", "slope"), [(10, 1.0413797), (50, 1.0081423)])
def test_dks_gives_each_layer_its_share(depth, slope):
    field = MeanField(dks("tanh", depth).nonlinearity, 1.0)
    assert chi(field, 1.0) == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in NO_DKS])
def test_dks_keeps_its_promises(name):
    field = MeanField(dks(name, 30, slope=1.7).nonlinearity, 1.0)
    assert length_map(field, 1.0) == pytest.approx(1, abs=1e-10)
    assert length_slope(field, 1.0) == pytest.approx(1, abs=1e-9)
    assert Unit(field.f, 1.0).mean() == pytest.approx(0, abs=1e-10)
    assert correlation_map(field, 1.0, [0.0])[0] == pytest.approx(0, abs=1e-10)
    assert chi(field, 1.0) ** 30 == pytest.approx(1.7, abs=1e-8)
    assert length_slope(MeanField(name, gain(name)), 1.0) != pytest.approx(1, abs=1e-3)  # the mutant: unchanged


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in JUMPING])
def test_tat_keeps_its_promises(name):
    unit = tat(name, 40).nonlinearity
    field = MeanField(unit, 1.0)
    assert length_map(field, 1.0) == pytest.approx(1, abs=1e-10)
    assert length_slope(field, 1.0) == pytest.approx(1, abs=1e-9)
    assert chi(field, 1.0) == pytest.approx(1, abs=1e-9)
    pair, step = Pair(Unit(unit, 1.0)), 1e-4
    curvature = (pair.slope(1.0) - pair.slope(1 - step)) / step
    assert curvature == pytest.approx(0.3 / 40, rel=0.02)


def test_a_transformed_network_of_gelu_keeps_its_length_where_plain_gelu_does_not():
    """From 1.05 over 29 layers: plain 4.6365."""
    made = trajectory(MeanField(dks("gelu", 29).nonlinearity, 1.0), 1.05, 29)[-1]
    assert 1.0 < made < 1.06
    assert trajectory(MeanField("gelu", gain("gelu")), 1.05, 29)[-1] > 4


def test_the_changed_function_is_the_formula():
    found = dks("gelu", 20)
    x = np.linspace(-3, 3, 50)
    inner = nonlinearity("gelu").function(found.in_scale * x + found.in_shift)
    np.testing.assert_allclose(found.nonlinearity.function(x), found.out_scale * (inner + found.out_shift), rtol=1e-14)
    step = 1e-6
    numeric = (found.nonlinearity.function(x + step) - found.nonlinearity.function(x - step)) / (2 * step)
    np.testing.assert_allclose(found.nonlinearity.slope(x), numeric, atol=1e-8)
    assert found.nonlinearity.name == "dks(gelu, 20)"
    assert gain(found.nonlinearity) == pytest.approx(1, abs=1e-10)


def test_a_bare_function_has_dks_constants_too():
    bare, known = dks(np.tanh, 50), dks("tanh", 50)
    assert (bare.in_scale, bare.in_shift) == pytest.approx((known.in_scale, known.in_shift), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dks("relu", 50), ValueError, "relu is homogeneous"),
        (lambda: tat("leaky_relu(0.2)", 50), ValueError, "is homogeneous"),
        (lambda: dks("hardtanh", 50), ValueError, "hardtanh has no DKS constants for depth 50"),
        (lambda: tat("selu", 50), ValueError, "the slope of selu jumps"),
        (lambda: tat("hardswish", 50), ValueError, "the slope of hardswish jumps"),
        (lambda: tat(np.tanh, 50), ValueError, "no known slope"),
        (lambda: dks("tanh", 0), ValueError, "depth = 0"),
        (lambda: dks("tanh", 2.5), TypeError, "depth = 2.5"),
        (lambda: dks("tanh", 10, slope=1.0), ValueError, "a number above 1"),
        (lambda: dks("tanh", 10, slope=math.nan), ValueError, "slope = nan"),
        (lambda: tat("tanh", 10, curvature=0.0), ValueError, "above 0"),
        (lambda: tat_leaky_relu(20, correlation=1.0), ValueError, "between 0 and 1"),
        (lambda: tat_leaky_relu(0), ValueError, "depth = 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
