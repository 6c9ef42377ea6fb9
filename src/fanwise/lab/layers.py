"""The pieces of a network, forward and backward: dense layers, norms, nonlinearities and the loss.

Every function keeps the dtype it is given: the lab computes in float32, its gradient tests in float64.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Parameters: TypeAlias = dict[str, NDArray[np.float32]]
"""Arrays by dotted name, such as "layers.0.weight"."""

EPSILON = 1e-5
"""Added to a norm's variance, as in torch.nn.BatchNorm1d, torch.nn.LayerNorm and their papers' code."""

NORM_AXES: Mapping[str, int] = MappingProxyType({"batch": 0, "layer": 1})
"""The axis of a batch (n, units) over which a norm takes its mean and variance."""

Activation: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""A nonlinearity: from x the values f(x) and the slopes f'(x), which share most of their work."""


@dataclass(frozen=True)
class Layer:
    """A dense layer, then a norm, then a nonlinearity.

    Args:
        path: dotted name that its parameters begin with.
        inputs: width of what comes in.
        units: width of what goes out.
        norm: "none" or a key of `NORM_AXES`.
        nonlinearity: a key of `ACTIVATIONS`.
    """

    path: str
    inputs: int
    units: int
    norm: str
    nonlinearity: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        shapes = {f"{self.path}.weight": (self.inputs, self.units), f"{self.path}.bias": (self.units,)}
        names = () if self.norm == "none" else ("norm.scale", "norm.shift")
        return shapes | {f"{self.path}.{name}": (self.units,) for name in names}


@dataclass(frozen=True, eq=False)
class Whitened:
    """A batch that a norm has brought to mean 0 and variance 1.

    Args:
        values: shape (n, units).
        mean: what was subtracted, broadcasts against `values`.
        variance: what was divided by, before `EPSILON`; broadcasts against `values`.
    """

    values: Array
    mean: Array
    variance: Array


@dataclass(frozen=True, eq=False)
class LayerPass:
    """What one layer computed for a batch.

    Args:
        inputs: shape (n, inputs).
        pre: pre-activation, what the dense layer gives before any norm, shape (n, units).
        whitened: what the norm made of it; None without a norm.
        normalized: what enters the nonlinearity, shape (n, units): `pre` itself without a norm.
        output: activation, shape (n, units).
        slope: derivative of the nonlinearity at `normalized`, shape (n, units).
    """

    inputs: Array
    pre: Array
    whitened: Whitened | None
    normalized: Array
    output: Array
    slope: Array


def overflow_allowed() -> np.errstate:
    """Lets numbers that outgrow their dtype become inf and NaN: what exploding weights do is what the lab shows."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def layer_forward(layer: Layer, parameters: Parameters, x: Array, running: Parameters | None = None) -> LayerPass:
    """One layer applied to a batch.

    Args:
        layer: which one.
        parameters: those of the network, by name.
        x: inputs, shape (n, inputs).
        running: mean and variance that a batch norm uses, by name; None: those of this batch.
    """
    pre = x @ parameters[f"{layer.path}.weight"] + parameters[f"{layer.path}.bias"]
    whitened, normalized = None, pre
    if layer.norm != "none":
        whitened = whiten(pre, *moments(layer, pre, running))
        scale, shift = parameters[f"{layer.path}.norm.scale"], parameters[f"{layer.path}.norm.shift"]
        normalized = whitened.values * scale + shift
    output, slope = ACTIVATIONS[layer.nonlinearity](normalized)
    return LayerPass(x, pre, whitened, normalized, output, slope)


def layer_backward(
    layer: Layer, parameters: Parameters, passed: LayerPass, gradient: Array
) -> tuple[Array, Parameters]:
    """The gradient of a loss, taken from a layer's output back to its pre-activation.

    Args:
        layer: which one.
        parameters: those of the network, by name.
        passed: what the layer computed, with the moments of its own batch.
        gradient: at the output, shape (n, units).

    Returns:
        The gradient at the pre-activation, shape (n, units), and those of the layer's parameters, by name.
    """
    gradient = gradient * passed.slope
    gradients: Parameters = {}
    if passed.whitened is not None:
        gradients[f"{layer.path}.norm.scale"] = (gradient * passed.whitened.values).sum(axis=0)
        gradients[f"{layer.path}.norm.shift"] = gradient.sum(axis=0)
        gradient = gradient * parameters[f"{layer.path}.norm.scale"]
        gradient = whiten_backward(passed.whitened, gradient, axis=NORM_AXES[layer.norm])
    gradients[f"{layer.path}.weight"] = passed.inputs.T @ gradient
    gradients[f"{layer.path}.bias"] = gradient.sum(axis=0)
    return gradient, gradients


def moments(layer: Layer, pre: Array, running: Parameters | None = None) -> tuple[Array, Array]:
    """The mean and variance by which a layer's norm whitens: of this batch, or running ones."""
    if layer.norm == "batch" and running is not None:
        return running[f"{layer.path}.norm.mean"], running[f"{layer.path}.norm.variance"]
    mean = pre.mean(axis=NORM_AXES[layer.norm], keepdims=True)
    return mean, np.square(pre - mean).mean(axis=NORM_AXES[layer.norm], keepdims=True)


def whiten(pre: Array, mean: Array, variance: Array) -> Whitened:
    """Pre-activations with a mean and a variance taken out."""
    return Whitened((pre - mean) / np.sqrt(variance + EPSILON), mean, variance)


def whiten_backward(whitened: Whitened, gradient: Array, *, axis: int) -> Array:
    """The gradient before whitening: less its mean, and less its part along the whitened values.

    References:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015, section 3: their chain rule, gathered into one formula.
    """
    mean = gradient.mean(axis=axis, keepdims=True)
    along = (gradient * whitened.values).mean(axis=axis, keepdims=True)
    before: Array = (gradient - mean - whitened.values * along) / np.sqrt(whitened.variance + EPSILON)
    return before


def cross_entropy(logits: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    """Mean of -log softmax(logits)[label] over a batch, computed in float64, and its gradient.

    The loss of finite float32 logits is finite, however large they are. It is infinite for a label at -inf, and NaN
    where a logit is inf or NaN.

    Args:
        logits: shape (n, classes).
        labels: shape (n,).

    Returns:
        The loss, and its gradient at the logits, shape (n, classes), in their dtype.
    """
    chosen = np.arange(len(labels)), labels
    with overflow_allowed():
        shifted = logits.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        softmax = np.exp(shifted)
        totals = softmax.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(totals[:, 0]) - shifted[chosen]))
        softmax /= totals
        softmax[chosen] -= 1
        return loss, (softmax / len(labels)).astype(logits.dtype)


def correct(logits: Array, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples are classified right, shape (n,); one whose logits are not all finite is not."""
    right: NDArray[np.bool_] = (logits.argmax(axis=1) == labels) & np.isfinite(logits).all(axis=1)
    return right


def _linear(x: Array) -> tuple[Array, Array]:
    return x, np.ones_like(x)


def _relu(x: Array) -> tuple[Array, Array]:
    return np.maximum(x, 0), (x > 0).astype(x.dtype)


def _tanh(x: Array) -> tuple[Array, Array]:
    y = np.tanh(x)
    return y, 1 - y * y


def _sigmoid(x: Array) -> tuple[Array, Array]:
    y = 0.5 + 0.5 * np.tanh(0.5 * x)  # 1 / (1 + exp(-x)) without its overflow
    return y, y * (1 - y)


def _gelu(x: Array) -> tuple[Array, Array]:
    probability = 0.5 * _ERFC(-math.sqrt(0.5) * x).astype(x.dtype)
    density = math.sqrt(0.5 / math.pi) * np.exp(-0.5 * x * x)
    return x * probability, probability + x * density


_ERFC: Callable[[Array], Array] = np.frompyfunc(math.erfc, 1, 1)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {"linear": _linear, "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid, "gelu": _gelu}
)
"""Every nonlinearity that the lab trains, by name; relu has slope 0 at 0, and gelu is the exact x * Phi(x)."""
