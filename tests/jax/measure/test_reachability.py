"""Which parameters a function depends on: not through what cuts a gradient off, but through zeros."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.jax.measure.reachability import reached  # noqa: E402

V, W = np.ones(3, np.float32), np.zeros(3, np.float32)


def two_of_three(a, b):
    """Outputs of which only the first depends on each."""
    return a * 2, b * 3


FUNCTIONS = {
    "both": (lambda p: (p["v"] * p["w"]).sum(), {"v", "w"}),
    "a factor of zero": (lambda p: (0 * p["v"] + p["w"]).sum(), {"v", "w"}),
    "dead units": (lambda p: jax.nn.relu(p["w"] - 1).sum(), {"w"}),
    "cut off": (lambda p: (lax.stop_gradient(p["v"]) * p["w"]).sum(), {"w"}),
    "unused": (lambda p: p["v"].sum(), {"v"}),
    "nothing": (lambda p: jnp.float32(3), set()),
    "by comparison alone": (lambda p: jnp.where(p["v"] > 0, p["w"], 0).sum(), {"w"}),
    "rounded": (lambda p: (jnp.round(p["v"]) + p["w"]).sum(), {"w"}),
    "in a called function": (lambda p: jax.jit(two_of_three)(p["v"], p["w"])[1].sum(), {"w"}),
    "recomputed": (lambda p: jax.checkpoint(two_of_three)(p["v"], p["w"])[0].sum(), {"v"}),
    "in a loop": (lambda p: lax.scan(lambda c, x: (c * x, None), p["v"].sum(), p["w"])[0], {"v", "w"}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_which_leaves_are_reached(name):
    function, paths = FUNCTIONS[name]
    assert reached(function, {"w": jnp.asarray(W), "v": jnp.asarray(V)}) == paths


def test_names_belong_to_their_leaves_whatever_their_order():
    leaves = {name: jnp.asarray(V) for name in ("c", "a", "b")}
    assert reached(lambda p: p["c"].sum(), leaves) == {"c"}
    assert reached(lambda p: p["a"].sum(), leaves) == {"a"}
