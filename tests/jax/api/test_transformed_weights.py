"""Weights that a model makes of its parameters, in JAX: the laws of torch, measured through the forward."""

import math
from statistics import fmean, stdev

import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

import fanwise.jax as fwj  # noqa: E402

WIDTH, ROWS, KEYS = 48, 64, 10
X = jax.random.normal(jax.random.key(0), (ROWS, 32))


def drawn(number, *shape, std=0.3):
    return jax.random.normal(jax.random.key(number), shape) * std


def low_rank(p):
    return p["u"] @ p["v"]


def skew(p):
    return p["w"] - p["w"].T


def codes(p):
    return jnp.tanh(p["code"] @ p["first"]) @ p["second"]


def hadamard(p):
    return p["w"] * p["other"]


def absolute(p):
    return jnp.abs(p["w"])


def positive(p):
    return jax.nn.softplus(p["w"] - 4.0)


def complex_of_parts(p):
    return p["w"] + 1j * p["other"]


def complex_of_parts_times_rows(p):
    return (p["w"] + 1j * p["other"]) * jnp.exp(p["rows"])[:, None]


def complex_of_columns(p):
    return jnp.exp(p["columns"]) * (p["w"] + 1j * p["other"])


def low_rank_times_rows(p):
    return p["rows"][:, None] * (p["u"] @ p["v"])


def skew_times_a_number(p):
    return p["number"] * (p["w"] - p["w"].T)


def absolute_over_columns(p):
    return jnp.abs(p["w"]) / p["columns"]


MEMBERS = {
    low_rank: {"u": (WIDTH, 6), "v": (6, WIDTH)},
    skew: {"w": (WIDTH, WIDTH)},
    codes: {"code": (WIDTH, 8), "first": (8, 16), "second": (16, WIDTH)},
    hadamard: {"w": (WIDTH, WIDTH), "other": (WIDTH, WIDTH)},
    absolute: {"w": (WIDTH, WIDTH)},
    positive: {"w": (WIDTH, WIDTH)},
    complex_of_parts: {"w": (WIDTH, WIDTH), "other": (WIDTH, WIDTH)},
    complex_of_parts_times_rows: {"w": (WIDTH, WIDTH), "other": (WIDTH, WIDTH), "rows": jnp.full(WIDTH, -0.5)},
    complex_of_columns: {"w": (WIDTH, WIDTH), "other": (WIDTH, WIDTH), "columns": jnp.full(WIDTH, 0.7)},
    low_rank_times_rows: {"u": (WIDTH, 6), "v": (6, WIDTH), "rows": jnp.full(WIDTH, 0.3)},
    skew_times_a_number: {"w": (WIDTH, WIDTH), "number": jnp.float32(2.0)},
    absolute_over_columns: {"w": (WIDTH, WIDTH), "columns": jnp.full(WIDTH, 3.0)},
}


def parameters(shapes):
    own = {
        name: drawn(number + 1, *shape) if isinstance(shape, tuple) else shape
        for number, (name, shape) in enumerate(shapes.items())
    }
    return {**own, "enter": drawn(8, 32, WIDTH), "head": drawn(9, WIDTH, 10)}


def pre_activations(make, p):
    return jnp.tanh(X @ p["enter"]) @ make(p)


@pytest.mark.parametrize("make", MEMBERS, ids=lambda make: make.__name__)
def test_a_made_map_gives_unit_second_moment(make):
    def model(p, x):
        pre = jnp.tanh(x @ p["enter"]) @ make(p)
        return jax.nn.relu(pre.real) @ p["head"]

    net = (model, parameters(MEMBERS[make]))
    plan = fwj.plan(net, fwj.Inputs((X,)))
    rows = [row for row in plan if isinstance(MEMBERS[make].get(row.path), tuple)]
    assert rows
    assert all(row.law is not None and not row.guess for row in rows)
    sizes = []
    for key in range(KEYS):
        _, new = fwj.apply(net, plan, key=key)
        sizes.append(float(jnp.square(jnp.abs(pre_activations(make, new))).mean()))
    assert abs(fmean(sizes) - 1) < 4 * stdev(sizes) / math.sqrt(KEYS) + 0.05
