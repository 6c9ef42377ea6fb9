"""Which TensorFlow this is, and where the names of TensorFlow 1 went."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ParamSpec, TypeVar, cast

import tensorflow as tf

P = ParamSpec("P")
R = TypeVar("R")

OLDEST = (2, 16)
"""The first version whose operations on integers all that stands here was written for."""

MOVED: Mapping[str, str] = MappingProxyType(
    {
        "get_variable": "tf.compat.v1.get_variable(name, shape, initializer=fanwise.tensorflow.xavier_initializer())",
        "contrib": "fanwise.tensorflow.xavier_initializer(), for tf.contrib.layers.xavier_initializer()",
        "Session": "tf.compat.v1.Session()",
        "placeholder": "tf.compat.v1.placeholder(dtype, shape)",
        "global_variables_initializer": "tf.compat.v1.global_variables_initializer()",
        "variable_scope": "tf.compat.v1.variable_scope(name)",
    }
)
"""Names of TensorFlow 1 that 2 took from `tf`, and what to write instead."""


def check_version(version: str) -> None:
    """Refuses a TensorFlow that is too old.

    Raises:
        ImportError: with the version there is and the one that is needed.
    """
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(f"fanwise.tensorflow needs TensorFlow {oldest} or later, this is {version}")


def advice(name: str) -> str:
    """What to say to someone who asks `fanwise.tensorflow` for a name that it does not have."""
    if name in MOVED:
        return f"TensorFlow {tf.__version__} has no tf.{name}, and neither has fanwise.tensorflow: use {MOVED[name]}"
    return f"module 'fanwise.tensorflow' has no attribute {name!r}"


def as_written(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which AutoGraph leaves as it is: it holds no control flow over tensors."""
    return cast(Callable[P, R], tf.autograph.experimental.do_not_convert(function))


check_version(tf.__version__)
