"""The named sets of kinds hold what they say, and the walks that go by them see what they used to miss."""

import pytest

from fanwise.graph import kinds
from fanwise.graph.context import GraphContext
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.plan.roles import cases
from fanwise.theory.rules.attention import softmax_before

SHAPE = (2, 6, 6)
W = Use("w", UseRole.WEIGHT, Layout.dense("out in"))
SETS = {name: value for name, value in vars(kinds).items() if isinstance(value, frozenset)}


def op(index, kind, *inputs, uses=()):
    return Op(index, kind, str(kind), "", 0, index, inputs, uses, SHAPE)


@pytest.mark.parametrize("name", SETS)
def test_a_set_holds_kinds_or_roles(name):
    assert SETS[name]
    assert {type(member) for member in SETS[name]} in ({OpKind}, {UseRole})


def test_no_two_sets_are_equal():
    assert len(set(SETS.values())) == len(SETS)


def test_the_written_form_of_a_kind_is_its_name():
    assert [str(kind) for kind in OpKind] == [kind.name.lower() for kind in OpKind]
    assert [str(role) for role in UseRole] == [role.name.lower() for role in UseRole]
    assert OpKind("conv_transpose") is OpKind.CONV_TRANSPOSE == "conv_transpose"


def test_a_branch_ends_in_the_map_before_a_softmax():
    ops = (
        op(0, OpKind.LINEAR, INPUT, uses=(W,)),
        op(1, OpKind.LINEAR, 0, uses=(W,)),
        op(2, OpKind.SOFTMAX, 1),
        op(3, OpKind.ADD, 0, 2),
    )
    trace = Trace(ops, (Parameter("w", (6, 6), "float32"),), (3,))
    assert GraphContext(trace).branch(ops[1]).ends == {1}
    (join,) = trace.joins
    assert (join.stream, join.branch) == (0, 2)


def test_a_table_that_is_dropped_out_before_it_is_added_to_scores_is_relative():
    table = Use("t", UseRole.TABLE, Layout.embedding())
    ops = (
        op(0, OpKind.EMBEDDING, uses=(table,)),
        op(1, OpKind.DROPOUT, 0),
        op(2, OpKind.MATMUL, INPUT, INPUT),
        op(3, OpKind.ADD, 2, 1),
        op(4, OpKind.SOFTMAX, 3),
    )
    trace = Trace(ops, (Parameter("t", (6, 6), "float32"),), (4,))
    assert cases(trace)["t"].role == "relative"


@pytest.mark.parametrize("kind", [OpKind.DROPOUT, OpKind.MUL, OpKind.SCALE, OpKind.SHIFT])
def test_theory_finds_the_softmax_behind_what_scales_its_weights(kind):
    ops = (op(0, OpKind.SOFTMAX, INPUT), op(1, kind, 0), op(2, OpKind.ELEMENTWISE, 1), op(3, OpKind.MATMUL, 2, INPUT))
    assert softmax_before(Trace(ops, ()), ops[3]) is ops[0]
    behind_a_sum = (ops[0], op(1, OpKind.ADD, 0, INPUT), *ops[2:])
    assert softmax_before(Trace(behind_a_sum, ()), ops[3]) is None
