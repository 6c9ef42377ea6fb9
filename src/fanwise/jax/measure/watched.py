"""Arrays whose gradients are looked at as they come by in a backward pass: none is kept."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

See = Callable[[int, Any], None]
"""Is shown the gradient at an array of a number; it has numbers where the pass is no program that is traced."""


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def watched(see: See, number: int, array: Any, asked: Any) -> Any:
    """An array as it is; its gradient is shown, once it is whole, and goes on. Nothing is shown where none comes.

    Args:
        see: is shown the number and the gradient.
        number: of the array.
        array: whatever its dtype.
        asked: a number with respect to which the pass differentiates, so that gradients come to arrays before which
            nothing else is differentiated, such as what is made of the inputs alone.
    """
    return array


def _forward(see: See, number: int, array: Any, asked: Any) -> tuple[Any, None]:
    return array, None


def _backward(see: See, number: int, kept: None, gradient: Any) -> tuple[Any, Any]:
    see(number, gradient)
    return gradient, jnp.zeros(())


watched.defvjp(_forward, _backward)
