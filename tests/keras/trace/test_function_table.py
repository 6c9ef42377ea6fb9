"""What Keras' functions mean: the kind of op, who is the weight, and fans that are counted from the formula."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.graph.details import Activation, Arithmetic, Attention, Normalisation, Product  # noqa: E402
from fanwise.graph.op import UseRole  # noqa: E402
from fanwise.keras.trace.calls import Part  # noqa: E402
from fanwise.keras.trace.function_table import Arguments, describe  # noqa: E402


def tensor(*shape, seed=0):
    return keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def variable(*shape, name="v"):
    return keras.Variable(np.ones(shape, "float32"), name=name)


def called(name, *args, **named):
    """What a call is, where variables hold themselves."""
    return describe(Arguments(name, args, named, _held))


def _held(value):
    return Part(value, UseRole.OPERAND) if isinstance(value, keras.Variable) else None


X, Y, V, W = tensor(5, 4), tensor(5, 4, seed=1), variable(4), variable(4, 6)

KINDS = {
    "relu": ((X,), {}, "activation"),
    "softmax": ((X,), {}, "softmax"),
    "mean": ((X,), {"axis": 1}, "reduce"),
    "max_pool": ((X, 2), {}, "pool"),
    "concatenate": (([X, Y],), {}, "concat"),
    "square": ((X,), {}, "elementwise"),
    "add": ((X, Y), {}, "add"),
    "subtract": ((X, Y), {}, "add"),
    "multiply": ((X, Y), {}, "mul"),
    "divide": ((X, Y), {}, "elementwise"),
    "matmul": ((X, keras.ops.transpose(Y)), {}, "matmul"),
    "a_function_of_tomorrow": ((X,), {}, "other"),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_functions_of_data(name):
    args, named, kind = KINDS[name]
    call = called(name, *args, **named)
    assert (str(call.kind), call.name, call.parts) == (kind, name, ())
    tensors = args[0] if isinstance(args[0], list) else [one for one in args if keras.ops.is_tensor(one)]
    assert [id(one) for one in call.data] == [id(one) for one in tensors]


@pytest.mark.parametrize("name", ["zeros_like", "shape", "argmax", "equal", "one_hot"])
def test_what_makes_constants_is_none(name):
    assert called(name, X) is None


def test_which_side_of_a_difference_is_subtracted():
    assert called("subtract", X, Y).detail == Arithmetic(minus=1)
    assert called("add", X, Y).detail is None


@pytest.mark.parametrize(("args", "position"), [((X, 3), 0), ((3, X), 0)])
def test_a_number_is_a_constant(args, position):
    call = called("multiply", *args)
    assert (str(call.kind), call.detail) == ("elementwise", Arithmetic(3.0))


@pytest.mark.parametrize(
    ("name", "kind", "role"),
    [("add", "shift", "shift"), ("subtract", "shift", "shift"), ("multiply", "scale", "scale")],
)
@pytest.mark.parametrize("order", [(X, V), (V, X)])
def test_a_variable_beside_data_shifts_or_scales_it(name, kind, role, order):
    call = called(name, *order)
    assert (str(call.kind), [str(part.role) for part in call.parts]) == (kind, [role])
    assert call.data == (X,)


SLOPES = [((X,), {}, 0.2), ((X, 0.3), {}, 0.3), ((X,), {"negative_slope": 0.1}, 0.1)]


@pytest.mark.parametrize(("args", "named", "slope"), SLOPES)
def test_the_slope_of_a_leaky_relu(args, named, slope):
    detail = called("leaky_relu", *args, **named).detail
    assert detail == Activation("leaky_relu", slope)
    negative = keras.ops.convert_to_tensor(np.array([-1.0], "float32"))
    computed = keras.ops.leaky_relu(negative, *args[1:], **named)
    assert float(keras.ops.convert_to_numpy(computed)[0]) == pytest.approx(-slope)


@pytest.mark.parametrize(
    ("named", "told"), [({}, "tanh"), ({"approximate": True}, "tanh"), ({"approximate": False}, "none")]
)
def test_the_form_of_a_gelu(named, told):
    assert called("gelu", X, **named).detail == Activation("gelu", approximate=told)
    one = keras.ops.convert_to_numpy(keras.ops.gelu(keras.ops.convert_to_tensor(np.float32(1)), **named))
    assert float(one) == pytest.approx({"tanh": 0.841192, "none": 0.841345}[told], abs=2e-6)


@pytest.mark.parametrize("name", ["swish", "hard_silu", "soft_sign"])
def test_other_names_of_one_nonlinearity(name):
    expected = {"swish": "silu", "hard_silu": "hardswish", "soft_sign": "softsign"}
    assert called(name, X).detail == Activation(expected[name])


MATMULS = {
    "on the right": ((X, W), ("in", "out"), 4, -1),
    "on the left": ((variable(6, 5), X), ("out", "in"), 5, -2),
}


@pytest.mark.parametrize("name", MATMULS)
def test_a_variable_in_a_product_is_its_weight(name):
    args, axes, fan_in, axis = MATMULS[name]
    call = called("matmul", *args)
    (part,) = call.parts
    assert (str(call.kind), str(part.role), part.layout.axes) == ("linear", "weight", axes)
    assert part.layout.fans(tuple(part.input.shape)).fan_in == fan_in
    assert call.axis == axis
    assert keras.ops.matmul(*args).shape[call.axis] == part.layout.fans(tuple(part.input.shape)).fan_out


def test_a_product_of_two_variables_is_no_map():
    assert called("matmul", variable(3, 4), W).kind == "other"


EINSUMS = {
    "abc,cde->abde": ((5, 6, 7), (7, 2, 3), 7, 6),
    "abc,abcd->abd": ((5, 6, 7), (5, 6, 7, 4), 7, 4),
    "...cd,cde->...e": ((5, 2, 3), (2, 3, 9), 6, 9),
    "ab,cb->ac": ((5, 7), (3, 7), 7, 3),
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_fans_of_an_einsum_are_counted_by_moving_one_number(equation):
    """fan_in: how many inputs of one example one output hears of, tried out."""
    left, right, fan_in, fan_out = EINSUMS[equation]
    call = called("einsum", equation, tensor(*left), variable(*right))
    (part,) = call.parts
    fans = part.layout.fans(right)
    assert (str(call.kind), fans.fan_in, fans.fan_out) == ("linear", fan_in, fan_out)
    output = np.einsum(equation, np.ones(left), np.ones(right))
    assert (output == fan_in).all()  # a sum of so many ones
    assert np.einsum(equation, _one_of(left), np.ones(right)).sum() == fan_out


def _one_of(shape):
    one = np.zeros(shape)
    one.flat[0] = 1
    return one


def test_an_einsum_of_data_tells_its_width():
    call = called("einsum", "bqd,bkd->bqk", tensor(2, 3, 8), tensor(2, 5, 8))
    assert (str(call.kind), call.detail) == ("matmul", Product(8))


def test_an_einsum_without_a_sum_scales():
    call = called("einsum", "ab,b->ab", X, V)
    assert (str(call.kind), str(call.parts[0].role)) == ("scale", "scale")


def test_rows_of_a_table_are_looked_up():
    indices = keras.ops.convert_to_tensor(np.array([1, 2]))
    call = called("take", variable(50, 4), indices, axis=0)
    assert (str(call.kind), str(call.parts[0].role)) == ("embedding", "table")
    assert call.parts[0].layout.fans((50, 4)).fan_in == 1
    assert called("take", variable(50, 4), indices, axis=1).kind == "other"
    assert called("take", variable(50, 4, 2), indices, axis=0).kind == "other"


CONVS = {
    "conv": ((3, 3, 4, 6), {}, 9 * 4),
    "grouped": ((3, 3, 2, 6), {}, 9 * 2),
    "depthwise_conv": ((3, 3, 4, 2), {}, 9),
    "conv_transpose": ((4, 4, 6, 4), {"strides": 2}, 4 * 4 * 4 / 4),
}


@pytest.mark.parametrize("name", CONVS)
def test_fans_of_convolutions_counted_by_hand(name):
    shape, named, fan_in = CONVS[name]
    call = called("conv" if name == "grouped" else name, tensor(2, 9, 9, 4), variable(*shape), **named)
    assert str(call.kind) == ("conv_transpose" if name == "conv_transpose" else "conv")
    assert call.parts[0].layout.fans(shape).fan_in == fan_in
    assert call.axis == -1


def test_channels_first():
    image = tensor(2, 4, 9, 9)
    call = called("conv", image, variable(3, 3, 4, 6), data_format="channels_first")
    assert call.axis == -3
    assert call.parts[0].layout.group_count((3, 3, 4, 6)) == 1


@pytest.mark.parametrize(("scale", "expected"), [(None, 8**-0.5), (0.3, 0.3)])
def test_attention(scale, expected):
    q, k, v = (tensor(2, 5, 3, 8, seed=i) for i in range(3))
    call = called("dot_product_attention", q, k, v, scale=scale, is_causal=True)
    assert (str(call.kind), call.detail) == ("attention", Attention(8, pytest.approx(expected), causal=True))


def test_the_variables_of_a_norm():
    gamma, beta = variable(4, name="gamma"), variable(4, name="beta")
    call = called("layer_normalization", X, gamma=gamma, beta=beta)
    assert {part.input.name: str(part.role) for part in call.parts} == {"gamma": "scale", "beta": "shift"}
    assert (str(call.kind), call.detail) == ("norm", Normalisation("layer_normalization"))
