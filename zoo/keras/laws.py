"""Laws for weights: each makes an initializer anew for each layer."""

from collections.abc import Callable
from typing import Any

from keras import initializers

Law = Callable[[], Any]
"""Makes an initializer anew for each layer: one that is called twice gives the same numbers twice."""


he, lecun, glorot = initializers.HeNormal, initializers.LecunNormal, initializers.GlorotUniform


def scaled(gain: float) -> Law:
    """N(0, gain^2 / fan_in)."""
    return lambda: initializers.VarianceScaling(gain**2, "fan_in", "untruncated_normal")


def spread(std: float) -> Law:
    return lambda: initializers.RandomNormal(0.0, std)


def constant(value: float) -> Law:
    return lambda: initializers.Constant(value)


def he_out() -> Any:
    return initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def torch_default() -> Any:
    """U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    return initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


small = spread(0.02)
