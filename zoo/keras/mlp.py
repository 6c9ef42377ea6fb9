"""Perceptrons, each initialised as its field does it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import initializers, layers

from zoo.keras.batches import digits, vectors
from zoo.keras.laws import Law, glorot, he, lecun, scaled
from zoo.keras.layers import Parts, chain, deep, mlp, residual
from zoo.keras.losses import CROSS_ENTROPY
from zoo.model import Model, maker


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


tuned = maker("keras", "mlp", "tuned", CROSS_ENTROPY)


def dense(name: str, parts: Callable[[], Parts], batch: Any = vectors) -> Model:
    shape = (784,) if batch is digits else (128,)
    return tuned(name, lambda: chain(shape, parts()), batch)


MODELS = (
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
    tuned("mlp_residual_scaled", partial(residual_mlp, 16, scale=0.25), vectors),
    tuned("mlp_rezero", partial(residual_mlp, 16, last=initializers.Zeros), vectors),
    tuned("mlp_highway", highway, vectors),
)
