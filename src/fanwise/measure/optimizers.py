"""Optimizers: how large the first update of a weight is, by the published rule or as it was measured."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fanwise.stream.formats import Array

EPSILON = 1e-8
"""Adam's; a gradient far below it makes no step."""
LEAST_SIZE = 1e-3
"""Adafactor's: the size that weights count as at least."""
LARGEST_PROBE = 1024
"""Sizes of a weight beyond which an optimizer is tried on a part of it."""

FirstStep: TypeAlias = Callable[[Array, Array], Array]
"""The weight after the first step, from a weight and its gradient."""


@dataclass(frozen=True)
class Optimizer:
    """What will train the model.

    Args:
        name: "sgd", "momentum", "adam", "adamw", "lion", "muon", "adafactor", or that of an optimizer's class.
        learning_rate: of its first step; NaN where an optimizer does not say.
        step: its first step, where it was given as an object and is tried; None for one by name.
    """

    name: str
    learning_rate: float
    step: FirstStep | None = None

    @property
    def text(self) -> str:
        """In words: "adam at learning rate 0.001"."""
        return self.name + ("" if math.isnan(self.learning_rate) else f" at learning rate {self.learning_rate:g}")

    def ratio(self, shape: tuple[int, ...], size: float, gradient: float, fan_in: float = math.nan) -> float:
        """Rms of the first update of a weight over that of the weight; NaN where one of them is 0.

        Args:
            shape: of the weight.
            size: rms of the weight.
            gradient: rms of its gradient.
            fan_in: of the map that it is.
        """
        if not (size > 0 and gradient > 0 and math.isfinite(gradient)):
            return math.nan
        if self.step is not None:
            return _tried(self.step, shape, size, gradient)
        return RULES[self.name](size, gradient, fan_in) * self.learning_rate / size


Rule: TypeAlias = Callable[[float, float, float], float]
"""The rms of the first update at a learning rate of 1, from those of the weight and its gradient, and the fan_in."""


def _plain(size: float, gradient: float, fan_in: float) -> float:
    """SGD, with momentum too: the gradient.

    References:
        Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, equations 1 and 2.
    """
    return gradient


def _adam(size: float, gradient: float, fan_in: float) -> float:
    """Adam: 1 in each coordinate whose gradient is not 0.

    References:
        Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1: at t = 1 the update is
        learning_rate g / (|g| + epsilon).
    """
    return gradient / (gradient + EPSILON)


def _lion(size: float, gradient: float, fan_in: float) -> float:
    """Lion: the sign of the gradient.

    References:
        Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.
    """
    return 1.0


def _muon(size: float, gradient: float, fan_in: float) -> float:
    """Muon: an orthogonal matrix of m rows and n columns times sqrt(max(1, m / n)): rms 1 / sqrt(n), n the fan_in.

    References:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024: Newton-Schulz makes all singular
        values about 1, and their reference code scales by max(1, rows / columns) ** 0.5.
    """
    return 1 / math.sqrt(fan_in)


def _adafactor(size: float, gradient: float, fan_in: float) -> float:
    """Adafactor: an update of rms 1 at most times the size of the weight, which counts as 0.001 at least.

    References:
        Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018, algorithms 4 and 5: at
        t = 1 the decay of the second moment is 0.
    """
    return max(LEAST_SIZE, size)


RULES: dict[str, Rule] = {
    "sgd": _plain,
    "momentum": _plain,
    "adam": _adam,
    "adamw": _adam,
    "lion": _lion,
    "muon": _muon,
    "adafactor": _adafactor,
}
"""The first update by the name of an optimizer."""


def _tried(step: FirstStep, shape: tuple[int, ...], size: float, gradient: float) -> float:
    """The ratio of a first step that is taken, of normal numbers of these sizes."""
    shape = tuple(min(length, LARGEST_PROBE) for length in shape)
    generator = np.random.default_rng(0)
    weight, slope = (_of_size(generator.standard_normal(shape), rms) for rms in (size, gradient))
    try:
        moved = np.asarray(step(weight, slope), np.float64) - weight
    except Exception:  # one that does not take weights of this shape, or wants more than a gradient
        return math.nan
    return float(np.sqrt(np.square(moved).mean()) / size)


def _of_size(values: Array, rms: float) -> Array:
    """The values times the factor that gives them this root mean square."""
    return np.asarray(values * (rms / np.sqrt(np.square(values).mean())), np.float32)


def by_class(name: str, rate: Any, step: FirstStep) -> Optimizer:
    """An optimizer that was given as an object.

    Args:
        name: of its class.
        rate: its learning rate, where it says it.
        step: takes its first step.
    """
    try:
        value = float(rate)
    except (TypeError, ValueError):
        value = math.nan
    return Optimizer(name, value, step)
