"""Parts that all initializers of `fanwise.keras.init.classes` share: the call, the stream, the configuration."""

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import keras

from fanwise.keras.init.seeds import checked_seed, root_of, seed_config, variable_path
from fanwise.keras.weights.tensors import float_dtype, placed, static_shape
from fanwise.stream.box import Box, Shape
from fanwise.stream.calls import Streams
from fanwise.stream.formats import Array
from fanwise.stream.key import Key

STREAM = 1
"""Version of the stream that the numbers come from, as it stands in every configuration."""


@dataclass(frozen=True)
class DrawTarget:
    """The shape, dtype and stream key of a call.

    Args:
        shape: of the whole variable.
        dtype: its name.
        key: the stream.
    """

    shape: Shape
    dtype: str
    key: Key


class Drawn(keras.initializers.Initializer):
    """An initializer that draws from fanwise's stream.

    Args:
        seed: an integer in [0, 2**128), a `fanwise.Key`, a `keras.random.SeedGenerator`, or None, which draws a seed
            from Python's generator, the one that `keras.utils.set_random_seed` sets.
    """

    def __init__(self, seed: Any = None) -> None:
        self.seed = self._init_seed = checked_seed(seed)
        self._streams = None if isinstance(self.seed, keras.random.SeedGenerator) else Streams(root_of(self.seed))

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """The variable's first value.

        A variable that Keras makes has the stream of (seed, its path): layers that share one initializer have different
        weights, and adding a layer changes none. Called by hand, the first call has the stream of the seed,
        and each later one its own. With a `SeedGenerator` every call moves it on.

        Args:
            shape: of the variable.
            dtype: float64, float32, float16 or bfloat16; Keras' floatx by default.
            layout: on JAX, how the variable is sharded: each device draws its own part alone.

        Returns:
            A tensor of the backend; the same bits on all of them, in whatever layout.

        Raises:
            TypeError: a shape, dtype or layout of the wrong kind.
            ValueError: a shape that the law does not fit, or a scale that the dtype cannot hold.
            MemoryError: more bytes than this machine has.
        """
        sizes, name = static_shape(shape), float_dtype(dtype)
        target = DrawTarget(sizes, name, self._key())
        return placed(partial(self._draw, target), sizes, name, layout)

    @abstractmethod
    def _draw(self, target: DrawTarget, box: Box) -> Array:
        """The numbers of a box."""

    @abstractmethod
    def _parameters(self) -> dict[str, Any]:
        """Arguments of the constructor, the seed apart, as plain values."""

    def __repr__(self) -> str:
        return described(type(self), {**self._parameters(), "seed": self.seed})

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor as plain values, and the version of the stream.

        The seed is there also where it was drawn: what is made from a configuration draws the same numbers.
        """
        return {**self._parameters(), "seed": seed_config(self.seed), "stream": STREAM}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The initializer that `get_config` described.

        Raises:
            TypeError: a key that it does not have.
            ValueError: numbers of a stream that this fanwise does not know.
        """
        return cls(**checked_config(config, cls))

    def _key(self) -> Key:
        path = variable_path()
        if self._streams is None:
            root = root_of(self.seed)
            return root.child(path) if path else root
        return self._streams.of(path) if path else self._streams.next()


def described(cls: type, parameters: Mapping[str, Any]) -> str:
    """An initializer in words: its class and its arguments, those that are None left out."""
    given = (f"{name}={value!r}" for name, value in parameters.items() if value is not None)
    return f"{cls.__name__}({', '.join(given)})"


def checked_config(config: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """The arguments that a configuration holds.

    Raises:
        TypeError: not a mapping, or a key that the class does not take.
        ValueError: another version of the stream.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config = {config!r}: expected a mapping, as get_config returns it")
    arguments = dict(config)
    known = list(inspect.signature(cls).parameters)
    unknown = [name for name in arguments if name not in (*known, "stream")]
    if unknown:
        raise TypeError(f"{cls.__name__} has no parameter {unknown[0]!r}: it takes {', '.join(known) or 'none'}")
    version = arguments.pop("stream", STREAM)
    if version != STREAM or isinstance(version, bool):
        raise ValueError(
            f"{cls.__name__}: this configuration draws from version {version!r} of fanwise's stream and this fanwise "
            f"knows version {STREAM} alone: install the fanwise that saved it, pip install -U fanwise"
        )
    return arguments
