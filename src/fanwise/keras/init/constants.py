"""Initializers that draw nothing: constants, the identity, a Fourier basis."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from reprlib import repr as short_repr
from typing import Any, Self

import keras
import numpy as np

from fanwise.keras.init.base import STREAM, checked_config, described
from fanwise.keras.weights.tensors import any_dtype, placed, plain_number, static_shape
from fanwise.laws.structured import Identity as IdentityLaw
from fanwise.stream import fill
from fanwise.stream.arguments import checked_choice, checked_number
from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import FORMATS, Array, as_format

SIDES = ("real", "imag")
SCALINGS = ("density", "spectrum")


class Fixed(keras.initializers.Initializer):
    """An initializer without a seed."""

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """The variable's first value.

        Args:
            shape: of the variable.
            dtype: a floating-point format, an integer type or bool; Keras' floatx by default.
            layout: on JAX, how the variable is sharded.

        Returns:
            A tensor of the backend.

        Raises:
            TypeError: a shape, dtype or layout of the wrong kind.
            ValueError: a shape that does not fit, or values that the dtype cannot hold.
        """
        sizes, name = static_shape(shape), any_dtype(dtype)
        return placed(partial(self._values, sizes, name), sizes, name, layout)

    @abstractmethod
    def _values(self, shape: Shape, dtype: str, box: Box) -> Array:
        """The values of a box."""

    def _parameters(self) -> dict[str, Any]:
        return {}

    def __repr__(self) -> str:
        return described(type(self), self._parameters())

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor as plain values, and the version of the stream."""
        return {**self._parameters(), "stream": STREAM}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The initializer that `get_config` described; errors as of `Drawn.from_config`."""
        return cls(**checked_config(config, cls))


def constant_values(value: Any, dtype: str, box: Box) -> Array:
    """One value everywhere, or the box of an array.

    Args:
        value: a number, or an array of the variable's shape.
        dtype: name of a dtype.
        box: the part wanted.

    Raises:
        ValueError: the dtype cannot hold it as it is (a floating-point format rounds it).
    """
    part = np.asarray(value)[box.slices()] if np.ndim(value) else np.full(box.shape, value)
    if dtype not in FORMATS:
        return _whole_numbers(part, np.dtype(dtype))
    if not np.ndim(value) and math.isfinite(value):
        return fill.constant(box.shape, value=float(value), dtype=dtype)
    with np.errstate(over="ignore"):
        held = part.astype(as_format(dtype).dtype())
    if (np.isinf(held) & ~np.isinf(part)).any():
        largest = np.abs(part[~np.isinf(part)]).max()
        raise ValueError(f"value = {largest:g}: {dtype} cannot hold it")
    return held


def _whole_numbers(part: Array, kind: np.dtype[Any]) -> Array:
    """Numbers as integers or booleans that are equal to them."""
    low, high = (0, 1) if kind.kind == "b" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    wrong = [number for number in part.ravel().tolist() if not low <= number <= high or number != int(number)]
    if wrong:
        raise ValueError(f"value = {wrong[0]}: {kind.name} holds whole numbers from {low} to {high}")
    return part.astype(kind)


class Zeros(Fixed, keras.initializers.Zeros):
    """Zeros, in any dtype."""

    def _values(self, shape: Shape, dtype: str, box: Box) -> Array:
        return constant_values(0.0, dtype, box)


class Ones(Fixed, keras.initializers.Ones):
    """Ones, in any dtype."""

    def _values(self, shape: Shape, dtype: str, box: Box) -> Array:
        return constant_values(1.0, dtype, box)


class Constant(Fixed, keras.initializers.Constant):
    """One value everywhere, or an array that broadcasts to the shape, such as a pretrained table of embeddings.

    Args:
        value: a number; or an array, a tensor or nested lists of numbers. Infinite ones are what masks are made of.

    Raises:
        TypeError: no numbers.
        ValueError: NaN; when called: a value that the dtype cannot hold, or an array that does not fit the shape.

    Example:
        >>> layer = keras.layers.Embedding(3, 2, embeddings_initializer=Constant([[0, 1], [2, 3], [4, 5]]))
        >>> layer.build()
        >>> layer.get_weights()[0].tolist()
        [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = _checked_constant(value)

    def _values(self, shape: Shape, dtype: str, box: Box) -> Array:
        if np.ndim(self.value) == 0:
            return constant_values(self.value, dtype, box)
        try:
            whole = np.broadcast_to(self.value, shape)
        except ValueError:
            given = np.shape(self.value)
            raise ValueError(f"value has shape {given}, which does not broadcast to the variable's, {shape}") from None
        return constant_values(whole, dtype, box)

    def _parameters(self) -> dict[str, Any]:
        return {"value": self.value}

    def get_config(self) -> dict[str, Any]:
        """The value as plain data, and the version of the stream."""
        return {"value": keras.saving.serialize_keras_object(self.value), "stream": STREAM}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The initializer that `get_config`, or that of Keras' own class, described; errors as of `Drawn`."""
        arguments = checked_config(config, cls)
        return cls(keras.saving.deserialize_keras_object(arguments.get("value", 0.0)))


def _checked_constant(value: Any) -> Any:
    """A number, or an array of numbers with an axis or more.

    Raises:
        TypeError: no numbers.
        ValueError: NaN among them.
    """
    number = plain_number(value)
    is_list = isinstance(number, list | tuple)
    array = np.asarray(number if is_list or not keras.ops.is_tensor(number) else keras.ops.convert_to_numpy(number))
    if array.dtype.kind not in "biuf" and array.dtype.name not in FORMATS:
        raise TypeError(f"value = {short_repr(value)}: expected a number, or an array or nested lists of numbers")
    if np.isnan(array.astype(np.float64)).any():
        raise ValueError(f"value = {short_repr(value)}: expected numbers, no NaN")
    return number if array.ndim == 0 else array


class Identity(Fixed, keras.initializers.Identity):
    """The identity matrix times a gain.

    Args:
        gain: the diagonal's value.

    Raises:
        TypeError: not a number.
        ValueError: a gain that is not finite; when called: not two axes.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = checked_number(plain_number(gain), name="gain")

    def _values(self, shape: Shape, dtype: str, box: Box) -> Array:
        if len(shape) != 2:
            raise ValueError(f"shape = {shape}: expected two axes for an identity matrix")
        form = as_format(dtype)
        return IdentityLaw(self.gain)(shape, dtype=form.name, box=box)

    def _parameters(self) -> dict[str, Any]:
        return {"gain": self.gain}


class STFT(Fixed, keras.initializers.STFT):
    """A short-time Fourier transform as the kernel (frame, 1, frequencies) of a convolution, computed in float64.

    Args:
        side: "real" or "imag": the cosines or the sines.
        window: a name that `scipy.signal.get_window` knows, the values of one, or None.
        scaling: "density" divides by the window's length, "spectrum" by its sum; None by 1.
        periodic: whether a named window is periodic.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown side, window or scaling; when called: a shape that does not fit.
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ) -> None:
        checked_choice(side, SIDES, name="side")
        if scaling is not None:
            checked_choice(scaling, SCALINGS, name="scaling")
        keras.initializers.STFT.__init__(self, side, window, scaling, periodic)

    def _values(self, shape: Shape, dtype: str, box: Box) -> Array:
        if len(shape) != 3 or shape[1] != 1 or shape[2] < 2:
            raise ValueError(f"shape = {shape}: expected (frame, 1, frequencies), two frequencies or more")
        frame, _, frequencies = shape
        angles = np.outer(np.arange(frame), np.arange(frequencies)) * (-2 * np.pi / (2 * (frequencies - 1)))
        waves = (np.cos if self.side == "real" else np.sin)(angles) * self._window(frame)[:, None]
        part: Array = waves[:, None, :][box.slices()].astype(as_format(dtype).dtype())
        return part

    def _window(self, frame: int) -> Array:
        if self.window is None:
            return np.ones(frame)
        values = _named_window(self.window, frame, self.periodic) if isinstance(self.window, str) else self.window
        window = np.asarray(keras.ops.convert_to_numpy(values), np.float64)
        if window.shape != (frame,):
            raise ValueError(f"window has shape {window.shape}: expected ({frame},), the frame of the shape")
        scale = {"density": np.sqrt(np.square(window).sum()), "spectrum": np.abs(window).sum(), None: 1.0}[self.scaling]
        return np.asarray(window / scale)

    def _parameters(self) -> dict[str, Any]:
        window = self.window
        plain = window if window is None or isinstance(window, str) else np.asarray(window, np.float64).tolist()
        return {"side": self.side, "window": plain, "scaling": self.scaling, "periodic": self.periodic}


def _named_window(name: str, frame: int, periodic: bool) -> Array:
    from scipy.signal import get_window  # noqa: PLC0415  (Keras needs it for windows by name, and nothing else)

    return np.asarray(get_window(name, frame, periodic))
