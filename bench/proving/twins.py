"""A broken model and its mended twin, which are trained side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fanwise.lab.data import load_digits
from zoo.registry import models

Build = Callable[[], nn.Module]
Data = Callable[[], tuple[Tensor, ...]]
Loss = Callable[[Any, Tensor], Tensor]
WHOLE = 1 << 20
"""More rows than any batch has."""


@cache
def pixels() -> tuple[Tensor, Tensor]:
    """The digits of 8 x 8 pixels, standardised, and their classes."""
    data = load_digits()
    x = torch.from_numpy(data.train_x).view(-1, 1, 28, 28)
    x = functional.interpolate(x, size=8, mode="bilinear", antialias=True).flatten(1)
    return (x - x.mean()) / x.std(), torch.from_numpy(data.train_y)


def from_pixels(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Data:
    """The digits after a change of inputs and classes."""
    return lambda: change(*pixels())


@dataclass(frozen=True)
class Twins:
    """A case of one rule.

    Args:
        rule: its code.
        name: of the case.
        broken: builds the model that the rule speaks on, with weights of the random state.
        mended: builds the same without the break.
        data: inputs and, last, targets of both.
        mended_data: where the break is in the data: what the twin gets.
        loss: as the check takes it.
        trained: the same as a function, where the check's is a name that `functional` does not have.
        judge: the loss that is compared, where it is not the one that is trained.
        options: of the check.
        mended_options: of the check of the twin, where they differ.
        checked: what the check gets in the place of the two models.
        optimizers: names and rates of the broken model's training; () for the usual ones.
        mended_optimizers: the same of the twin.
        steps: of each training.
        rows: of each batch.
    """

    rule: str
    name: str
    broken: Build
    mended: Build
    data: Data = pixels
    mended_data: Data | None = None
    loss: Any = "cross_entropy"
    trained: Loss | None = None
    judge: Loss | None = None
    options: Callable[[], Mapping[str, Any]] = dict
    mended_options: Callable[[], Mapping[str, Any]] | None = None
    checked: tuple[Any, Any] | None = None
    optimizers: tuple[tuple[str, float], ...] = ()
    mended_optimizers: tuple[tuple[str, float], ...] = ()
    steps: int = 150
    rows: int = 64

    def batch(self, *, mended: bool) -> tuple[Tensor, ...]:
        """All examples of one of the two."""
        return (self.mended_data if mended and self.mended_data is not None else self.data)()

    def objective(self) -> Loss:
        """The loss that is trained, as a function."""
        if self.trained is not None:
            return self.trained
        return self.loss if callable(self.loss) else getattr(functional, self.loss)


def of_zoo(rule: str, name: str, **more: Any) -> Twins:
    """A broken model of the zoo and the healthy one that it was made of, on their own batch."""
    zoo = models("torch")
    broken = zoo[name]
    mended = zoo[broken.base or ""]
    same = broken.batch is mended.batch
    more = {"mended_data": None if same else mended.batch, "rows": WHOLE} | more
    return Twins(rule, name, broken.build, mended.build, broken.batch, loss=broken.loss, **more)


def changed(build: Build, path: str, change: Callable[[Tensor], object]) -> Build:
    """A model with one parameter changed."""

    def make() -> nn.Module:
        model = build()
        with torch.no_grad():
            change(model.get_parameter(path))
        return model

    return make


def constant(value: float) -> Callable[[Tensor], Tensor]:
    return partial(nn.init.constant_, val=value)
