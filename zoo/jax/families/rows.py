"""The maker of rows of this folder, and the ways in which its models are built."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.model import Arguments, Model, Traits

CLASSES, WORDS, WIDTH, LENGTH = 10, 64, 32, 12


def same(output: Any) -> Any:
    """The logits of a model that returns nothing else."""
    return output


def normal(*shape: int, seed: int = 1) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def ids(*shape: int, high: int = WORDS, seed: int = 2) -> Any:
    return jnp.asarray(np.random.default_rng(seed).integers(0, high, shape), jnp.int32)


def classifier(
    name: str, family: str, build: Callable[[], Any], inputs: Callable[[], tuple[Any, ...]], **traits: Any
) -> Model:
    """A model whose output is logits over ten classes, last, unless `traits` say otherwise."""
    known = Traits(**({"classes": CLASSES, "logits": same} | traits))
    return Model(name, build, lambda: Arguments(inputs()), None, family, "jax", use="families", traits=known)


def linen(module: Any, inputs: Callable[[], tuple[Any, ...]]) -> Callable[[], Any]:
    """A module of Flax linen with variables of its own."""
    return lambda: (module, dict(module.init(jax.random.key(0), *inputs())))


def batched(make: Callable[[Any], Any]) -> Callable[[], Any]:
    """A module of Equinox for one example, over the batch."""
    return lambda: (lambda net, x: jax.vmap(net)(x), make(jax.random.key(0)))


def tree(key: Any, shapes: dict[str, Any], std: float = 0.1) -> dict[str, Any]:
    """Arrays of normal numbers; a number in place of a shape is a constant start."""
    keys = jax.random.split(key, len(shapes))
    return {
        name: std * jax.random.normal(k, shape) if isinstance(shape, tuple) else jnp.asarray(shape)
        for (name, shape), k in zip(shapes.items(), keys, strict=True)
    }


def vectors() -> tuple[Any, ...]:
    return (normal(32, WIDTH),)


def words() -> tuple[Any, ...]:
    return (ids(4, LENGTH),)


def series() -> tuple[Any, ...]:
    return (normal(8, LENGTH, 8),)


def pixels() -> tuple[Any, ...]:
    return (normal(8, 8, 8, 3),)
