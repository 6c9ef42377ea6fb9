"""The maker of rows of this folder, and the batches that its models share."""

from collections.abc import Callable
from typing import Any

import torch

from zoo.model import Arguments, Model, Traits
from zoo.torch.batches import ids, normal, uniform

nn = torch.nn
CLASSES, WORDS, WIDTH, LENGTH = 10, 64, 32, 16


def same(output: Any) -> Any:
    """The logits of a model that returns nothing else."""
    return output


def first(output: Any) -> Any:
    """The logits of a model that returns them first."""
    return output[0]


def vectors() -> Arguments:
    """Standard normal features."""
    return Arguments((normal(32, WIDTH),))


def pixels() -> Arguments:
    """Pictures of 16 x 16 in colour."""
    return Arguments((normal(8, 3, 16, 16),))


def words() -> Arguments:
    """Lines of token ids."""
    return Arguments((ids(4, LENGTH, high=WORDS),))


def series() -> Arguments:
    """Standard normal sequences of eight features."""
    return Arguments((normal(8, 24, 8),))


def sound() -> Arguments:
    """Standard normal sequences of eight channels, time last."""
    return Arguments((normal(8, 8, 32),))


def points() -> Arguments:
    """Clouds of 24 points."""
    return Arguments((normal(8, 24, 3),))


def coordinates() -> Arguments:
    """Places in the square [-1, 1]."""
    return Arguments((2 * uniform(64, 2) - 1,))


def given(*arguments: Any) -> Callable[[], Arguments]:
    """The batch of a model of its own: tensors that are made once and copied at each call."""
    return lambda: Arguments(tuple(part.clone() for part in arguments))


def classifier(
    name: str, family: str, build: Callable[[], nn.Module], batch: Callable[[], Arguments], **traits: Any
) -> Model:
    """A model whose output is logits over ten classes, last, unless `traits` say otherwise."""
    known = Traits(**({"classes": CLASSES, "logits": same} | traits))
    return Model(name, build, batch, None, family, "torch", use="families", traits=known)


def language(name: str, build: Callable[[], nn.Module], family: str = "transformer", **traits: Any) -> Model:
    """A model whose output is logits over the words."""
    return classifier(name, family, build, words, **({"classes": WORDS, "data": "text"} | traits))


def other(
    name: str, family: str, build: Callable[[], nn.Module], batch: Callable[[], Arguments], **traits: Any
) -> Model:
    """A model without logits."""
    return classifier(name, family, build, batch, **({"classes": None, "logits": None} | traits))
