"""Layers and blocks that several families share."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import keras
from keras import layers, ops

from zoo.keras.batches import Batch
from zoo.keras.laws import Law, glorot, he, spread

Parts = list[Any]


def chain(shape: Sequence[int | None], parts: Iterable[Any], dtype: str = "float32") -> Any:
    """The layers one after the other, as a functional model."""
    x = start = keras.Input(shape, dtype=dtype)
    for part in parts:
        x = part(x)
    return keras.Model(start, x)


def deep(depth: int, width: int = 256, fan_in: int = 128) -> tuple[int, ...]:
    """The widths of a network of `depth` maps."""
    return (fan_in, *[width] * (depth - 1), 10)


def mlp(*widths: int, act: str = "relu", law: Law = glorot, norm: Any = None, last: Law | None = None) -> Parts:
    """Dense maps d0, d1, ..., each with its norm and its function, and a head."""
    parts: Parts = []
    for number, (_, width) in enumerate(pairwise(widths[:-1])):
        bent = [layers.Activation(act)] if norm else []
        dense = layers.Dense(width, None if norm else act, kernel_initializer=law(), name=f"d{number}")
        parts += [dense, *([norm()] if norm else []), *bent]
    return [*parts, layers.Dense(widths[-1], kernel_initializer=(last or law)(), name="head")]


def conv(width: int, kernel: int = 3, *, name: str, law: Law = he, **options: Any) -> Any:
    """A convolution that keeps the size."""
    return layers.Conv2D(width, kernel, padding="same", kernel_initializer=law(), name=name, **options)


def headed(width: int = 10, law: Law = glorot) -> Parts:
    """The mean over positions and a head."""
    return [layers.GlobalAveragePooling2D(), layers.Dense(width, kernel_initializer=law(), name="head")]


VGG = {
    "vgg_11": (32, "M", 64, "M", 128, 128, "M", 256, 256, "M"),
    "vgg_16": (32, 32, "M", 64, 64, "M", 128, 128, 128, "M", 256, 256, 256, "M"),
}


def vgg(name: str, act: str = "relu", law: Law = he) -> Parts:
    """Convolutions c0, c1, ... in a row, without norms."""
    parts: Parts = []
    for width in VGG[name]:
        number = sum(isinstance(part, layers.Conv2D) for part in parts)
        pooled = width == "M"
        parts.append(layers.MaxPooling2D(2) if pooled else conv(int(width), name=f"c{number}", law=law, activation=act))
    dense = layers.Dense(256, act, kernel_initializer=law(), name="d0")
    return [*parts, layers.Flatten(), dense, layers.Dense(10, kernel_initializer=spread(0.01)(), name="head")]


def residual(x: Any, parts: Parts, scale: float = 1.0) -> Any:
    """X + scale * branch(x)."""
    y = x
    for part in parts:
        y = part(y)
    return x + scale * y if scale != 1 else x + y


class Cut(layers.Layer):
    """No gradient comes through."""

    def call(self, x: Any) -> Any:
        """The same numbers, cut off."""
        return ops.stop_gradient(x)


class Stack(keras.Model):
    """Parts in a list of the model, one after the other; a sum where a part is itself a list."""

    def __init__(self, parts: Parts, scale: float = 1.0):
        super().__init__(name="stack")
        self.parts, self.scale = parts, scale

    def call(self, x: Any) -> Any:
        """What the last one gives."""
        for part in self.parts:
            x = residual(x, part.layers, self.scale) if isinstance(part, keras.Sequential) else part(x)
        return x


def built(model: Any, batch: Callable[[], Batch]) -> Any:
    """A subclassed model once it has its weights."""
    model(batch()[0])
    return model


def run_all(x: Any, parts: Parts) -> Any:
    for part in parts:
        x = part(x)
    return x
