"""Commands on models of JAX; see `fanwise.targets.session.TargetSession`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from fanwise.calibrate.result import Calibration
from fanwise.jax.api.calibrate import calibrate
from fanwise.jax.api.fix import fix
from fanwise.jax.backend import BACKEND
from fanwise.jax.trace.models import Model, as_model
from fanwise.targets.commands import Commands
from fanwise.targets.session import TargetAdapter, TargetSession


def without_memory(make: Callable[[], tuple[Any, Any]]) -> tuple[Model, Any]:
    """A model with shapes for arrays, so that what follows stands on theory alone; and its inputs."""
    model, inputs = make()
    read = as_model(model)
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in read.leaves.items()}
    return replace(read, leaves=MappingProxyType(shapes)), inputs


def calibrated(model: Any, batch: Any, options: Mapping[str, Any]) -> tuple[Any, Calibration]:
    """The calibrated model, and what was done."""
    result = calibrate(model, batch, **options)
    return result.model, result


def write_weights(model: Any, path: Path) -> None:
    """Writes a model's parameters to a .safetensors file, by their paths; tied ones once.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.flax import save_file  # noqa: PLC0415

    save_file({name: jax.numpy.asarray(leaf) for name, leaf in as_model(model).leaves.items()}, str(path))


COMMANDS: Commands = TargetSession(
    TargetAdapter(
        BACKEND,
        endings=(".safetensors",),
        without_memory=without_memory,
        calibrate=calibrated,
        fix=fix,
        write_weights=write_weights,
        asks_inputs=True,
    )
)
