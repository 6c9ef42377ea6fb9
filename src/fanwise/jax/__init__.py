"""fanwise for JAX: plain functions, Flax linen and nnx, Equinox.

Plan every parameter of a model, put the plan's numbers into it, whole or in shards, verify them, check it before it
trains, scale its weights on real data.
`fanwise.jax.initializers` is a drop-in for `jax.nn.initializers`.
"""

from importlib.util import find_spec

if find_spec("jax") is None:
    raise ImportError("fanwise.jax needs JAX: python -m pip install 'fanwise[jax]'")

from fanwise.jax import initializers
from fanwise.jax.applying import apply, materialize, read
from fanwise.jax.asserting import assert_healthy
from fanwise.jax.calibrating import calibrate
from fanwise.jax.checking import check
from fanwise.jax.drawing import draw
from fanwise.jax.fixing import fix
from fanwise.jax.keys import fanwise_key
from fanwise.jax.manifests import manifest, verify
from fanwise.jax.models import parameters
from fanwise.jax.planning import plan
from fanwise.jax.run import Inputs, ModelError, run

__all__ = [
    "Inputs",
    "ModelError",
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
