"""Commands on models of PyTorch; see `fanwise.targets.session.TargetSession`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fanwise.calibrate.result import Calibration
from fanwise.targets.commands import Commands
from fanwise.targets.session import TargetAdapter, TargetSession
from fanwise.torch.api.calibrate import calibrate
from fanwise.torch.api.fix import fix
from fanwise.torch.backend import BACKEND
from fanwise.torch.cli.weights_file import check_weights


def without_memory(make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """A model on the meta device, and its inputs."""
    with torch.device("meta"):
        return make()


def calibrated(model: nn.Module, batch: Any, options: Mapping[str, Any]) -> tuple[nn.Module, Calibration]:
    """The model, calibrated, and what was done."""
    return model, calibrate(model, batch, **options)


def write_weights(model: nn.Module, path: Path) -> None:
    """Writes a model's parameters and buffers to a .safetensors file; tied ones once.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_model  # noqa: PLC0415

    save_model(model, str(path))


def configured(target: str) -> Callable[[], nn.Module]:
    """A function that makes the model of a transformers configuration."""
    from fanwise.torch.cli.hf_models import factory  # noqa: PLC0415  (only where a target asks for it)

    return factory(target)


SESSION = TargetSession(
    TargetAdapter(
        BACKEND,
        endings=(".safetensors",),
        without_memory=without_memory,
        calibrate=calibrated,
        fix=fix,
        write_weights=write_weights,
        configured=configured,
        check_weights=check_weights,
    )
)
COMMANDS: Commands = SESSION
