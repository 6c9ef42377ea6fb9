"""What the tests of the tracer share."""

import re
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from fanwise.torch.trace.run import Inputs, run  # noqa: E402
from zoo.model import Model  # noqa: E402


class Wrapped(torch.nn.Module):
    """Modules and parameters under their names, and a forward that is given them and the inputs."""

    def __init__(self, forward, **held: Any) -> None:
        super().__init__()
        for name, value in held.items():
            setattr(self, name, torch.nn.Parameter(value) if isinstance(value, torch.Tensor) else value)
        self.written = forward

    def forward(self, *inputs: Any) -> Any:
        return self.written(self, *inputs)


def normal(*shape: int) -> Any:
    """Standard normal numbers, always the same."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(5), device="cpu")


def traced(model: Any, *inputs: Any) -> Any:
    """The trace of a model on these inputs."""
    return run(model, Inputs(inputs))


def made(specimen: Model) -> Any:
    """A specimen's model, the same at every call."""
    torch.manual_seed(0)
    return specimen.build()


def traced_specimen(specimen: Model) -> Any:
    """The trace of a specimen."""
    args, kwargs = specimen.batch()
    return run(made(specimen), Inputs(args, kwargs))


def block_names(specimen: Model, model: Any) -> list[str]:
    """The paths of the blocks of the main stack, in order."""
    if specimen.traits.blocks is None:
        return []
    return [name for name, _ in model.named_modules() if re.fullmatch(specimen.traits.blocks, name)]


def kinds(trace: Any) -> list[str]:
    """The kinds of its ops, in order."""
    return [op.kind for op in trace.ops]
