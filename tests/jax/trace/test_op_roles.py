"""Knowledge of an op from those before it: recurrent maps, the sides of attention, softmaxes, replays."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.graph.details import Activation, Arithmetic, Product  # noqa: E402
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole  # noqa: E402
from fanwise.jax.trace.activations import sampled  # noqa: E402
from fanwise.jax.trace.calls import Call, Part, Step, plain_step, step_of  # noqa: E402
from fanwise.jax.trace.op_roles import (  # noqa: E402
    holds_program,
    in_order,
    is_statistic_times_parameter,
    moved_sides,
    named,
    replay_of_call,
    with_keys_on_the_right,
    with_roles,
    within_a_cell,
)
from fanwise.jax.trace.provenance import parameter_value  # noqa: E402
from fanwise.jax.trace.traced_value import constant, of_form  # noqa: E402

FLOAT = np.dtype(np.float32)


def data(*shape, **known):
    return of_form((shape, FLOAT), op=known.pop("op", INPUT), **known)


def held(*shape):
    array = np.ones(shape, np.float32)
    return parameter_value("w", array, array)


def op(index, kind, inputs, name="", **options):
    reads = tuple((4, 4) for _ in inputs)
    return Op(index, kind, name or str(kind), "", 0, index, tuple(inputs), reads=reads, **options)


# Roles

MAP = Call(OpKind.LINEAR, (0,), (Part(1, UseRole.WEIGHT), Part(2, UseRole.BIAS)))


def test_a_map_of_the_state_of_a_loop_is_a_recurrent_one():
    parts = with_roles(MAP, [data(4, state=True)]).parts
    assert [part.role for part in parts] == [UseRole.RECURRENT, UseRole.BIAS]


def test_a_map_of_anything_else_stays_as_it_is():
    assert with_roles(MAP, [data(4)]) is MAP
    both = Call(OpKind.LINEAR, (0, 1), MAP.parts)
    assert with_roles(both, [data(4, state=True), data(4)]) is both
    scale = Call(OpKind.SCALE, (0,), (Part(1, UseRole.SCALE),))
    assert with_roles(scale, [data(4, state=True)]) is scale


def test_a_sum_in_a_cell_is_no_residual():
    assert within_a_cell(Call(OpKind.ADD, (0, 1))).kind == OpKind.ELEMENTWISE
    product = Call(OpKind.MUL, (0, 1))
    assert within_a_cell(product) is product


# Attention

SOFTMAX = [op(0, OpKind.OTHER, [INPUT]), op(1, OpKind.SOFTMAX, [0]), op(2, OpKind.DROPOUT, [1])]
PRODUCT = Call(OpKind.MATMUL, (0, 1), (), -1, Product(8, sides=("b", "l", "r")))


def test_the_weights_of_a_softmax_are_on_the_left():
    turned = in_order(SOFTMAX, PRODUCT, [data(4, 4, op=0), data(4, 4, op=2)])
    assert (turned.data, turned.detail) == ((1, 0), Product(8, sides=("b", "r", "l")))


ORDERED = {"already on the left": (1, 0), "on both sides": (1, 2), "on neither": (0, INPUT)}


@pytest.mark.parametrize("name", ORDERED)
def test_a_product_in_order_stays(name):
    left, right = ORDERED[name]
    assert in_order(SOFTMAX, PRODUCT, [data(4, 4, op=left), data(4, 4, op=right)]) is PRODUCT


def test_only_products_have_an_order():
    call = Call(OpKind.ADD, (0, 1))
    assert in_order(SOFTMAX, call, [data(4, 4, op=0), data(4, 4, op=1)]) is call


SCORES = [
    op(0, OpKind.OTHER, [INPUT]),
    op(1, OpKind.OTHER, [INPUT]),
    op(2, OpKind.MATMUL, [0, 1]),
    op(3, OpKind.ELEMENTWISE, [2]),
]


def largest(axes, name="reduce_max"):
    return Step(name, lambda x: [x.max(axes)], (((4,), FLOAT),), {"axes": axes})


def test_keys_are_the_operand_over_whose_axes_the_softmax_is():
    turned = with_keys_on_the_right(SCORES, largest((0,)), [data(4, 4, op=3, sides=("l", "r"))])
    assert (turned.index, turned.inputs) == (2, (1, 0))


UNTURNED = {
    "keys on the right": (largest((1,)), {"op": 3, "sides": ("l", "r")}),
    "over both": (largest((0, 1)), {"op": 3, "sides": ("l", "r")}),
    "of no product": (largest((0,)), {"op": 1, "sides": ("l", "r")}),
    "sides unknown": (largest((0,)), {"op": 3}),
    "a sum": (largest((0,), "reduce_sum"), {"op": 3, "sides": ("l", "r")}),
}


@pytest.mark.parametrize("name", UNTURNED)
def test_other_products_are_not_turned(name):
    step, known = UNTURNED[name]
    assert with_keys_on_the_right(SCORES, step, [data(4, 4, **known)]) is None


def test_sides_follow_the_axes():
    transposed = Step("transpose", lambda x: [x], (((3, 2, 4), FLOAT),), {"permutation": (2, 0, 1)})
    assert moved_sides(("b", "l", "r"), transposed, (3, 2, 4)) == ("r", "b", "l")
    cast = Step("convert_element_type", lambda x: [x], (((3, 2), FLOAT),))
    assert moved_sides(("l", "r"), cast, (3, 2)) == ("l", "r")
    assert moved_sides(("l", "r"), cast, (3, 2, 1)) == ()
    assert moved_sides(("l", "r"), Step("reshape", lambda x: [x], (((2, 3), FLOAT),)), (2, 3)) == ()


# Statistics and parameters

STATISTIC = data(4, reduced=True)


def test_a_statistic_times_a_parameter():
    assert is_statistic_times_parameter([STATISTIC, held(4)])
    assert is_statistic_times_parameter([held(4), of_form(((4,), FLOAT), data=np.ones(4), inverse=True)])


OTHER_PRODUCTS = {
    "data": [data(4), held(4)],
    "a constant": [constant(np.ones(4, np.float32)), held(4)],
    "two parameters": [held(4), held(4)],
    "no parameter": [STATISTIC, STATISTIC],
    "not yet an op": [of_form(((4,), FLOAT), op=0, reduced=True, pending=(STATISTIC, held(4))), held(4)],
}


@pytest.mark.parametrize("name", OTHER_PRODUCTS)
def test_other_products_are_none_of_a_statistic_and_a_parameter(name):
    assert not is_statistic_times_parameter(OTHER_PRODUCTS[name])


# Replays


def elementwise(function, count=2):
    (equation,) = jax.make_jaxpr(function)(*(1.0,) * count).jaxpr.eqns
    return step_of(equation)


TWO, X = constant(np.float32(2)), data(5)
OF_NUMBER = Call(OpKind.ELEMENTWISE, (1,))


def test_a_function_of_data_and_a_number_is_replayed():
    replay = replay_of_call(elementwise(lax.sub), OF_NUMBER, [TWO, X])
    result = replay(np.array([0.5, 3.0]))
    assert (result.tolist(), result.dtype) == ([1.5, -1.0], np.float64)


def test_a_function_of_data_and_data_is_replayed_in_order():
    replay = replay_of_call(elementwise(lax.sub), Call(OpKind.ELEMENTWISE, (0, 1)), [X, X])
    assert replay(np.array([5.0]), np.array([3.0])).tolist() == [2.0]


UNREPLAYED = {
    "of a parameter": (elementwise(lax.sub), Call(OpKind.ELEMENTWISE, (0,), (Part(1, UseRole.SHIFT),)), [X, held(5)]),
    "of constants that differ": (
        elementwise(lax.sub),
        Call(OpKind.ELEMENTWISE, (0,)),
        [X, constant(np.arange(5, dtype=np.float32))],
    ),
    "of another kind": (elementwise(lax.sub), Call(OpKind.REDUCE, (1,)), [TWO, X]),
    "no function of each value": (plain_step("cumsum", jnp.cumsum, X), Call(OpKind.ELEMENTWISE, (0,)), [X]),
}


@pytest.mark.parametrize("name", UNREPLAYED)
def test_other_functions_are_not_replayed(name):
    assert replay_of_call(*UNREPLAYED[name]) is None


def test_programs_inside_a_primitive_are_seen_in_tuples_too():
    program = jax.make_jaxpr(jnp.sin)(1.0)
    assert holds_program({"axis": 0, "jaxpr": program})
    assert holds_program({"branches": (3, program.jaxpr)})
    assert not holds_program({"axes": (0, 1), "name": "sin"})


# Names

X_LESS_MAX = [
    op(0, OpKind.OTHER, [INPUT]),
    op(1, OpKind.REDUCE, [0], "reduce_max"),
    op(2, OpKind.ADD, [0, 1], "sub", detail=Arithmetic(minus=1)),
    op(3, OpKind.ACTIVATION, [2], "exp"),
    op(4, OpKind.REDUCE, [3], "reduce_sum"),
]
QUOTIENT = plain_step("div", lambda a, b: a / b, X)


def test_a_softmax_written_out_stands_for_all_its_ops():
    softmax, gone = named(X_LESS_MAX, op(5, OpKind.ELEMENTWISE, [3, 4], "div"), QUOTIENT, {})
    assert (softmax.kind, softmax.name, softmax.inputs, softmax.reads) == (OpKind.SOFTMAX, "softmax", (0,), ((4, 4),))
    assert sorted(gone) == [1, 2, 3, 4]


def test_a_softmax_without_its_maximum():
    ops = [X_LESS_MAX[0], op(1, OpKind.ACTIVATION, [0], "exp"), op(2, OpKind.REDUCE, [1], "reduce_sum")]
    softmax, gone = named(ops, op(3, OpKind.ELEMENTWISE, [1, 2], "div"), QUOTIENT, {})
    assert (softmax.kind, softmax.inputs, sorted(gone)) == (OpKind.SOFTMAX, (0,), [1, 2])


QUOTIENTS = {
    "over the sum of others": op(5, OpKind.ELEMENTWISE, [0, 4], "div"),
    "turned around": op(5, OpKind.ELEMENTWISE, [4, 3], "div"),
    "a product": op(5, OpKind.MUL, [3, 4], "mul"),
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_other_quotients_are_no_softmax(name):
    assert named(X_LESS_MAX, QUOTIENTS[name], QUOTIENT, {}) == (QUOTIENTS[name], ())


def silu(root):
    """The product x sigmoid(x) of this value, with what it is at the sample points."""
    gate = Step("logistic", lambda x: [jax.nn.sigmoid(x)], ((root.shape, FLOAT),))
    gates = sampled(gate, [root])
    step = plain_step("mul", lambda a, b: a * b, root)
    return step, sampled(step, [root, of_form((root.shape, FLOAT), op=1, samples=gates)])


PRODUCT_OP = op(2, OpKind.MUL, [0, 1], "mul")


def test_a_nonlinearity_written_out_reads_its_root():
    step, samples = silu(data(5, op=0))
    function, gone = named(X_LESS_MAX[:2], PRODUCT_OP, step, samples)
    assert (function.kind, function.name, function.detail) == (OpKind.ACTIVATION, "silu", Activation("silu"))
    assert (function.inputs, function.reads, gone) == ((0,), ((5,),), ())
    assert float(function.replay(np.array([2.0]))[0]) == pytest.approx(2 / (1 + np.exp(-2)))


def test_a_function_of_a_statistic_is_no_nonlinearity():
    step, samples = silu(data(5, op=0, reduced=True))
    assert named(X_LESS_MAX[:2], PRODUCT_OP, step, samples) == (PRODUCT_OP, ())


def test_an_op_with_parameters_is_no_nonlinearity():
    step, samples = silu(data(5, op=0))
    scale = op(2, OpKind.MUL, [0, 1], "mul", uses=(Use("w", UseRole.SCALE),))
    assert named(X_LESS_MAX[:2], scale, step, samples) == (scale, ())
