"""fanwise for JAX: plain functions, Flax linen and nnx, Equinox.

`fanwise.jax.initializers` is a drop-in for `jax.nn.initializers`.
"""

from importlib.util import find_spec

if find_spec("jax") is None:
    raise ImportError("fanwise.jax needs JAX: python -m pip install 'fanwise[jax]'")

from fanwise.jax import initializers
from fanwise.jax.drawing import draw
from fanwise.jax.keys import fanwise_key

__all__ = ["draw", "fanwise_key", "initializers"]
