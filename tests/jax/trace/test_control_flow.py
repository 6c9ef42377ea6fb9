"""Loops and branches: scans over layers are layers, loops over time are one; numbers are those of plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fanwise.jax as fwj
from fanwise import Layout

X = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
STACK = {"w": jax.random.normal(jax.random.key(0), (5, 16, 16)) / 4}


def traced(function, params, x=X):
    return fwj.run((function, params), fwj.Inputs((x,)))


def output_of(function, params, x=X):
    """The second moment of what the model returned, as the check's run computed it."""
    return fwj.check((function, params), x, backward=False).observations[0].outputs.second_moment


def moment(array):
    return float(np.square(np.asarray(array, np.float64)).mean())


def layers(p, x, **options):
    return lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["w"], **options)[0]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_over_a_stack_is_a_layer_for_each_matrix(reverse):
    def function(p, x):
        return layers(p, x, reverse=reverse)

    trace = traced(function, STACK)
    maps = [op for op in trace.ops if op.kind == "linear"]
    assert len(maps) == 5
    assert {use.layout for op in maps for use in op.uses} == {Layout(("stack", "in", "out"))}
    assert [op.call for op in maps] == list(range(5))
    assert [str(op.kind) for op in trace.ops] == ["linear", "activation"] * 5
    assert output_of(function, STACK) == pytest.approx(moment(function(STACK, X)), rel=1e-5)


def test_the_order_of_a_scan_matters():
    assert output_of(layers, STACK) != pytest.approx(moment(layers(STACK, X, reverse=True)), rel=1e-3)


def test_what_every_step_gives_is_stacked():
    def function(p, x):
        return lax.scan(lambda h, w: (h @ w, h @ w), x, p["w"])[1]

    trace = traced(function, STACK)
    assert trace.ops[-1].kind == "concat"
    assert trace.ops[-1].shape == (5, 8, 16)
    assert len(trace.ops[-1].inputs) == 5
    assert output_of(function, STACK) == pytest.approx(moment(function(STACK, X)), rel=1e-5)


TIME = {
    "w": jax.random.normal(jax.random.key(1), (16, 16)) / 8,
    "u": jax.random.normal(jax.random.key(2), (16, 16)) / 4,
}


def over_time(p, xs):
    return lax.scan(lambda h, x: (jnp.tanh(h @ p["w"] + x @ p["u"]), None), jnp.zeros(xs.shape[1:]), xs)[0]


def test_a_scan_over_time_is_told_by_two_steps_and_computed_to_its_end():
    xs = np.random.default_rng(1).normal(size=(7, 8, 16)).astype(np.float32)
    maps = [op for op in traced(over_time, TIME, xs).ops if op.uses]
    assert [sorted(use.path for use in op.uses) for op in maps].count(["u"]) == 2
    assert output_of(over_time, TIME, xs) == pytest.approx(moment(over_time(TIME, xs)), rel=1e-5)
    assert moment(over_time(TIME, xs)) != pytest.approx(moment(over_time(TIME, xs[:2])), rel=1e-2)


def repeated(p, x):
    return lax.fori_loop(0, 6, lambda _, h: jnp.tanh(h @ p["w"]), x)


def until(p, x):
    return lax.while_loop(lambda h: jnp.abs(h).max() > 0.5, lambda h: jnp.tanh(h @ p["w"]), x)


@pytest.mark.parametrize("function", [repeated, until])
def test_loops_run_as_often_as_in_jax(function):
    assert output_of(function, TIME) == pytest.approx(moment(function(TIME, X)), rel=1e-5)
    assert {use.path for op in traced(function, TIME).ops for use in op.uses} == {"w"}


BRANCHES = {"a": jnp.ones((16, 4)), "b": 2 * jnp.ones((16, 4))}


@pytest.mark.parametrize(("sign", "path", "number"), [(1, "a", 1), (-1, "b", 0)])
def test_the_branch_that_is_taken_is_traced_and_said(sign, path, number):
    def function(p, x):
        return lax.cond(x.sum() > 0, lambda x: x @ p["a"], lambda x: x @ p["b"], x)

    x = sign * np.abs(X)
    trace = traced(function, BRANCHES, x)
    assert {use.path for op in trace.ops for use in op.uses} == {path}
    assert [text for text in trace.unseen if f"branch {number} of 2 was traced, the one that is taken" in text]
    assert trace.unused == ({"a": "b", "b": "a"}[path],)
    assert output_of(function, BRANCHES, x) == pytest.approx(moment(function(BRANCHES, x)), rel=1e-5)


def test_functions_that_wrap_others_are_looked_into():
    def function(p, x):
        inner = jax.checkpoint(jax.jit(lambda x: jnp.tanh(x @ p["w"])))
        return jax.vmap(inner)(x[:, None])[:, 0]

    assert [str(op.kind) for op in traced(function, TIME).ops if op.kind != "other"] == ["linear", "activation"]
