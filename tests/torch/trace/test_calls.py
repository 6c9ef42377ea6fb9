"""Arguments of a call, by position or name."""

import pytest

torch = pytest.importorskip("torch")

from fanwise.torch.trace.calls import Arguments, along_axes, data_of  # noqa: E402


def arguments(*args, **named):
    return Arguments(args, named, lambda value: False, "f")


def test_an_argument_by_position_by_name_or_by_default():
    assert arguments(1, 2, x=3).get(1, "x") == 2
    assert arguments(1, x=3).get(1, "x") == 3
    assert arguments(1).get(1, "x", 5) == 5
    assert arguments(1, None).get(1, "x", 5) is None


def test_only_tensors_are_tensors():
    tensor = torch.ones(2)
    assert arguments(tensor).tensor(0, "x") is tensor
    assert arguments(x=tensor).tensor(0, "x") is tensor
    assert arguments(2.0).tensor(0, "x") is None
    assert arguments().tensor(0, "x") is None


def test_data_leave_out_what_is_not_given():
    a, b = torch.ones(1), torch.zeros(1)
    data = data_of(a, None, b)
    assert data[0] is a
    assert data[1] is b
    assert len(data) == 2


@pytest.mark.parametrize(
    ("numbers", "dims", "expected"), [(2, 3, (2, 2, 2)), ([4], 2, (4, 4)), ([1, 2], 2, (1, 2)), ((5,), 1, (5,))]
)
def test_one_number_an_axis(numbers, dims, expected):
    assert along_axes(numbers, dims) == expected
