"""Batches joined along their first axis, with NumPy's arrays."""

import numpy as np
import pytest

from fanwise.calibrate.joining import Joining

join = Joining(np.ndarray, lambda array: (array.shape, array.dtype), np.concatenate)


def test_arrays_are_joined_wherever_they_stand():
    one, two = np.zeros((2, 3)), np.ones((4, 3))
    made = join([({"x": one, "n": 5}, [one]), ({"x": two, "n": 5}, [two])])
    assert np.array_equal(made[0]["x"], np.concatenate([one, two]))
    assert np.array_equal(made[1][0], made[0]["x"])
    assert made[0]["n"] == 5


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), r"inputs: .*differ in the first axis alone"),
        (np.zeros((2, 3)), np.zeros((2, 3), np.float32), "differ in the first axis alone"),
        (np.zeros(()), np.zeros(()), "differ in the first axis alone"),
        ((np.zeros(2),), (np.zeros(2), np.zeros(2)), "hold 1, 2 values"),
        ({"a": 1}, {"b": 1}, "other names"),
        ({"a": 1}, {"a": 2}, r"inputs\['a'\]: .*expected equal values"),
        (1, "1", "int, str"),
    ],
)
def test_batches_that_do_not_fit_are_refused(first, second, match):
    with pytest.raises(ValueError, match=match):
        join([first, second])
