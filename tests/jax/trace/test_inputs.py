"""What an `inputs` argument means, and its words."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.graph.inputs import Inputs  # noqa: E402
from fanwise.jax.trace.inputs import as_inputs, inputs_text  # noqa: E402

X = np.ones((2, 3), np.float32)
SHAPE = jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)

MEANT = {
    "an array of NumPy": (X, (X,), {}),
    "a shape": (SHAPE, (SHAPE,), {}),
    "a tuple": ((X, 3), (X, 3), {}),
    "a list": ([X, SHAPE], (X, SHAPE), {}),
    "a mapping": ({"x": X, "train": False}, (), {"x": X, "train": False}),
}


@pytest.mark.parametrize("name", MEANT)
def test_arguments(name):
    given, args, named = MEANT[name]
    inputs = as_inputs(given)
    assert len(inputs.args) == len(args)
    assert all(got is wanted for got, wanted in zip(inputs.args, args, strict=True))
    assert list(inputs.kwargs) == list(named)
    assert all(inputs.kwargs[key] is named[key] for key in named)


def test_inputs_stay_what_they_are():
    inputs = Inputs((X,), {"train": True})
    assert as_inputs(inputs) is inputs


def test_words_become_arrays_in_their_order():
    inputs = as_inputs("2,3; ids=4:int32[5,7); 6:bfloat16")
    assert [(array.shape, array.dtype) for array in inputs.args] == [((2, 3), jnp.float32), ((6,), jnp.bfloat16)]
    assert list(inputs.kwargs) == ["ids"]
    assert set(np.asarray(inputs.kwargs["ids"]).tolist()) <= {5, 6}


def test_words_give_the_same_numbers_at_every_call():
    """Their mean square is 1 by construction; two arrays of one text are different ones."""
    first, second = as_inputs("8,4;8,4").args
    assert (first == as_inputs("8,4").args[0]).all()
    assert not (first == second).all()
    assert float(jnp.square(first).mean()) == pytest.approx(1, rel=1e-6)


def test_words_as_shapes_alone():
    inputs = as_inputs("2,3:float16;mask=4:int8[0,2)", abstract=True)
    assert inputs.args == (jax.ShapeDtypeStruct((2, 3), jnp.float16),)
    assert dict(inputs.kwargs) == {"mask": jax.ShapeDtypeStruct((4,), jnp.int8)}


@pytest.mark.parametrize("given", [3, None, {1: X}])
def test_anything_else_is_refused(given):
    with pytest.raises(TypeError, match=f"inputs = {type(given).__name__}: expected an array"):
        as_inputs(given)


def test_words_that_cannot_be_read():
    with pytest.raises(ValueError, match="'2 3'"):
        as_inputs("2 3")


def test_inputs_in_words():
    inputs = as_inputs(((jnp.ones((2, 3), jnp.bfloat16), np.zeros(4, np.int32)), SHAPE, True))
    assert inputs_text(None, inputs) == "2,3:bfloat16; 4:int32; 2,3:bfloat16; True"
    assert inputs_text({}, as_inputs({"x": X})) == "x=2,3:float32"


def test_words_that_were_given_stay():
    assert inputs_text(" 2, 3", as_inputs("2,3")) == " 2, 3"
