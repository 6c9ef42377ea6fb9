"""Details of ops: what they say of kinds that have them, what ops say without one, and other numbers for ops."""

from typing import get_args

import pytest

from fanwise.graph.details import (
    Activation,
    Arithmetic,
    Attention,
    AttentionBlock,
    Convolution,
    Detail,
    Halves,
    Normalisation,
    Product,
    Recurrence,
    Slicing,
    Softmax,
    renumbered,
)
from fanwise.graph.op import Op, OpKind

FACTS = ("nonlinearity", "norm", "constant", "minus", "width", "causal", "cell", "gates", "time")
UNTOLD = {"norm": "name", "causal": False, "gates": 1}


def op(kind, detail=None):
    return Op(0, kind, "name", "", 0, 0, (), detail=detail)


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        (None, {}),
        (Convolution((2,)), {}),
        (Activation("gelu", approximate="tanh"), {"nonlinearity": "gelu"}),
        (Arithmetic(0.5, 1), {"constant": 0.5, "minus": 1}),
        (Product(8, 0.25), {"constant": 0.25, "width": 8}),
        (Attention(8, 0.5, causal=True), {"width": 8, "causal": True}),
        (AttentionBlock(4, causal=True), {"causal": True}),
        (Softmax(causal=True), {"causal": True}),
        (Recurrence("lstm", 4, time=1), {"cell": "lstm", "gates": 4, "time": 1}),
        (Normalisation("batch_norm", 1e-5), {"norm": "batch_norm"}),
    ],
)
def test_an_op_says_what_its_detail_says_and_nothing_else(detail, told):
    made = op(OpKind.OTHER, detail)
    assert {fact: getattr(made, fact) for fact in FACTS} == dict.fromkeys(FACTS) | UNTOLD | told


def test_ops_that_a_detail_names_get_other_numbers():
    number = {3: 1, 5: 2}.__getitem__
    assert renumbered(Slicing(3, ((0, 4),), (5,)), number) == Slicing(1, ((0, 4),), (2,))
    halves = Halves(5, (((0, 4),), None))
    assert renumbered(Activation("glu", halves=halves), number).halves == Halves(2, halves.runs)
    with pytest.raises(KeyError):
        renumbered(Slicing(4, ()), number)


@pytest.mark.parametrize("detail", [None, Activation("relu"), Arithmetic(2.0), Convolution(), Softmax()])
def test_other_details_stay(detail):
    assert renumbered(detail, {}.__getitem__) is detail


def test_details_are_values():
    for record in get_args(Detail):
        assert record.__dataclass_params__.frozen
        assert record.__doc__
