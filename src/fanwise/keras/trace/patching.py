"""Replacements for the time of a run: layers' `call`, Keras' functions, the operators of tensors."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType, ModuleType
from typing import Any

import keras
from keras.src import backend
from keras.src import ops as inner_ops

from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.variables import layers_of

OPERATORS: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        "__add__": ("add", False),
        "__radd__": ("add", True),
        "__sub__": ("subtract", False),
        "__rsub__": ("subtract", True),
        "__mul__": ("multiply", False),
        "__rmul__": ("multiply", True),
        "__truediv__": ("divide", False),
        "__rtruediv__": ("divide", True),
        "__matmul__": ("matmul", False),
        "__rmatmul__": ("matmul", True),
        "__pow__": ("power", False),
        "__neg__": ("negative", False),
        "__getitem__": ("getitem", False),
    }
)
"""Operators of tensors, the function that each is, and whether its operands come in reverse."""

UNTOUCHED = frozenset(
    {"is_tensor", "convert_to_numpy", "standardize_dtype", "compute_output_spec", "device_scope", "shape"}
)
"""Functions that say what a value is."""


@contextmanager
def followed(recorder: Recorder, model: Any, kinds: tuple[type, ...]) -> Iterator[None]:
    """The context in which a model's layers, the functions between them and the operators are recorded.

    Args:
        recorder: what is told.
        model: whose layers.
        kinds: classes of the tensors whose operators are followed.
    """
    with ExitStack() as stack:
        for layer in layers_of(model):
            stack.enter_context(_layer(recorder, layer))
        stack.enter_context(_functions(recorder))
        for kind in kinds:
            stack.enter_context(_operators(recorder, kind))
        yield


@contextmanager
def _layer(recorder: Recorder, layer: Any) -> Iterator[None]:
    """The layer's own dictionary shadows its class, past what Keras does on assignment."""
    own, original = vars(layer), layer.call

    @functools.wraps(original)
    def call(*args: Any, **named: Any) -> Any:
        if not recorder.active:
            return original(*args, **named)
        return recorder.layer(layer, original, args, named)

    missing = object()
    before = own.get("call", missing)
    own["call"] = call
    try:
        yield
    finally:
        if before is missing:
            del own["call"]
        else:
            own["call"] = before


@contextmanager
def _functions(recorder: Recorder) -> Iterator[None]:
    """Replaces every function of the backend, wherever Keras keeps a name for it."""
    homes: tuple[ModuleType, ...] = (
        backend.numpy,
        backend.nn,
        backend.math,
        backend.linalg,
        backend.core,
        backend.image,
    )
    wrapped: dict[Any, Any] = {}
    for home in homes:
        for name, function in vars(home).items():
            if _is_followed(name, function):
                wrapped[function] = _watch(recorder, name, function)
    changed: list[tuple[ModuleType, str, Any]] = []
    for home in (*homes, backend, inner_ops, keras.ops):
        for name, value in list(vars(home).items()):
            if inspect.isfunction(value) and value in wrapped:
                changed.append((home, name, value))
                vars(home)[name] = wrapped[value]
    try:
        yield
    finally:
        for home, name, value in changed:
            vars(home)[name] = value


def _is_followed(name: str, function: Any) -> bool:
    own = inspect.isfunction(function) and function.__module__.startswith("keras.src.backend")
    return own and not name.startswith("_") and name not in UNTOUCHED


def _watch(recorder: Recorder, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        if not recorder.active:
            return function(*args, **named)
        return recorder.function(name, Execution(function, args, named))

    return call


@contextmanager
def _operators(recorder: Recorder, kind: type) -> Iterator[None]:
    changed: list[tuple[type, str, Any]] = []
    try:
        for name in OPERATORS:
            changed.append(_replace(recorder, kind, name))
        yield
    finally:
        for owner, name, before in reversed(changed):
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def _replace(recorder: Recorder, kind: type, name: str) -> tuple[type, str, Any]:
    """Replaces an operator on the class that defines it, or on the one below where that is closed."""
    owners = [owner for owner in kind.__mro__ if name in vars(owner)]
    original = vars(owners[0])[name]
    below = kind.__mro__[max(kind.__mro__.index(owners[0]) - 1, 0)]
    for owner in (owners[0], below):
        before = vars(owner).get(name)
        try:
            setattr(owner, name, _operator(recorder, name, original))
        except TypeError:  # a class of C cannot be changed
            continue
        return owner, name, before
    raise TypeError(f"the operator {name} of {kind.__name__} cannot be followed")


def _operator(recorder: Recorder, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    function, turned = OPERATORS[name]

    @functools.wraps(original)
    def operator(*args: Any) -> Any:
        if not recorder.active:
            return original(*args)
        if turned:
            return recorder.function(function, Execution(lambda *given: original(*given[::-1]), args[::-1]))
        return recorder.function(function, Execution(original, args))

    return operator
