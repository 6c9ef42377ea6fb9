"""Statistics of NumPy arrays and arrays rescaled, against NumPy's own and by hand."""

import numpy as np
import pytest

from fanwise.calibrate.arrays import Measured, adjusted, changed, checked_reach, moments
from fanwise.calibrate.calibrator import Change
from fanwise.calibrate.measuring import Answer
from fanwise.calibrate.units import Spread

VALUES = np.random.default_rng(0).normal(0.3, 2.0, (64, 5, 7)).astype(np.float32)
ONE, NONE = np.array(1.0), np.array(0.0)


def test_moments_are_those_of_double_precision():
    found, wide = moments(VALUES), VALUES.astype(np.float64)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert found.variance == pytest.approx(wide.var(), rel=1e-12)
    assert found.variance != pytest.approx(VALUES[::2].astype(np.float64).var(), rel=1e-12)  # the mutant: a sample


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.arange(4), np.ones(3, np.complex64)])
def test_what_cannot_be_measured_is_nan(array):
    assert np.isnan(moments(array).mean)


@pytest.mark.parametrize("axis", [1, -1])
def test_units_are_along_their_axis(axis):
    mean, variance = Measured(VALUES, axis).units()
    others = tuple(i for i in range(3) if i != axis % 3)
    np.testing.assert_allclose(mean, VALUES.astype(np.float64).mean(others), rtol=1e-12)
    np.testing.assert_allclose(variance, VALUES.astype(np.float64).var(others), rtol=1e-12)


def test_equal_rows_do_not_vary():
    rows = np.tile(VALUES[:1, 0], (8, 1))
    assert not Measured(rows, -1).varies()
    rows[3, 2] += 0.1
    assert Measured(rows, -1).varies()


def test_an_output_is_adjusted_as_its_parameters_are():
    """y = W x + b with the weight times s, the bias times t and c more: s y + (t - s) b + c."""
    rng = np.random.default_rng(1)
    weight, bias, x = rng.normal(size=(7, 6)), rng.normal(size=7), rng.normal(size=(9, 6))
    s, t, c = rng.uniform(0.5, 2, 7), rng.uniform(0.5, 2, 7), rng.normal(size=7)
    found = adjusted(x @ weight.T + bias, Answer(s, t - s, c), bias, -1)
    lies = Spread((7, 6), (7, 1))
    new = changed(weight, Change(s, NONE), lies), changed(bias, Change(t, c), None)
    np.testing.assert_allclose(found, x @ new[0].T + new[1], rtol=1e-12, atol=1e-12)


def test_one_factor_keeps_the_dtype_and_rounds_once():
    values = VALUES.astype(np.float16)
    found = changed(values, Change(np.array(1 / 3), NONE), None)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, (values.astype(np.float64) / 3).astype(np.float16))


def test_a_change_out_of_range_is_refused():
    limits = (float(np.finfo(np.float16).smallest_subnormal), float(np.finfo(np.float16).max))
    values = np.array([2.0], np.float16)
    checked_reach("w", values, Change(ONE, NONE), limits)
    for scale in (1e5, 1e-9):
        with pytest.raises(ValueError, match="'w' would reach"):
            checked_reach("w", values, Change(np.array(scale), NONE), limits)
