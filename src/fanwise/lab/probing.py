"""Looks at a network before it trains: how large signals and gradients are, and which units are of no use."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fanwise.lab.layers import Array, Layer, LayerPass, Parameters, correct, overflow_allowed
from fanwise.lab.network import Architecture, backward, check_examples, check_parameters, forward

STEEPEST: Mapping[str, float] = MappingProxyType({"tanh": 1.0, "sigmoid": 0.25})
"""Largest slope of the nonlinearities that saturate."""

SATURATED = 0.05
"""A unit is saturated for an input where its slope is below this share of the largest: tanh beyond 2.18."""


@dataclass(frozen=True)
class LayerProfile:
    """One layer, over all probed inputs and units.

    Args:
        path: dotted name, such as "layers.0".
        units: its width.
        std: of the pre-activation, what the dense layer gives before any norm.
        second_moment: of the pre-activation.
        gradient_std: of the gradient of each example's own loss at the pre-activation.
        weight_gradient_std: of the gradient of the mean loss at the weight.
        dead: share of units whose activation is the same for every input; for relu, 0 for every input.
        identical: share of units that repeat another's incoming weights and bias; of k equal units, k - 1 count.
        saturated: share of activations whose slope is below `SATURATED` of the steepest; None where the
            nonlinearity is not in `STEEPEST`, as in the output layer.
    """

    path: str
    units: int
    std: float
    second_moment: float
    gradient_std: float
    weight_gradient_std: float
    dead: float
    identical: float
    saturated: float | None


@dataclass(frozen=True)
class Profile:
    """A network at given parameters.

    Args:
        layers: in order, the output layer last.
        loss: mean cross-entropy of the probed examples; NaN where logits outgrew float32.
        accuracy: share of examples classified right; one whose logits are not all finite counts as wrong.
    """

    layers: tuple[LayerProfile, ...]
    loss: float
    accuracy: float


def probe(architecture: Architecture, parameters: Parameters, x: Array, y: NDArray[np.int64]) -> Profile:
    """Measures one forward and one backward pass; batch norms use the moments of these examples.

    The passes run in the dtype of the parameters, as training does; statistics are taken in float64.

    Args:
        architecture: the network.
        parameters: by name.
        x: inputs, shape (n, inputs), at least two.
        y: labels, shape (n,).

    Raises:
        ValueError: parameters or examples that do not fit the architecture, or a single example, for which every
            unit would count as dead.
    """
    check_parameters(architecture, parameters)
    check_examples(architecture, x, y)
    if len(x) < 2:
        raise ValueError(f"x has shape {x.shape}: expected at least two examples")
    passed = forward(architecture, parameters, x)
    gradients = backward(architecture, parameters, passed, y)
    with overflow_allowed():
        layers = tuple(
            LayerProfile(
                layer.path,
                layer.units,
                std=_std(record.pre),
                second_moment=float(np.square(record.pre, dtype=np.float64).mean()),
                gradient_std=_std(at_pre) * len(x),
                weight_gradient_std=_std(gradients.parameters[f"{layer.path}.weight"]),
                dead=_dead(layer, record),
                identical=_identical(layer, parameters),
                saturated=_saturated(layer, record),
            )
            for layer, record, at_pre in zip(architecture.layers, passed.layers, gradients.pre, strict=True)
        )
    return Profile(layers, gradients.loss, float(correct(passed.logits, y).mean()))


def _std(values: Array) -> float:
    return float(values.std(dtype=np.float64))


def _dead(layer: Layer, record: LayerPass) -> float:
    usual = 0 if layer.nonlinearity == "relu" else record.output[0]
    return float((record.output == usual).all(axis=0).mean())


def _identical(layer: Layer, parameters: Parameters) -> float:
    incoming = np.vstack([parameters[f"{layer.path}.weight"], parameters[f"{layer.path}.bias"]])
    different = {unit.tobytes() for unit in incoming.T + 0.0}  # + 0.0 makes -0.0 and 0.0 the same bytes
    return 1 - len(different) / layer.units


def _saturated(layer: Layer, record: LayerPass) -> float | None:
    steepest = STEEPEST.get(layer.nonlinearity)
    return None if steepest is None else float((record.slope < SATURATED * steepest).mean())
