"""Models of the package transformers, small, with their own initial weights, made from configurations alone."""

from collections.abc import Callable, Mapping
from typing import Any

from zoo.model import Model, Split, maker


def library(split: Split) -> Callable[..., Model]:
    """A maker of rows: a name, the model's class, its configuration's class, a batch with labels, the configuration."""
    row = maker("torch", "hf", split, None)

    def model(name: str, kind: Any, config: Any, batch: Callable[[], Any], sizes: Mapping[str, Any]) -> Model:
        return row(name, lambda: kind(config(**sizes)), batch)

    return model
