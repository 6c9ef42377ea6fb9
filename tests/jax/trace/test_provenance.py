"""Parameters followed into the ops that use them: which, in what layout, through which functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fanwise.jax as fwj
from fanwise import Layout

X = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def ops_of(function, params, x=X):
    return fwj.run((function, params), fwj.Inputs((x,))).ops


def uses_of(function, params, x=X):
    return [use for op in ops_of(function, params, x) for use in op.uses]


WEIGHT = {
    "as it is stored": (lambda p, x: x @ p["w"], (16, 4), Layout.dense("in out"), 16, 4),
    "transposed": (lambda p, x: x @ p["w"].T, (4, 16), Layout.dense("out in"), 16, 4),
    "on the left": (lambda p, x: p["w"] @ x.T, (4, 16), Layout.dense("out in"), 16, 4),
    "with heads": (lambda p, x: jnp.einsum("bi,iho->bho", x, p["w"]), (16, 2, 3), Layout(("in", "out", "out")), 16, 6),
    "heads merged": (lambda p, x: x @ p["w"].reshape(16, 6), (16, 2, 3), Layout(("in", "out", "out")), 16, 6),
    "from a vector of matrices": (lambda p, x: x @ p["w"][1], (3, 16, 4), Layout(("stack", "in", "out")), 16, 4),
    "cast": (lambda p, x: x @ p["w"].astype(jnp.bfloat16), (16, 4), Layout.dense("in out"), 16, 4),
}


@pytest.mark.parametrize("name", WEIGHT)
def test_the_layout_of_a_weight_is_told_in_its_storage(name):
    function, shape, layout, fan_in, fan_out = WEIGHT[name]
    (use,) = uses_of(function, {"w": normal(*shape)})
    assert (use.path, use.role, use.layout) == ("w", "weight", layout)
    fans = use.layout.fans(shape)
    assert (fans.fan_in, fans.fan_out) == (fan_in, fan_out)


def test_a_matrix_that_is_cut_is_a_map_for_each_part():
    def function(p, x):
        return [x @ part for part in jnp.split(p["w"], 3, axis=1)]

    ops = ops_of(function, {"w": normal(16, 12)})
    assert [(str(op.kind), op.shape) for op in ops] == [("linear", (8, 4))] * 3
    (row,) = fwj.plan((function, {"w": normal(16, 12)}), X)
    assert [(fans.fan_in, fans.fan_out) for fans in row.fans] == [(16, 4)] * 3 or row.fan_in == 16


def test_rows_of_a_table():
    (op,) = ops_of(lambda p, i: p["t"][i], {"t": normal(50, 4)}, np.arange(6))
    assert (op.kind, op.uses[0].role, op.uses[0].layout) == ("embedding", "table", Layout.embedding())


def test_functions_of_a_parameter_are_named_in_their_order():
    (use,) = uses_of(lambda p, x: x * jnp.exp(p["s"]), {"s": normal(16)})
    assert (use.path, use.steps) == ("s", ("exp",))
    (use,) = uses_of(lambda p, x: x @ jnp.tanh(-p["w"]), {"w": normal(16, 4)})
    assert use.steps == ("neg", "tanh")


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_constant_that_multiplies_a_weight_is_its_ratio(factor):
    (use,) = uses_of(lambda p, x: x @ (factor * p["w"]), {"w": normal(16, 4)})
    assert use.ratio == pytest.approx(factor, rel=1e-5)
    (plain,) = uses_of(lambda p, x: x @ p["w"], {"w": normal(16, 4)})
    assert plain.ratio == 1


def test_a_weight_in_two_factors():
    """Direction and length of a weight norm: the matrix is the weight, its length a scale."""

    def function(p, x):
        return x @ (p["g"] * p["v"] / jnp.linalg.norm(p["v"], axis=0))

    (op,) = ops_of(function, {"g": jnp.ones(4), "v": normal(16, 4)})
    roles = {use.path: str(use.role) for use in op.uses}
    assert roles == {"v": "weight", "g": "scale"}


def test_what_is_made_of_two_parameters_uses_both():
    (op,) = ops_of(lambda p, x: x @ (p["a"] @ p["b"]), {"a": normal(16, 2), "b": normal(2, 4)})
    assert {use.path for use in op.uses} == {"a", "b"}
    assert all("matmul" in use.steps for use in op.uses)


def test_a_constant_matrix_uses_no_parameter():
    ops = ops_of(lambda p, x: (x @ jnp.ones((16, 16))) @ p["w"], {"w": normal(16, 4)})
    assert [[use.path for use in op.uses] for op in ops] == [[], ["w"]]
