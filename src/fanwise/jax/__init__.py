"""fanwise for JAX: plain functions, Flax linen and nnx, Equinox.

Plan every parameter of a model, put the plan's numbers into it, whole or in shards, verify them, check it before it
trains, scale its weights on real data.
`fanwise.jax.init.functions` is a drop-in for `jax.nn.initializers`.
"""

from importlib.util import find_spec

if find_spec("jax") is None:
    raise ImportError("fanwise.jax needs JAX: python -m pip install 'fanwise[jax]'")

from fanwise.jax import initializers
from fanwise.jax.api.assert_healthy import assert_healthy
from fanwise.jax.api.calibrate import calibrate
from fanwise.jax.api.check import check
from fanwise.jax.api.fix import Mending, fix
from fanwise.jax.api.plan import plan
from fanwise.jax.stream.draw import draw
from fanwise.jax.stream.keys import fanwise_key
from fanwise.jax.trace.models import parameters
from fanwise.jax.trace.run import Inputs, ModelError, Visitor, run
from fanwise.jax.weights.apply import apply, materialize, read
from fanwise.jax.weights.manifest import manifest, verify

__all__ = [
    "Inputs",
    "Mending",
    "ModelError",
    "Visitor",
    "apply",
    "assert_healthy",
    "calibrate",
    "check",
    "draw",
    "fanwise_key",
    "fix",
    "initializers",
    "manifest",
    "materialize",
    "parameters",
    "plan",
    "read",
    "run",
    "verify",
]
