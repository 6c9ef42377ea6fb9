"""Models of the package transformers, small, with their own initial weights, made from configurations alone."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from zoo.model import Model, Split, maker


def library(split: Split) -> Callable[..., Model]:
    """A maker of rows: a name, the model's class, its configuration's class, a batch with labels, the configuration."""
    row = maker("torch", "hf", split, None)

    def model(name: str, kind: Any, config: Any, batch: Callable[[], Any], sizes: Mapping[str, Any]) -> Model:
        return row(name, lambda: ones(kind(config(**sizes))), batch)

    return model


def ones(model: nn.Module) -> nn.Module:
    """The factors of batch norms at 1, where the library draws them from N(0, 0.02) as if they were maps."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine and module.weight.std() > 0:
            nn.init.ones_(module.weight)
    return model
