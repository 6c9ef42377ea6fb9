"""Commands on models of Keras; see `fanwise.targets.session.TargetSession`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fanwise.calibrate.result import Calibration
from fanwise.keras.api.calibrate import calibrate
from fanwise.keras.api.fix import fix
from fanwise.keras.backend import BACKEND
from fanwise.targets.commands import Commands
from fanwise.targets.session import TargetAdapter, TargetSession


def without_memory(make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Refused: a Keras model holds values once it is built."""
    raise ValueError("--meta: a Keras model that is built holds values; leave it out")


def calibrated(model: Any, batch: Any, options: Mapping[str, Any]) -> tuple[Any, Calibration]:
    """The model, calibrated, and what was done."""
    return model, calibrate(model, batch, **options)


def write_weights(model: Any, path: Path) -> None:
    """Writes a model's weights (.weights.h5), or the model with them (.keras).

    Raises:
        OSError: the file cannot be written.
    """
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


COMMANDS: Commands = TargetSession(
    TargetAdapter(
        BACKEND,
        endings=(".weights.h5", ".keras"),
        without_memory=without_memory,
        calibrate=calibrated,
        fix=fix,
        write_weights=write_weights,
    )
)
