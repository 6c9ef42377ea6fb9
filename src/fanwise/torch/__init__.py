"""fanwise for PyTorch: plan every parameter of a model, put the plan's numbers into it, verify them.

`fanwise.torch.init` is a drop-in for `torch.nn.init`.
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError("fanwise.torch needs PyTorch: python -m pip install 'fanwise[torch]'")

from fanwise.torch import init
from fanwise.torch.applying import Undefined, apply, materialize
from fanwise.torch.asserting import assert_healthy
from fanwise.torch.calibrating import calibrate
from fanwise.torch.checking import check
from fanwise.torch.fixing import Mending, fix
from fanwise.torch.held import parameters
from fanwise.torch.manifests import manifest, verify
from fanwise.torch.memory import read, write
from fanwise.torch.planning import plan
from fanwise.torch.run import Inputs, ModelError, Visitor, run

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
