"""fanwise for PyTorch: plan every parameter of a model, put the plan's numbers into it, verify them.

`fanwise.torch.init.functions` is a drop-in for `torch.nn.init`.
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError("fanwise.torch needs PyTorch: python -m pip install 'fanwise[torch]'")

from fanwise.torch import init
from fanwise.torch.api.assert_healthy import assert_healthy
from fanwise.torch.api.calibrate import calibrate
from fanwise.torch.api.check import check
from fanwise.torch.api.fix import Mending, fix
from fanwise.torch.api.plan import plan
from fanwise.torch.trace.provenance import parameters
from fanwise.torch.trace.run import Inputs, ModelError, Visitor, run
from fanwise.torch.weights.apply import Undefined, apply, materialize
from fanwise.torch.weights.manifest import manifest, verify
from fanwise.torch.weights.read_write import read, write

__all__ = [
    "Inputs",
    "Mending",
    "ModelError",
    "Undefined",
    "Visitor",
    "apply",
    "assert_healthy",
    "calibrate",
    "check",
    "fix",
    "init",
    "manifest",
    "materialize",
    "parameters",
    "plan",
    "read",
    "run",
    "verify",
    "write",
]
