"""TARGET of the command line: a factory in a file or a package, or a transformers configuration."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn

from fanwise.torch.run import ModelError

FORMS = "expected file.py:factory, package.module:factory, hf:ConfigClass(name=value, ...) or a config.json"

_T = TypeVar("_T")


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
    if not isinstance(target, str):
        raise TypeError(f"target = {target!r}: {FORMS}")
    if target.startswith("hf:") or target.endswith(".json"):
        from fanwise.torch.hf import factory as configured  # noqa: PLC0415  (only where a target asks for it)

        make = configured(target)
    else:
        make = _factory(target)
    with torch.device("meta") if meta else nullcontext():
        made = _guarded(target, make)
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"target {target!r} made {type(model).__name__}: expected a torch.nn.Module, or one and its inputs"
        )
    return model, inputs


def _guarded(target: str, call: Callable[[], _T]) -> _T:
    """What foreign code returns; what it raises, or its exit, says where it comes from."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise ModelError(f"target {target!r} cannot be built: {type(error).__name__}: {error}") from error


def _factory(target: str) -> Callable[[], Any]:
    place, _, name = target.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"target {target!r}: {FORMS}")
    module = _from_file(target, Path(place)) if place.endswith(".py") else _from_package(target, place)
    if name not in vars(module):
        made = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(
            f"target {target!r}: {place} has no {name!r}; it has {', '.join(made[:12]) or 'nothing to call'}"
        )
    return _callable(target, vars(module)[name])


def _callable(target: str, value: Any) -> Callable[[], Any]:
    """A factory; a model, or a pair of one and its inputs, is its own."""
    if isinstance(value, nn.Module) or not callable(value):
        return lambda: value
    try:
        inspect.signature(value).bind()
    except TypeError as error:
        raise ValueError(f"target {target!r}: expected a factory that takes no arguments, {error}") from None
    except ValueError:  # built-in, without a signature
        pass
    made: Callable[[], Any] = value
    return made


def _from_package(target: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"target {target!r}: {FORMS}")
    _look_up_first(Path.cwd())
    try:
        return _guarded(target, lambda: importlib.import_module(name))
    except ModelError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            raise ValueError(f"target {target!r}: no module {missing.name!r}") from None
        raise


def _from_file(target: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"target {target!r}: no file {str(path)!r}")
    name = path.stem if path.stem not in sys.modules else f"fanwise target {path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"target {target!r}: {str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    load = spec.loader.exec_module
    _look_up_first(path.absolute().parent)
    with _registered(name, module):
        _guarded(target, lambda: load(module))
    return module


def _look_up_first(folder: Path) -> None:
    """Puts a folder in front of the search path, to stay: factories import when they are called, too."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextmanager
def _registered(name: str, module: ModuleType) -> Iterator[None]:
    """Makes a module known under its name, which dataclasses and pickles in it need; not one that fails to load."""
    sys.modules[name] = module
    try:
        yield
    except BaseException:
        del sys.modules[name]
        raise
