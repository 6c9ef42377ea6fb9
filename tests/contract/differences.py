"""What differs between the frameworks.

`DIFFERENCES` are faults: each line marks the cases of the contract that fail for it today as strict xfail, so that
mending one turns its cases red until its line is deleted. When none is left, so are this table and its hook in
`conftest`. `MEANT` are differences of the frameworks themselves, which stay; the contract leaves room for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

JAX = ("jax", "flax", "equinox")


@dataclass(frozen=True)
class Difference:
    """A fault.

    Args:
        words: what differs.
        where: the source that it comes from.
        test: pattern of the case that shows it, as "module::function".
        frameworks: those in which it fails.
        case: pattern of the case's other parameters.
    """

    words: str
    where: str
    test: str
    frameworks: tuple[str, ...]
    case: str = "*"

    def concerns(self, module: str, function: str, callspec: Any) -> bool:
        """Whether a case shows it."""
        named = callspec.params.get("framework") in self.frameworks and fnmatchcase(f"{module}::{function}", self.test)
        return named and fnmatchcase(callspec.id, self.case)


KERAS = ("keras",)
TORCH = ("torch",)
EVERY = ("torch", *JAX, *KERAS)

DIFFERENCES: tuple[Difference, ...] = ()

MEANT: Mapping[str, str] = {
    "paths": "Names are the framework's own: a.weight, a.kernel, a/kernel; so are the axes of what is stored.",
    "in place": "PyTorch and Keras change the model that they are given and return it; JAX returns another, so that it "
    "has no write, and fix no apply=.",
    "arrays": "PyTorch takes tensors and lists of them as arguments; JAX and Keras take NumPy arrays, too. Where no "
    "loss is given, a list or mapping is Keras' one argument, and several arguments in PyTorch and JAX.",
    "no inputs": "plan and check of PyTorch may leave inputs to a transformers configuration, Keras to a functional "
    "model; a function of JAX does not say what it takes, so that inputs has no default there.",
    "factories": "A factory takes a key in JAX, and no argument elsewhere, where the framework's own seed is set.",
    "losses": "A function of one's own takes (output, target) in PyTorch and JAX, and (target, output) in Keras, and "
    "may give one number an example there; Keras' own names and instances of losses serve there besides.",
    "sources": "check of PyTorch tells where modules are constructed (places=): others do not keep their sources.",
    "keys": "JAX' own keys serve as key= there.",
    "memory": "Models without memory (materialize, --meta) are of PyTorch and JAX: a Keras model is built with values.",
    "files": "calibrate --write writes .safetensors, and Keras' own formats for Keras.",
    "code": "fix gives PyTorch's users code that needs PyTorch alone; JAX' and Keras' users call fanwise again.",
}
