"""Sizes and batches that the tiny models share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zoo.model import Arguments

VOCABULARY = 96
CLASSES = 10
BATCH = 4
LENGTH = 16
SPECIAL = 4  # the ids 0..3 are left to padding and the like: a padding row is zero, and masks what it meets

Build = Callable[[int], nn.Module]


def identity(output: Any) -> Any:
    """The logits of a model that returns nothing else."""
    return output


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Features or pixels, standard normal."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def ids(*shape: int, seed: int = 2, high: int = VOCABULARY) -> Tensor:
    """Token ids, uniform over all but the special ones."""
    return torch.randint(SPECIAL, high, shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def features(*shape: int) -> Callable[[], Arguments]:
    """Inputs: one batch of standard normal features."""
    return lambda: Arguments((normal(*shape),))


def tokens(**options: Any) -> Callable[[], Arguments]:
    """Inputs: one batch of token ids, and fixed options."""
    return lambda: Arguments((ids(BATCH, LENGTH),), options)
