"""What the command line does with PyTorch models: see `fanwise.targets.commands.Commands`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.calibrate.result import Calibration
from fanwise.check.mending import Mending
from fanwise.check.report import Report
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Place
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.targets.commands import three
from fanwise.targets.resolved import Asked
from fanwise.torch.api.calibrate import calibrate
from fanwise.torch.api.check import check
from fanwise.torch.api.fix import fix
from fanwise.torch.api.plan import plan
from fanwise.torch.cli.targets import Factory, factory
from fanwise.torch.cli.weights_file import check_weights
from fanwise.torch.trace.sources import constructed

WEIGHTS = (".safetensors",)


def planned(found: Asked, recipes: Sequence[str], *, meta: bool = False) -> tuple[Plan, ...]:
    """Plans of a target's model, with these inputs, its factory's own, or its configuration's."""
    chosen = [as_recipe(name) for name in recipes]  # told before a model is built
    model, own = factory(found.order.target, found.modules).build(meta=meta)
    inputs = own if found.order.inputs is None else found.order.inputs
    return tuple(plan(model, inputs, recipe) for recipe in chosen)


def checked(found: Asked, progress: Callable[[str], None] | None = None) -> Report:
    """The report on a target's model, or on a file of weights.

    Raises:
        ImportError, ModelError, OSError, TypeError, ValueError: as `targets.build`, `check` and `check_weights`.
    """
    order = found.order
    if order.of_weights:
        return check_weights(order.target, select=order.select, ignore=order.ignore, fail_on=order.fail_on)
    return _checked(found, _prepared(found), progress)


def examined(found: Asked) -> Report:
    """The report on what a target's factory makes, with the batch and the loss that come with the model."""
    make = factory(found.order.target, found.modules)
    model, batch, loss = three(make.make())
    again = model if make.ready else lambda: three(make.make())[0]
    return check(again, batch, loss, fail_on=found.order.fail_on)


def fixed(found: Asked, recipe: str = "unit", progress: Callable[[str], None] | None = None) -> tuple[Report, Mending]:
    """A report, and what would mend what it found, on a model built from seed 0.

    Raises:
        ImportError, ModelError, OSError, TypeError, ValueError: as `checked` and `fix`.
    """
    if found.order.of_weights:
        raise ValueError(f"target {found.order.target!r}: a file of weights has no model that could be planned")
    chosen = as_recipe(recipe)  # told before a model is built
    ready = _prepared(found)
    report = _checked(found, ready, progress)
    torch.manual_seed(0)
    return report, fix(ready.model(), report, ready.batch, loss=ready.loss, recipe=chosen)


def calibrated(found: Asked, options: Mapping[str, Any]) -> tuple[nn.Module, Calibration]:
    """A target's model, built from seed 0 and calibrated.

    Raises:
        ImportError, ModelError, OSError, TypeError, ValueError: as `targets.build` and `calibrate`.
    """
    if found.order.of_weights:
        raise ValueError(f"target {found.order.target!r}: a file of weights has no model that could be run")
    ready = _prepared(found)
    torch.manual_seed(0)
    model = ready.model()
    return model, calibrate(model, ready.batch, loss=ready.loss, **options)


def write_weights(model: nn.Module, path: Path) -> None:
    """Writes a model's parameters and buffers to a .safetensors file; tied ones once.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_model  # noqa: PLC0415

    save_model(model, str(path))


@dataclass(frozen=True)
class _Prepared:
    """What a check runs on.

    Args:
        factory: of the target.
        batch: None for the model's own.
        loss: as `check` takes it.
    """

    factory: Factory
    batch: Any
    loss: LossLike

    def model(self) -> nn.Module:
        """A model of the target."""
        return self.factory.build()[0]


def _prepared(found: Asked) -> _Prepared:
    """The target's factory, the batch and the loss; it is called ahead where the batch could come with the model."""
    made = factory(found.order.target, found.modules)
    batch = found.batch(lambda: made.build()[1] if made.paired else None, lambda value: isinstance(value, Tensor))
    return _Prepared(made, batch, found.loss())


def _checked(found: Asked, ready: _Prepared, progress: Callable[[str], None] | None) -> Report:
    places: dict[str, Place] = {}

    def build() -> nn.Module:
        model = ready.model()
        places.update(constructed(model, ready.factory.place))
        return model

    report = check(
        build() if ready.factory.ready else build,
        ready.batch,
        ready.loss,
        **found.order.judging,
        progress=progress,
    )
    return replace(report, places=places)
