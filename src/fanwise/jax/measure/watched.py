"""Arrays whose gradients are looked at, or measured, as they come by in a backward pass: none is kept."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fanwise.measure.signal_statistics import moment_of, sampled

See = Callable[[int, Any], None]
"""Is shown the gradient at an array of a number; it has numbers where the pass is no program that is traced."""
Size: TypeAlias = Any
"""What a gradient's size is told by: see `size_of`."""
FEW = 4096
"""Values of a gradient that are handed on as they are."""
MAGNIFIED, SMALL = 2.0**48, 1e-24
"""By how much values are magnified before they are squared, and the second moment below which that counts."""


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


@jax.custom_vjp
def measured(array: Any, asked: Size) -> Any:
    """An array as it is; the gradient with respect to a probe is what `size_of` says of that of the array.

    Args:
        array: whatever its dtype.
        asked: as `probe` gives it for the array's shape; for this array alone.
    """
    return array


measured.defvjp(lambda array, asked: (array, None), lambda _, gradient: (gradient, size_of(gradient)))


def probe(shape: Sequence[int]) -> Size:
    """Numbers with respect to which a pass differentiates; 0 where no gradient comes to what they measure.

    Args:
        shape: of the array whose gradient is measured.
    """
    return jnp.zeros(tuple(shape)) if math.prod(shape) <= FEW else (jnp.zeros(()), jnp.zeros(()))


def size_of(gradient: Any) -> Size:
    """E g^2 of a gradient, and the same magnified: squares of small numbers are 0 in float32.

    Both are sums of one reduction, which is what a large program compiles in the least time; the absolute values
    themselves, where they are few, take none.
    """
    if gradient.size <= FEW:
        return jnp.abs(gradient).astype(jnp.zeros(()).dtype)
    values = jnp.abs(sampled(gradient)).astype(jnp.zeros(()).dtype)
    share = values.size**-0.5
    squares = [jnp.square(values * scale) for scale in (share, share * MAGNIFIED)]
    plain, magnified = lax.reduce(squares, [jnp.zeros_like(values, shape=())] * 2, _sums, (0,))
    return plain, magnified


def _sums(some: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    return [one + other for one, other in zip(some, others, strict=True)]


def moment_of_size(size: Size) -> float:
    """E g^2, of what `size_of` said; infinite where it is beyond the dtype."""
    if not isinstance(size, tuple):
        values = np.asarray(size)
        return moment_of(values) if values.any() else 0.0
    plain, magnified = map(float, size)
    return magnified / MAGNIFIED**2 if plain < SMALL else plain
