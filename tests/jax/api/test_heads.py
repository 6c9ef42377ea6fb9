"""Heads and rectifiers in models of JAX: what makes the outputs is a head, whatever its form."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.graph.op import OpKind  # noqa: E402
from fanwise.jax import Inputs, apply, plan, run  # noqa: E402

WIDTH, CLASSES = 16, 10
INPUT = jnp.asarray(np.random.default_rng(0).standard_normal((256, WIDTH)), jnp.float32)


def square():
    return jnp.full((WIDTH, WIDTH), 0.1)


def head():
    return jnp.full((WIDTH, CLASSES), 0.1)


def two_nets(p, x):
    return jnp.tanh(x @ p["a"]) @ p["head"] + jax.nn.relu(x @ p["b"]) @ p["head_too"]


def by_name(p, x):
    hidden = jnp.tanh(x @ p["a"])
    return {"out": jax.nn.relu(hidden @ p["b"]) @ p["head"], "aux": hidden @ p["head_too"]}


def features_first(p, x):
    hidden = jnp.tanh(x @ p["a"])
    return hidden, jax.nn.relu(hidden @ p["b"]) @ p["head"] + 0 * (hidden @ p["head_too"])


def ensemble(p, x):
    each = [jnp.tanh(x @ p["a"]) @ p["head"], jnp.tanh(x @ p["b"]) @ p["head_too"]]
    return jnp.stack(each).mean(0)


def mixture(p, x):
    gate = jax.nn.softmax(x @ p["gate"])
    each = [jnp.tanh(x @ p["a"]) @ p["head"], jnp.tanh(x @ p["b"]) @ p["head_too"]]
    return sum(gate[:, i : i + 1] * term for i, term in enumerate(each))


MODELS = {"summed": two_nets, "by name": by_name, "ensemble": ensemble, "mixture": mixture, "features": features_first}


def parameters():
    return {"a": square(), "b": square(), "head": head(), "head_too": head(), "gate": jnp.full((WIDTH, 2), 0.1)}


@pytest.mark.parametrize("name", MODELS)
def test_the_maps_that_make_the_outputs_are_heads(name):
    rows = plan((MODELS[name], parameters()), INPUT).rows
    assert {row.path for row in rows if row.role == "head"} == {"head", "head_too"}


def outputs_over_time(p, x):
    """Logits of every step of a scan, as (steps, batch, classes)."""

    def cell(state, row):
        state = jnp.tanh(row @ p["a"] + state @ p["b"])
        return state, state @ p["head"]

    return jax.lax.scan(cell, jnp.zeros((32, WIDTH)), x.reshape(8, 32, WIDTH))[1]


def test_logits_of_every_step_of_a_scan_come_from_a_head():
    given = {"a": square(), "b": square(), "head": head()}
    model = (outputs_over_time, given)
    rows = plan(model, INPUT)
    assert {row.path: row.role for row in rows.rows} == {"a": "weight", "b": "recurrent", "head": "head"}
    drawn = apply(model, rows, key=1)
    drawn = drawn[1] if isinstance(drawn, tuple) else drawn
    logits = np.asarray(outputs_over_time(drawn, INPUT), np.float64)
    losses = np.log(np.exp(logits).sum(-1)) - logits.mean(-1)
    assert 0 <= losses.mean() / math.log(CLASSES) - 1 < 0.06


# Indices that are made of data


LOOKUPS = {
    "argsort": lambda p, x: p["a"][jnp.argsort(x @ p["b"], -1)[:, 0]],
    "top_k": lambda p, x: p["a"][jax.lax.top_k(x @ p["b"], 3)[1]].sum(1),
    "argmax": lambda p, x: p["a"][jnp.argmax(x @ p["b"], -1)],
    "sort": lambda p, x: p["a"][jax.lax.sort_key_val((x @ p["b"])[:, 0], jnp.arange(len(x)) % WIDTH)[1]],
    "argmin": lambda p, x: p["a"][jnp.argmin(jnp.square(x @ p["b"]), -1)],
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_rows_that_are_chosen_by_data_read_them(name):
    trace = run((lambda p, x: LOOKUPS[name](p, x) @ p["head"], parameters()), Inputs((INPUT,)))
    ((lookup, _),) = trace.uses["a"]
    ((map_op, _),) = trace.uses["b"]
    assert lookup.kind == OpKind.EMBEDDING
    assert map_op.index in trace.ancestors(lookup.index)


def test_a_straight_through_estimate_is_no_residual_connection():
    """z + stop_gradient(q - z) with rows q that z chooses: the indices carry no signal of z."""

    def quantised(p, x):
        z = x @ p["b"]
        rows = p["a"][jnp.argmax(z, -1)]
        return (z + jax.lax.stop_gradient(rows - z)) @ p["head"]

    assert not run((quantised, parameters()), Inputs((INPUT,))).joins


# Activations written out


FUNCTIONS = {
    "product": (lambda x: x * (x > 0), "relu"),
    "product of numbers": (lambda x: x * (x > 0).astype(x.dtype), "relu"),
    "where": (lambda x: jnp.where(x > 0, x, 0), "relu"),
    "log_sigmoid": (jax.nn.log_sigmoid, "logsigmoid"),
    "log_sigmoid by logaddexp": (lambda x: -jnp.logaddexp(0.0, -x), "logsigmoid"),
    "softplus": (jax.nn.softplus, "softplus"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_written_out_is_one_op(name):
    function, expected = FUNCTIONS[name]
    trace = run((lambda p, x: function(x @ p["a"]) @ p["head"], parameters()), Inputs((INPUT,)))
    assert [op.nonlinearity for op in trace.ops if op.kind != OpKind.LINEAR] == [expected]
