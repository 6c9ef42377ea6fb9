"""The names of torch's functions, however they are called."""

import operator

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from fanwise.torch.trace.function_names import (  # noqa: E402
    NONLINEARITY_NAMES,
    QUESTIONS,
    SELECTIONS,
    VIEWS,
    bare_name,
    full_name,
    is_attribute,
    tensors_in,
    writes_in_place,
)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functional.linear, "linear"),
        (torch.Tensor.add_, "add"),
        (torch.Tensor.__iadd__, "iadd"),
        (torch.Tensor.matmul, "matmul"),
        (torch.mm, "mm"),
        (torch.ops.aten.mm.default, "mm"),
        (torch.ops.aten._softmax.default, "softmax"),
        (torch.batch_norm, "native_batch_norm"),
        (functional.batch_norm, "batch_norm"),
        (torch.Tensor.T.__get__, "T"),
        (torch.Tensor.data.__set__, "__set__"),
        (lambda x: x, "<lambda>"),
    ],
)
def test_bare_names(function, name):
    assert bare_name(function) == name


def test_full_names():
    assert full_name(torch.Tensor.add_) == "torch.Tensor.add_"
    assert full_name(operator.itemgetter(1)) == "itemgetter"


@pytest.mark.parametrize(
    ("function", "writes"),
    [
        (torch.Tensor.add_, True),
        (torch.Tensor.add, False),
        (torch.Tensor.__iadd__, True),
        (torch.Tensor.__add__, False),
        (torch.Tensor.__setitem__, True),
        (torch.Tensor.__getitem__, False),
        (torch.Tensor.__invert__, False),
        (functional.relu_, True),
    ],
)
def test_writing_in_place_goes_by_the_name(function, writes):
    assert writes_in_place(function) is writes


def test_tensors_of_nested_values_in_order():
    a, b, c = (torch.tensor(float(i)) for i in range(3))
    assert [tensor.item() for tensor in tensors_in([a, {"x": (b, 3)}, "c", c])] == [0.0, 1.0, 2.0]
    assert list(tensors_in(5)) == []


def test_attributes_that_are_no_views():
    assert is_attribute(torch.Tensor.shape.__get__, "shape")
    assert not is_attribute(torch.Tensor.T.__get__, "T")
    assert not is_attribute(torch.Tensor.relu, "relu")


def test_families_are_apart_and_names_have_their_own():
    assert not VIEWS & SELECTIONS
    assert not (VIEWS | SELECTIONS) & QUESTIONS
    assert NONLINEARITY_NAMES["expit"] == "sigmoid"
    assert NONLINEARITY_NAMES["gelu"] == "gelu"
