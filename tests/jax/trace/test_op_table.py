"""The meaning of each primitive: its kind, what is data, what a weight, and in which layout."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise import Layout  # noqa: E402
from fanwise.graph.details import Activation, Arithmetic, Product  # noqa: E402
from fanwise.graph.op import INPUT, OpKind, UseRole  # noqa: E402
from fanwise.jax.trace.calls import step_of  # noqa: E402
from fanwise.jax.trace.op_table import ACTIVATIONS, ELEMENTWISE, REDUCTIONS, SELECTIONS, VIEWS, describe  # noqa: E402
from fanwise.jax.trace.provenance import parameter_value  # noqa: E402
from fanwise.jax.trace.traced_value import constant, of_form  # noqa: E402


def data(*shape, **known):
    return of_form((shape, np.dtype(np.float32)), op=known.pop("op", INPUT), **known)


def held(*shape, path="w"):
    array = np.ones(shape, np.float32)
    return parameter_value(path, array, array)


def described(function, *values):
    """The call that the last equation of a function of arrays of these shapes is."""
    shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in values]
    return describe(step_of(jax.make_jaxpr(function)(*shapes).jaxpr.eqns[-1]), values)


def only_part(call):
    (part,) = call.parts
    return part


# Linear maps

MAPS = {
    "weight on the right": ("bi,io->bo", data(5, 4), held(4, 3), 1, "in out", -1),
    "transposed": ("bi,oi->bo", data(5, 4), held(3, 4), 1, "out in", -1),
    "weight on the left": ("oi,ib->ob", held(3, 4), data(4, 5), 0, "out in", -2),
    "heads joined": ("bhk,hko->bo", data(5, 2, 4), held(2, 4, 3), 1, "in in out", -1),
    "a stack": ("ebi,eio->ebo", data(2, 5, 4), held(2, 4, 3), 1, "stack in out", -1),
    "a stack on the left": ("eoi,eib->eob", held(2, 3, 4), data(2, 4, 5), 0, "stack out in", -2),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_product_of_data_and_a_weight_is_a_map(name):
    text, left, right, weight, roles, axis = MAPS[name]
    call = described(lambda a, b: dot(text, a, b), left, right)
    assert (call.kind, call.data, call.axis) == (OpKind.LINEAR, (1 - weight,), axis)
    part = only_part(call)
    assert (part.input, part.role, part.layout) == (weight, UseRole.WEIGHT, Layout(tuple(roles.split())))


def dot(text, left, right):
    """A dot_general by its letters: axes that both have and the output lacks are summed."""
    inputs, output = text.split("->")
    first, second = inputs.split(",")
    both = [letter for letter in first if letter in second]
    summed, batch = [c for c in both if c not in output], [c for c in both if c in output]
    pairs = [([first.index(c) for c in axes], [second.index(c) for c in axes]) for axes in (summed, batch)]
    return lax.dot_general(left, right, (pairs[0], pairs[1]))


def test_a_map_without_outputs_has_its_features_last():
    call = described(lambda w, x: dot("i,ib->b", w, x), held(4), data(4, 5))
    assert (call.kind, call.axis, only_part(call).layout.axes) == (OpKind.LINEAR, -1, ("in",))


def test_a_product_that_sums_nothing_is_a_scale():
    call = described(lambda x, w: dot("b,o->bo", x, w), data(5), held(3))
    assert (call.kind, call.data, call.parts[0].role) == (OpKind.SCALE, (0,), UseRole.SCALE)


def test_a_product_of_data():
    call = described(lambda q, k: dot("bqhd,bkhd->bhqk", q, k), data(2, 5, 3, 8), data(2, 7, 3, 8))
    assert (call.kind, call.data, call.parts) == (OpKind.MATMUL, (0, 1), ())
    assert call.detail == Product(8, sides=("b", "b", "l", "r"))


def test_the_width_of_a_product_counts_every_axis_that_is_summed():
    call = described(lambda a, b: dot("bij,ijc->bc", a, b), data(5, 3, 4), constant(np.ones((3, 4, 2), np.float32)))
    assert (call.data, call.detail) == ((0,), Product(12, sides=("l", "r")))


def test_a_ragged_product_is_a_map_of_a_stack():
    sizes = constant(np.array([2, 1], np.int32))
    call = described(lax.ragged_dot, data(3, 4), held(2, 4, 5), sizes)
    assert (call.kind, call.data, only_part(call).layout) == (OpKind.LINEAR, (0,), Layout(("stack", "in", "out")))


# Convolutions


def convolution(**options):
    numbers = options.pop("numbers", ("NHWC", "HWIO", "NHWC"))
    return lambda x, w: lax.conv_general_dilated(x, w, dimension_numbers=numbers, **options)


def test_a_convolution():
    function = convolution(window_strides=(2, 1), padding=((1, 0), (0, 1)), rhs_dilation=(1, 2), feature_group_count=2)
    call = described(function, data(5, 9, 9, 4), held(3, 3, 2, 6))
    assert (call.kind, call.data, call.axis) == (OpKind.CONV, (0,), -1)
    part = only_part(call)
    assert part.layout == Layout(("kernel", "kernel", "in", "out"), 2, "out", (2, 1))
    assert (call.detail.stride, call.detail.padding, call.detail.dilation) == ((2, 1), ((1, 0), (0, 1)), (1, 2))


def test_roles_and_strides_follow_the_order_of_storage():
    """The kernel is stored (out, width, in, height), the strides are told of (height, width)."""
    numbers = lax.ConvDimensionNumbers((0, 1, 2, 3), (0, 2, 3, 1), (0, 1, 2, 3))
    function = convolution(window_strides=(2, 3), padding="VALID", numbers=numbers)
    call = described(function, data(5, 4, 9, 9), held(6, 3, 4, 2))
    layout = only_part(call).layout
    assert (call.axis, layout.axes, layout.stride) == (-3, ("out", "kernel", "in", "kernel"), (3, 2))


def test_a_convolution_of_a_dilated_input_is_transposed():
    function = convolution(window_strides=(1, 1), padding=((1, 1), (1, 1)), lhs_dilation=(2, 2))
    call = described(function, data(5, 4, 4, 3), held(2, 2, 3, 6))
    layout = only_part(call).layout
    assert (call.kind, layout.transposed, layout.stride) == (OpKind.CONV_TRANSPOSE, True, (2, 2))
    assert call.detail.stride == (2, 2)


def test_a_convolution_of_two_parameters_has_no_layout():
    call = described(convolution(window_strides=(1, 1), padding="VALID"), held(1, 4, 4, 3), held(2, 2, 3, 6))
    assert (call.kind, {part.role for part in call.parts}) == (OpKind.OTHER, {UseRole.OPERAND})


# Sums and products

X, Y, W = data(5, 3), data(5, 3), held(5, 3)
FIVES = constant(np.full((5, 3), 5, np.float32))
MIXED = constant(np.arange(15, dtype=np.float32).reshape(5, 3))
STATISTIC, OTHER_STATISTIC = (data(5, 3, reduced=True, extent=extent) for extent in (5, 15))

PAIRS = {
    "data and data": (lax.add, X, Y, (OpKind.ADD, (0, 1), None)),
    "data less data": (lax.sub, X, Y, (OpKind.ADD, (0, 1), Arithmetic(minus=1))),
    "data times data": (lax.mul, X, Y, (OpKind.MUL, (0, 1), None)),
    "data over data": (lax.div, X, Y, (OpKind.ELEMENTWISE, (0, 1), None)),
    "a parameter is added": (lax.add, W, X, (OpKind.SHIFT, (1,), None)),
    "a parameter is subtracted": (lax.sub, X, W, (OpKind.SHIFT, (0,), None)),
    "a parameter multiplies": (lax.mul, X, W, (OpKind.SCALE, (0,), None)),
    "a number is added": (lax.add, FIVES, X, (OpKind.ELEMENTWISE, (1,), Arithmetic(5))),
    "a number multiplies": (lax.mul, X, FIVES, (OpKind.ELEMENTWISE, (0,), Arithmetic(5))),
    "a number divides": (lax.div, X, FIVES, (OpKind.ELEMENTWISE, (0,), Arithmetic(5))),
    "a number is divided": (lax.div, FIVES, X, (OpKind.ELEMENTWISE, (1,), None)),
    "constants are added": (lax.add, X, MIXED, (OpKind.ADD, (0,), None)),
    "a variance": (lax.sub, STATISTIC, STATISTIC, (OpKind.ELEMENTWISE, (0, 1), None)),
    "statistics of other axes": (lax.sub, STATISTIC, OTHER_STATISTIC, (OpKind.ADD, (0, 1), Arithmetic(minus=1))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_sums_and_products(name):
    function, left, right, (kind, read, detail) = PAIRS[name]
    call = described(function, left, right)
    assert (call.kind, call.data, call.detail) == (kind, read, detail)


def test_the_role_of_a_parameter_is_that_of_the_sum_or_product():
    assert only_part(described(lax.add, X, W)).role == UseRole.SHIFT
    assert only_part(described(lax.div, X, W)).role == UseRole.SCALE


# Functions of each value

NOTHING = constant(np.zeros((5, 3), np.float32))


def test_a_maximum_with_0_is_a_rectifier():
    for values in ((X, NOTHING), (NOTHING, X)):
        call = described(lax.max, *values)
        assert (call.kind, call.detail, call.name) == (OpKind.ACTIVATION, Activation("relu"), "relu")
        assert call.data == (values.index(X),)


RECTIFIERS_NOT = {
    "with another number": (lax.max, X, FIVES),
    "of a statistic": (lax.max, STATISTIC, NOTHING),
    "of data and data": (lax.max, X, Y),
    "a minimum": (lax.min, X, NOTHING),
}


@pytest.mark.parametrize("name", RECTIFIERS_NOT)
def test_other_maxima_are_no_rectifiers(name):
    function, *values = RECTIFIERS_NOT[name]
    assert described(function, *values).kind == OpKind.ELEMENTWISE


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_primitives_that_are_nonlinearities(name):
    function = getattr(lax, name)
    call = described(function, X)
    assert (call.kind, call.data, call.detail) == (OpKind.ACTIVATION, (0,), Activation(ACTIVATIONS[name]))
    assert described(function, STATISTIC).kind == OpKind.ELEMENTWISE


# Others


def test_arrays_joined_with_constants_read_the_data_and_the_parameters():
    call = described(lambda *parts: jnp.concatenate(parts), FIVES, X, W)
    assert (call.kind, call.data) == (OpKind.CONCAT, (1, 2))


TOKENS = of_form(((7,), np.dtype(np.int32)), op=INPUT)


def rows(table, tokens):
    return lax.gather(
        table,
        tokens[:, None],
        lax.GatherDimensionNumbers(
            offset_dims=tuple(range(1, table.ndim)), collapsed_slice_dims=(0,), start_index_map=(0,)
        ),
        (1, *table.shape[1:]),
    )


def rows_of(table):
    """The call of rows gathered from a table; the indices have an axis more in front of the gather."""
    tokens = of_form(((7, 1), np.dtype(np.int32)), op=INPUT)
    return described(lambda held, chosen: rows(held, chosen[:, 0]), table, tokens)


def test_rows_of_a_parameter_are_a_lookup():
    call = rows_of(held(11, 4))
    assert (call.kind, call.data) == (OpKind.EMBEDDING, (1,))
    assert (only_part(call).role, only_part(call).layout) == (UseRole.TABLE, Layout(("lookup", "out")))


def test_matrices_taken_from_a_stack_are_no_lookup():
    assert rows_of(held(11, 4, 5)).kind == OpKind.OTHER


def test_rows_of_data_are_no_lookup():
    assert rows_of(data(11, 4)).kind == OpKind.OTHER


KINDS = {
    "an elementwise function": (lax.log, OpKind.ELEMENTWISE),
    "a sum over an axis": (lambda x: x.sum(0), OpKind.REDUCE),
    "a running sum": (lambda x: lax.cumsum(x, 0), OpKind.REDUCE),
    "a pooling": (lambda x: lax.reduce_window(x, -np.inf, lax.max, (2, 1), (1, 1), "VALID"), OpKind.POOL),
    "a write": (lambda x: lax.dynamic_update_slice(x, x[:1], (0, 0)), OpKind.ELEMENTWISE),
    "without a description": (lax.sort, OpKind.OTHER),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_what_has_no_description(name):
    function, kind = KINDS[name]
    step = step_of(jax.make_jaxpr(function)(jnp.ones((5, 3))).jaxpr.eqns[-1])
    call = describe(step, [X])
    assert (call.kind, call.data) == (kind, (0,))


def test_integers_are_no_data_of_a_plain_call():
    step = step_of(jax.make_jaxpr(lambda x: lax.clamp(x, x, x))(1.0).jaxpr.eqns[-1])
    call = describe(step, [TOKENS, X, held(5, 3)])
    assert call.data == (1,)
    assert [(part.input, part.role) for part in call.parts] == [(2, UseRole.OPERAND)]


def test_a_parameter_that_is_put_among_data_is_data():
    step = step_of(jax.make_jaxpr(lambda n, x: lax.select(n > 0, x, x))(1, 1.0).jaxpr.eqns[-1])
    call = describe(step, [TOKENS, X, held(5, 3)])
    assert (call.data, call.parts) == ((1, 2), ())


def test_no_primitive_both_selects_and_shows_all():
    assert not SELECTIONS & (VIEWS | ELEMENTWISE | REDUCTIONS)
    assert not REDUCTIONS & (VIEWS | ELEMENTWISE)
    assert set(ACTIVATIONS) <= ELEMENTWISE
