"""TARGET of the command line: a factory in a file or a package, or a transformers configuration."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fanwise.measure.observation import Place
from fanwise.targets.names import FORMS, guarded, is_configuration, named, without_arguments
from fanwise.torch.trace.sources import function_place


@dataclass(frozen=True)
class Factory:
    """What builds the model that a target names.

    Args:
        target: its name.
        make: called without arguments, returns the model, or the model and its inputs.
        ready: the target is a model: every call returns the same one.
        paired: whether its inputs may come with the model; never with one of a configuration.
        place: its line in the user's sources.
    """

    target: str
    make: Callable[[], Any]
    ready: bool = False
    paired: bool = True
    place: Place | None = None

    def build(self, *, meta: bool = False) -> tuple[nn.Module, Any]:
        """The model, and the inputs where its factory gives them.

        Args:
            meta: build it on the meta device, without memory.

        Raises:
            ModelError: what makes it raised an error of its own.
            TypeError: it makes no module.
        """
        with torch.device("meta") if meta else nullcontext():
            made = guarded(f"target {self.target!r}", self.make)
        model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"target {self.target!r} made {type(model).__name__}: expected a torch.nn.Module, or one and its inputs"
            )
        return model, inputs


def build(target: str, *, meta: bool = False) -> tuple[nn.Module, Any]:
    """The model that a target names, and the inputs where its factory gives them.

    As for ``python file.py``, the folder of the file is where its imports are looked up first; for a package it is the
    working directory. Nothing in a target is evaluated but literals, as arguments of a configuration.

    Args:
        target: ``"train.py:build"``, ``"package.module:build"``, ``"hf:LlamaConfig(hidden_size=64)"`` or the path of a
            config.json. A factory takes no arguments and returns a module, or a module and its inputs; a module stands
            for itself.
        meta: build it on the meta device, without memory.

    Returns:
        The model, and its inputs or None.

    Raises:
        ImportError: transformers is missing.
        ModelError: the file, package, factory or configuration raised an error of its own.
        OSError: a config.json that cannot be read.
        TypeError: what the factory returns is no module.
        ValueError: a target of no known form, or one that names what does not exist.
    """
    return factory(target).build(meta=meta)


def factory(target: str, modules: Mapping[str, ModuleType] | None = None) -> Factory:
    """What builds the model that a target names; nothing is built yet.

    Args:
        target: as for `build`.
        modules: files and packages that were loaded already (`loaded`).

    Raises:
        ImportError, ModelError, OSError, ValueError: as for `build`.
    """
    if not isinstance(target, str):
        raise TypeError(f"target = {target!r}: {FORMS}")
    if is_configuration(target):
        from fanwise.torch.cli.hf_models import factory as configured  # noqa: PLC0415  (only where a target asks for it)

        return Factory(target, configured(target), paired=False)
    value = named(target, modules)
    ready = isinstance(value, nn.Module) or not callable(value)
    make = (lambda: value) if ready else without_arguments(f"target {target!r}", value)
    return Factory(target, make, ready, place=None if ready else function_place(value))
