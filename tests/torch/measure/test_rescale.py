"""Statistics and changes of outputs and weights, against formulas."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fanwise.calibrate.calibrator import Change  # noqa: E402
from fanwise.calibrate.measuring import Answer  # noqa: E402
from fanwise.calibrate.units import Spread  # noqa: E402
from fanwise.torch.measure.rescale import (  # noqa: E402
    CACHED,
    Measured,
    adjust_,
    change_,
    changed,
    check_changes,
    moments,
)


def change(scale=1.0, shift=0.0):
    return Change(np.asarray(scale, np.float64), np.asarray(shift, np.float64))


def answer(scale=1.0, more=0.0, shift=0.0):
    return Answer(*(np.asarray(numbers, np.float64) for numbers in (scale, more, shift)))


def test_moments_of_few_and_of_many_values():
    few = moments(torch.tensor([1.0, 2.0, 6.0]))
    assert (few.mean, few.variance) == (3.0, pytest.approx(14 / 3))
    values = np.random.default_rng(0).normal(1000.0, 1.0, 2 * CACHED + 7).astype("float32")
    many = moments(torch.from_numpy(values))
    assert many.mean == pytest.approx(values.astype("float64").mean(), rel=1e-12)
    assert many.variance == pytest.approx(values.astype("float64").var(), rel=1e-9)


@pytest.mark.parametrize("tensor", [torch.empty(0), torch.ones(2, dtype=torch.int64)])
def test_what_cannot_be_measured(tensor):
    assert math.isnan(moments(tensor).mean)
    assert math.isnan(moments(tensor).variance)


@pytest.mark.parametrize("axis", [1, -2])
def test_mean_and_variance_of_each_unit(axis):
    output = torch.arange(12.0).reshape(2, 3, 2)
    means, variances = Measured(output, axis).units()
    moved = output.numpy().swapaxes(1, 2).reshape(-1, 3)
    assert means.tolist() == moved.mean(0).tolist()
    assert variances == pytest.approx(moved.var(0))


def test_whether_units_vary():
    constant = torch.tensor([[1.0, 2.0]]).repeat(5, 1)
    assert not Measured(constant, 1).varies()
    late = constant.clone()
    late[4, 0] = 3.0
    assert Measured(late, 1).varies()
    assert Measured(constant[:1], 1).varies()  # one value a unit


def test_moments_through_a_function():
    through = Measured(torch.tensor([[1.0, -2.0]]), 1).through(np.square, 3.0)
    assert (through.mean, through.variance) == (22.5, pytest.approx(13.5**2))


def test_an_output_is_scaled_as_a_whole():
    output = torch.tensor([[1.0, 2.0]])
    adjust_(output, answer(3.0), None, 1)
    assert output.tolist() == [[3.0, 6.0]]


def test_an_output_is_adjusted_unit_by_unit():
    output = torch.arange(8.0).reshape(1, 2, 4)
    expected = output.numpy() * [[[2.0], [3.0]]] + [[[5.0], [-5.0]]] * np.array(0.5) + [[[1.0], [2.0]]]
    adjust_(output, answer([2.0, 3.0], 0.5, [1.0, 2.0]), torch.tensor([5.0, -5.0]), 1)
    assert output.tolist() == expected.tolist()


def test_more_of_a_bias_that_is_not_there():
    output = torch.ones(2, 2)
    adjust_(output, answer(2.0, [1.0, 1.0]), None, 1)
    assert output.tolist() == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("given", "lies", "expected"),
    [
        (change(2.0), None, [[2.0, 4.0], [6.0, 8.0]]),
        (change(2.0, 1.0), None, [[3.0, 5.0], [7.0, 9.0]]),
        (change([2.0, 3.0]), Spread((2, 2), (2, 1)), [[2.0, 4.0], [9.0, 12.0]]),
        (change([2.0, 3.0], [1.0, 0.0]), Spread((2, 2), (1, 2)), [[3.0, 6.0], [7.0, 12.0]]),
    ],
)
def test_a_changed_copy(given, lies, expected):
    tensor = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert changed(tensor, given, lies).tolist() == expected
    assert tensor.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_parameters_are_changed_in_place():
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(1.0)
    kept = model.weight
    change_(model, {"weight": change([2.0, 3.0]), "bias": change(1.0, -1.0)}, {"weight": Spread((2, 2), (2, 1))})
    assert model.weight is kept
    assert model.weight.tolist() == [[2.0, 2.0], [3.0, 3.0]]
    assert model.bias.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("given", "reach"), [(change(1e5), "1e+05"), (change(1.0, 1e5), "1e+05"), (change(1e-9), "1e-09")]
)
def test_what_a_dtype_cannot_hold_is_refused(given, reach):
    with pytest.raises(ValueError, match=r"parameter 'w' would reach .* which torch.float16 cannot hold") as raised:
        check_changes({"w": torch.ones(2, dtype=torch.float16)}, {"w": given})
    assert reach in str(raised.value)
    check_changes({"w": torch.ones(2)}, {"w": given})


def test_overlapping_parameters_are_refused():
    base = torch.ones(4)
    held = {"a": base[:3], "b": base[2:]}
    with pytest.raises(ValueError, match="share memory"):
        check_changes(held, {"a": change(2.0), "b": change(2.0)})
    check_changes(held, {"a": change(2.0)})
