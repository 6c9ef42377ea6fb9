"""Values drawn in place of parameters: by whom they are seen, and what functions make of them."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Constant, Normal  # noqa: E402
from fanwise.graph.op import Op, OpKind, Parameter, Use, UseRole  # noqa: E402
from fanwise.jax.trace.calls import Step  # noqa: E402
from fanwise.jax.trace.provenance import derive, parameter_value  # noqa: E402
from fanwise.jax.trace.stand_ins import StandIns  # noqa: E402
from fanwise.jax.trace.traced_value import constant  # noqa: E402

FLOAT = np.dtype(np.float32)
OWN = {"w": np.full((2, 3), 7, np.float32), "v": np.full((2, 3), 9, np.float32)}
PARAMETERS = {path: Parameter(path, (2, 3), "bfloat16" if path == "v" else "float32") for path in OWN}
OP = Op(0, OpKind.LINEAR, "dot_general", "", 0, 0, (-1,), uses=(Use("w", UseRole.WEIGHT), Use("v", UseRole.WEIGHT)))
W, V = (parameter_value(path, array, array) for path, array in OWN.items())


def derived(name, function, *values, shape=(2, 3), **params):
    return derive(Step(name, lambda *arrays: [function(*arrays)], ((shape, FLOAT),), params), values, 0)


def replaced(stand_ins, laws, *values):
    return stand_ins.replaced(laws, OP, values, [stand_ins.numbers(value) for value in values])


def test_a_parameter_is_drawn_and_stays_drawn():
    stand_ins = StandIns(PARAMETERS)
    assert (stand_ins.numbers(W) == 7).all()
    (drawn,) = replaced(stand_ins, {"w": Constant(2.0)}, W)
    assert (drawn == 2).all()
    assert (drawn.shape, drawn.dtype) == ((2, 3), jnp.float32)
    assert (stand_ins.numbers(W) == 2).all()
    assert (OWN["w"] == 7).all()


def test_drawn_values_have_the_dtype_of_the_parameter():
    (drawn,) = replaced(StandIns(PARAMETERS), {"v": Constant(2.0)}, V)
    assert drawn.dtype == jnp.bfloat16


def test_what_has_no_law_and_what_shows_no_parameter_stays():
    number = constant(np.float32(5))
    arrays = replaced(StandIns(PARAMETERS), {"w": Constant(2.0)}, V, number)
    assert arrays[0] is OWN["v"]
    assert arrays[1] is number.data


def test_nothing_is_drawn_where_there_are_no_numbers():
    stand_ins = StandIns(PARAMETERS)
    shape = parameter_value("w", None, OWN["w"])
    assert replaced(stand_ins, {"w": Constant(2.0)}, shape) == [None]
    assert stand_ins.numbers(shape) is None


def test_a_view_shows_the_drawn_parameter():
    stand_ins = StandIns(PARAMETERS)
    view = derived("transpose", jnp.transpose, W, shape=(3, 2), permutation=(1, 0))
    law = Normal(1.0)
    (drawn,) = replaced(stand_ins, {"w": law}, view)
    assert drawn.shape == (3, 2)
    assert (stand_ins.numbers(W) == drawn.T).all()


def test_parameters_that_are_joined_are_each_drawn():
    joined = derived("concatenate", lambda a, b: jnp.concatenate([a, b]), W, V, shape=(4, 3), dimension=0)
    (drawn,) = replaced(StandIns(PARAMETERS), {"w": Constant(2.0), "v": Constant(3.0)}, joined)
    assert drawn.tolist() == [[2] * 3] * 2 + [[3] * 3] * 2


def test_what_a_function_makes_of_a_parameter_has_the_moments_of_its_law():
    """A weight that is normalised keeps its law's size: the function itself is not applied to what is drawn."""
    stand_ins = StandIns(PARAMETERS)
    root = derived("exp", jnp.exp, W)
    (drawn,) = replaced(stand_ins, {"w": Constant(2.0)}, root)
    assert (drawn == 2).all()
    assert (stand_ins.numbers(W) == 7).all()
    normal, wide = (replaced(StandIns(PARAMETERS), {"w": Normal(std)}, root)[0] for std in (1.0, 3.0))
    np.testing.assert_allclose(wide, 3 * normal, rtol=1e-6)
    assert len(set(np.asarray(normal).ravel().tolist())) == 6


def test_the_same_numbers_at_every_run():
    once, again = (replaced(StandIns(PARAMETERS), {"w": Normal(1.0)}, W)[0] for _ in range(2))
    assert (once == again).all()
