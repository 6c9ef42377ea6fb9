"""An order with the files that it names loaded, and the framework of its model."""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

from fanwise.adapters.hints import hint_for
from fanwise.graph.visitor import ModelError
from fanwise.targets.names import called, is_configuration, loaded, named
from fanwise.targets.order import Order

FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    "keras": ("keras",),  # before torch and JAX: its layers are modules of the backend, too
    "torch": ("torch",),
    "jax": ("flax", "equinox", "jax"),
}
"""The packages in which the models of each framework are classes, by the name of its adapter."""


@dataclass(frozen=True)
class ResolvedTarget:
    """An order whose names can be looked up.

    Args:
        order: what is asked for.
        modules: the files and packages that it names.
        framework: of the model: "torch", "jax" or "keras".
    """

    order: Order
    modules: Mapping[str, ModuleType]
    framework: str

    def target(self) -> Any:
        """What the target's name stands for."""
        return named(self.order.target, self.modules)

    def loss(self) -> Any:
        """The loss: a name that the framework has, a function, or None.

        Raises:
            ValueError: the name stands for no function.
        """
        name = self.order.loss
        if name is None or ":" not in name:
            return name
        value = named(name, self.modules, what="--loss")
        function = value() if isinstance(value, type) else value
        if not callable(function):
            raise ValueError(
                f"--loss {name!r} is {type(function).__name__}: expected a function of outputs and targets"
            )
        return function

    def batch(self, own: Callable[[], Any], is_array: Callable[[Any], bool]) -> Any:
        """The batch: data, a spec, or what comes with the model.

        Args:
            own: gives what comes with the model; called where nothing else is asked for.
            is_array: whether a value is an array of the framework, which is not looked into.

        Raises:
            ModelError: what makes the data raised an error of its own, or yields nothing.
        """
        if self.order.data is None:
            return own() if self.order.inputs is None else self.order.inputs
        return _batch(self.order.data, named(self.order.data, self.modules, what="--data"), is_array)


def resolve(order: Order, *, meta: bool = False) -> ResolvedTarget:
    """Loads each file that an order names, once, and finds out which framework its model is of.

    That is the one that the target's file imports, or the only one that was loaded with it. Where several were, or
    none, a factory is called once to see what it makes.

    Args:
        order: what is asked for.
        meta: no model may be built for it: what is not known then is PyTorch.

    Raises:
        ImportError: a file imports a framework that is not installed.
        ModelError: a file, package or factory raised an error of its own.
        TypeError: the target is a model of no known kind.
        ValueError: a name of no known form, or of what does not exist.
    """
    is_named = not (order.of_weights or is_configuration(order.target))
    loss = order.loss if ":" in (order.loss or "") else None
    names = {"target": order.target if is_named else None, "--data": order.data, "--loss": loss}
    try:
        modules = loaded({what: text for what, text in names.items() if text is not None})
    except ModelError as error:
        _tell_missing(error)
        raise
    return ResolvedTarget(order, modules, _framework(order.target, modules, meta=meta) if is_named else "torch")


def _tell_missing(error: ModelError) -> None:
    """Raises where what failed is the import of a framework, with what installs it."""
    cause = error.__cause__
    if isinstance(cause, ModuleNotFoundError):
        for framework, packages in FRAMEWORKS.items():
            if cause.name in packages:
                raise ImportError(f"{error}: python -m pip install 'fanwise[{framework}]'") from error


def framework_of(value: Any) -> str | None:
    """The framework of a model, of a pair of one and its inputs, or of a class of models; None for anything else.

    Example:
        >>> framework_of((lambda params, x: x, {})), framework_of(3)
        ('jax', None)
    """
    first = _first_of(value)
    kinds = first.__mro__ if isinstance(first, type) else type(first).__mro__
    packages = {kind.__module__.partition(".")[0] for kind in kinds}
    framework = next((name for name, known in FRAMEWORKS.items() if packages & set(known)), None)
    if framework is None and isinstance(value, tuple) and callable(_first_of(first)):
        return "jax"  # a function and its parameters
    return framework


def _first_of(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def takes_one(value: Any) -> bool:
    """Whether a function needs one argument, as factories do that are given a key of random numbers."""
    if not isinstance(value, FunctionType | type | partial):
        return False
    try:
        signature = inspect.signature(value)
    except ValueError:  # built in, without a signature
        return False
    return not _binds(signature) and _binds(signature, None)


def _binds(signature: inspect.Signature, *arguments: Any) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _framework(target: str, modules: Mapping[str, ModuleType], *, meta: bool) -> str:
    value = named(target, modules)
    framework = framework_of(value)
    if framework is not None:
        return framework
    present = [name for name in FRAMEWORKS if name in sys.modules]
    near = _imported(modules[target.rpartition(":")[0]])
    if len(near) == 1 or len(present) == 1:
        return next(iter([*near, *present]))
    if "jax" in present and takes_one(value):
        return "jax"
    return "torch" if meta and ("torch" in present or not present) else _of_made(target, value)


def _imported(module: ModuleType) -> list[str]:
    """The frameworks of what a file has imported by name."""
    packages = {_package(value) for value in vars(module).values()}
    return [framework for framework, known in FRAMEWORKS.items() if packages & set(known)]


def _package(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0]
    where = value.__module__ if isinstance(value, FunctionType | type) else type(value).__module__
    return str(where).partition(".")[0]


def _of_made(target: str, value: Any) -> str:
    """The framework of what a factory makes."""
    built = called(target, value) if callable(value) else value
    framework = framework_of(built)
    if framework is None:
        raise TypeError(
            f"target {target!r} made {type(built).__name__}: expected a torch.nn.Module, a Keras model or a model of "
            f"JAX, as (function, params); or one and its inputs{hint_for(built)}"
        )
    return framework


def _batch(name: str, value: Any, is_array: Callable[[Any], bool]) -> Any:
    """A batch: the value, what it returns, or the first that it yields; a list is told as a tuple."""
    if callable(value) and not isinstance(value, Iterable):
        value = called(name, value, what="--data")
    if isinstance(value, Iterable) and not (isinstance(value, str | bytes | tuple | list | Mapping) or is_array(value)):
        value = called(name, partial(_first, value), what="--data")
    return tuple(value) if isinstance(value, list) else value


def _first(batches: Iterable[Any]) -> Any:
    for batch in batches:
        return batch
    raise ValueError("it yields nothing: expected at least one batch")
