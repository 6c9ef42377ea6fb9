"""Maps and the biases that alone read them are one op; what something else reads, or adds otherwise, stays two."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax import Inputs  # noqa: E402
from fanwise.jax.trace.abstract_run import structure_of  # noqa: E402
from fanwise.jax.trace.run import program_of  # noqa: E402

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.ones(3), "c": jnp.ones(()), "r": jnp.ones((5, 1))}


def ops_of(function, x=X, params=PARAMS):
    """The ops of a program as a calibration sees them."""
    return structure_of(program_of((function, params), Inputs((x,)))).trace.ops


def told(ops):
    return [(str(op.kind), [(use.path, str(use.role)) for use in op.uses]) for op in ops]


MAP = ("linear", [("w", "weight"), ("b", "bias")])
APART = [("linear", [("w", "weight")]), ("shift", [("b", "shift")])]

JOINED = {
    "added": (lambda p, x: x @ p["w"] + p["b"], -1),
    "added before": (lambda p, x: p["b"] + x @ p["w"], -1),
    "to the transposed": (lambda p, x: (x @ p["w"]).T + p["b"][:, None], -2),
    "to the reshaped": (lambda p, x: (x @ p["w"]).reshape(5, 1, 3) + p["b"], -1),
}


@pytest.mark.parametrize("name", JOINED)
def test_a_map_and_its_bias_are_one_op(name):
    function, axis = JOINED[name]
    (op,) = ops_of(function)
    assert told([op]) == [MAP]
    assert op.axis == axis
    assert op.shape[axis] == 3
    assert op.shape == function(PARAMS, X).shape


SEPARATE = {
    "read again": lambda p, x: (y := x @ p["w"]) * (y + p["b"]),
    "returned too": lambda p, x: (y := x @ p["w"], y + p["b"]),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_where_the_map_is_read_otherwise_they_stay_two(name):
    assert told(ops_of(SEPARATE[name]))[:2] == APART


OTHER = {
    "one number": ("c", lambda p, x: x @ p["w"] + p["c"]),
    "a number a row": ("r", lambda p, x: x @ p["w"] + p["r"]),
    "subtracted": ("b", lambda p, x: x @ p["w"] - p["b"]),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_number_for_each_feature_is_no_bias(name):
    path, function = OTHER[name]
    ops = ops_of(function)
    assert not [use for op in ops for use in op.uses if use.role == "bias"]
    assert path in {use.path for op in ops for use in op.uses}


def test_a_convolution_and_its_bias():
    params = {"w": jnp.ones((3, 3, 2, 6)), "b": jnp.ones(6)}
    numbers = ("NHWC", "HWIO", "NHWC")
    (op,) = ops_of(
        lambda p, x: jax.lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", dimension_numbers=numbers) + p["b"],
        np.ones((2, 5, 5, 2), np.float32),
        params,
    )
    assert told([op]) == [("conv", [("w", "weight"), ("b", "bias")])]


def test_what_a_bias_is_added_to_is_counted_from_there():
    """The part of the features that goes on is one of map and bias together."""
    ops = ops_of(lambda p, x: (x @ p["w"] + p["b"])[:, :2] @ jnp.ones((2, 2)))
    assert told(ops)[0] == MAP
    assert [op.index for op in ops] == list(range(len(ops)))
    assert all(source < op.index for op in ops for source in op.inputs)
