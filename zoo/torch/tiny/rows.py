"""The maker of rows of tiny models."""

from collections.abc import Callable
from typing import Any

from zoo.model import Arguments, Model, Traits
from zoo.torch.tiny.batches import Build


def tiny(name: str, build: Build, batch: Callable[[], Arguments], family: str, **traits: Any) -> Model:
    """A tiny model: `build` takes a depth, `batch` gives the arguments of forward; `traits` are those of `Traits`."""
    known = Traits(**traits)

    def at(depth: int = known.depth) -> Any:
        return build(depth)

    return Model(name, at, batch, None, family, "torch", use="structure", traits=known)
