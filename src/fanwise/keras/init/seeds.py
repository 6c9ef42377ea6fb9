"""Seeds of Keras' initializers, and the variable that an initializer is called for.

Keras calls an initializer with a shape and a dtype and does not say which variable they belong to. The variable is on
the call stack: its constructor, or the deferred one that runs after a symbolic build, called the initializer.
"""

import operator
import random
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from fanwise.stream.key import Key

SeedLike: TypeAlias = "int | Key | keras.random.SeedGenerator | Mapping[str, Any] | None"

FRAMES = 8
"""Frames up the stack in which the variable is looked for; no backend puts more than three between."""


def checked_seed(seed: Any) -> Any:
    """A seed as an int, a `Key` or a `SeedGenerator`; None draws one from the generator that Keras' seed governs.

    Raises:
        TypeError: something else, bools and floats among it.
        ValueError: an integer outside [0, 2**128).
    """
    if seed is None:
        return random.getrandbits(63)
    if isinstance(seed, (Key, keras.random.SeedGenerator)):
        return seed
    if isinstance(seed, Mapping):
        return _described(seed)
    if isinstance(seed, (bool, np.bool_)):
        raise TypeError(
            f"seed = {seed!r}: expected an integer in [0, 2**128), a Key, a keras.random.SeedGenerator or None"
        )
    return Key(seed).seed


def seed_config(seed: Any) -> Any:
    """A checked seed as plain values, which `checked_seed` takes."""
    if isinstance(seed, Key):
        return {"seed": seed.seed, "path": seed.path, "domain": seed.domain}
    return seed if isinstance(seed, int) else keras.saving.serialize_keras_object(seed)


def root_of(seed: Any) -> Key:
    """The key of a checked seed; a `SeedGenerator` moves on.

    Raises:
        TypeError: a generator whose state is a symbol of a graph.
    """
    if not isinstance(seed, keras.random.SeedGenerator):
        return seed if isinstance(seed, Key) else Key(seed)
    try:
        first, second = (operator.index(word) for word in keras.ops.convert_to_numpy(seed.next()).tolist())
    except Exception as error:
        raise TypeError(f"seed = {seed!r} has no value inside a compiled function: seed with an integer") from error
    return Key((first % (1 << 64)) << 64 | second % (1 << 64))


def variable_path() -> str | None:
    """Path of the variable that is being made or read by the callers of this function, None where there is none."""
    frame = sys._getframe(1)
    for _ in range(FRAMES):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Variable):
            path: str = owner.path
            return path
    return None


def _described(config: Mapping[str, Any]) -> Any:
    if "class_name" in config:
        return checked_seed(keras.saving.deserialize_keras_object(dict(config)))
    if set(config) != {"seed", "path", "domain"}:
        raise TypeError(f"seed = {dict(config)!r}: expected the keys seed, path, domain")
    return Key(config["seed"], config["path"], config["domain"])
