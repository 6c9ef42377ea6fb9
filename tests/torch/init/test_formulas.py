"""torch's own formulas, against torch."""

import math

import pytest

torch = pytest.importorskip("torch")

from torch.nn import init  # noqa: E402

from fanwise.torch.init.formulas import calculate_gain, correct_fan, fan_in_and_fan_out, scale_of  # noqa: E402

NAMES = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu")


@pytest.mark.parametrize("name", NAMES)
def test_gains_are_those_of_torch_and_scales_their_squares(name):
    assert calculate_gain(name) == pytest.approx(init.calculate_gain(name), rel=1e-15)
    assert scale_of(name) == pytest.approx(init.calculate_gain(name) ** 2, rel=1e-15)


@pytest.mark.parametrize("slope", [0, 0.2, -1.5])
def test_a_slope_counts_for_leaky_relu_alone(slope):
    assert calculate_gain("leaky_relu", slope) == init.calculate_gain("leaky_relu", slope)
    assert scale_of("leaky_relu", slope) == 2 / (1 + slope**2)
    assert calculate_gain("relu", slope) == math.sqrt(2)


@pytest.mark.parametrize("slope", [True, "0.1", math.nan, math.inf])
def test_other_slopes_are_refused(slope):
    with pytest.raises(ValueError, match="negative_slope"):
        calculate_gain("leaky_relu", slope)


@pytest.mark.parametrize("formula", [calculate_gain, scale_of])
def test_unknown_names(formula):
    with pytest.raises(ValueError, match=r"nonlinearity = 'gelu': expected one of .*leaky_relu"):
        formula("gelu")


@pytest.mark.parametrize("shape", [(5, 3), (6, 4, 3), (6, 4, 3, 2)])
def test_fans_are_those_of_torch(shape):
    tensor = torch.empty(shape)
    assert fan_in_and_fan_out(tensor) == init._calculate_fan_in_and_fan_out(tensor)
    assert correct_fan(tensor, "fan_in") == shape[1] * math.prod(shape[2:])
    assert correct_fan(tensor, "FAN_OUT") == shape[0] * math.prod(shape[2:])


def test_what_has_no_fans():
    with pytest.raises(ValueError, match=r"tensor has shape \(3,\): fans need 2 or more axes"):
        fan_in_and_fan_out(torch.empty(3))
    with pytest.raises(ValueError, match="mode"):
        correct_fan(torch.empty(3, 2), "fan_avg")
