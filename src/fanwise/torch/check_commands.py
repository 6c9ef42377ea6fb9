"""What `fanwise check` and `fanwise fix` do with PyTorch models."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.check.findings import Severity
from fanwise.check.observation import Place
from fanwise.check.report import Report
from fanwise.plan.registry import recipe as as_recipe
from fanwise.torch.batches import LossLike
from fanwise.torch.checking import check
from fanwise.torch.fixing import Mending, fix
from fanwise.torch.sources import constructed
from fanwise.torch.targets import Factory, called, factory, is_configuration, loaded, named, prints_on_stderr
from fanwise.torch.weights_file import SUFFIX, check_weights


@dataclass(frozen=True)
class Order:
    """A check as the command line asks for it.

    Args:
        target: the model: see `fanwise.torch.targets.build`; or a .safetensors file.
        data: a name such as "train.py:batch": a batch, a function that returns one, or what yields them.
        inputs: a spec, instead of data.
        loss: a name of torch.nn.functional, or one such as "train.py:loss".
        optimizer: such as "adam:1e-3".
        seeds: how often a factory is built and run.
        select: codes of rules, or beginnings of codes; () for all.
        ignore: likewise, those to leave out.
        fail_on: from which severity on the report is not `ok`.

    Raises:
        ValueError: data and inputs, or one of them and a .safetensors file.
    """

    target: str
    data: str | None = None
    inputs: str | None = None
    loss: str | None = None
    optimizer: str | None = None
    seeds: int = 3
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: Severity = "error"

    def __post_init__(self) -> None:
        if self.data is not None and self.inputs is not None:
            raise ValueError(f"--data {self.data!r} and --input {self.inputs!r}: expected one of them")
        given = {"--data": self.data, "--input": self.inputs, "--loss": self.loss, "--optimizer": self.optimizer}
        useless = [option for option, value in given.items() if value is not None]
        if self.of_weights and useless:
            raise ValueError(f"{useless[0]} with {self.target!r}: a file of weights is not run, leave it out")

    @property
    def of_weights(self) -> bool:
        """Whether the target is a file of weights alone."""
        return self.target.endswith(SUFFIX)


@dataclass(frozen=True)
class Prepared:
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


def checked(order: Order, progress: Callable[[str], None] | None = None) -> Report:
    """The report that is asked for. What the target's code prints goes to stderr.

    Args:
        order: what is asked for.
        progress: is told what is being done.

    Raises:
        ImportError, ModelError, OSError, TypeError, ValueError: as `targets.build`, `check` and `check_weights`.
    """
    with prints_on_stderr():
        return _checked_weights(order) if order.of_weights else _checked(order, prepared(order), progress)


def fixed(order: Order, recipe: str = "unit", progress: Callable[[str], None] | None = None) -> tuple[Report, Mending]:
    """A report, and what would mend what it found, on a model built from seed 0.

    Raises:
        ImportError, ModelError, OSError, TypeError, ValueError: as `checked` and `fix`.
    """
    if order.of_weights:
        raise ValueError(f"target {order.target!r}: a file of weights has no model that could be planned")
    chosen = as_recipe(recipe)  # told before a model is built
    with prints_on_stderr():
        found = prepared(order)
        report = _checked(order, found, progress)
        torch.manual_seed(0)
        return report, fix(found.model(), report, found.batch, loss=found.loss, recipe=chosen)


def prepared(order: Order) -> Prepared:
    """The target's factory, the batch and the loss; each file that they name is executed once.

    A factory is called ahead where the batch could come with the model.
    """
    names = {"--data": order.data, "--loss": order.loss if ":" in (order.loss or "") else None}
    asked = {"target": None if is_configuration(order.target) else order.target, **names}
    modules = loaded({what: text for what, text in asked.items() if text is not None})
    found = factory(order.target, modules)
    batch: Any = order.inputs
    if order.data is not None:
        batch = _batch(order.data, named(order.data, modules, what="--data"))
    elif batch is None and found.paired:
        batch = found.build()[1]
    return Prepared(found, batch, _loss(order.loss, modules) if names["--loss"] else order.loss)


def _checked(order: Order, found: Prepared, progress: Callable[[str], None] | None) -> Report:
    places: dict[str, Place] = {}

    def build() -> nn.Module:
        model = found.model()
        places.update(constructed(model, found.factory.place))
        return model

    report = check(
        build() if found.factory.ready else build,
        found.batch,
        found.loss,
        optimizer=order.optimizer,
        seeds=order.seeds,
        select=order.select,
        ignore=order.ignore,
        fail_on=order.fail_on,
        progress=progress,
    )
    return replace(report, places=places)


def _checked_weights(order: Order) -> Report:
    return check_weights(order.target, select=order.select, ignore=order.ignore, fail_on=order.fail_on)


def _batch(name: str, value: Any) -> Any:
    """A batch: the value, what it returns, or the first that it yields; a list is told as a tuple."""
    if callable(value) and not isinstance(value, Iterable):
        value = called(name, value, what="--data")
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Tensor | tuple | list | Mapping):
        value = called(name, partial(_first, value), what="--data")
    return tuple(value) if isinstance(value, list) else value


def _first(batches: Iterable[Any]) -> Any:
    for batch in batches:
        return batch
    raise ValueError("it yields nothing: expected at least one batch")


def _loss(name: str | None, modules: Mapping[str, Any]) -> Callable[..., Any]:
    value = named(name or "", modules, what="--loss")
    made = value() if isinstance(value, type) else value
    if not callable(made):
        raise ValueError(f"--loss {name!r} is {type(made).__name__}: expected a function of outputs and targets")
    function: Callable[..., Any] = made
    return function
