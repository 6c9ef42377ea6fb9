"""The smallest model of an architecture that can be built and run: sizes are tried until one fits."""

import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.architectures.record import Judged
from bench.architectures.shrunk import LEVELS, changed, shrunk
from fanwise.torch.backend import BACKEND
from fanwise.torch.cli.hf_models import configured

SEARCH = 30.0
"""Seconds in which other ways to make a configuration small are tried."""

ROUNDS = 5
"""How often the fields that an error names are left as they are."""


@dataclass(frozen=True)
class Size:
    """One way to make a configuration small.

    Args:
        level: of `LEVELS`.
        keep: fields that stay as they are.
        fill: fields without a value that get a number.
        whole: parts are given with all their fields.
    """

    level: int = 0
    keep: tuple[str, ...] = ()
    fill: tuple[str, ...] = ()
    whole: bool = False


def smallest(record: Judged, config_class: type[Any], limit: int) -> tuple[Any, nn.Module]:
    """The first model that can be built and run, the smallest first.

    Args:
        record: gets the stage, the class of the model, and the size.
        config_class: of its configuration.
        limit: parameters of the largest model that is run.

    Raises:
        Exception: the first error, or the first of a model that was built.
    """
    search, deadline = sizes(_default(config_class)), time.perf_counter() + SEARCH
    size, furthest = next(search), dict[str, Exception]()
    while True:
        try:
            model = _tried(record, config_class, size, limit)
            record.level, record.adjusted = size.level, (*size.keep, *size.fill)
            return model
        except Exception as error:
            furthest.setdefault(record.stage, error)
            last = error
        try:
            if _is_final(last) or time.perf_counter() > deadline:
                break
            size = search.send(str(last))
        except StopIteration:
            break
    record.stage = "inputs" if "inputs" in furthest else "build"
    if record.stage == "build":
        _default(config_class, build=True)
    raise furthest[record.stage]


def sizes(config: Any) -> Generator[Size, str, None]:
    """Ways to make a configuration small, each after the error of the one before it.

    As far as it goes; with the fields that errors name left as they are, then with empty ones filled; with each field
    filled or left as it is; with all widths as they are; as it is.

    Args:
        config: with the library's default values.
    """
    fields = changed(config)
    smaller = [name for name, has in fields.items() if has]
    empty = tuple(name for name, has in fields.items() if not has)
    first = yield Size()
    for fill in ((), empty) if empty else ((),):
        message, keep = first, ()
        if fill:
            message = yield Size(0, (), fill)
        for _ in range(ROUNDS):
            new = tuple(name for name in smaller if name not in keep and re.search(rf"\b{name}\b", message))
            if not new:
                break
            keep += new
            message = yield Size(0, keep, fill)
    yield Size(whole=True)
    for name in empty:
        yield Size(0, (), (name,))
    for name in smaller:
        yield Size(0, (name,))
    for level in range(1, LEVELS):
        yield Size(level)
    for name in smaller if empty else ():
        yield Size(0, (name,), empty)


def _default(config_class: type[Any], *, build: bool = False) -> Any:
    """The configuration of the library's default values; whether it can be built is asked, too.

    Raises:
        ValueError: the library does not make it.
    """
    try:
        config = config_class()
        with torch.device("meta"):
            return configured(config) if build else config
    except Exception as error:
        raise ValueError(f"the library does not make its own default: {type(error).__name__}: {error}") from error


def _tried(record: Judged, config_class: type[Any], size: Size, limit: int) -> tuple[Any, nn.Module]:
    """A model that runs on what its configuration tells."""
    record.stage, record.model = "build", ""
    config = config_class(**shrunk(config_class(), size.level, keep=size.keep, fill=size.fill, whole=size.whole))
    model = built(config, limit)
    record.stage, record.model = "inputs", type(model).__name__
    _runs(model)
    return config, model


def _is_final(error: Exception) -> bool:
    """Whether no other size mends it."""
    return isinstance(error, ImportError) or any(words in str(error) for words in ("inputs = None", "has no model for"))


def _runs(model: nn.Module) -> None:
    """Nothing where the model runs on what its configuration tells."""
    inputs = BACKEND.inputs(model, None)
    try:
        with torch.no_grad():
            model.eval()(*inputs.args, **dict(inputs.kwargs or {}))
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}{inputs.guess}") from error


def built(config: Any, limit: int, seed: int = 0) -> nn.Module:
    """The model with random weights.

    Raises:
        ValueError: it is too large.
    """
    with torch.device("meta"):
        size = sum(tensor.numel() for tensor in configured(config).parameters())
    if size > limit:
        raise ValueError(f"too large: {size} parameters")
    torch.manual_seed(seed)
    return configured(config).float()
