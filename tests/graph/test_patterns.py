"""Norms written by hand and maps stored fused, recognised in traces that no framework made."""

from dataclasses import replace

import pytest

from fanwise.graph.op import INPUT, Op, Parameter, Use
from fanwise.graph.patterns import attention_part, fused_blocks, recognised
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout

X = (2, 5, 12)
SMALL = (2, 5, 1)


def op(index, kind, inputs, shape=X, **detail):
    return Op(index, kind, detail.pop("name", kind), "", 0, index, tuple(inputs), (), shape, -1, detail)


def rms(multiplies=0):
    """x * rsqrt(mean(x ** 2) + eps), where `multiplies` names the op that is multiplied."""
    return (
        op(0, "linear", [INPUT]),
        op(1, "linear", [0]),
        op(2, "elementwise", [0]),
        op(3, "reduce", [2], SMALL),
        op(4, "elementwise", [3], SMALL),
        op(5, "mul", [multiplies, 4]),
    )


def named(*ops):
    return [each.kind for each in recognised(Trace(ops, ())).ops]


def test_a_product_with_its_own_statistic_is_a_norm():
    assert named(*rms())[-1] == "norm"
    assert recognised(Trace(rms(), ())).ops[-1].inputs == (0,)


def test_a_product_with_the_statistic_of_another_is_not():
    assert named(*rms(multiplies=1))[-1] == "mul"


def test_a_statistic_must_be_smaller_and_must_reduce():
    ops = rms()
    assert named(*ops[:4], replace(ops[4], shape=X), ops[5])[-1] == "mul"
    assert named(*ops[:3], replace(ops[3], kind="elementwise"), *ops[4:])[-1] == "mul"


def test_less_its_mean_is_no_sum_and_still_itself():
    ops = (op(0, "linear", [INPUT]), op(1, "reduce", [0], SMALL), op(2, "add", [0, 1], minus=1))
    assert named(*ops) == ["linear", "reduce", "elementwise"]
    assert named(*ops[:2], op(2, "add", [0, 1])) == ["linear", "reduce", "add"]
    std = op(3, "reduce", [0], SMALL, name="std"), op(4, "elementwise", [2, 3], name="truediv")
    made = recognised(Trace((*ops, *std), ()))
    assert (made.ops[4].kind, made.ops[4].inputs) == ("norm", (0,))
    assert named(*ops, replace(std[0], name="sum"), std[1])[-1] == "elementwise"


def cut(*runs, after=()):
    """A weight of 36 outputs, slices of them, and further ops."""
    use = Use("w", "weight", Layout.dense("out in"))
    first = replace(op(0, "linear", [INPUT], (2, 5, 36)), uses=(use,))
    slices = [op(1 + i, "slice", [0], root=0, runs=(run,)) for i, run in enumerate(runs)]
    return Trace((first, *slices, *after), (Parameter("w", (36, 12), "float32"),))


def blocks(trace):
    made = recognised(trace).ops[0]
    return made.uses[0].layout.fused and made.uses[0].layout.fused.sizes, made.detail.get("blocks")


def test_slices_that_partition_are_maps():
    attention = op(4, "attention", [1, 2, 3])
    assert blocks(cut((0, 12), (12, 12), (24, 12), after=[attention])) == ((12,) * 3, ("query", "key", "value"))
    gate = op(3, "activation", [1]), op(4, "mul", [3, 2])
    assert blocks(cut((0, 18), (18, 18), after=gate)) == ((18, 18), ("gate", "up"))


@pytest.mark.parametrize("runs", [[(0, 12)], [(0, 12), (24, 12)], [(0, 24), (12, 24)], [(0, 36)]])
def test_slices_that_do_not_partition_are_none(runs):
    assert blocks(cut(*runs)) == (None, None)


def test_parts_that_meet_again_or_a_whole_that_is_used_are_none():
    assert blocks(cut((0, 18), (18, 18), after=[op(3, "concat", [1, 2])])) == (None, None)
    assert blocks(cut((0, 18), (18, 18), after=[op(3, "activation", [0])])) == (None, None)
    assert fused_blocks(cut((0, 18), (18, 18)))[0].slices == (1, 2)


def test_parts_of_an_attention_by_hand():
    ops = (
        *(op(i, "linear", [INPUT]) for i in range(4)),
        op(4, "matmul", [0, 1]),
        op(5, "softmax", [4]),
        op(6, "matmul", [5, 2]),
        op(7, "linear", [6]),
    )
    trace = Trace(ops, ())
    assert [attention_part(trace, trace.ops[i]) for i in range(4)] == ["query", "key", "value", None]
