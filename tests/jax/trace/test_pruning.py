"""What goes once a trace is whole: sums of sums are one, what nothing reads is none, and numbers stay in order."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fanwise.jax as fwj
from fanwise.graph.details import Arithmetic, Slicing
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import Trace
from fanwise.jax.trace.pruning import kept_ops, pruned, with_whole_sums


def op(index, kind, inputs, name="", **options):
    return Op(index, kind, name or str(kind), "", 0, index, tuple(inputs), **options)


def total(index, inputs, name="reduce_sum", **options):
    return op(index, OpKind.REDUCE, inputs, name, **options)


def trace_of(*ops, outputs=()):
    return Trace(tuple(ops), (), tuple(outputs))


def test_a_sum_of_a_sum_is_one_over_what_the_first_read():
    first = total(1, [0], detail=Arithmetic(minus=1), reads=((4, 3),))
    whole, gone = with_whole_sums(trace_of(op(0, OpKind.OTHER, [INPUT]), first, total(2, [1], "psum"), outputs=[2]))
    assert gone == {1}
    assert (whole.ops[2].inputs, whole.ops[2].reads, whole.ops[2].detail) == ((0,), ((4, 3),), Arithmetic(minus=1))


APART = {
    "read by another": [total(1, [0]), total(2, [1]), op(3, OpKind.ADD, [1, 2])],
    "no sum": [total(1, [0], "reduce_max"), total(2, [1])],
    "not of a sum": [op(1, OpKind.MUL, [0]), total(2, [1])],
}


@pytest.mark.parametrize("name", APART)
def test_what_is_no_sum_of_a_sum_alone_stays(name):
    trace = trace_of(op(0, OpKind.OTHER, [INPUT]), *APART[name], outputs=[2])
    assert with_whole_sums(trace) == (trace, frozenset())


def test_what_others_stand_for_goes_with_all_that_only_it_read():
    ops = [op(0, OpKind.MUL, [INPUT]), op(1, OpKind.MUL, [0]), op(2, OpKind.MUL, [0]), op(3, OpKind.ADD, [2])]
    trace = trace_of(*ops, outputs=[3])
    assert kept_ops(trace, frozenset({1})) == (0, 2, 3)
    assert kept_ops(trace, frozenset({0, 1})) == (0, 2, 3)
    assert kept_ops(trace, frozenset({0, 1, 2, 3})) == (0, 2, 3)
    assert kept_ops(replace(trace, outputs=()), frozenset({0, 1, 2, 3})) == ()


def test_numbers_follow():
    ops = [op(i, OpKind.MUL, [i - 1 if i else INPUT]) for i in range(3)]
    ops.append(op(3, OpKind.SLICE, [0], detail=Slicing(0, ((0, 1),), (2,))))
    kept = pruned(trace_of(ops[0], ops[1], replace(ops[2], inputs=(0,)), ops[3], outputs=[3]), (0, 2, 3))
    assert [(one.index, one.inputs) for one in kept.ops] == [(0, (INPUT,)), (1, (0,)), (2, (0,))]
    assert kept.ops[2].detail == Slicing(0, ((0, 1),), (1,))
    assert kept.outputs == (2,)


def test_a_mean_over_a_vmapped_batch_is_one_op():
    params = {"w": jnp.eye(4)}

    def function(p, x):
        inner = jax.vmap(lambda row: jax.lax.pmean(row @ p["w"], "batch"), axis_name="batch")
        return inner(x).sum(-1)

    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    ops = fwj.run((function, params), fwj.Inputs((x,))).ops
    assert ops[0].kind == "linear"
    assert [one.index for one in ops] == list(range(len(ops)))


def test_ops_that_a_recognised_function_stands_for_are_gone():
    """A GELU written out is one op, not the six that compute it."""
    params = {"w": jnp.eye(4)}
    x = np.ones((3, 4), np.float32)

    def function(p, x):
        y = x @ p["w"]
        return 0.5 * y * (1 + jax.lax.erf(y / 2**0.5))

    trace = fwj.run((function, params), fwj.Inputs((x,)))
    assert [str(one.kind) for one in trace.ops] == ["linear", "activation"]
    assert trace.outputs == (1,)
