"""Losses that several models share."""

from typing import Any

from torch import Tensor
from torch.nn import functional


def next_token(output: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy at every place."""
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


BINARY = "binary_cross_entropy_with_logits"


def tokenwise(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with the classes in the last axis."""
    return functional.cross_entropy(output.flatten(0, -2), target.flatten())


def own(output: Any, _: Tensor) -> Tensor:
    """The model's answer is its loss."""
    return output
