"""Plans of recurrent networks of JAX that run in both directions."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")
linen = pytest.importorskip("flax.linen", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax import apply, plan  # noqa: E402

WIDTH = 32
INPUT = jnp.asarray(np.random.default_rng(0).standard_normal((32, 20, 16)), jnp.float32)


def reversed_scan(values, cell, state):
    """States of a loop over time that begins at the end."""
    return jax.lax.scan(cell, state, values, reverse=True)[1]


def tanh_layer(parameters, values, direction):
    weight, hidden = parameters[f"{direction}_in"], parameters[f"{direction}_state"]

    def cell(state, row):
        state = jnp.tanh(row @ weight + state @ hidden)
        return state, state

    start = jnp.zeros((values.shape[1], WIDTH))
    if direction == "back":
        return reversed_scan(values, cell, start)
    return jax.lax.scan(cell, start, values)[1]


def stacked(parameters, values):
    """Two layers of both directions, written out."""
    values = jnp.swapaxes(values, 0, 1)
    for layer in parameters["layers"]:
        values = jnp.concatenate([tanh_layer(layer, values, way) for way in ("ahead", "back")], -1)
    return values[-1] @ parameters["head"]


def parameters():
    def layer(width):
        return {
            "ahead_in": jnp.ones((width, WIDTH)),
            "ahead_state": jnp.ones((WIDTH, WIDTH)),
            "back_in": jnp.ones((width, WIDTH)),
            "back_state": jnp.ones((WIDTH, WIDTH)),
        }

    return {"layers": [layer(16), layer(2 * WIDTH)], "head": jnp.ones((2 * WIDTH, 5))}


def test_scans_of_both_directions_have_unit_pre_activations():
    """What the second layer reads is measured over all steps: the first states are smaller than the later ones."""
    model = (stacked, parameters())
    drawn = apply(model, plan(model, INPUT), key=0)
    drawn = drawn[1] if isinstance(drawn, tuple) else drawn
    values = jnp.swapaxes(INPUT, 0, 1)
    for layer in drawn["layers"]:
        rows = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
        covariance = rows.T @ rows / len(rows)
        error = 5 * math.sqrt(2 * (covariance**2).sum() / np.trace(covariance) ** 2 / WIDTH)
        for way in ("ahead", "back"):
            assert abs(np.square(rows @ np.asarray(layer[f"{way}_in"], np.float64)).mean() - 1) < error < 0.8
        values = jnp.concatenate([tanh_layer(layer, values, way) for way in ("ahead", "back")], -1)


@pytest.mark.parametrize("cell", ["OptimizedLSTMCell", "GRUCell", "SimpleCell"])
def test_both_directions_of_flax_have_one_law(cell):
    class Model(linen.Module):
        @linen.compact
        def __call__(self, values):
            kind = getattr(linen, cell)
            values = linen.Bidirectional(linen.RNN(kind(WIDTH)), linen.RNN(kind(WIDTH)))(values)
            return linen.Dense(5)(values[:, -1])

    model = Model()
    rows = plan((model, model.init(jax.random.key(0), INPUT)), INPUT).rows
    fed = [row for row in rows if row.role == "weight"]
    assert len({row.path.split(".")[0] for row in fed}) == 2
    for row in fed:
        assert row.std == pytest.approx(1 / 4, rel=0.03)
        assert not row.guess
