"""Equations of a program as functions of arrays: what they compute, and what is asked of them without numbers."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.jax.trace.calls import Step, forms_of, literal, plain_step, step_of  # noqa: E402

FLOAT = np.dtype(np.float32)


def equations(function, *arrays):
    return jax.make_jaxpr(function)(*arrays).jaxpr.eqns


def test_a_step_computes_what_its_equation_does():
    (equation,) = equations(lambda x: lax.transpose(x, (1, 0)), jnp.zeros((2, 3)))
    step = step_of(equation)
    assert (step.name, step.outs) == ("transpose", (((3, 2), FLOAT),))
    assert step.params["permutation"] == (1, 0)
    assert step.first(jnp.arange(6.0).reshape(2, 3)).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_order_of_the_inputs_is_kept():
    (equation,) = equations(lax.sub, 1.0, 1.0)
    assert float(step_of(equation).first(jnp.float32(5), jnp.float32(3))) == 2


def test_every_output_of_an_equation():
    (equation,) = equations(lambda x: lax.split(x, (1, 3)), jnp.zeros(4))
    step = step_of(equation)
    assert [shape for shape, _ in step.outs] == [(1,), (3,)]
    assert [part.tolist() for part in step(jnp.arange(4.0))] == [[0], [1, 2, 3]]


def test_a_step_without_numbers_computes_nothing():
    step = Step("add", lambda *_: pytest.fail("the function was called"), (((2,), FLOAT), ((), FLOAT)))
    assert step(np.ones(2), None) == [None, None]
    assert step.first(None, np.ones(2)) is None


def test_forms_are_of_the_variables_in_their_order():
    (equation,) = equations(lambda x: lax.top_k(x, 2), jnp.zeros((3, 4)))
    assert forms_of(equation.outvars) == (((3, 2), FLOAT), ((3, 2), np.dtype(np.int32)))


def test_a_literal_has_the_dtype_of_its_place():
    (equation,) = equations(lambda x: x * 3, jnp.zeros(2, jnp.bfloat16))
    number = literal(equation.invars[1])
    assert (float(number), number.dtype) == (3, jnp.bfloat16)


def test_a_plain_step_has_the_form_of_another_array():
    step = plain_step("mul", lambda a, b: a * b, jax.ShapeDtypeStruct((2, 1), jnp.float16))
    assert step.outs == (((2, 1), np.dtype(np.float16)),)
    assert step(2, 3) == [6]
