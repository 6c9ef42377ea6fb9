"""What the table says of each kind of layer: the op, its variables and their roles, its axis and its detail."""

import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.graph.details import (  # noqa: E402
    Activation,
    Arithmetic,
    Convolution,
    Lookup,
    Normalisation,
    Pooling,
    Recurrence,
)
from fanwise.graph.op import OpKind, UseRole  # noqa: E402
from fanwise.keras.trace.layer_table import LayerOp, cell_parts, describe_layer  # noqa: E402
from fanwise.laws.layout import Layout  # noqa: E402

WEIGHT, BIAS = UseRole.WEIGHT, UseRole.BIAS


def described(layer, shape, **named):
    layer.build(shape)
    return describe_layer(layer, named)


def roles(op):
    return [(part.input.name, part.role) for part in op.parts]


@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer(bias):
    op = described(layers.Dense(3, "relu", use_bias=bias), (None, 4))
    assert (op.kind, op.axis, op.fused, op.view) == (OpKind.LINEAR, -1, True, False)
    assert roles(op) == [("kernel", WEIGHT), ("bias", BIAS)][: 1 + bias]
    assert op.parts[0].layout == Layout.dense("in out")


@pytest.mark.parametrize(
    ("equation", "shape", "given", "axis"),
    [
        ("ab,bc->ac", 5, (None, 4), -1),
        ("abc,cd->abd", (None, 5), (None, 3, 4), -1),
        ("abc,cde->abde", (None, 2, 5), (None, 3, 4), -1),
        ("abc,cd->adb", (5, None), (None, 3, 4), -2),
        ("...c,cd->...d", 5, (None, 3, 4), -1),
    ],
)
def test_the_axis_of_an_einsum_is_that_of_its_last_output_label(equation, shape, given, axis):
    op = described(layers.EinsumDense(equation, shape), given)
    assert (op.kind, op.axis) == (OpKind.LINEAR, axis)
    assert op.parts[0].layout == Layout.einsum(equation, operand=1)


@pytest.mark.parametrize(("order", "axis"), [("channels_last", -1), ("channels_first", -3)])
def test_a_convolution(order, axis):
    shape = (None, 8, 8, 4) if order == "channels_last" else (None, 4, 8, 8)
    layer = layers.Conv2D(6, 3, strides=(2, 1), groups=2, padding="same", data_format=order)
    op = described(layer, shape)
    assert (op.kind, op.axis, op.fused) == (OpKind.CONV, axis, True)
    assert op.parts[0].layout == Layout.conv("kernel kernel in out", groups=2, stride=(2, 1))
    assert op.detail == Convolution((2, 1), "same", (1, 1))


def test_a_depthwise_and_a_transposed_convolution():
    depthwise = described(layers.DepthwiseConv1D(3, strides=2), (None, 8, 4))
    assert depthwise.parts[0].layout == Layout.depthwise("kernel in out", stride=(2,))
    assert depthwise.kind is OpKind.CONV
    up = described(layers.Conv2DTranspose(6, 4, strides=2), (None, 8, 8, 4))
    assert up.parts[0].layout == Layout.conv_transpose("kernel kernel out in", stride=(2, 2))
    assert up.kind is OpKind.CONV_TRANSPOSE


@pytest.mark.parametrize(("masked", "padding"), [(True, 0), (False, None)])
def test_an_embedding(masked, padding):
    op = described(layers.Embedding(7, 3, mask_zero=masked), (None, 5))
    assert (op.kind, op.detail, op.fused) == (OpKind.EMBEDDING, Lookup(padding=padding), False)
    assert roles(op) == [("embeddings", UseRole.TABLE)]


@pytest.mark.parametrize(
    ("tied", "name", "order"), [(True, "embeddings", "out in"), (False, "reverse_embeddings", "in out")]
)
def test_a_table_that_is_read_backwards_is_a_map(tied, name, order):
    layer = layers.ReversibleEmbedding(7, 3, tie_weights=tied)
    op = described(layer, (None, 5), reverse=True)
    assert op.kind is OpKind.LINEAR
    assert roles(op) == [(name, WEIGHT)]
    assert op.parts[0].layout == Layout.dense(order)
    assert describe_layer(layer, {}).kind is OpKind.EMBEDDING


@pytest.mark.parametrize(
    ("layer", "gates", "name"),
    [
        (lambda: layers.LSTM(3), 4, "lstm"),
        (lambda: layers.GRU(3), 3, "gru"),
        (lambda: layers.SimpleRNN(3), 1, "rnn_tanh"),
        (lambda: layers.SimpleRNN(3, activation="relu"), 1, "rnn_relu"),
    ],
)
def test_a_recurrent_layer_has_the_gates_of_its_cell(layer, gates, name):
    op = described(layer(), (None, 5, 4))
    assert (op.kind, op.detail) == (OpKind.RECURRENT, Recurrence(name, gates))
    assert roles(op) == [("kernel", WEIGHT), ("recurrent_kernel", UseRole.RECURRENT), ("bias", BIAS)]
    expected = Layout.dense("in out").fuse(1, gates) if gates > 1 else Layout.dense("in out")
    assert [part.layout for part in op.parts] == [expected, expected, None]


def test_cells_one_upon_the_other():
    same = described(layers.RNN([layers.LSTMCell(3), layers.LSTMCell(2)]), (None, 5, 4))
    assert same.detail == Recurrence("lstm", 4)
    assert len(same.parts) == 6
    mixed = described(layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), (None, 5, 4))
    assert mixed.detail == Recurrence("several")


class OwnCell(layers.Layer):
    """A cell that no table knows."""

    state_size = output_size = 3

    def build(self, shape):
        self.matrix = self.add_weight(shape=(4, 3), name="matrix")

    def call(self, x, states):
        return x @ self.matrix, states


def test_an_unknown_cell_has_operands():
    op = described(layers.RNN(OwnCell()), (None, 5, 4))
    assert (op.kind, op.detail) == (OpKind.RECURRENT, Recurrence("own"))
    assert roles(op) == [("matrix", UseRole.OPERAND)]
    assert cell_parts(OwnCell()) is None


@pytest.mark.parametrize(
    ("layer", "name", "parts"),
    [
        (layers.BatchNormalization, "batch_norm", ["gamma", "beta"]),
        (layers.LayerNormalization, "layer_norm", ["gamma", "beta"]),
        (lambda: layers.GroupNormalization(2), "group_norm", ["gamma", "beta"]),
        (layers.RMSNormalization, "rms_norm", ["scale"]),
        (lambda: layers.BatchNormalization(scale=False), "batch_norm", ["beta"]),
        (lambda: layers.LayerNormalization(center=False), "layer_norm", ["gamma"]),
    ],
)
def test_norms(layer, name, parts):
    op = described(layer(), (None, 5, 4))
    assert (op.kind, op.detail, op.axis) == (OpKind.NORM, Normalisation(name, layer().epsilon), -1)
    assert [part.input.name for part in op.parts] == parts
    assert {part.role for part in op.parts} <= {UseRole.SCALE, UseRole.SHIFT}
    assert all((part.role is UseRole.SHIFT) == (part.input.name == "beta") for part in op.parts)


def test_the_axis_of_a_norm_counts_from_the_end():
    assert described(layers.BatchNormalization(axis=1), (None, 4, 8, 8)).axis == -3


@pytest.mark.parametrize(
    ("layer", "detail"),
    [
        (lambda: layers.ReLU(), Activation("relu")),
        (lambda: layers.ReLU(max_value=6), Activation("relu6")),
        (lambda: layers.ReLU(negative_slope=0.25), Activation("leaky_relu", 0.25)),
        (lambda: layers.LeakyReLU(negative_slope=0.5), Activation("leaky_relu", 0.5)),
    ],
)
def test_rectifiers(layer, detail):
    op = described(layer(), (None, 4))
    assert (op.kind, op.detail, op.parts) == (OpKind.ACTIVATION, detail, ())


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"max_value": 3}, {"negative_slope": 0.25, "max_value": 6}])
def test_a_rectifier_of_another_form_is_followed_through_its_functions(options):
    assert described(layers.ReLU(**options), (None, 4)) is None


def test_a_learned_slope():
    op = described(layers.PReLU(), (None, 4))
    assert op.detail == Activation("prelu")
    assert roles(op) == [("alpha", UseRole.SLOPE)]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Concatenate, LayerOp(OpKind.CONCAT)),
        (layers.Subtract, LayerOp(OpKind.ADD, detail=Arithmetic(minus=1))),
        (layers.Multiply, LayerOp(OpKind.MUL)),
        (layers.UnitNormalization, LayerOp(OpKind.NORM, detail=Normalisation("unit_norm"))),
        (layers.Flatten, LayerOp(OpKind.OTHER, view=True)),
        (layers.Identity, LayerOp(OpKind.OTHER, view=True)),
        (lambda: layers.Reshape((2, 2)), LayerOp(OpKind.OTHER, view=True)),
        (layers.ZeroPadding2D, LayerOp(OpKind.OTHER, view=True)),
        (layers.Cropping3D, LayerOp(OpKind.OTHER, view=True)),
        (layers.MaxPooling2D, LayerOp(OpKind.POOL, detail=Pooling("max", (1, 2, 2, 1), (1, 2, 2, 1), "valid"))),
        (layers.GlobalAveragePooling1D, LayerOp(OpKind.POOL, detail=Pooling("mean", (1, 0, 1)))),
        (layers.UpSampling3D, LayerOp(OpKind.POOL, detail=Pooling("mean", (1, 1, 1, 1, 1)))),
    ],
)
def test_layers_without_variables(layer, expected):
    assert describe_layer(layer(), {}) == expected


class OwnCall(layers.Dense):
    """A dense layer that computes something else."""

    def call(self, inputs, training=None):
        return inputs


class MoreVariables(layers.Dense):
    """A dense layer with a variable that its entry does not know."""

    def build(self, shape):
        super().build(shape)
        self.more = self.add_weight(shape=(2,), name="more")


class Renamed(layers.Dense):
    """A dense layer under another name."""


def test_a_subclass_is_its_kind_unless_it_computes_something_else():
    assert described(Renamed(3), (None, 4)).kind is OpKind.LINEAR
    assert described(OwnCall(3), (None, 4)) is None
    assert described(MoreVariables(3), (None, 4)) is None
    assert describe_layer(layers.Dropout(0.5), {}) is None


def test_a_call_has_the_name_of_the_layer():
    op = described(Renamed(3), (None, 4))
    call = op.of(Renamed(3), ["x"])
    assert (call.kind, call.data, call.parts, call.name) == (OpKind.LINEAR, ("x",), op.parts, "Renamed")
