"""Ops that a rule does not fit, functions that refuse theory's values, signals that overflow: no theory, no error."""

import math
from dataclasses import replace

import pytest
from small_traces import WIDTH, dense, op, said

from fanwise import VarianceScaling
from fanwise.graph.op import INPUT
from fanwise.theory.propagation import Given, Grounds
from fanwise.theory.rules import FORWARD


def refusing(*arrays):
    raise RuntimeError("must have at least 2 dimensions")


@pytest.mark.parametrize("how", ["replay", "probe"])
def test_a_function_that_refuses_values_has_no_theory_until_a_norm(how):
    ops = [
        replace(op(0, "elementwise", [INPUT], name="tril"), **{how: refusing}),
        op(1, "linear", [0], dense("w")),
        op(2, "norm", [1], name="layer_norm"),
    ]
    found = said(ops, {"w": VarianceScaling(1.0)}, gradients={2: 1.0}, w=(WIDTH, WIDTH))
    assert found.unruled == (0,)
    assert found.grounds == (Grounds.NOTHING, Grounds.NOTHING, Grounds.RULES)
    assert found.second_moments[2] == pytest.approx(1.0)


def test_a_rule_that_does_not_fit_an_op_is_named_and_ends_nothing():
    pool = op(0, "pool", [INPUT], name="max_pool2d", shape=(4, WIDTH, 0, 2), reads=[(4, WIDTH, 4, 4)], axis=-3)
    attention = op(1, "attention", [0, 0, 0], shape=(4, WIDTH), reads=[(WIDTH,)] * 3)
    found = said([pool, attention], {}, gradients={1: 1.0})
    assert set(found.failed) <= {0, 1}
    assert 1 in found.failed
    assert "IndexError" in found.failed[1]
    assert found.grounds[1] == Grounds.NOTHING


@pytest.mark.parametrize("kind", sorted(FORWARD))
@pytest.mark.parametrize("size", [1e170, 1e300])
def test_no_rule_ends_in_an_error_for_a_signal_that_overflows(kind, size):
    """The square of 1e170 is no number any more: Python's own ** would raise."""
    ops = [op(0, kind, [INPUT] * 3, dense("w"), reads=[(16, 12, WIDTH)] * 3, name=str(kind))]
    found = said(ops, {"w": VarianceScaling(1.0)}, Given(size, size**0.5 / 2), gradients={0: 1.0}, w=(WIDTH,) * 2)
    assert len(found.second_moments) == len(found.gradients) == len(found.scatters) == 1
    assert found.failed == {}


@pytest.mark.parametrize("name", ["mean", "sum", "amax"])
@pytest.mark.parametrize("axis", [1, -1])
def test_a_sum_of_what_has_overflowed_has_overflowed(name, axis):
    shape = (16, WIDTH) if axis == 1 else (16, 12, 1)
    ops = [op(0, "reduce", [INPUT], name=name, shape=shape, reads=[(16, 12, WIDTH)])]
    found = said(ops, {}, Given(1e200, 1e80), gradients={0: 1.0})
    assert found.second_moments[0] == math.inf
    assert found.failed == {}


def test_a_bounded_function_brings_an_overflow_back():
    ops = [op(0, "activation", [INPUT], nonlinearity="tanh"), op(1, "linear", [0], dense("w"))]
    found = said(ops, {"w": VarianceScaling(1.0)}, Given(1e200), w=(WIDTH, WIDTH))
    assert found.second_moments == pytest.approx((1.0, 1.0), rel=0.05)


def test_an_input_that_was_not_measured_is_an_assumption_and_a_table_of_it_is_none():
    ops = [
        replace(op(0, "linear", [INPUT], dense("w")), given=(1,)),
        replace(op(1, "linear", [INPUT], dense("w")), given=(0,)),
        replace(op(2, "embedding", [INPUT], dense("w")), given=(1,)),
        op(3, "add", [0, 1]),
    ]
    found = said(ops, {"w": VarianceScaling(1.0)}, w=(WIDTH, WIDTH))
    assert found.grounds == (Grounds.ASSUMPTION, Grounds.RULES, Grounds.RULES, Grounds.ASSUMPTION)
