"""Replacements for the time of a run: layers' `call`, Keras' functions, the operators of tensors.

Python keeps these names for the whole process. What stands under them meanwhile asks which run its own thread is in,
and is the original in every other thread; runs that overlap share it, and the last one puts the originals back.
"""

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from threading import local
from types import MappingProxyType, ModuleType
from typing import Any

import keras
from keras.src import backend
from keras.src import ops as inner_ops

from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.plain_tensorflow import Meaning, PlainLayer, followed_call, functions
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.replacements import Replacement, replaced
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
"""Operators of the tensors of JAX and TensorFlow, the function that each is, and whether its operands come in reverse.

PyTorch shows its own to a mode of the thread (`fanwise.keras.trace.torch_operators`).
"""

UNTOUCHED = frozenset(
    {"is_tensor", "convert_to_numpy", "standardize_dtype", "compute_output_spec", "device_scope", "shape"}
)
"""Functions that say what a value is."""


FUNCTIONS = "functions"
PLAIN = "functions of TensorFlow"
IMMUTABLE = 1 << 8
"""Python's flag of classes that cannot be changed, such as those of C."""


@dataclass(frozen=True)
class _Run:
    """A run of a thread, and the keys of what it follows; another run's layers and operators are none of its own."""

    recorder: Recorder
    keys: frozenset[Hashable]


class _Thread(local):
    """The run that a thread is in, the innermost where a run is made within another."""

    run: _Run | None = None


_THREAD = _Thread()


@contextmanager
def followed(recorder: Recorder, model: Any, kinds: tuple[type, ...]) -> Iterator[None]:
    """The context in which a model's layers, the functions between them and the operators are recorded.

    Nothing is recorded of what other threads do in it.

    Args:
        recorder: what is told.
        model: whose layers.
        kinds: classes of the tensors whose operators are followed.
    """
    modal = keras.config.backend() == "torch"
    kinds = (*kinds, *_variable_kinds(model))
    watched = dict(_watched(model, () if modal else kinds))
    with ExitStack() as stack:
        for key, find in watched.items():
            stack.enter_context(replaced(key, find))
        stack.enter_context(_in_this_thread(_Run(recorder, frozenset(watched))))
        if modal:
            stack.enter_context(_operator_mode(recorder))
        yield


def _operator_mode(recorder: Recorder) -> AbstractContextManager[Any]:
    from fanwise.keras.trace.torch_operators import OperatorMode  # noqa: PLC0415  (only where PyTorch is the backend)

    return OperatorMode(recorder)


def _watched(model: Any, kinds: tuple[type, ...]) -> Iterator[tuple[Hashable, Callable[[], Iterator[Replacement]]]]:
    """What a run follows: a key, and what gives the replacements."""
    for layer in layers_of(model):
        yield (id(layer), "call"), functools.partial(_layer, layer)
    yield FUNCTIONS, _functions
    if isinstance(model, PlainLayer):
        yield PLAIN, _plain
    for kind in kinds:
        for name in OPERATORS:
            yield (_owner(kind, name), name), functools.partial(_operators, kind, name)


@contextmanager
def _in_this_thread(run: _Run) -> Iterator[None]:
    before = _THREAD.run
    try:
        _THREAD.run = run
        yield
    finally:
        _THREAD.run = before


def _recorder(key: Hashable) -> Recorder | None:
    """What is told of a call that this thread makes now, where its run follows what is called."""
    run = _THREAD.run
    return run.recorder if run is not None and run.recorder.active and key in run.keys else None


def _layer(layer: Any) -> Iterator[Replacement]:
    """The layer's own dictionary shadows its class, past what Keras does on assignment."""
    original, key = layer.call, (id(layer), "call")

    @functools.wraps(original)
    def call(*args: Any, **named: Any) -> Any:
        recorder = _recorder(key)
        if recorder is None:
            return original(*args, **named)
        return recorder.layer(layer, original, args, named)

    yield Replacement(vars(layer), "call", call)


def _functions() -> Iterator[Replacement]:
    """Every function of the backend, wherever Keras keeps a name for it."""
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
                wrapped[function] = _watch(name, function)
    for home in (*homes, backend, inner_ops, keras.ops):
        for name, value in list(vars(home).items()):
            if inspect.isfunction(value) and value in wrapped:
                yield Replacement(vars(home), name, wrapped[value])


def _variable_kinds(model: Any) -> tuple[type, ...]:
    """Classes of plain TensorFlow's variables, which have operators of their own."""
    return tuple({type(variable.value) for variable in model.held}) if isinstance(model, PlainLayer) else ()


def _plain() -> Iterator[Replacement]:
    """Functions of TensorFlow itself."""
    for home, name, function, meaning in functions():
        yield Replacement(home, name, _watch_plain(function, meaning))


@functools.cache
def _watch_plain(function: Callable[..., Any], meaning: Meaning) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        recorder = _recorder(PLAIN)
        if recorder is None:
            return function(*args, **named)
        return followed_call(recorder, function, meaning, (args, named))

    return call


def _is_followed(name: str, function: Any) -> bool:
    own = inspect.isfunction(function) and function.__module__.startswith("keras.src.backend")
    return own and not name.startswith("_") and name not in UNTOUCHED


@functools.cache
def _watch(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as every run replaces it; without a run it is the original."""

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        recorder = _recorder(FUNCTIONS)
        if recorder is None:
            return function(*args, **named)
        return recorder.function(name, Execution(function, args, named))

    return call


def _owner(kind: type, name: str) -> type:
    """The class that defines an operator, or the one below where that cannot be changed."""
    defining = next(position for position, owner in enumerate(kind.__mro__) if name in vars(owner))
    for owner in (kind.__mro__[defining], kind.__mro__[max(defining - 1, 0)]):
        if not owner.__flags__ & IMMUTABLE:
            return owner
    raise TypeError(f"the operator {name} of {kind.__name__} cannot be followed")


def _operators(kind: type, name: str) -> Iterator[Replacement]:
    owner = _owner(kind, name)
    original = next(vars(owner)[name] for owner in kind.__mro__ if name in vars(owner))
    yield Replacement(owner, name, _operator((owner, name), original))


def _operator(key: tuple[type, str], original: Callable[..., Any]) -> Callable[..., Any]:
    function, turned = OPERATORS[key[1]]

    @functools.wraps(original)
    def operator(*args: Any) -> Any:
        recorder = _recorder(key)
        if recorder is None:
            return original(*args)
        if turned:
            return recorder.function(function, Execution(lambda *given: original(*given[::-1]), args[::-1]))
        return recorder.function(function, Execution(original, args))

    return operator
