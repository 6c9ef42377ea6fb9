"""The interpreter: which operations become ops, which are views, casts, means or functions of parameters alone."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.graph.details import Normalisation, Slicing  # noqa: E402
from fanwise.graph.op import INPUT, Parameter  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.jax.trace.interpreter import Interpreter  # noqa: E402
from fanwise.jax.trace.provenance import parameter_value  # noqa: E402
from fanwise.jax.trace.recorder import Recorder  # noqa: E402
from fanwise.jax.trace.traced_value import Value, constant  # noqa: E402

X = np.arange(20, dtype=np.float32).reshape(5, 4) - 7
W = np.arange(12, dtype=np.float32).reshape(4, 3) / 4
G = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
LEAVES = {"w": W, "g": G}


def interpreted(function, *given):
    """The outputs of a function of the parameters and of inputs, and its ops; their numbers are those of JAX."""
    given = given or (X,)
    program = jax.make_jaxpr(function)(LEAVES, *given)
    held = {path: parameter_value(path, leaf, leaf) for path, leaf in LEAVES.items()}
    data = [Value(array.shape, array.dtype, array, INPUT, number) for number, array in enumerate(given)]
    parameters = {path: Parameter(path, leaf.shape, "float32") for path, leaf in LEAVES.items()}
    interpreter = Interpreter(Recorder(parameters, LEAVES, Watcher()))
    outputs = [interpreter.resolve(value) for value in interpreter.interpret(program, [held["g"], held["w"], *data])]
    wanted = jax.tree_util.tree_leaves(function(LEAVES, *given))
    for value, array in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(interpreter.recorder.numbers(value), array, rtol=1e-5, atol=1e-6)
    return outputs, interpreter.recorder.ops


def kinds(ops):
    return [str(op.kind) for op in ops]


CALLED = {
    "jit": jax.jit(lambda w, x: x @ w),
    "checkpoint": jax.checkpoint(lambda w, x: x @ w),
    "custom_jvp": jax.custom_jvp(lambda w, x: x @ w),
    "custom_vjp": jax.custom_vjp(lambda w, x: x @ w),
    "twice": jax.jit(jax.checkpoint(lambda w, x: x @ w)),
}
CALLED["custom_jvp"].defjvps(None, None)
CALLED["custom_vjp"].defvjp(lambda w, x: (x @ w, None), lambda _, g: (g, g))


@pytest.mark.parametrize("name", CALLED)
def test_functions_that_a_program_calls_are_entered(name):
    _, ops = interpreted(lambda p, x: CALLED[name](p["w"], x))
    assert [(str(op.kind), [use.path for use in op.uses]) for op in ops] == [("linear", ["w"])]


VIEWED = {
    "transposed": lambda x: x.T,
    "reshaped": lambda x: x.reshape(2, 10),
    "repeated": lambda x: jnp.broadcast_to(x, (3, 5, 4)),
    "cast": lambda x: x.astype(jnp.bfloat16),
    "stopped": lax.stop_gradient,
    "passed": lax.optimization_barrier,
}


@pytest.mark.parametrize("name", VIEWED)
def test_views_of_an_input_are_no_ops(name):
    (value,), ops = interpreted(lambda p, x: VIEWED[name](x))
    assert (ops, value.op) == ([], INPUT)


def test_views_are_written_down_but_for_casts():
    (value,), ops = interpreted(lambda p, x: (x @ p["w"]).T.astype(jnp.bfloat16))
    assert kinds(ops) == ["linear"]
    assert len(value.views.steps) == 1
    assert value.views.replayed(value.views.numbers()).tolist() == [[0] * 5, [1] * 5, [2] * 5]


def test_a_view_that_leaves_features_out_is_an_op():
    (value,), ops = interpreted(lambda p, x: (x @ p["w"])[:, 1:])
    assert (kinds(ops), ops[1].detail, ops[1].reads) == (["linear", "slice"], Slicing(0, ((1, 2),)), ((5, 3),))
    assert value.op == 1


def test_a_view_that_leaves_rows_out_is_none():
    (value,), ops = interpreted(lambda p, x: (x @ p["w"])[:2])
    assert (kinds(ops), value.op, value.shape) == (["linear"], 0, (2, 3))


def test_functions_of_constants_are_constants():
    (value,), ops = interpreted(lambda p, x: jnp.sin(jnp.full(3, 2.0)) * 2)
    assert (ops, value.is_constant) == ([], True)


def test_a_constant_one_over_a_root_is_remembered_through_views():
    (plain, turned, other), _ = interpreted(lambda p, x: (r := lax.rsqrt(jnp.full((2, 3), 4.0)), r.T, r * 2))
    assert (plain.inverse, turned.inverse, other.inverse) == (True, True, False)


def test_functions_of_parameters_are_no_ops():
    (value,), ops = interpreted(lambda p, x: jnp.exp(p["w"]).T)
    assert (ops, value.op) == ([], None)
    assert (value.held.paths, value.held.steps) == (("w",), ("exp",))


def test_rows_of_a_parameter_by_constants_are_an_op():
    _, ops = interpreted(lambda p, x: p["w"][jnp.array([0, 2])])
    assert kinds(ops) == ["embedding"]


def test_integers_of_the_inputs_count_as_inputs():
    (index, sign), ops = interpreted(lambda p, x: (x.argmax(-1), (x @ p["w"]) > 0))
    assert (index.op, sign.op) == (INPUT, None)
    assert kinds(ops) == ["linear"]


MEANS = {
    "divided": lambda x: x.sum(0) / 5,
    "multiplied": lambda x: x.sum(0) * 0.2,
}


@pytest.mark.parametrize("name", MEANS)
def test_a_sum_over_a_number_is_a_mean(name):
    _, ops = interpreted(lambda p, x: MEANS[name](x))
    assert [(str(op.kind), op.name) for op in ops] == [("reduce", "mean")]


SUMS = {
    "by what differs": lambda x: x.sum(0) / jnp.array([1.0, 2.0, 3.0, 4.0]),
    "a maximum": lambda x: x.max(0) / 5,
    "repeated before": lambda x: jnp.broadcast_to(x.sum(0), (5, 4)) / 5,
}


@pytest.mark.parametrize("name", SUMS)
def test_other_quotients_are_ops(name):
    _, ops = interpreted(lambda p, x: SUMS[name](x))
    assert len(ops) == 2
    assert ops[0].name != "mean"


# Norms whose scale is multiplied into the statistic first


def test_a_scale_that_is_multiplied_into_a_statistic_scales_what_the_statistic_divides():
    """X (s g) is (X s) g: the product of statistic and parameter is no op."""
    _, ops = interpreted(lambda p, x: x * (lax.rsqrt(jnp.square(x).mean(-1, keepdims=True)) * p["g"]))
    assert kinds(ops)[-2:] == ["mul", "scale"]
    assert [use.path for use in ops[-1].uses] == ["g"]
    assert [op for op in ops[:-1] if op.uses] == []


def test_running_statistics_divide_as_a_norm():
    inverse = lambda: lax.rsqrt(jnp.array([4.0, 9.0, 16.0, 25.0]))  # noqa: E731
    _, ops = interpreted(lambda p, x: x * (inverse() * p["g"]))
    assert kinds(ops) == ["norm", "scale"]
    assert ops[0].detail == Normalisation("batch_norm")


def test_a_product_of_statistic_and_parameter_that_is_returned_is_an_op():
    (value,), ops = interpreted(lambda p, x: lax.rsqrt(jnp.square(x).mean(0)) * p["g"])
    assert kinds(ops)[-1] == "scale"
    assert value.op == len(ops) - 1


def test_a_product_of_a_constant_root_and_a_parameter_is_made_of_the_parameter():
    (value,), ops = interpreted(lambda p, x: lax.rsqrt(jnp.full(4, 4.0)) * p["g"])
    assert (ops, value.held.paths) == ([], ("g",))


def test_the_last_operation_is_remembered():
    interpreter = Interpreter(Recorder({}, {}, Watcher()))
    assert interpreter.last == "none"
    interpreter.interpret(jax.make_jaxpr(lambda x: jnp.sin(x) + 1)(1.0), [constant(np.float32(1))])
    assert interpreter.last == "add"
