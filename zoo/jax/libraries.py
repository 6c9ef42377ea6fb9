"""How models of Flax linen and of Equinox are built from a key."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen
from jax import Array


def built(module: linen.Module, batch: Callable[[], Any]) -> Callable[[Array], Any]:
    """A linen module with variables of its own."""
    return lambda key: (module, dict(module.init(key, *batch()[:-1])))


def of_equinox(make: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """A module of Equinox for one example, over the batch."""
    return lambda key: (lambda net, x: jax.vmap(net)(x), make(key))
