"""The classes of the drop-in for `keras.initializers`; `fanwise.keras.initializers` is their public page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from fanwise.keras.init.base import Drawn, DrawTarget
from fanwise.keras.init.constants import STFT, Constant, Identity, Ones, Zeros
from fanwise.keras.init.law import Law
from fanwise.keras.weights.tensors import plain_number
from fanwise.laws.elementwise import VarianceScaling as Scaling
from fanwise.laws.layout import Fans, Layout
from fanwise.laws.structured import Orthogonal as OrthogonalLaw
from fanwise.stream import fill
from fanwise.stream.arguments import checked_choice, checked_number
from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import Array
from fanwise.stream.truncation import Truncation

Initializer = keras.initializers.Initializer

TWO_SIGMA = Truncation(-2.0, 2.0)
MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS: Mapping[str, str] = MappingProxyType(
    {
        "truncated_normal": "truncated_normal",
        "untruncated_normal": "normal",
        "uniform": "uniform",
    }
)
"""Keras' names and ours; Keras reads "normal" as "truncated_normal"."""


class RandomNormal(Drawn, keras.initializers.RandomNormal):
    """Normal numbers; no value is further than 6.34 stds from the mean.

    Args:
        mean: expectation.
        stddev: standard deviation, >= 0.
        seed: as for `Drawn`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a number out of range.

    Example:
        >>> values = RandomNormal(stddev=0.02, seed=0)((784, 100))
        >>> round(float(keras.ops.std(values)), 4)
        0.02
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        Drawn.__init__(self, seed)
        self.mean = checked_number(plain_number(mean), name="mean")
        self.stddev = checked_number(plain_number(stddev), name="stddev", low=0.0)

    def _draw(self, target: DrawTarget, box: Box) -> Array:
        return fill.normal(target.key, target.shape, std=self.stddev, mean=self.mean, dtype=target.dtype, box=box)

    def _parameters(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(Drawn, keras.initializers.TruncatedNormal):
    """Normal numbers kept to two stddevs around the mean, without rejection.

    As in Keras, `stddev` is that of the parent: the numbers returned have 0.8796 of it.

    Args:
        mean: expectation.
        stddev: standard deviation before the cut, >= 0.
        seed: as for `Drawn`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a number out of range.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        Drawn.__init__(self, seed)
        self.mean = checked_number(plain_number(mean), name="mean")
        self.stddev = checked_number(plain_number(stddev), name="stddev", low=0.0)

    def _draw(self, target: DrawTarget, box: Box) -> Array:
        std = self.stddev * TWO_SIGMA.moments()[1]
        return fill.truncated_normal(target.key, target.shape, std=std, mean=self.mean, dtype=target.dtype, box=box)

    def _parameters(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev}


class RandomUniform(Drawn, keras.initializers.RandomUniform):
    """Uniform numbers in [minval, maxval), in every dtype.

    Args:
        minval: no value is below.
        maxval: every value is below; equal to `minval` it gives that constant.
        seed: as for `Drawn`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: minval > maxval, or a bound that is not finite.
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        Drawn.__init__(self, seed)
        self.minval = checked_number(plain_number(minval), name="minval")
        self.maxval = checked_number(plain_number(maxval), name="maxval")
        if self.minval > self.maxval:
            raise ValueError(f"minval = {self.minval}, maxval = {self.maxval}: expected minval <= maxval")

    def _draw(self, target: DrawTarget, box: Box) -> Array:
        return fill.uniform_between(
            target.key, target.shape, low=self.minval, high=self.maxval, dtype=target.dtype, box=box
        )

    def _parameters(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval}


class VarianceScaling(Drawn, keras.initializers.VarianceScaling):
    """Variance scale / fan, fans by Keras' reading of the shape: (in, out), or (*kernel, in, out) from three axes on.

    Both fans of a vector are its length and those of a number are 1, as in Keras.

    Args:
        scale: variance times fan, > 0.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (or "normal", as Keras calls it too), whose std is exact after the cut at
            two sigmas, "untruncated_normal" or "uniform".
        seed: as for `Drawn`.
        input_axes: the axes that are summed over, where the shape does not tell; with `output_axes`.
        output_axes: the axes that are made; those in neither list stack maps of one kind.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a number out of range, an unknown mode or distribution, an axis in both lists, one list alone.

    Example:
        >>> values = VarianceScaling(2.0, "fan_in", "uniform", seed=0)((3, 3, 16, 32))
        >>> bool(keras.ops.max(values) <= (6 / 144) ** 0.5)
        True

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 12
        and 16; He et al., "Delving deep into rectifiers", 2015, eq. 10.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Any = None,
        output_axes: Any = None,
    ) -> None:
        Drawn.__init__(self, seed)
        self.scale = checked_number(plain_number(scale), name="scale", low=math.ulp(0.0))
        self.mode = checked_choice(mode, MODES, name="mode")
        known = (*DISTRIBUTIONS, "normal")
        lower = distribution.lower() if isinstance(distribution, str) else distribution
        name = checked_choice(lower, known, name="distribution")
        self.distribution = "truncated_normal" if name == "normal" else name
        self.input_axes, self.output_axes = _checked_axes(input_axes, output_axes)

    def _draw(self, target: DrawTarget, box: Box) -> Array:
        law = Scaling(self.scale, self.mode, DISTRIBUTIONS[self.distribution])
        if len(target.shape) < 2 and self.input_axes is None:
            plain = law.law(Fans(length := math.prod(target.shape), length))
            return plain(target.shape, key=target.key, dtype=target.dtype, box=box)
        layout = self._layout(target.shape)
        return law(target.shape, key=target.key, layout=layout, dtype=target.dtype, box=box)

    def _layout(self, shape: Shape) -> Layout | None:
        if self.input_axes is None or self.output_axes is None:
            return None
        inputs, outputs = (
            _axes_of(shape, axes, name)
            for axes, name in ((self.input_axes, "input_axes"), (self.output_axes, "output_axes"))
        )
        if inputs & outputs:
            raise ValueError(f"input_axes and output_axes share axis {min(inputs & outputs)}: expected none in common")
        role = {**dict.fromkeys(inputs, "in"), **dict.fromkeys(outputs, "out")}
        return Layout(tuple(role.get(axis, "stack") for axis in range(len(shape))))

    def _parameters(self) -> dict[str, Any]:
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, **self._axes()}

    def _axes(self) -> dict[str, Any]:
        return {"input_axes": self.input_axes, "output_axes": self.output_axes}


class _Preset(VarianceScaling):
    """A `VarianceScaling` whose scale, mode and distribution are fixed."""

    LAW: tuple[float, str, str]

    def __init__(self, seed: Any = None, input_axes: Any = None, output_axes: Any = None) -> None:
        VarianceScaling.__init__(self, *self.LAW, seed, input_axes, output_axes)

    def _parameters(self) -> dict[str, Any]:
        return self._axes()


class GlorotNormal(_Preset, keras.initializers.GlorotNormal):
    """Truncated normal of std sqrt(2 / (fan_in + fan_out)); arguments of `VarianceScaling`."""

    LAW = (1.0, "fan_avg", "truncated_normal")


class GlorotUniform(_Preset, keras.initializers.GlorotUniform):
    """Uniform within sqrt(6 / (fan_in + fan_out)); arguments of `VarianceScaling`."""

    LAW = (1.0, "fan_avg", "uniform")


class HeNormal(_Preset, keras.initializers.HeNormal):
    """Truncated normal of std sqrt(2 / fan_in); arguments of `VarianceScaling`."""

    LAW = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Preset, keras.initializers.HeUniform):
    """Uniform within sqrt(6 / fan_in); arguments of `VarianceScaling`."""

    LAW = (2.0, "fan_in", "uniform")


class LecunNormal(_Preset, keras.initializers.LecunNormal):
    """Truncated normal of std sqrt(1 / fan_in); arguments of `VarianceScaling`."""

    LAW = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Preset, keras.initializers.LecunUniform):
    """Uniform within sqrt(3 / fan_in); arguments of `VarianceScaling`."""

    LAW = (1.0, "fan_in", "uniform")


class Orthogonal(Drawn, keras.initializers.Orthogonal):
    """A Haar orthogonal matrix times a gain: all axes but the last are the rows.

    All singular values are |gain|. Computed in float32, in float64 for float64, then rounded.

    Args:
        gain: factor on the matrix, of any sign.
        seed: as for `Drawn`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a gain that is not finite; when called: fewer than two axes.

    References:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks", 2013.
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        Drawn.__init__(self, seed)
        self.gain = checked_number(plain_number(gain), name="gain")

    def _draw(self, target: DrawTarget, box: Box) -> Array:
        if len(target.shape) < 2:
            raise ValueError(f"shape = {target.shape}: expected two or more axes for an orthogonal matrix")
        law = OrthogonalLaw(abs(self.gain), "norm")
        matrix = law(target.shape, key=target.key, dtype=target.dtype, box=box)
        return -matrix if self.gain < 0 else matrix

    def _parameters(self) -> dict[str, Any]:
        return {"gain": self.gain}


def _checked_axes(inputs: Any, outputs: Any) -> tuple[list[int] | None, list[int] | None]:
    if (inputs is None) != (outputs is None):
        raise ValueError(f"input_axes = {inputs!r}, output_axes = {outputs!r}: expected both, or neither")
    return _axis_list(inputs, "input_axes"), _axis_list(outputs, "output_axes")


def _axis_list(axes: Any, name: str) -> list[int] | None:
    if axes is None:
        return None
    listed = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    if not all(isinstance(axis, (int, np.integer)) and not isinstance(axis, bool) for axis in listed):
        raise TypeError(f"{name} = {axes!r}: expected a list of integers")
    return [int(axis) for axis in listed]


def _axes_of(shape: Shape, axes: list[int], name: str) -> set[int]:
    for axis in axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{name} holds {axis}: the shape {shape} has {len(shape)} axes")
    return {axis % len(shape) for axis in axes}


@dataclass(frozen=True)
class Entry:
    """A row of the registry.

    Args:
        make: the class.
        example: a value to show and to test.
        formula: what it draws, in one line.
        names: what Keras calls it besides the class's name.
    """

    make: type
    example: Any
    formula: str
    names: tuple[str, ...] = ()


_ENTRIES = (
    Entry(Zeros, Zeros(), "0", ("zeros",)),
    Entry(Ones, Ones(), "1", ("ones",)),
    Entry(Constant, Constant(0.5), "value", ("constant",)),
    Entry(Identity, Identity(), "gain I", ("identity", "IdentityInitializer")),
    Entry(STFT, STFT(window=None), "a window's Fourier basis", ("stft", "STFTInitializer")),
    Entry(RandomNormal, RandomNormal(seed=0), "N(mean, stddev^2)", ("random_normal",)),
    Entry(RandomUniform, RandomUniform(seed=0), "U[minval, maxval)", ("random_uniform",)),
    Entry(TruncatedNormal, TruncatedNormal(seed=0), "N(mean, stddev^2) kept to 2 stddev", ("truncated_normal",)),
    Entry(VarianceScaling, VarianceScaling(seed=0), "variance scale / fan", ("variance_scaling",)),
    Entry(GlorotNormal, GlorotNormal(seed=0), "truncated N, variance 2 / (fan_in + fan_out)", ("glorot_normal",)),
    Entry(GlorotUniform, GlorotUniform(seed=0), "U(+-sqrt(6 / (fan_in + fan_out)))", ("glorot_uniform",)),
    Entry(HeNormal, HeNormal(seed=0), "truncated N, variance 2 / fan_in", ("he_normal",)),
    Entry(HeUniform, HeUniform(seed=0), "U(+-sqrt(6 / fan_in))", ("he_uniform",)),
    Entry(LecunNormal, LecunNormal(seed=0), "truncated N, variance 1 / fan_in", ("lecun_normal",)),
    Entry(LecunUniform, LecunUniform(seed=0), "U(+-sqrt(3 / fan_in))", ("lecun_uniform",)),
    Entry(Orthogonal, Orthogonal(seed=0), "gain Q, Q Haar", ("orthogonal", "OrthogonalInitializer")),
    Entry(Law, Law("he_normal", seed=0), "any law of fanwise, with its layout"),
)

INITIALIZERS: Mapping[str, Entry] = MappingProxyType({entry.make.__name__: entry for entry in _ENTRIES})
"""Initializers by the name of their class."""

_SHORT = {"normal": RandomNormal, "uniform": RandomUniform, "zero": Zeros, "one": Ones}
"""Names that Keras understands in `get` alone."""
_KNOWN: Mapping[str, Any] = MappingProxyType(
    {name: entry.make for key, entry in INITIALIZERS.items() for name in (key, *entry.names)} | _SHORT
)

zeros, ones, constant, identity, stft = Zeros, Ones, Constant, Identity, STFT
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_normal, glorot_uniform, he_normal, he_uniform = GlorotNormal, GlorotUniform, HeNormal, HeUniform
lecun_normal, lecun_uniform = LecunNormal, LecunUniform
IdentityInitializer, OrthogonalInitializer, STFTInitializer = Identity, Orthogonal, STFT

for _entry in _ENTRIES:
    keras.saving.register_keras_serializable(package="fanwise")(_entry.make)

serialize = keras.initializers.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The initializer of a configuration; names without a package are those of this module.

    Args:
        config: as `serialize` returns it.
        custom_objects: more classes, by name.

    Raises:
        TypeError: a key that the initializer does not have.
        ValueError: an unknown name, or numbers of a stream that this fanwise does not know.
    """
    named = isinstance(config, Mapping) and "registered_name" not in config and config.get("class_name") in _KNOWN
    if named:
        return _KNOWN[config["class_name"]].from_config(config.get("config", {}))
    return keras.initializers.deserialize(config, custom_objects=custom_objects)


def get(identifier: Any) -> Any:
    """The initializer that a name, a class, a configuration, a tensor or a function means, as `keras.initializers.get`.

    Raises:
        ValueError: nothing that means an initializer; the message lists the names.

    Example:
        >>> type(get("he_normal")) is HeNormal
        True
    """
    if isinstance(identifier, str):
        names = [name for name in _KNOWN if name != "Law"]
        if identifier not in names:
            raise ValueError(f"initializer {identifier!r}: expected one of {', '.join(names)}")
        return _KNOWN[identifier]()
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    return keras.initializers.get(identifier)
