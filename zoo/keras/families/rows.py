"""The maker of rows of this folder."""

from collections.abc import Callable
from typing import Any

from zoo.model import Arguments, Model, Traits

CLASSES, WORDS, WIDTH = 10, 64, 32


def same(output: Any) -> Any:
    """The logits of a model that returns nothing else."""
    return output


def classifier(name: str, family: str, build: Callable[[], Any], inputs: Callable[[], Any], **traits: Any) -> Model:
    """A model whose output is logits over ten classes, last, unless `traits` say otherwise."""
    known = Traits(**({"classes": CLASSES, "logits": same} | traits))
    return Model(name, build, lambda: Arguments((inputs(),)), None, family, "keras", use="families", traits=known)
