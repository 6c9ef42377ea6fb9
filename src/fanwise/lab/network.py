"""A multilayer perceptron in NumPy: its shape, its parameters, its forward and its backward pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fanwise.lab.layers import (
    ACTIVATIONS,
    NORM_AXES,
    Array,
    Layer,
    LayerPass,
    Parameters,
    cross_entropy,
    layer_backward,
    layer_forward,
    overflow_allowed,
)
from fanwise.stream.arguments import checked_choice, checked_count
from fanwise.stream.key import Key, KeyLike, as_key

NORMS = ("none", *NORM_AXES)

CONSTANTS: Mapping[str, float] = MappingProxyType({"bias": 0.0, "scale": 1.0, "shift": 0.0})
"""What every parameter but the weights begins with, by the last part of its name."""

RUNNING_STEP = 0.1
"""How far a batch moves the running moments; torch.nn.BatchNorm1d's momentum."""


@dataclass(frozen=True)
class Architecture:
    """A multilayer perceptron: dense layers, between them a norm and a nonlinearity.

    Args:
        widths: numbers of inputs, of units in each hidden layer, of classes.
        nonlinearity: of the hidden layers.
        norm: between a hidden dense layer and its nonlinearity.

    Raises:
        TypeError: a width is not an integer, or a name not a str.
        ValueError: fewer than two widths, a width below 1, or an unknown name.

    Example:
        >>> Architecture((784, 100, 10), norm="batch").shapes()["layers.0.norm.scale"]
        (100,)
    """

    widths: tuple[int, ...]
    nonlinearity: Literal["linear", "relu", "tanh", "sigmoid", "gelu"] = "relu"
    norm: Literal["none", "batch", "layer"] = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", _checked_widths(self.widths))
        checked_choice(self.nonlinearity, tuple(ACTIVATIONS), name="nonlinearity")
        checked_choice(self.norm, NORMS, name="norm")

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order; the last is dense alone."""
        kinds = [(self.norm, self.nonlinearity)] * (len(self.widths) - 2) + [("none", "linear")]
        sizes = zip(self.widths[:-1], self.widths[1:], kinds, strict=True)
        return tuple(Layer(f"layers.{i}", n, m, *kind) for i, (n, m, kind) in enumerate(sizes))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name, in the order of the layers."""
        return {name: shape for layer in self.layers for name, shape in layer.shapes().items()}


class WeightLaw(Protocol):
    """What gives a weight its first values: any initializer of `fanwise.laws`, or a function."""

    def __call__(self, shape: tuple[int, ...], /, *, key: Key) -> NDArray[Any]:
        """Values of shape (fan_in, fan_out) that depend on the key alone."""


@dataclass(frozen=True, eq=False)
class Forward:
    """What a forward pass computed, layer by layer."""

    layers: tuple[LayerPass, ...]

    @property
    def logits(self) -> Array:
        """Shape (n, classes)."""
        return self.layers[-1].output


@dataclass(frozen=True, eq=False)
class Backward:
    """The gradient of a batch's mean cross-entropy.

    Args:
        loss: the mean cross-entropy, in float64.
        parameters: its gradient at every parameter, by name.
        pre: its gradient at every layer's pre-activation, shape (n, units) each.
    """

    loss: float
    parameters: Parameters
    pre: tuple[Array, ...]


def initialize(architecture: Architecture, weight: WeightLaw, key: KeyLike) -> Parameters:
    """First values of every parameter: weights by the law, biases and shifts 0, scales 1.

    Args:
        architecture: the network.
        weight: called for each weight with its shape and the key of its name, ``key.child("layers.0.weight")``.
        key: the start, a `Key` or a seed.

    Returns:
        New float32 arrays, by name.

    Raises:
        ValueError: the law returned another shape than it was asked for.
    """
    root = as_key(key)
    return {name: _first(weight, shape, root.child(name)) for name, shape in architecture.shapes().items()}


def initial_running(architecture: Architecture) -> Parameters:
    """Running moments of the batch norms before any batch: mean 0, variance 1; empty without batch norms."""
    layers = [layer for layer in architecture.layers if layer.norm == "batch"]
    means = {f"{layer.path}.norm.mean": np.zeros(layer.units, np.float32) for layer in layers}
    return means | {f"{layer.path}.norm.variance": np.ones(layer.units, np.float32) for layer in layers}


def updated_running(architecture: Architecture, running: Parameters, passed: Forward) -> Parameters:
    """Running moments after one more batch: a step of `RUNNING_STEP` towards the batch's own.

    The variance is the unbiased one, n / (n - 1) times the batch's (Ioffe and Szegedy, "Batch Normalization",
    ICML 2015, algorithm 2).
    """
    updated: Parameters = {}
    for layer, record in zip(architecture.layers, passed.layers, strict=True):
        if layer.norm == "batch" and record.whitened is not None:
            n = len(record.pre)
            updated[f"{layer.path}.norm.mean"] = record.whitened.mean[0]
            updated[f"{layer.path}.norm.variance"] = record.whitened.variance[0] * (n / max(n - 1, 1))
    with overflow_allowed():
        return {name: running[name] + RUNNING_STEP * (value - running[name]) for name, value in updated.items()}


def forward(architecture: Architecture, parameters: Parameters, x: Array) -> Forward:
    """The forward pass as in training, every layer recorded; batch norms use the moments of this batch.

    Args:
        architecture: the network.
        parameters: by name, as `initialize` returns them.
        x: inputs, shape (n, inputs).
    """
    records: list[LayerPass] = []
    with overflow_allowed():
        for layer in architecture.layers:
            records.append(layer_forward(layer, parameters, records[-1].output if records else x))
    return Forward(tuple(records))


def backward(
    architecture: Architecture, parameters: Parameters, passed: Forward, labels: NDArray[np.int64]
) -> Backward:
    """The gradient of the mean cross-entropy of a batch.

    Args:
        architecture: the network.
        parameters: those that `passed` was computed with.
        passed: the forward pass of the batch.
        labels: shape (n,).
    """
    loss, gradient = cross_entropy(passed.logits, labels)
    with overflow_allowed():
        pre, gradients = _layers_backward(architecture, parameters, passed, gradient)
    return Backward(loss, gradients, pre)


def predict(
    architecture: Architecture, parameters: Parameters, x: Array, *, running: Parameters | None = None
) -> Array:
    """The logits alone.

    Args:
        architecture: the network.
        parameters: by name.
        x: inputs, shape (n, inputs).
        running: moments that batch norms use, by name; None: those of this batch.

    Returns:
        Shape (n, classes).
    """
    with overflow_allowed():
        for layer in architecture.layers:
            x = layer_forward(layer, parameters, x, running).output
    return x


def _layers_backward(
    architecture: Architecture, parameters: Parameters, passed: Forward, gradient: Array
) -> tuple[tuple[Array, ...], Parameters]:
    """The gradients at every pre-activation, first layer first, and at every parameter."""
    pre: list[Array] = []
    gradients: Parameters = {}
    for layer, record in zip(reversed(architecture.layers), reversed(passed.layers), strict=True):
        at_pre, own = layer_backward(layer, parameters, record, gradient)
        gradients |= own
        pre.append(at_pre)
        if layer is not architecture.layers[0]:  # nothing needs the gradient at the inputs
            gradient = at_pre @ parameters[f"{layer.path}.weight"].T
    return tuple(reversed(pre)), gradients


def check_parameters(architecture: Architecture, parameters: Parameters) -> None:
    """Raises ValueError if parameters are missing, too many, or of a wrong shape."""
    expected = architecture.shapes()
    if different := expected.keys() ^ parameters.keys():
        raise ValueError(f"parameters: {sorted(different)[0]!r} is missing or too many, expected {list(expected)}")
    for name, shape in expected.items():
        if parameters[name].shape != shape:
            raise ValueError(f"parameters[{name!r}] has shape {parameters[name].shape}, expected {shape}")


def check_examples(architecture: Architecture, x: Array, y: NDArray[Any]) -> None:
    """Raises ValueError if examples do not fit the network's inputs and classes."""
    inputs, classes = architecture.widths[0], architecture.widths[-1]
    if x.shape != (len(y), inputs) or not len(y):
        raise ValueError(f"x has shape {x.shape}, expected ({len(y) or 'n'}, {inputs}): widths[0] is {inputs}")
    description, expected = (
        f"y has shape {y.shape} and dtype {y.dtype}",
        f"expected integers in [0, {classes}), shape (n,)",
    )
    if y.ndim != 1 or y.dtype.kind not in "ui":
        raise ValueError(f"{description}: {expected}")
    if not 0 <= y.min() <= y.max() < classes:
        raise ValueError(
            f"{description} and reaches from {y.min()} to {y.max()}: {expected}, as widths[-1] is {classes}"
        )


def _first(weight: WeightLaw, shape: tuple[int, ...], key: Key) -> NDArray[np.float32]:
    kind = key.path.rpartition(".")[2]
    if kind in CONSTANTS:
        return np.full(shape, CONSTANTS[kind], np.float32)
    with overflow_allowed():
        values = np.array(weight(shape, key=key), np.float32)
    if values.shape != shape:
        raise ValueError(f"weight = {weight!r} gave shape {values.shape} for {key.path!r}, expected {shape}")
    return values


def _checked_widths(widths: object) -> tuple[int, ...]:
    if not isinstance(widths, (tuple, list)):
        raise TypeError(f"widths = {widths!r}: expected a tuple of integers, such as (784, 100, 10)")
    if len(widths) < 2:
        raise ValueError(f"widths = {widths!r}: expected at least two, such as (784, 100, 10)")
    return tuple(checked_count(width, name=f"widths[{i}]") for i, width in enumerate(widths))
