"""What a specimen of the zoo is, and the inputs that specimens share."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
Module, Tensor = torch.nn.Module, torch.Tensor

VOCABULARY = 96
CLASSES = 10
BATCH = 4
LENGTH = 16
SPECIAL = 4  # the ids 0..3 are left to padding and the like: a padding row is zero, and masks what it meets

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Build = Callable[[int], Module]


@dataclass(frozen=True)
class Specimen:
    """A tiny model with what a test has to know about it.

    Attributes:
        name: unique in the zoo.
        build: from a depth of at least `shallowest` to a fresh model, in train mode and with its own initial weights;
            a model of fixed depth ignores the depth.
        inputs: the positional and the keyword arguments of forward, the same at every call, without labels.
        depth: a tiny depth.
        deep: whether `build(64)` is 64 blocks in one stream and still fast.
        classes: how many classes, or tokens, the logits range over; None where there are no logits.
        logits: from what forward returns to the logits, with the classes in the last axis.
        blocks: a regular expression that the paths of the `depth` blocks of the main stack match in full.
        unused: the parameters that require a gradient and get none from this forward, in train mode at `depth`.
        kind: "text", "image", "audio" or "other".
        shallowest: the least depth that `build` takes.
    """

    name: str
    build: Build
    inputs: Callable[[], Inputs]
    depth: int = 2
    deep: bool = False
    classes: int | None = None
    logits: Callable[[Any], Tensor] | None = None
    blocks: str | None = None
    unused: tuple[str, ...] = ()
    kind: str = "other"
    shallowest: int = 1


def block_names(specimen: Specimen, model: Module) -> list[str]:
    """The paths of the blocks of the main stack, in order."""
    if specimen.blocks is None:
        return []
    return [name for name, _ in model.named_modules() if re.fullmatch(specimen.blocks, name)]


def by_name(specimens: Iterable[Specimen]) -> dict[str, Specimen]:
    """The specimens under their names, which must differ."""
    specimens = tuple(specimens)
    table = {specimen.name: specimen for specimen in specimens}
    if len(table) != len(specimens):
        raise ValueError("two specimens of the zoo have the same name")
    return table


def identity(output: Any) -> Any:
    """The logits of a model that returns nothing else."""
    return output


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Features or pixels, standard normal."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def ids(*shape: int, seed: int = 2, high: int = VOCABULARY) -> Tensor:
    """Token ids, uniform over all but the special ones."""
    return torch.randint(SPECIAL, high, shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def features(*shape: int) -> Callable[[], Inputs]:
    """Inputs: one batch of standard normal features."""
    return lambda: ((normal(*shape),), {})


def tokens(**options: Any) -> Callable[[], Inputs]:
    """Inputs: one batch of token ids, and fixed options."""
    return lambda: ((ids(BATCH, LENGTH),), options)
