"""Keras models of many kinds, small, with inputs to run them on."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import applications, layers, ops

from zoo.model import Arguments, Model, Traits


def tiny(name: str, family: str, make: Callable[[], Any], inputs: Callable[[], Any], *, slow: bool = False) -> Model:
    """A tiny model; `inputs` is what it is called with."""

    def batch() -> Arguments:
        return Arguments((inputs(),))

    return Model(name, make, batch, None, family, "keras", use="structure", traits=Traits(slow=slow))


def noise(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def tokens(*shape, most=50):
    return np.random.default_rng(2).integers(0, most, shape).astype("int32")


def mlp():
    hidden = [layers.Dense(64, "relu"), layers.Dropout(0.1), layers.Dense(64, "tanh"), layers.Dense(10)]
    return keras.Sequential([keras.Input((32,)), *hidden])


def cnn():
    x = start = keras.Input((16, 16, 3))
    for width in (8, 16):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(10, "softmax")(x))


def residual():
    start = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same")(start)
    for _ in range(3):
        y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        y = layers.Conv2D(8, 3, padding="same")(y)
        x = layers.Add()([x, y])
    x = layers.GroupNormalization(4)(x)
    return keras.Model(start, layers.Dense(10)(layers.Flatten()(x)))


def unet():
    start = keras.Input((16, 16, 2))
    first = layers.Conv2D(8, 3, padding="same", activation="relu")(start)
    down = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(first)
    up = layers.Conv2DTranspose(8, 4, strides=2, padding="same")(down)
    joined = layers.Concatenate()([first, layers.LeakyReLU(0.2)(up)])
    return keras.Model(start, layers.Conv2D(1, 1)(joined))


class Attention(layers.Layer):
    """A pre-norm transformer block, with the sums written as sums."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.attention = layers.MultiHeadAttention(4, width // 4, dropout=0.1)
        self.first, self.second = layers.LayerNormalization(), layers.LayerNormalization()
        self.up, self.down = layers.Dense(4 * width, "gelu"), layers.Dense(width)

    def call(self, x):
        y = self.first(x)
        x = x + self.attention(y, y, use_causal_mask=True)
        return x + self.down(self.up(self.second(x)))


class Transformer(keras.Model):
    """Tokens and positions, two blocks, a class token, a head."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = layers.Embedding(50, 32), layers.Embedding(16, 32)
        self.blocks = [Attention(32) for _ in range(2)]
        self.norm, self.head = layers.LayerNormalization(), layers.Dense(50)
        self.token = self.add_weight(shape=(1, 1, 32), initializer="random_normal", name="token")

    def call(self, x):
        y = self.tokens(x) + self.positions(ops.arange(ops.shape(x)[1]))
        y = ops.concatenate([ops.broadcast_to(self.token, (ops.shape(x)[0], 1, 32)), y], axis=1)
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y))


class Fused(keras.Model):
    """Attention by hand from one fused projection, and a gated unit."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = layers.Dense(96, use_bias=False), layers.Dense(32, use_bias=False)
        self.gate_up, self.down, self.norm = layers.Dense(128), layers.Dense(32), layers.RMSNormalization()
        self.scale = self.add_weight(shape=(32,), initializer="ones", name="scale")

    def call(self, x):
        q, k, v = ops.split(self.qkv(x), 3, axis=-1)
        scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / np.sqrt(32.0))
        x = x + self.out(ops.matmul(scores, v)) * self.scale
        gate, up = ops.split(self.gate_up(self.norm(x)), 2, axis=-1)
        return x + self.down(ops.silu(gate) * up)


def tied():
    start = keras.Input((12,), dtype="int32")
    table = layers.ReversibleEmbedding(50, 32)
    x = layers.LayerNormalization()(layers.Dense(32, "relu")(table(start)))
    return keras.Model(start, table(x, reverse=True))


def recurrent():
    start = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 16, mask_zero=True)(start)
    x = layers.LSTM(16, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(8, return_sequences=True))(x)
    x = layers.SimpleRNN(8)(x)
    return keras.Model(start, layers.Dense(2)(x))


def stacked_cells():
    cells = [layers.LSTMCell(8), layers.GRUCell(6, reset_after=False)]
    return keras.Sequential([keras.Input((5, 4)), layers.RNN(cells), layers.Dense(1)])


def conv_lstm():
    pool = layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input((3, 8, 8, 2)), layers.ConvLSTM2D(4, 3), pool, layers.Dense(2)])


def several_inputs():
    words, picture = keras.Input((8,), dtype="int32", name="words"), keras.Input((8, 8, 3), name="picture")
    left = layers.GlobalAveragePooling1D()(layers.Embedding(50, 16)(words))
    right = layers.Dense(16, "relu")(layers.Flatten()(layers.SeparableConv2D(8, 3)(picture)))
    both = layers.Multiply()([layers.Dense(16, "sigmoid")(left), right])
    return keras.Model({"words": words, "picture": picture}, [layers.Dense(3)(both), layers.Dense(1)(both)])


def shared():
    first, second, layer = keras.Input((8,)), keras.Input((8,)), layers.Dense(16, "relu")
    joined = layers.Subtract()([layer(first), layer(second)])
    return keras.Model([first, second], layers.Dense(1)(joined))


def mobile():
    x = start = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu6")(x)
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = layers.Conv2D(16, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(y))
    x = layers.Multiply()([x, y])
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 1, groups=4)(x))
    return keras.Model(start, layers.Dense(5)(layers.GlobalMaxPooling2D()(x)))


def sequence():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(8, "selu"), layers.Dense(8)], name="inner")
    x = start = keras.Input((7, 6))
    x = layers.TimeDistributed(inner)(x)
    x = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="elu")(x)
    x = layers.DepthwiseConv1D(3)(layers.SeparableConv1D(8, 3, padding="same")(x))
    return keras.Model(start, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


def attentions():
    start = keras.Input((6, 16))
    x = layers.GroupQueryAttention(4, 4, 2)(start, start)
    x = layers.AdditiveAttention()([x, start])
    x = layers.Attention(use_scale=True)([x, start])
    return keras.Model(start, layers.EinsumDense("abc,cd->abd", (None, 8), bias_axes="d", activation="relu")(x))


class Own(layers.Layer):
    """A layer with weights of its own, used through functions and operators."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 16), initializer="glorot_uniform", name="kernel")
        self.turned = self.add_weight(shape=(8, 16), initializer="glorot_uniform", name="turned")
        self.offset = self.add_weight(shape=(16,), initializer="zeros", name="offset")
        self.factor = self.add_weight(shape=(8,), initializer="ones", name="factor")

    def call(self, x):
        y = ops.relu(ops.matmul(x, self.kernel) + self.offset)
        return ops.matmul(y, ops.transpose(self.turned)) * self.factor


def own_layer():
    start = keras.Input((12,))
    return keras.Model(start, layers.Dense(2)(Own()(start)))


def volumes():
    x = start = keras.Input((6, 6, 6, 1))
    x = layers.Conv3D(4, 3, activation="softplus")(x)
    x = layers.Conv3DTranspose(2, 2, strides=2)(layers.AveragePooling3D(2)(x))
    return keras.Model(start, layers.Dense(1)(layers.Flatten()(layers.UnitNormalization()(x))))


MODELS = (
    tiny("mlp", "mlp", mlp, lambda: noise(64, 32)),
    tiny("cnn", "cnn", cnn, lambda: noise(16, 16, 16, 3)),
    tiny("residual", "cnn", residual, lambda: noise(8, 16, 16, 3)),
    tiny("unet", "cnn", unet, lambda: noise(8, 16, 16, 2)),
    tiny("transformer", "transformer", Transformer, lambda: tokens(8, 15)),
    tiny("fused", "transformer", Fused, lambda: noise(8, 10, 32)),
    tiny("tied", "transformer", tied, lambda: tokens(16, 12)),
    tiny("recurrent", "recurrent", recurrent, lambda: tokens(16, 12) + 1 - 1),
    tiny("stacked_cells", "recurrent", stacked_cells, lambda: noise(16, 5, 4)),
    tiny("conv_lstm", "recurrent", conv_lstm, lambda: noise(8, 3, 8, 8, 2)),
    tiny("several_inputs", "tabular", several_inputs, lambda: {"words": tokens(16, 8), "picture": noise(16, 8, 8, 3)}),
    tiny("shared", "mlp", shared, lambda: [noise(16, 8), noise(16, 8) * 2]),
    tiny("mobile", "cnn", mobile, lambda: noise(8, 16, 16, 3)),
    tiny("sequence", "cnn", sequence, lambda: noise(8, 7, 6)),
    tiny("attentions", "transformer", attentions, lambda: noise(8, 6, 16)),
    tiny("own_layer", "mlp", own_layer, lambda: noise(32, 12)),
    tiny("volumes", "cnn", volumes, lambda: noise(8, 6, 6, 6, 1)),
    tiny(
        "resnet50",
        "cnn",
        lambda: applications.ResNet50(weights=None, classes=10, input_shape=(32, 32, 3)),
        lambda: noise(4, 32, 32, 3),
        slow=True,
    ),
    tiny(
        "efficientnet_b0",
        "cnn",
        lambda: applications.EfficientNetB0(weights=None, classes=10, input_shape=(32, 32, 3)),
        lambda: noise(4, 32, 32, 3),
        slow=True,
    ),
    tiny(
        "mobilenet_v2",
        "cnn",
        lambda: applications.MobileNetV2(weights=None, classes=10, input_shape=(32, 32, 3)),
        lambda: noise(4, 32, 32, 3),
        slow=True,
    ),
    tiny(
        "convnext_tiny",
        "cnn",
        lambda: applications.ConvNeXtTiny(weights=None, classes=10, input_shape=(32, 32, 3)),
        lambda: noise(4, 32, 32, 3),
        slow=True,
    ),
)
