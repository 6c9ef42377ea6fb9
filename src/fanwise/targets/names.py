"""Names of the command line: a factory, a batch or a loss in a file or a package."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from fanwise.graph.tracking.source_lines import described
from fanwise.graph.visitor import ModelError

FORMS = "expected file.py:factory, package.module:factory, hf:ConfigClass(name=value, ...) or a config.json"
NAME_FORMS = "expected file.py:name or package.module:name"

_T = TypeVar("_T")


def is_configuration(target: str) -> bool:
    """Whether a target is a configuration of transformers, not a name in a file or package."""
    return target.startswith("hf:") or target.endswith(".json")


def loaded(targets: Mapping[str, str]) -> dict[str, ModuleType]:
    """The files and packages in which names stand, each loaded once.

    Args:
        targets: names such as ``"train.py:batch"``, by what each is, such as "--data".

    Raises:
        ModelError: a file or package raised an error of its own.
        ValueError: a name of no known form, or in a file or package that does not exist.
    """
    modules: dict[str, ModuleType] = {}
    for what, target in targets.items():
        module_name, _ = _parted(target, what)
        if module_name not in modules:
            modules[module_name] = _module(f"{what} {target!r}", module_name)
    return modules


def named(target: str, modules: Mapping[str, ModuleType] | None = None, *, what: str = "target") -> Any:
    """What a name such as ``"train.py:batch"`` stands for.

    Args:
        target: the name.
        modules: files and packages that were loaded already (`loaded`).
        what: what it is, for messages.

    Raises:
        ModelError: the file or package raised an error of its own.
        ValueError: a name of no known form, or one that does not exist.
    """
    module_name, name = _parted(target, what)
    module = (loaded({what: target}) if modules is None else modules)[module_name]
    if name not in vars(module):
        factories = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(
            f"{what} {target!r}: {module_name} has no {name!r}; it has {', '.join(factories[:12]) or 'nothing to call'}"
        )
    return vars(module)[name]


def called(target: str, value: Callable[[], _T], *, what: str = "target") -> _T:
    """What a function without arguments returns.

    Raises:
        ModelError: it raised an error of its own.
        ValueError: it takes arguments.
    """
    label = f"{what} {target!r}"
    return guarded(label, without_arguments(label, value))


@contextmanager
def prints_on_stderr() -> Iterator[None]:
    """A target's code may print while it is loaded, built and run; stdout is for what was asked for."""
    with redirect_stdout(sys.stderr):
        yield


def _parted(target: str, what: str) -> tuple[str, str]:
    """File or package, and name."""
    module_name, _, name = target.rpartition(":")
    if not module_name or not name.isidentifier():
        raise ValueError(f"{what} {target!r}: {FORMS if what == 'target' else NAME_FORMS}")
    return module_name, name


def guarded(label: str, call: Callable[[], _T]) -> _T:
    """What foreign code returns.

    Raises:
        ModelError: what it raised, or its exit, with where it comes from.
    """
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise ModelError(f"{label} cannot be built: {described(error)}") from error


def _module(label: str, module_name: str) -> ModuleType:
    return _from_file(label, Path(module_name)) if module_name.endswith(".py") else _from_package(label, module_name)


def without_arguments(label: str, value: Callable[[], _T]) -> Callable[[], _T]:
    """The function, where it can be called without arguments.

    Raises:
        ValueError: it cannot.
    """
    try:
        inspect.signature(value).bind()
    except TypeError as error:
        raise ValueError(f"{label}: expected a factory that takes no arguments, {error}") from None
    except ValueError:  # built-in, without a signature
        pass
    return value


def _from_package(label: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{label}: {FORMS}")
    _look_up_first(Path.cwd())
    try:
        return guarded(label, lambda: importlib.import_module(name))
    except ModelError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            raise ValueError(f"{label}: no module {missing.name!r}") from None
        raise


def _from_file(label: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{label}: no file {str(path)!r}")
    name = path.stem if path.stem not in sys.modules else f"fanwise target {path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{label}: {str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    load = spec.loader.exec_module
    _look_up_first(path.absolute().parent)
    with _registered(name, module):
        guarded(label, lambda: load(module))
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
