"""fanwise for PyTorch: plan every parameter of a model, put the plan's numbers into it, verify them.

`fanwise.torch.init` is a drop-in for `torch.nn.init`.
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError("fanwise.torch needs PyTorch: python -m pip install 'fanwise[torch]'")

from fanwise.torch import init
from fanwise.torch.applying import Undefined, apply, materialize
from fanwise.torch.held import parameters
from fanwise.torch.manifests import manifest, verify
from fanwise.torch.memory import read, write
from fanwise.torch.planning import plan
from fanwise.torch.run import Inputs, ModelError, Visitor, run

__all__ = [
    "Inputs",
    "ModelError",
    "Undefined",
    "Visitor",
    "apply",
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
