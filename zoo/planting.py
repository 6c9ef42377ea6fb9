"""What the broken models of every framework share."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from zoo.model import Model


def planted(
    base: Model, kind: str, build: Callable[..., Any], place: str | None = None, *, mark: str = "", batch: Any = None
) -> Model:
    """A healthy model with another build; `mark` tells two of a kind apart, `batch` replaces the batch."""
    name = f"{base.name}-{kind}" + (f"-{mark}" if mark else "")
    batch = batch or base.batch
    return replace(base, name=name, build=build, batch=batch, planted=kind, place=place, base=base.name)


def moved(base: Model, factor: float, shift: float) -> Callable[[], Any]:
    """The batch with its first input times a factor, plus a shift; the rest as it was."""

    def batch() -> Any:
        first, *others = base.batch()
        return factor * first + shift, *others

    return batch


def numbered(pattern: str, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(pattern.format(number) for number in numbers)


def kept(_: object) -> None:
    """No change."""
