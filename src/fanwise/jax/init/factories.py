"""Initializers that the factories of `fanwise.jax.init.functions` return, and the checks of their arguments."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanwise.jax.init.constants import fill_array
from fanwise.jax.stream.draw import Sharding, draw_checked, placed
from fanwise.jax.stream.dtypes import as_kind
from fanwise.jax.stream.integers import is_traced
from fanwise.jax.stream.keys import JaxKey, stream_key
from fanwise.laws.base import Initializer as Law
from fanwise.laws.base import checked_layout_shape
from fanwise.laws.elementwise import Normal, TruncatedNormal, Uniform
from fanwise.laws.layout import Layout
from fanwise.laws.structured import Orthogonal
from fanwise.stream.arguments import checked_number
from fanwise.stream.box import Shape, ShapeLike, checked_shape

Axes: TypeAlias = int | Sequence[int]
COMPLEX = {"complex64": "float32", "complex128": "float64"}


@runtime_checkable
class Initializer(Protocol):
    """An initializer: called with a key, a shape, and if wanted a dtype and a sharding."""

    def __call__(self, key: JaxKey, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
        """Draws an array."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant:
    """The initializer that `constant` returns."""

    value: Any
    dtype: Any = None

    def __call__(self, key: Any, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
        """The value everywhere; the key is not read."""
        return fill_array(self.value, shape, self.dtype if dtype is None else dtype, out_sharding)


@dataclass(frozen=True)
class Drawn:
    """An initializer that draws each element, or each matrix, by a law: what the factories return.

    Args:
        name: of the factory.
        law: what is drawn for a shape.
        dtype: of the arrays, unless the call names one.
        layout: roles of the axes, for laws with fans of their own.
    """

    name: str
    law: Any
    _: KW_ONLY
    dtype: Any = None
    layout: Layout | None = None

    def __call__(self, key: JaxKey, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
        """Draws an array.

        Args:
            key: a JAX key or a `fanwise.Key`.
            shape: of the array.
            dtype: float32, bfloat16, float16, an 8-bit float, float64 in JAX's 64-bit mode, or complex.
            out_sharding: where the array goes: no device then holds more than its shard.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: a shape that does not fit, or a scale that the dtype cannot hold.
        """
        sizes, wanted = checked_shape(shape), self.dtype if dtype is None else dtype
        law = self.law if isinstance(self.law, Law) else self.law(sizes)
        if is_complex(wanted):
            return self._complex(law, key, sizes, (wanted, out_sharding))
        kind, named = as_kind(wanted), stream_key(key)
        checked_layout_shape(sizes, self.layout)
        kind.check_reach(law.moments(sizes, layout=self.layout))
        return draw_checked(law, named, (sizes, self.layout), kind, out_sharding)

    def _complex(self, law: Law, key: JaxKey, sizes: Shape, target: tuple[Any, Any]) -> Array:
        """Real and imaginary parts, each with half of the variance."""
        kind = as_kind(COMPLEX[jnp.dtype(target[0]).name])
        part, named = _half_of(law, self.name), stream_key(key)
        parts = (named, named.derive("imaginary"))
        numbers = [draw_checked(part, own, (sizes, self.layout), kind, target[1]) for own in parts]
        return jax.lax.complex(*numbers)


def is_complex(dtype: Any) -> bool:
    """Whether a dtype is one of complex numbers."""
    try:
        return dtype is not None and jnp.dtype(dtype).name in COMPLEX
    except TypeError:
        return False


def _half_of(law: Law, name: str) -> Law:
    """The law of the real parts of complex numbers."""
    if isinstance(law, Normal | TruncatedNormal) and name != "truncated_normal":
        return replace(law, std=law.std / math.sqrt(2))
    if isinstance(law, Uniform):
        return Uniform(law.bound / math.sqrt(2))
    raise TypeError(f"{name} draws real numbers: expected a real dtype, such as float32")


@dataclass(frozen=True)
class ScaledByFans:
    """The law of `variance_scaling` for a shape, by JAX's rule of fans."""

    scale: float
    mode: str
    distribution: str
    in_axis: Axes = -2
    out_axis: Axes = -1
    batch_axis: Axes = ()

    def __post_init__(self) -> None:
        for name, axes in (("in_axis", self.in_axis), ("out_axis", self.out_axis), ("batch_axis", self.batch_axis)):
            object.__setattr__(self, name, checked_axes(axes, name))
        named = [axis for axes in (self.in_axis, self.out_axis, self.batch_axis) for axis in _listed(axes)]
        if len(set(named)) < len(named):
            raise ValueError(f"in_axis, out_axis and batch_axis name an axis twice: {named}")

    def __call__(self, shape: Shape) -> Law:
        """The law without fans that this one is for a shape."""
        fan_in, fan_out = self.fans(shape)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        fan = fans.get(self.mode, math.sqrt(fan_in * fan_out))
        std = math.sqrt(self.scale / fan) if fan else 0.0
        if self.distribution == "uniform":
            return Uniform(math.sqrt(3) * std)
        return Normal(std) if self.distribution == "normal" else TruncatedNormal(std)

    def fans(self, shape: Shape) -> tuple[float, float]:
        """Inputs and outputs, each times the axes that no argument names."""
        if self.in_axis == -2 and len(shape) < 2:
            raise ValueError(f"shape = {shape} has {len(shape)} axes: expected 2 or more, or an in_axis of its own")
        groups = [self._resolved(axes, shape) for axes in (self.in_axis, self.out_axis, self.batch_axis)]
        named = [axis for axes in groups for axis in axes]
        if len(set(named)) < len(named):
            raise ValueError(f"in_axis, out_axis and batch_axis name an axis of {shape} twice: {named}")
        window = math.prod(size for axis, size in enumerate(shape) if axis not in named)
        inputs, outputs = (math.prod(shape[axis] for axis in axes) for axes in groups[:2])
        return float(window * inputs), float(window * outputs)

    def _resolved(self, axes: Axes, shape: Shape) -> list[int]:
        wrong = [axis for axis in _listed(axes) if not -len(shape) <= axis < len(shape)]
        if wrong:
            raise ValueError(f"axis {wrong[0]} is out of range for the shape {shape}")
        return [axis % len(shape) for axis in _listed(axes)]


@dataclass(frozen=True)
class OrthonormalColumns:
    """The initializer that `orthogonal` returns."""

    scale: float
    column_axis: int = -1
    dtype: Any = None

    def __call__(self, key: JaxKey, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
        """Draws a matrix; arguments as for every initializer here."""
        sizes = checked_shape(shape)
        if len(sizes) < 2:
            raise ValueError(f"shape = {sizes}: expected 2 axes or more")
        if not -len(sizes) <= self.column_axis < len(sizes):
            raise ValueError(f"column_axis = {self.column_axis} is out of range for the shape {sizes}")
        roles = ["in"] * len(sizes)
        roles[self.column_axis] = "out"
        wanted = self.dtype if dtype is None else dtype
        if is_complex(wanted):
            raise TypeError(f"dtype = {wanted!r}: orthogonal draws real matrices, expected a real dtype")
        init = Drawn("orthogonal", Orthogonal(self.scale, "norm"), layout=Layout(tuple(roles)))
        return init(key, sizes, wanted, out_sharding)


@dataclass(frozen=True)
class OrthonormalCentre:
    """The initializer that `delta_orthogonal` returns."""

    scale: float
    column_axis: int = -1
    dtype: Any = None

    def __call__(self, key: JaxKey, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
        """Draws a kernel; arguments as for every initializer here."""
        sizes = checked_shape(shape)
        if len(sizes) not in (3, 4, 5):
            raise ValueError(f"shape = {sizes}: expected 3, 4 or 5 axes, (*kernel, in, out)")
        if sizes[-1] < sizes[-2]:
            raise ValueError(f"shape = {sizes}: {sizes[-2]} inputs into {sizes[-1]} outputs (expected no more inputs)")
        tap = OrthonormalColumns(self.scale, self.column_axis, self.dtype)(key, sizes[-2:], dtype)
        ends = [((size - 1) // 2, size - 1 - (size - 1) // 2) for size in sizes[:-2]]
        centre = tap.reshape((1,) * len(ends) + sizes[-2:])
        kernel = jnp.pad(centre, [*ends, (0, 0), (0, 0)]) if math.prod(sizes[:-2]) else jnp.zeros(sizes, tap.dtype)
        return placed(lambda: kernel, sizes, kernel.dtype, out_sharding)


# Arguments


def value_of(value: Any, name: str) -> Any:
    """A number out of an array of one."""
    if is_traced(value):
        raise TypeError(f"{name} is being traced: the stream needs its value, expected a number")
    if isinstance(value, Array | np.ndarray) and value.ndim == 0:
        return value.item()
    return value


def scale_of(value: Any, name: str) -> float:
    """A finite number >= 0."""
    return checked_number(value_of(value, name), name=name, low=0.0)


def checked_axis(axis: Any, name: str) -> int:
    """An axis, from the front or from the back."""
    if isinstance(axis, bool | np.bool_) or not isinstance(axis, int | np.integer):
        raise TypeError(f"{name} = {axis!r}: expected an integer")
    return int(axis)


def checked_axes(axes: Any, name: str) -> Axes:
    """An axis or several."""
    if isinstance(axes, Sequence) and not isinstance(axes, str):
        return tuple(checked_axis(axis, name) for axis in axes)
    return checked_axis(axes, name)


def _listed(axes: Axes) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def checked_dtype(dtype: Any) -> Any:
    """A dtype in which numbers can be drawn, or None."""
    if dtype is not None and not is_complex(dtype):
        as_kind(dtype)
    return dtype
