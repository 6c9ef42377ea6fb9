"""What the command line does with Keras models: see `fanwise.targets.commands.Commands`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fanwise.calibrate.result import Calibration
from fanwise.check.mending import Mending
from fanwise.check.report import Report
from fanwise.keras.api.calibrate import calibrate
from fanwise.keras.api.check import check
from fanwise.keras.api.fix import fix
from fanwise.keras.api.plan import plan
from fanwise.keras.trace.variables import is_tensor
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.targets.commands import three
from fanwise.targets.names import called
from fanwise.targets.resolved import Asked

WEIGHTS = (".weights.h5", ".keras")


def planned(found: Asked, recipes: Sequence[str], *, meta: bool = False) -> tuple[Plan, ...]:
    """Plans of a target's model, with these inputs, its factory's own, or what its inputs say.

    Raises:
        ValueError: `meta`: a Keras model holds values once it is built.
    """
    chosen = [as_recipe(name) for name in recipes]  # told before a model is built
    if meta:
        raise ValueError("--meta: a Keras model that is built holds values; leave it out")
    model, own = _made(found)
    inputs = own if found.order.inputs is None else found.order.inputs
    return tuple(plan(model, inputs, recipe) for recipe in chosen)


def checked(found: Asked, progress: Callable[[str], None] | None = None) -> Report:
    """The report on a target's model.

    Raises:
        ImportError, ModelError, TypeError, ValueError: as `check`, and as the target's code does.
    """
    return _checked(found, _prepared(found), progress)


def examined(found: Asked) -> Report:
    """The report on what a target's factory makes, with the batch and the loss that come with the model."""
    value = found.target()
    model, batch, loss = three(value if _is_ready(value) else value())
    again = model if _is_ready(value) else lambda: three(value())[0]
    return check(again, batch, loss, fail_on=found.order.fail_on)


def fixed(found: Asked, recipe: str = "unit", progress: Callable[[str], None] | None = None) -> tuple[Report, Mending]:
    """A report, and what would mend what it found, on a model built from seed 0."""
    chosen, ready = as_recipe(recipe), _prepared(found)
    report = _checked(found, ready, progress)
    return report, fix(_seeded(found), report, ready.batch, loss=ready.loss, recipe=chosen)


def calibrated(found: Asked, options: Mapping[str, Any]) -> tuple[Any, Calibration]:
    """A target's model, built from seed 0 and calibrated."""
    ready = _prepared(found)
    model = _seeded(found)
    return model, calibrate(model, ready.batch, loss=ready.loss, **options)


def write_weights(model: Any, path: Path) -> None:
    """Writes a model's weights (.weights.h5), or the model with them (.keras).

    Raises:
        OSError: the file cannot be written.
    """
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


@dataclass(frozen=True)
class _Prepared:
    """What a check runs on, as it takes them."""

    batch: Any
    loss: LossLike


def _made(found: Asked) -> tuple[Any, Any]:
    """The model that a target names, and its inputs or None.

    Raises:
        ModelError: the factory raised an error of its own.
        TypeError: it makes no Keras model.
    """
    name, value = found.order.target, found.target()
    made = value if _is_ready(value) else called(name, value)
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"target {name!r} made {type(model).__name__}: expected a Keras model, or one and its inputs")
    return model, inputs


def _is_ready(value: Any) -> bool:
    """Whether the target is a model, with its inputs or without: every call would return the same one."""
    return isinstance(value, keras.layers.Layer | tuple)


def _seeded(found: Asked) -> Any:
    keras.utils.set_random_seed(0)
    return _made(found)[0]


def _prepared(found: Asked) -> _Prepared:
    batch = found.batch(lambda: _made(found)[1], lambda value: isinstance(value, np.ndarray) or is_tensor(value))
    return _Prepared(batch, found.loss())


def _checked(found: Asked, ready: _Prepared, progress: Callable[[str], None] | None) -> Report:
    if progress is not None:
        progress("forward and backward")
    return check(
        _made(found)[0] if _is_ready(found.target()) else lambda: _made(found)[0],
        ready.batch,
        ready.loss,
        **found.order.judging,
    )
