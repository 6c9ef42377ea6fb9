"""Parameters of JAX that are written among data, or into an array that then is a weight."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax import plan  # noqa: E402

WIDTH = 16
INPUT = jnp.asarray(np.random.default_rng(0).standard_normal((64, WIDTH)), jnp.float32)


def rows_of(function, shape):
    def model(p, x):
        return jnp.tanh(function(p["p"], x)) @ p["head"]

    rows = plan((model, {"p": jnp.full(shape, 0.1), "head": jnp.ones((WIDTH, 4))}), INPUT).rows
    return {row.path: row for row in rows}


EVEN = jnp.arange(64)[:, None] % 2 == 0
TOKENS = {
    "at set": (lambda p, x: x.at[:4].set(p), (WIDTH,)),
    "rows": (lambda p, x: x.at[jnp.asarray([1, 5])].set(p), (2, WIDTH)),
    "where": (lambda p, x: jnp.where(EVEN, p, x), (WIDTH,)),
    "where, the other way": (lambda p, x: jnp.where(EVEN, x, p), (WIDTH,)),
    "update slice": (lambda p, x: jax.lax.dynamic_update_slice(x, p, (3, 0)), (4, WIDTH)),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_parameter_that_is_put_among_data_is_a_token(name):
    row = rows_of(*TOKENS[name])["p"]
    assert (row.role, row.std) == ("token", 1.0)


def test_rows_that_are_added_at_some_places_are_positions():
    assert rows_of(lambda p, x: x.at[:4].add(p), (4, WIDTH))["p"].role == "position"


WEIGHTS = {
    "at set": lambda p, x: x @ jnp.zeros((WIDTH, WIDTH)).at[2:6].set(p),
    "update slice": lambda p, x: x @ jax.lax.dynamic_update_slice(jnp.zeros((WIDTH, WIDTH)), p, (2, 0)),
    "rows": lambda p, x: x @ jnp.zeros((WIDTH, WIDTH)).at[jnp.asarray([1, 5, 7, 2])].set(p),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_parameter_that_is_a_part_of_a_weight_has_the_fan_of_the_part(name):
    """4 of 16 rows are not 0, so that std = 1 / sqrt(4 E x^2)."""
    row = rows_of(WEIGHTS[name], (4, WIDTH))["p"]
    assert row.role == "weight"
    assert row.std == pytest.approx(1 / math.sqrt(4 * float(jnp.square(INPUT).mean())), rel=0.01)
