"""fanwise for Keras 3, on TensorFlow, JAX and PyTorch alike.

`plan` a law for every parameter of a model, `apply` the plan's numbers, `verify` them, `calibrate` the weights on real
data, `check` the model before it trains. `fanwise.keras.init.classes` is a drop-in for `keras.initializers`, with every
law of fanwise besides.
"""

from importlib.util import find_spec

if find_spec("keras") is None:
    raise ImportError("fanwise.keras needs Keras 3: python -m pip install 'fanwise[keras]'")

from fanwise.keras import initializers
from fanwise.keras.api.assert_healthy import assert_healthy
from fanwise.keras.api.calibrate import calibrate
from fanwise.keras.api.check import check
from fanwise.keras.api.fix import Mending, fix
from fanwise.keras.api.plan import plan
from fanwise.keras.trace.plain_tensorflow import from_tensorflow
from fanwise.keras.trace.run import Inputs, ModelError, Visitor, run
from fanwise.keras.trace.variables import parameters
from fanwise.keras.weights.apply import apply
from fanwise.keras.weights.manifest import manifest, verify
from fanwise.keras.weights.read_write import read, write

__all__ = [
    "Inputs",
    "Mending",
    "ModelError",
    "Visitor",
    "apply",
    "assert_healthy",
    "calibrate",
    "check",
    "fix",
    "from_tensorflow",
    "initializers",
    "manifest",
    "parameters",
    "plan",
    "read",
    "run",
    "verify",
    "write",
]
