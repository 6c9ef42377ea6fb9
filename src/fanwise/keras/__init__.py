"""fanwise for Keras 3, on TensorFlow, JAX and PyTorch alike.

`plan` a law for every parameter of a model, `apply` the plan's numbers, `verify` them, `calibrate` the weights on real
data, `check` the model before it trains. `fanwise.keras.initializers` is a drop-in for `keras.initializers`, with every
law of fanwise besides.
"""

from importlib.util import find_spec

if find_spec("keras") is None:
    raise ImportError("fanwise.keras needs Keras 3: python -m pip install 'fanwise[keras]'")

from fanwise.keras import initializers
from fanwise.keras.applying import apply
from fanwise.keras.asserting import assert_healthy
from fanwise.keras.calibrating import calibrate
from fanwise.keras.checking import check
from fanwise.keras.fixing import fix
from fanwise.keras.held import parameters
from fanwise.keras.manifests import manifest, verify
from fanwise.keras.memory import read, write
from fanwise.keras.planning import plan
from fanwise.keras.run import Inputs, ModelError, Visitor, run

__all__ = [
    "Inputs",
    "ModelError",
    "Visitor",
    "apply",
    "assert_healthy",
    "calibrate",
    "check",
    "fix",
    "initializers",
    "manifest",
    "parameters",
    "plan",
    "read",
    "run",
    "verify",
    "write",
]
