"""What the command line does with models of JAX: see `fanwise.targets.commands.Commands`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from fanwise.calibrate.result import Calibration
from fanwise.check.mending import Mending
from fanwise.check.report import Report
from fanwise.jax.api.calibrate import calibrate
from fanwise.jax.api.check import check
from fanwise.jax.api.fix import fix
from fanwise.jax.api.plan import plan
from fanwise.jax.trace.models import FORMS, Model, as_model, is_model
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.targets.commands import three
from fanwise.targets.names import called, guarded
from fanwise.targets.resolved import Asked, takes_one

WEIGHTS = (".safetensors",)


def planned(found: Asked, recipes: Sequence[str], *, meta: bool = False) -> tuple[Plan, ...]:
    """Plans of a target's model, with these inputs or its factory's own; of shapes alone where that is asked for."""
    chosen = [as_recipe(name) for name in recipes]  # told before a model is built
    model, own = _Target(found).made(0)
    inputs = own if found.order.inputs is None else found.order.inputs
    if inputs is None:
        raise ValueError("inputs = None: give --input, such as 32,784, or let the factory return (model, inputs)")
    asked = _shapes(model) if meta else model
    return tuple(plan(asked, inputs, recipe) for recipe in chosen)


def checked(found: Asked, progress: Callable[[str], None] | None = None) -> Report:
    """The report on a target's model; a factory that takes a key is called with one for each seed.

    Raises:
        ImportError, ModelError, TypeError, ValueError: as `check`, and as the target's code does.
    """
    return _checked(_Target(found), _prepared(found), progress)


def examined(found: Asked) -> Report:
    """The report on what a target's factory makes, with the batch and the loss that come with the model."""
    target, value = _Target(found), found.target()

    def make(key: Any) -> Any:
        return value(key) if target.takes_key else value() if callable(value) and not is_model(value) else value

    model, batch, loss = _three(make(jax.random.key(0)))
    again = (lambda key: _three(make(key))[0]) if target.takes_key else model
    return check(again, batch, loss, fail_on=found.order.fail_on)


def _three(made: Any) -> tuple[Any, Any, Any]:
    """The model, and the batch and the loss where they come with it; a model may be a pair itself."""
    alone = is_model(made) and not (isinstance(made, tuple) and is_model(made[0]))
    return (made, None, None) if alone else three(made)


def fixed(found: Asked, recipe: str = "unit", progress: Callable[[str], None] | None = None) -> tuple[Report, Mending]:
    """A report, and what would mend what it found, on a model made from seed 0."""
    chosen, target, ready = as_recipe(recipe), _Target(found), _prepared(found)
    report = _checked(target, ready, progress)
    return report, fix(target.model(0), report, ready.batch, loss=ready.loss, recipe=chosen)


def calibrated(found: Asked, options: Mapping[str, Any]) -> tuple[Any, Calibration]:
    """A target's model, made from seed 0 and calibrated."""
    ready = _prepared(found)
    made: tuple[Any, Calibration] = calibrate(_Target(found).model(0), ready.batch, loss=ready.loss, **options)
    return made


def write_weights(model: Any, path: Path) -> None:
    """Writes a model's parameters to a .safetensors file, by their paths; tied ones once.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.flax import save_file  # noqa: PLC0415

    save_file({name: jax.numpy.asarray(leaf) for name, leaf in as_model(model).leaves.items()}, str(path))


@dataclass(frozen=True)
class _Prepared:
    """What a check runs on, as it takes them."""

    batch: Any
    loss: LossLike


@dataclass(frozen=True)
class _Target:
    """What a target's name stands for: a model, or a factory, which may take a key."""

    found: Asked

    @property
    def takes_key(self) -> bool:
        """Whether every seed gives another model."""
        return takes_one(self.found.target())

    def made(self, seed: int) -> tuple[Any, Any]:
        """The model of a seed, and its inputs or None.

        Raises:
            ModelError: the factory raised an error of its own.
            TypeError: it makes no model.
        """
        name, value = self.found.order.target, self.found.target()
        if self.takes_key:
            made = guarded(f"target {name!r}", lambda: value(jax.random.key(seed)))
        else:
            made = value if isinstance(value, tuple) or is_model(value) else called(name, value)
        return _parts(name, made)

    def model(self, seed: int) -> Any:
        """The model of a seed."""
        return self.made(seed)[0]


def _parts(name: str, made: Any) -> tuple[Any, Any]:
    """The model, and the inputs where they come with it."""
    paired = isinstance(made, tuple) and len(made) == 2
    if paired and is_model(made[0]):
        return made[0], made[1]
    if is_model(made):
        return made, None
    told = f"({', '.join(type(part).__name__ for part in made)})" if paired else type(made).__name__
    raise TypeError(f"target {name!r} made {told}: {FORMS}; or one and its inputs")


def _prepared(found: Asked) -> _Prepared:
    batch = found.batch(lambda: _Target(found).made(0)[1], lambda value: isinstance(value, jax.Array | np.ndarray))
    if batch is None:
        raise ValueError("inputs = None: give --data or --input, or let the factory return (model, inputs)")
    return _Prepared(batch, found.loss())


def _checked(target: _Target, ready: _Prepared, progress: Callable[[str], None] | None) -> Report:
    return check(
        _factory(target) if target.takes_key else target.model(0),
        ready.batch,
        ready.loss,
        **target.found.order.judging,
        progress=progress,
    )


def _factory(target: _Target) -> Callable[[Any], Any]:
    """What `check` calls with a key for each seed."""
    name, make = target.found.order.target, target.found.target()
    return lambda key: _parts(name, guarded(f"target {name!r}", lambda: make(key)))[0]


def _shapes(model: Any) -> Model:
    """The model with shapes for arrays: what follows stands on theory alone."""
    made = as_model(model)
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in made.leaves.items()}
    return replace(made, leaves=MappingProxyType(shapes))
