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
from fanwise.jax.stream.draw import Sharding, draw_checked, home_of, placed
from fanwise.jax.stream.dtypes import COMPLEX, as_kind, complex_name, is_complex
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


@runtime_checkable
class Initializer(Protocol):
    """An initializer: called with a key, a shape, and if wanted a dtype and a sharding."""

    def __call__(self, key: JaxKey, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
        """Draws an array."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Constant:
    """The initializer that `constant` returns: equal, and of equal hash, where its numbers and its dtype are."""

    value: Any
    dtype: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Any, ...]:
        """What tells it from others; of a traced value nothing is known but which it is."""
        if is_traced(self.value):
            return id(self.value), self.dtype
        numbers = np.asarray(self.value)
        return numbers.shape, numbers.dtype, numbers.tobytes(), self.dtype

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
            out_sharding: where the array goes: no device then holds more than its shard. Without one it goes where
                a committed key lives.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: a shape that does not fit, or a scale that the dtype cannot hold.
        """
        sizes, wanted = checked_shape(shape), self.dtype if dtype is None else dtype
        law = self.law if isinstance(self.law, Law) else self.law(sizes)
        target = wanted, home_of(key, out_sharding)
        if is_complex(wanted):
            return self._complex(law, key, sizes, target)
        kind = as_kind(wanted)
        checked_layout_shape(sizes, self.layout)
        kind.check_reach(law.moments(sizes, layout=self.layout))
        return draw_checked(law, stream_key(key), (sizes, self.layout), kind, target[1])

    def _complex(self, law: Law, key: JaxKey, sizes: Shape, target: tuple[Any, Any]) -> Array:
        """Real and imaginary parts, each with half of the variance."""
        kind = as_kind(COMPLEX[complex_name(target[0])])
        part, named = _half_of(law, self.name), stream_key(key)
        parts = (named, named.derive("imaginary"))
        numbers = [draw_checked(part, own, (sizes, self.layout), kind, target[1]) for own in parts]
        return jax.lax.complex(*numbers)


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
        """All axes but those of the outputs and batches; all but those of the inputs and batches.

        An axis may be input and output at once, as in Flax's embeddings (``out_axis=0``): the fans of JAX, the
        elements over the product of the named axes, then take it off twice.
        """
        if self.in_axis == -2 and len(shape) < 2:
            raise ValueError(f"shape = {shape} has {len(shape)} axes: expected 2 or more, or an in_axis of its own")
        inputs = _extent(self.in_axis, shape, "in_axis")
        outputs = _extent(self.out_axis, shape, "out_axis")
        batches = _extent(self.batch_axis, shape, "batch_axis")
        total = math.prod(shape)
        return (total / (outputs * batches), total / (inputs * batches)) if total else (0.0, 0.0)


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
        init = Drawn("orthogonal", Orthogonal(abs(self.scale), "norm"), layout=Layout(tuple(roles)))
        matrix = init(key, sizes, wanted, out_sharding)
        return -matrix if self.scale < 0 else matrix


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


def scale_of(value: Any, name: str, low: float = 0.0) -> float:
    """A finite number that is not below `low`."""
    return checked_number(value_of(value, name), name=name, low=low)


def checked_axis(axis: Any, name: str) -> int:
    """An axis, from the front or from the back."""
    if isinstance(axis, bool | np.bool_) or not isinstance(axis, int | np.integer):
        raise TypeError(f"{name} = {axis!r}: expected an integer")
    return int(axis)


def checked_axes(axes: Any, name: str) -> Axes:
    """An axis or several."""
    if isinstance(axes, np.ndarray):
        axes = axes.tolist()
    if isinstance(axes, Sequence) and not isinstance(axes, str):
        return tuple(checked_axis(axis, name) for axis in axes)
    return checked_axis(axes, name)


def _extent(axes: Axes, shape: Shape, name: str) -> int:
    """Product of the sizes of some axes.

    Raises:
        ValueError: an axis that the shape does not have, or the same axis twice.
    """
    listed = _listed(axes)
    wrong = [axis for axis in listed if not -len(shape) <= axis < len(shape)]
    if wrong:
        raise ValueError(f"{name}: axis {wrong[0]} is out of range for the shape {shape}")
    if len({axis % len(shape) for axis in listed}) < len(listed):
        raise ValueError(f"{name} = {listed} names an axis of the shape {shape} twice")
    return math.prod(shape[axis] for axis in listed)


def _listed(axes: Axes) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def checked_dtype(dtype: Any) -> Any:
    """A dtype in which numbers can be drawn, or None."""
    if dtype is not None and not is_complex(dtype):
        as_kind(dtype)
    return dtype
