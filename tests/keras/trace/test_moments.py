"""Second moments of tensors, and variables that are put back."""

import math

import ml_dtypes
import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.trace.moments import moments_of, numbers, saved, second_moment  # noqa: E402
from fanwise.keras.trace.variables import as_array  # noqa: E402


def tensor(values, dtype="float32"):
    return keras.ops.convert_to_tensor(np.array(values), dtype)


def test_a_second_moment_is_the_mean_of_the_squares():
    assert second_moment(tensor([1.0, -2.0, 4.0])) == 7.0
    assert second_moment(tensor([[3, 4]], "int32")) == 12.5
    assert second_moment(tensor([True, False], "bool")) == 0.5


def test_half_precision_does_not_overflow():
    assert second_moment(tensor([300.0, 300.0], "float16")) == 90000.0
    assert second_moment(tensor([256.0], "bfloat16")) == 65536.0


def test_the_sum_is_in_double_precision():
    values = np.full(1 << 20, 0.1, "float32")
    assert second_moment(tensor(values)) == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-7)


def test_complex_numbers_count_by_their_size():
    assert second_moment(tensor([3 + 4j], "complex64")) == pytest.approx(25.0)


def test_symbols_and_empty_tensors_have_none():
    assert math.isnan(second_moment(keras.KerasTensor((2, 3))))
    assert math.isnan(second_moment(tensor([])))
    assert numbers(keras.KerasTensor((2, 3))).size == 0


@pytest.mark.parametrize(
    ("dtype", "read"), [("float32", "float32"), ("float16", "float64"), ("int32", "float64"), ("bfloat16", "float64")]
)
def test_numbers_are_float32_or_better(dtype, read):
    assert numbers(tensor([1, 2], dtype)).dtype == read
    assert numbers(tensor([1, 2], dtype)).tolist() == [1.0, 2.0]


def test_moments_of_what_an_op_reads_by_place():
    moments = moments_of([tensor([1.0]), tensor([3.0]), keras.KerasTensor((2,)), tensor([math.inf])])
    assert (moments(0), moments(1)) == (1.0, 9.0)
    assert [moments.known(place) for place in range(4)] == [True, True, False, False]


def test_a_saved_variable_is_put_back():
    variable = keras.Variable(np.array([1.0, 2.0], "float32"))
    restore = saved(variable)
    variable.assign(np.array([5.0, 6.0], "float32"))
    restore()
    assert as_array(variable.value).tolist() == [1.0, 2.0]


def test_an_unchanged_variable_is_not_written(monkeypatch):
    variable = keras.Variable(np.array([1.0, math.nan], "float32"))
    restore = saved(variable)
    monkeypatch.setattr(variable, "assign", lambda values: pytest.fail("written"))
    restore()


def test_a_zero_of_the_other_sign_is_a_change():
    variable = keras.Variable(np.array([0.0], "float32"))
    restore = saved(variable)
    variable.assign(np.array([-0.0], "float32"))
    restore()
    assert not np.signbit(as_array(variable.value))[0]


def test_bits_of_bfloat16_come_back():
    variable = keras.Variable(np.array([1.0, 3.0]), dtype="bfloat16")
    restore = saved(variable)
    variable.assign(np.zeros(2, "float32"))
    restore()
    assert np.array_equal(np.array(as_array(variable.value)), np.array([1.0, 3.0], ml_dtypes.bfloat16))
