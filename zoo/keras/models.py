"""Healthy Keras models for false_alarms.py: with Keras' own initial weights, He's, LeCun's, or those of their field."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
from keras import applications, initializers, layers, ops

import fanwise.keras as fwk
from zoo.keras.parts import (
    BINARY,
    CROSS_ENTROPY,
    SQUARES,
    Batch,
    Gpt,
    Law,
    Parts,
    Subject,
    Vit,
    built,
    chain,
    conv,
    deep,
    digit_images,
    digits,
    glorot,
    he,
    headed,
    ids,
    images,
    labels,
    lecun,
    masks,
    mlp,
    normal,
    rebuilt,
    residual,
    scaled,
    sentences,
    small,
    texts,
    vectors,
    vgg,
)

# Perceptrons


def residual_mlp(depth: int, law: Law = he, last: Law = lecun, scale: float = 1.0) -> Any:
    """Residual perceptrons without norms, each branch times a factor."""
    x = start = keras.Input((128,))
    for number in range(depth):
        up = layers.Dense(128, "relu", kernel_initializer=law(), name=f"up{number}")
        x = residual(x, [up, layers.Dense(128, kernel_initializer=last(), name=f"down{number}")], scale)
    return keras.Model(start, layers.Dense(10, name="head")(x))


def highway(law: Law = glorot) -> Any:
    """Gates that start nearly shut: bias -2."""
    x = start = keras.Input((128,))
    for i in range(10):
        shut = {"kernel_initializer": law(), "bias_initializer": initializers.Constant(-2.0)}
        share = layers.Dense(128, "sigmoid", name=f"gate{i}", **shut)(x)
        x = share * layers.Dense(128, "relu", name=f"change{i}")(x) + (1 - share) * x
    return keras.Model(start, layers.Dense(10, name="head")(x))


# Convolutional networks


def lenet(cut: Parts | None = None) -> Parts:
    body = [conv(6, 5, name="c0", law=glorot, activation="tanh"), layers.AveragePooling2D(2)]
    body += [conv(16, 5, name="c1", law=glorot, activation="tanh"), layers.AveragePooling2D(2), *(cut or [])]
    return [*body, layers.Flatten(), *mlp(784, 120, 84, 10, act="tanh")]


def normed(width: int, name: str, kernel: int = 3, stride: int = 1, law: Law = glorot) -> Parts:
    """Convolution, batch norm and ReLU."""
    first = conv(width, kernel, name=name, law=law, strides=stride, use_bias=False)
    return [first, layers.BatchNormalization(), layers.ReLU()]


def cnn_bn() -> Parts:
    """As in the guides of Keras: its defaults and batch norm."""
    parts: Parts = []
    for number, width in enumerate((32, 64, 128)):
        parts += [*normed(width, f"c{number}"), layers.MaxPooling2D(2), layers.Dropout(0.25)]
    return [*parts, layers.Flatten(), layers.Dense(128, "relu", name="d0"), layers.Dense(10, name="head")]


def resnet(widths: tuple[int, ...] = (32, 64, 128), *, gamma: str = "ones", cut: bool = False) -> Any:
    """Basic blocks with batch norm, He as in the paper."""
    start = keras.Input((32, 32, 3))
    x = _run(start, normed(widths[0], "stem", law=he))
    for stage, width in enumerate(widths):
        for number in range(2):
            name, stride = f"s{stage}b{number}", 2 if stage and not number else 1
            last = [conv(width, name=f"{name}c1", use_bias=False), layers.BatchNormalization(gamma_initializer=gamma)]
            y = _run(x, [*normed(width, f"{name}c0", stride=stride, law=he), *last])
            if stride > 1:
                x = _run(x, [conv(width, 1, name=f"{name}s", strides=2, use_bias=False), layers.BatchNormalization()])
            x = layers.ReLU()(x + y)
        x = ops.stop_gradient(x) if cut and stage == 1 else x
    return keras.Model(start, _run(x, headed()))


def _run(x: Any, parts: Parts) -> Any:
    for part in parts:
        x = part(x)
    return x


def mobilenet() -> Parts:
    """Depthwise separable, with batch norm and Keras' defaults."""
    parts = normed(32, "stem", stride=2)
    for number, (width, stride) in enumerate(((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))):
        depthwise = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"w{number}")
        parts += [depthwise, layers.BatchNormalization(), layers.ReLU(6.0), *normed(width, f"p{number}", 1)]
    return [*parts, *headed()]


def mobilenet_plain() -> Any:
    """The same without norms, by fanwise's plan: Keras has no law that counts what a depthwise kernel reads."""
    parts: Parts = [conv(32, name="stem", strides=2, activation="relu")]
    for number, (width, stride) in enumerate(((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))):
        parts += [layers.DepthwiseConv2D(3, stride, "same", activation="relu", name=f"w{number}")]
        parts += [conv(width, 1, name=f"p{number}", activation="relu")]
    return planned(chain((32, 32, 3), [*parts, *headed()]))


def planned(model: Any) -> Any:
    """The model with the numbers of its plan, under a seed that Keras' own generator gives."""
    seed = int(keras.ops.convert_to_numpy(keras.random.randint((), 0, 2**30)))
    return fwk.apply(model, fwk.plan(model), seed)


def unet(law: Law = he, *, cut: Parts | None = None) -> Any:
    """Two levels, joined again by concatenation."""
    start = keras.Input((32, 32, 3))
    relu = {"activation": "relu", "law": law}
    first = _run(start, [conv(32, name="in0", **relu), conv(32, name="in1", **relu)])
    second = _run(layers.MaxPooling2D(2)(first), [conv(64, name="mid0", **relu), conv(64, name="mid1", **relu)])
    low = _run(layers.MaxPooling2D(2)(second), [conv(128, name="low0", **relu), conv(128, name="low1", **relu)])
    low = _run(layers.UpSampling2D()(low), [conv(64, name="up0", **relu)])
    back = _run(layers.Concatenate()([second, low]), [conv(64, name="out0", **relu), *(cut or [])])
    back = _run(layers.UpSampling2D()(back), [conv(32, name="up1", **relu)])
    back = _run(layers.Concatenate()([first, back]), [conv(32, name="out1", **relu)])
    return keras.Model(start, conv(1, 1, name="head", law=lecun)(back))


def autoencoder(act: str = "relu", law: Law = he) -> Parts:
    """Pictures through 7 x 7 places and back."""
    down = [conv(w, name=f"c{i}", law=law, strides=s, activation=act) for i, (w, s) in enumerate(((16, 1), (32, 2)))]
    back = {"padding": "same", "kernel_initializer": law()}
    up = [layers.Conv2DTranspose(w, 4, 2, activation=act, name=f"t{i}", **back) for i, w in enumerate((32, 16))]
    return [*down, conv(64, name="c2", law=law, strides=2, activation=act), *up, conv(1, name="head", law=lecun)]


def convnext() -> Any:
    """Blocks as in ConvNeXt: depthwise, norm, an inverted bottleneck, and scales that start at 1e-6."""
    start = keras.Input((32, 32, 3))
    x = layers.LayerNormalization()(layers.Conv2D(64, 4, 4, name="stem", kernel_initializer=small())(start))
    for i in range(4):
        parts = [layers.DepthwiseConv2D(7, padding="same", name=f"w{i}"), layers.LayerNormalization()]
        parts += [
            layers.Dense(256, "gelu", name=f"up{i}", kernel_initializer=small()),
            layers.Dense(64, name=f"down{i}", kernel_initializer=small()),
        ]
        x = residual(x, [*parts, LayerScale(name=f"scale{i}")])
    return keras.Model(start, _run(layers.LayerNormalization()(x), headed()))


class LayerScale(layers.Layer):
    """One factor a channel, near zero at first."""

    def build(self, shape: Any) -> None:
        """Makes the factors."""
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=initializers.Constant(1e-6), name="gamma")

    def call(self, x: Any) -> Any:
        """The product."""
        return x * self.gamma


def squeeze_net() -> Any:
    """Channels weighed by what the picture as a whole holds."""
    x = start = keras.Input((32, 32, 3))
    for i, width in enumerate((32, 64, 128)):
        x = _run(x, normed(width, f"c{i}", stride=2))
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = _run(y, [layers.Dense(width // 4, "relu", name=f"q{i}"), layers.Dense(width, "sigmoid", name=f"e{i}")])
        x = layers.Multiply()([x, y])
    return keras.Model(start, _run(x, headed()))


def densenet() -> Any:
    """Every layer reads all before it."""
    x = start = keras.Input((32, 32, 3))
    x = conv(32, name="stem", strides=2)(x)
    for i in range(8):
        parts = [layers.BatchNormalization(), layers.ReLU(), conv(16, name=f"c{i}", use_bias=False)]
        x = layers.Concatenate()([x, _run(x, parts)])
    return keras.Model(start, _run(x, [layers.BatchNormalization(), layers.ReLU(), *headed()]))


def xception() -> Parts:
    """Separable convolutions with batch norm."""
    parts = normed(32, "stem", stride=2)
    for i, width in enumerate((64, 128, 128)):
        separable = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"sep{i}")
        parts += [separable, layers.BatchNormalization(), layers.ReLU()]
    return [*parts, *headed()]


# Mixers, sequences and others


def mixer() -> Any:
    """An MLP over positions and one over channels, with norms before both."""
    start = keras.Input((32, 32, 3))
    x = layers.Reshape((64, 96))(layers.Conv2D(96, 4, 4, name="patches")(start))
    for i in range(6):
        tokens, channels = _mixing(i)
        x = residual(residual(x, tokens), channels)
    return keras.Model(start, _run(layers.LayerNormalization()(x), [layers.GlobalAveragePooling1D(), *headed()[1:]]))


def _mixing(i: int) -> tuple[Parts, Parts]:
    across: Parts = [layers.LayerNormalization(), layers.Permute((2, 1)), layers.Dense(128, "gelu", name=f"tu{i}")]
    across += [layers.Dense(64, name=f"td{i}"), layers.Permute((2, 1))]
    inner: Parts = [layers.LayerNormalization(), layers.Dense(384, "gelu", name=f"cu{i}")]
    return across, [*inner, layers.Dense(96, name=f"cd{i}")]


def tagger(kind: Any = layers.LSTM) -> Parts:
    """A class for each token."""
    table = layers.Embedding(256, 64, name="table")
    return [table, kind(128, return_sequences=True, name="body"), layers.Dense(256, name="head")]


def classifier() -> Parts:
    """As in the guides of Keras: two LSTMs that read a text from both ends."""
    both = [layers.Bidirectional(layers.LSTM(64, return_sequences=more), name=f"b{more:d}") for more in (True, False)]
    return [layers.Embedding(256, 128, name="table"), *both, layers.Dense(1, name="head")]


def word_cnn() -> Parts:
    """Convolutions over words."""
    parts: Parts = [layers.Embedding(256, 128, name="table")]
    parts += [layers.Conv1D(128, 5, padding="same", activation="relu", name=f"c{i}") for i in range(2)]
    return [*parts, layers.GlobalMaxPooling1D(), layers.Dense(128, "relu", name="d0"), layers.Dense(1, name="head")]


def wavenet() -> Any:
    """Gated convolutions of the past, with ever wider gaps."""
    start = keras.Input((64, 8))
    x = layers.Conv1D(64, 1, name="stem")(start)
    for i in range(5):
        wide = {"padding": "causal", "dilation_rate": 2**i}
        value = layers.Conv1D(64, 2, activation="tanh", name=f"v{i}", **wide)(x)
        gate = layers.Conv1D(64, 2, activation="sigmoid", name=f"g{i}", **wide)(x)
        x = x + layers.Conv1D(64, 1, name=f"o{i}")(value * gate)
    return keras.Model(start, layers.Dense(1, name="head")(layers.GlobalAveragePooling1D()(layers.ReLU()(x))))


def tables() -> Any:
    """Several inputs: numbers, a category, a short text."""
    numbers, kind = keras.Input((16,), name="numbers"), keras.Input((1,), dtype="int32", name="kind")
    words = keras.Input((12,), dtype="int32", name="words")
    left = layers.Flatten()(layers.Embedding(20, 16, name="kinds")(kind))
    text = layers.GRU(32, name="read")(layers.Embedding(100, 32, name="terms")(words))
    joined = layers.Concatenate()([layers.BatchNormalization()(numbers), left, text])
    return keras.Model([numbers, kind, words], _run(joined, mlp(80, 128, 64, 10)))


def columns() -> Batch:
    x = normal(64, 16)
    return [x, ids(64, 1, high=20), ids(64, 12, high=100)], labels(x)


def series(count: int = 32) -> Batch:
    x = normal(count, 64, 8)
    return x, x.mean((1, 2))[:, None] * 20


def large(kind: Any, side: int = 64) -> tuple[Callable[[], Any], Callable[[], Batch]]:
    make = partial(kind, weights=None, classes=10, input_shape=(side, side, 3), classifier_activation=None)
    return make, partial(images, 8, side)


def applied(build: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: planned(build())


# The collection


def dense(name: str, parts: Callable[[], Parts], batch: Any = vectors) -> Subject:
    shape = (784,) if batch is digits else (128,)
    return Subject(name, lambda: chain(shape, parts()), batch, CROSS_ENTROPY, "mlp")


def image(name: str, parts: Callable[[], Parts], batch: Any = images) -> Subject:
    shape = (28, 28, 1) if batch is digit_images else (32, 32, 3)
    return Subject(name, lambda: chain(shape, parts()), batch, CROSS_ENTROPY, "cnn")


def words(name: str, parts: Callable[[], Parts], batch: Any = sentences, loss: Any = CROSS_ENTROPY) -> Subject:
    return Subject(name, lambda: chain((32,), parts(), "int32"), batch, loss, "rnn")


PERCEPTRONS = (
    dense("mlp_default_3", lambda: mlp(128, 256, 256, 10)),
    dense("mlp_default_4", lambda: mlp(784, 256, 128, 64, 10), digits),
    dense("mlp_default_tanh_3", lambda: mlp(128, 128, 128, 10, act="tanh")),
    dense("mlp_he_3", lambda: mlp(784, 256, 256, 10, law=he), digits),
    dense("mlp_he_10", lambda: mlp(*deep(10), law=he)),
    dense("mlp_he_20", lambda: mlp(*deep(20), law=he)),
    dense("mlp_he_30", lambda: mlp(*deep(30), law=he)),
    dense("mlp_leaky_10", lambda: mlp(*deep(10), act="leaky_relu", law=scaled((2 / 1.04) ** 0.5))),
    dense("mlp_tanh_orthogonal", lambda: mlp(*deep(20), act="tanh", law=initializers.Orthogonal, last=lecun)),
    dense("mlp_tanh_glorot", lambda: mlp(*deep(10), act="tanh")),
    dense("mlp_selu_20", lambda: mlp(*deep(20), act="selu", law=lecun)),
    dense("mlp_gelu_10", lambda: mlp(*deep(10), act="gelu", law=scaled(1.534), last=lecun)),
    dense("mlp_dropout", lambda: mlp(784, 512, 512, 10, law=he, norm=lambda: layers.Dropout(0.5)), digits),
    dense("mlp_batch_norm_15", lambda: mlp(*deep(15), norm=layers.BatchNormalization)),
    dense("mlp_layer_norm_12", lambda: mlp(*deep(12), norm=layers.LayerNormalization)),
    dense("mlp_zero_head", lambda: mlp(*deep(8), law=he, last=initializers.Zeros)),
    dense("mlp_funnel", lambda: mlp(784, 512, 128, 32, 10, law=he), digits),
    dense("mlp_sigmoid_2", lambda: mlp(784, 128, 10, act="sigmoid"), digits),
    Subject("mlp_residual_scaled", partial(residual_mlp, 16, scale=0.25), vectors, CROSS_ENTROPY, "mlp"),
    Subject("mlp_rezero", partial(residual_mlp, 16, last=initializers.Zeros), vectors, CROSS_ENTROPY, "mlp"),
    Subject("mlp_highway", highway, vectors, CROSS_ENTROPY, "mlp"),
)
PICTURES = (
    image("lenet_default", lenet, digit_images),
    image("cnn_bn", cnn_bn),
    image("vgg_11", lambda: vgg("vgg_11")),
    image("vgg_16", lambda: vgg("vgg_16")),
    Subject("resnet_14", resnet, images, CROSS_ENTROPY, "cnn"),
    Subject("resnet_14_zero_gamma", partial(resnet, gamma="zeros"), images, CROSS_ENTROPY, "cnn"),
    image("mobilenet", mobilenet),
    Subject("mobilenet_plain", mobilenet_plain, images, CROSS_ENTROPY, "cnn"),
    image("xception", xception),
    Subject("unet_plain", unet, masks, BINARY, "cnn"),
    Subject("autoencoder_conv", lambda: chain((28, 28, 1), autoencoder()), rebuilt, SQUARES, "cnn"),
    Subject("convnext", convnext, images, CROSS_ENTROPY, "cnn"),
    Subject("squeeze", squeeze_net, images, CROSS_ENTROPY, "cnn"),
    Subject("densenet", densenet, images, CROSS_ENTROPY, "cnn"),
    Subject("resnet_planned", applied(resnet), images, CROSS_ENTROPY, "cnn"),
    Subject("application_resnet50", *large(applications.ResNet50), CROSS_ENTROPY, "cnn"),
    Subject("application_mobilenet_v2", *large(applications.MobileNetV2), CROSS_ENTROPY, "cnn"),
)
SEQUENCES = (
    words("lstm_tagger", tagger),
    words("gru_tagger", lambda: tagger(layers.GRU)),
    words("lstm_both_ways", classifier, texts, BINARY),
    words("word_cnn", word_cnn, texts, BINARY),
    Subject("wavenet", wavenet, series, SQUARES, "rnn"),
    Subject("gpt", lambda: built(Gpt(), sentences), sentences, CROSS_ENTROPY, "transformer"),
    Subject("vit", lambda: built(Vit(), images), images, CROSS_ENTROPY, "transformer"),
    Subject("mixer", mixer, images, CROSS_ENTROPY, "other"),
    Subject("tables", tables, columns, CROSS_ENTROPY, "other"),
)

HEALTHY: Mapping[str, Subject] = MappingProxyType(
    {subject.name: subject for subject in (*PERCEPTRONS, *PICTURES, *SEQUENCES)}
)
