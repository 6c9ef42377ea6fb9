"""Optimizers of optax: their first step, as it is taken."""

import sys
from typing import Any

import jax.numpy as jnp
import numpy as np

from fanwise.measure.optimizers import Optimizer, by_class
from fanwise.stream.formats import Array


def optimizer_of(value: Any) -> Optimizer | None:
    """The optimizer that a gradient transformation of optax is, or an `nnx.Optimizer` holds; None for others.

    Args:
        value: of optax, which the user has imported; it does not say its learning rate.
    """
    optax, nnx = (sys.modules.get(name) for name in ("optax", "flax.nnx"))
    if nnx is not None and isinstance(value, nnx.Optimizer):
        return optimizer_of(value.tx)
    if optax is None or not isinstance(value, optax.GradientTransformation):
        return None

    def step(weight: Array, gradient: Array) -> Array:
        parameters = {"w": jnp.asarray(weight)}
        updates, _ = value.update({"w": jnp.asarray(gradient)}, value.init(parameters), parameters)
        return np.asarray(parameters["w"] + updates["w"])

    return by_class(value.update.__qualname__.partition(".")[0], None, step)
