"""Convolutional networks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import applications, initializers, layers, ops

import fanwise.keras as fwk
from zoo.keras.batches import Batch, digit_images, images, masks, rebuilt
from zoo.keras.laws import Law, glorot, he, lecun, small
from zoo.keras.layers import Parts, chain, conv, headed, mlp, residual, run_all, vgg
from zoo.keras.losses import BINARY, CROSS_ENTROPY, SQUARES
from zoo.model import Model, maker


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
    x = run_all(start, normed(widths[0], "stem", law=he))
    for stage, width in enumerate(widths):
        for number in range(2):
            name, stride = f"s{stage}b{number}", 2 if stage and not number else 1
            last = [conv(width, name=f"{name}c1", use_bias=False), layers.BatchNormalization(gamma_initializer=gamma)]
            y = run_all(x, [*normed(width, f"{name}c0", stride=stride, law=he), *last])
            if stride > 1:
                x = run_all(
                    x, [conv(width, 1, name=f"{name}s", strides=2, use_bias=False), layers.BatchNormalization()]
                )
            x = layers.ReLU()(x + y)
        x = ops.stop_gradient(x) if cut and stage == 1 else x
    return keras.Model(start, run_all(x, headed()))


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
    first = run_all(start, [conv(32, name="in0", **relu), conv(32, name="in1", **relu)])
    second = run_all(layers.MaxPooling2D(2)(first), [conv(64, name="mid0", **relu), conv(64, name="mid1", **relu)])
    low = run_all(layers.MaxPooling2D(2)(second), [conv(128, name="low0", **relu), conv(128, name="low1", **relu)])
    low = run_all(layers.UpSampling2D()(low), [conv(64, name="up0", **relu)])
    back = run_all(layers.Concatenate()([second, low]), [conv(64, name="out0", **relu), *(cut or [])])
    back = run_all(layers.UpSampling2D()(back), [conv(32, name="up1", **relu)])
    back = run_all(layers.Concatenate()([first, back]), [conv(32, name="out1", **relu)])
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
    return keras.Model(start, run_all(layers.LayerNormalization()(x), headed()))


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
        x = run_all(x, normed(width, f"c{i}", stride=2))
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = run_all(y, [layers.Dense(width // 4, "relu", name=f"q{i}"), layers.Dense(width, "sigmoid", name=f"e{i}")])
        x = layers.Multiply()([x, y])
    return keras.Model(start, run_all(x, headed()))


def densenet() -> Any:
    """Every layer reads all before it."""
    x = start = keras.Input((32, 32, 3))
    x = conv(32, name="stem", strides=2)(x)
    for i in range(8):
        parts = [layers.BatchNormalization(), layers.ReLU(), conv(16, name=f"c{i}", use_bias=False)]
        x = layers.Concatenate()([x, run_all(x, parts)])
    return keras.Model(start, run_all(x, [layers.BatchNormalization(), layers.ReLU(), *headed()]))


def xception() -> Parts:
    """Separable convolutions with batch norm."""
    parts = normed(32, "stem", stride=2)
    for i, width in enumerate((64, 128, 128)):
        separable = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"sep{i}")
        parts += [separable, layers.BatchNormalization(), layers.ReLU()]
    return [*parts, *headed()]


def large(kind: Any, side: int = 64) -> tuple[Callable[[], Any], Callable[[], Batch]]:
    make = partial(kind, weights=None, classes=10, input_shape=(side, side, 3), classifier_activation=None)
    return make, partial(images, 8, side)


def applied(build: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: planned(build())


tuned = maker("keras", "cnn", "tuned", CROSS_ENTROPY)


def image(name: str, parts: Callable[[], Parts], batch: Any = images) -> Model:
    shape = (28, 28, 1) if batch is digit_images else (32, 32, 3)
    return tuned(name, lambda: chain(shape, parts()), batch)


MODELS = (
    image("lenet_default", lenet, digit_images),
    image("cnn_bn", cnn_bn),
    image("vgg_11", lambda: vgg("vgg_11")),
    image("vgg_16", lambda: vgg("vgg_16")),
    tuned("resnet_14", resnet, images),
    tuned("resnet_14_zero_gamma", partial(resnet, gamma="zeros"), images),
    image("mobilenet", mobilenet),
    tuned("mobilenet_plain", mobilenet_plain, images),
    image("xception", xception),
    tuned("unet_plain", unet, masks, BINARY),
    tuned("autoencoder_conv", lambda: chain((28, 28, 1), autoencoder()), rebuilt, SQUARES),
    tuned("convnext", convnext, images),
    tuned("squeeze", squeeze_net, images),
    tuned("densenet", densenet, images),
    tuned("resnet_planned", applied(resnet), images),
    tuned("application_resnet50", *large(applications.ResNet50)),
    tuned("application_mobilenet_v2", *large(applications.MobileNetV2)),
)
