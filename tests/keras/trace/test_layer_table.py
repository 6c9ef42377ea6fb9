"""The layouts of Keras' layers, against fans counted by hand and against what the layers really compute."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

import fanwise  # noqa: E402
import fanwise.keras as fwk  # noqa: E402
from fanwise.keras import initializers  # noqa: E402

# A layer, the shape of one input, and for each of its weights the fan_in of one linear map, counted by hand.
CASES = {
    "Dense": (lambda: layers.Dense(300), (200,), {"kernel": 200}),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cde->abde", (None, 8, 40)), (6, 250), {"kernel": 250}),
    "EinsumDense_ellipsis": (lambda: layers.EinsumDense("...cd,cde->...e", 150), (5, 8, 40), {"kernel": 320}),
    "EinsumDense_grouped": (
        lambda: layers.EinsumDense("abgc,gcd->abgd", (None, 6, 90)),
        (5, 6, 80),
        {"kernel": 80},
    ),
    "Conv1D": (lambda: layers.Conv1D(120, 5), (20, 64), {"kernel": 5 * 64}),
    "Conv2D": (lambda: layers.Conv2D(96, 3), (9, 9, 48), {"kernel": 9 * 48}),
    "Conv2D_grouped": (lambda: layers.Conv2D(192, 3, groups=4), (9, 9, 96), {"kernel": 9 * 24}),
    "Conv2D_strided": (lambda: layers.Conv2D(96, 3, strides=2), (17, 17, 48), {"kernel": 9 * 48}),
    "Conv3D": (lambda: layers.Conv3D(32, 3), (6, 6, 6, 24), {"kernel": 27 * 24}),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(5, depth_multiplier=8), (20, 700), {"kernel": 5}),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3), (9, 9, 2400), {"kernel": 9}),
    "SeparableConv1D": (
        lambda: layers.SeparableConv1D(64, 7, depth_multiplier=4),
        (20, 800),
        {"depthwise_kernel": 7, "pointwise_kernel": 3200},
    ),
    "SeparableConv2D": (
        lambda: layers.SeparableConv2D(32, 3),
        (9, 9, 2400),
        {"depthwise_kernel": 9, "pointwise_kernel": 2400},
    ),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(48, 4, strides=2), (20, 128), {"kernel": 128 * 2}),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(16, 4, strides=2), (9, 9, 256), {"kernel": 256 * 4}),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(8, 4, strides=2), (5, 5, 5, 48), {"kernel": 48 * 8}),
    "Embedding": (lambda: layers.Embedding(1000, 40), None, {"embeddings": 1}),
    "LSTM": (lambda: layers.LSTM(128), (5, 96), {"kernel": 96, "recurrent_kernel": 128}),
    "GRU": (lambda: layers.GRU(128), (5, 96), {"kernel": 96, "recurrent_kernel": 128}),
    "SimpleRNN": (lambda: layers.SimpleRNN(200), (5, 150), {"kernel": 150, "recurrent_kernel": 200}),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(32, 3), (3, 6, 6, 24), {"kernel": 9 * 24, "recurrent_kernel": 9 * 32}),
    "MultiHeadAttention": (
        lambda: layers.MultiHeadAttention(6, 40),
        "self",
        {"query/kernel": 192, "key/kernel": 192, "value/kernel": 192, "attention_output/kernel": 240},
    ),
    "GroupQueryAttention": (
        lambda: layers.GroupQueryAttention(40, 6, 3),
        "self",
        {"query/kernel": 192, "key/kernel": 192, "value/kernel": 192, "attention_output/kernel": 240},
    ),
    "Bidirectional": (
        lambda: layers.Bidirectional(layers.LSTM(96)),
        (5, 96),
        {"forward_lstm/lstm_cell/kernel": 96, "backward_lstm/lstm_cell/recurrent_kernel": 96},
    ),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(200)), (4, 150), {"kernel": 150}),
}
GATES = {"LSTM": 4, "GRU": 3, "ConvLSTM2D": 4, "Bidirectional": 4}
WRONG_IN_KERAS = {
    "DepthwiseConv1D": "kernel",
    "DepthwiseConv2D": "kernel",
    "SeparableConv1D": "depthwise_kernel",
    "SeparableConv2D": "depthwise_kernel",
    "Conv1DTranspose": "kernel",
    "Conv2DTranspose": "kernel",
    "Conv3DTranspose": "kernel",
    "Embedding": "embeddings",
}
"""Kernels that Keras' own HeNormal reads the wrong way."""


class SelfAttention(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x, x)


def model_of(name):
    make, shape, _ = CASES[name]
    keras.utils.clear_session()
    if name == "Embedding":
        start = keras.Input((7,), dtype="int32")
        return keras.Model(start, make()(start)), np.arange(28, dtype="int32").reshape(4, 7)
    if shape == "self":
        model = SelfAttention(make())
        inputs = np.random.default_rng(0).normal(size=(4, 5, 192)).astype("float32")
        model(inputs)
        return model, inputs
    start = keras.Input(shape)
    inputs = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    return keras.Model(start, make()(start)), inputs


def found(name):
    """Layout and shape of each weight that the case names."""
    model, inputs = model_of(name)
    trace = fwk.run(model, fwk.Inputs((inputs,)))
    assert not trace.unused
    for suffix in CASES[name][2]:
        (path,) = [path for path in trace.by_path if path.endswith(f"/{suffix}")]
        (layout,) = {use.layout for _, use in trace.uses[path]}
        yield suffix, layout, trace.by_path[path].shape


@pytest.mark.parametrize("name", CASES)
def test_the_fan_in_is_the_one_counted_by_hand(name):
    for suffix, layout, shape in found(name):
        for fans in layout.block_fans(shape):
            assert fans.fan_in == CASES[name][2][suffix]
        gates = GATES.get(name, 1)
        assert len(layout.block_fans(shape)) == gates


@pytest.mark.parametrize("name", CASES)
def test_he_normal_has_the_std_of_the_true_fan_within_a_hundredth(name):
    for suffix, layout, shape in found(name):
        values = fanwise.he_normal(shape, key=0, layout=layout)
        true = math.sqrt(2 / CASES[name][2][suffix])
        assert values.size > 20000, "too few numbers to tell 1 % from chance"
        assert abs(values.std() / true - 1) < 0.01
        theirs = keras.ops.convert_to_numpy(keras.initializers.HeNormal(seed=0)(shape)).std()
        wrong = WRONG_IN_KERAS.get(name) == suffix
        assert (abs(theirs / true - 1) > 0.1) >= wrong  # the mutant: Keras' reading of the shape


LINEAR = [name for name in CASES if name.startswith(("Dense", "Conv", "Depthwise", "Separable", "Einsum", "Time"))]
LINEAR = [name for name in LINEAR if not name.startswith("ConvLSTM")]


@pytest.mark.parametrize("name", LINEAR)
def test_weights_of_unit_fan_keep_the_second_moment(name):
    model, inputs = model_of(name)
    trace = fwk.run(model, fwk.Inputs((inputs,)))
    for path, uses in trace.uses.items():
        layout = uses[0][1].layout
        if layout is not None:
            fwk.write(model, path, fanwise.lecun_normal(trace.by_path[path].shape, key=1, layout=layout))
    outputs = keras.ops.convert_to_numpy(model(inputs)).astype(np.float64)
    if "Transpose" in name:  # at the border fewer inputs reach an output
        inner = (slice(None), *(slice(4, -4) for _ in range(outputs.ndim - 2)), slice(None))
        outputs = outputs[inner]
    assert abs(np.square(outputs).mean() - 1) < 0.12


def test_gates_are_drawn_one_by_one():
    ((_, layout, shape), (_, state, square)) = found("LSTM")
    kernel = fanwise.glorot_normal(shape, key=0, layout=layout)
    assert abs(kernel.std() / math.sqrt(2 / (96 + 128)) - 1) < 5 / math.sqrt(2 * kernel.size)
    assert abs(kernel.std() / math.sqrt(2 / (96 + 4 * 128)) - 1) > 0.2  # the fused shape: Keras' reading
    recurrent = fanwise.orthogonal(square, key=0, layout=state)
    sizes = [np.linalg.svd(recurrent[:, i * 128 : (i + 1) * 128], compute_uv=False) for i in range(4)]
    np.testing.assert_allclose(sizes, 1.0, atol=1e-4)
    theirs = keras.ops.convert_to_numpy(keras.initializers.Orthogonal(seed=0)(square))
    assert np.linalg.svd(theirs[:, :128], compute_uv=False).min() < 0.1


def test_channels_first_moves_the_axis_of_the_features():
    layer = layers.Conv2D(6, 3, data_format="channels_first", use_bias=False)
    if keras.config.backend() == "tensorflow":
        return  # which has no such convolution on a CPU
    start = keras.Input((4, 8, 8))
    trace = fwk.run(keras.Model(start, layer(start)), fwk.Inputs((np.ones((2, 4, 8, 8), "float32"),)))
    assert (trace.ops[0].axis, trace.ops[0].shape) == (-3, (2, 6, 6, 6))


def test_a_layout_of_a_law_agrees_with_that_of_the_plan():
    start = keras.Input((9, 9, 256))
    init = initializers.Law("he_normal", fanwise.Layout.conv_transpose("kernel kernel out in", stride=2), seed=0)
    layer = layers.Conv2DTranspose(16, 4, 2, kernel_initializer=init, name="up")
    model = keras.Model(start, layer(start))
    row = fwk.plan(model).edit("up/kernel", "he_normal")["up/kernel"]
    assert row.layout == init.layout
    values = fanwise.he_normal(row.shape, key=fanwise.Key(0, "up/kernel"), layout=row.layout)
    assert np.array_equal(fwk.read(model, "up/kernel"), values)
