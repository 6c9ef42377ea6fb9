"""What `fanwise calibrate` does with PyTorch models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fanwise.calibrate.result import Calibration, Line
from fanwise.torch.calibrating import calibrate
from fanwise.torch.check_commands import Order, prepared
from fanwise.torch.targets import prints_on_stderr


@dataclass(frozen=True)
class Calibrated:
    """A calibrated model.

    Args:
        model: with its weights scaled.
        result: what was done.
    """

    model: nn.Module
    result: Calibration


def calibrated(order: Order, options: Mapping[str, Any]) -> Calibrated:
    """A target's model, built from seed 0 and calibrated. What the target's code prints goes to stderr.

    Args:
        order: the target, and its data or inputs.
        options: as `calibrate` takes them; the loss stands in the order.

    Raises:
        ImportError, ModelError, OSError, TypeError, ValueError: as `targets.build` and `calibrate`.
    """
    if order.of_weights:
        raise ValueError(f"target {order.target!r}: a file of weights has no model that could be run")
    with prints_on_stderr():
        found = prepared(order)
        torch.manual_seed(0)
        model = found.model()
        return Calibrated(model, calibrate(model, found.batch, loss=found.loss, **options))


def write_weights(found: Calibrated, path: Path) -> None:
    """Writes a model's parameters and buffers to a .safetensors file; tied ones once.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_model  # noqa: PLC0415

    save_model(found.model, str(path))


def jsonable(result: Calibration) -> dict[str, Any]:
    """A calibration as plain values."""
    return {
        "model": result.model,
        "batch": result.batch,
        "mode": result.mode,
        "statistic": result.statistic,
        "forwards": result.forwards,
        "ops": [_values(line) for line in result.lines],
    }


def _values(line: Line) -> dict[str, Any]:
    return {
        "paths": list(line.paths),
        "module": line.module,
        "kind": line.kind,
        "role": line.role,
        "before": _finite(line.before),
        "target": _finite(line.target),
        "factors": list(line.factors),
        "left": line.left,
        "note": line.note,
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
