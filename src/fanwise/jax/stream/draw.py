"""`draw`: the numbers of any law as a JAX array, eagerly, under jit, and in shards.

With a key that has a value, outside of any trace, the native kernel draws, each device's shard on its own. With a
traced key, or inside a trace, the numbers are computed where the program runs (`stream.bits`): the same bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding
from numpy.typing import NDArray

from fanwise.jax.stream import bits as stream
from fanwise.jax.stream.dtypes import Kind, as_kind, standard_promotion
from fanwise.jax.stream.integers import inside_trace, is_traced
from fanwise.jax.stream.keys import JaxKey, StreamKey, TracedKey, fanwise_key, stream_key, stream_of
from fanwise.jax.stream.matrices import MADE_HERE, matrix_part
from fanwise.laws.base import Initializer, Moments, Site, checked_layout_shape
from fanwise.laws.elementwise import ConstantLaw, ElementwiseLaw
from fanwise.laws.layout import Layout
from fanwise.laws.resolve import Part, resolved_parts
from fanwise.stream import fill
from fanwise.stream.arguments import checked_number
from fanwise.stream.box import Box, Shape, ShapeLike, check_memory
from fanwise.stream.formats import Format
from fanwise.stream.key import Key
from fanwise.stream.law import Law, uniform_between_law

Sharding: TypeAlias = jax.sharding.Sharding | PartitionSpec
"""The placement of an array: a sharding, or a PartitionSpec for the mesh that is set."""


@dataclass(frozen=True)
class UniformBetween(Initializer):
    """Uniform in [low, high); low = high gives that constant. JAX's own uniform is one with low = 0.

    Args:
        low: the smallest value.
        high: above every value.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if checked_number(self.low, name="low") > checked_number(self.high, name="high"):
            raise ValueError(f"low = {self.low}, high = {self.high}: expected low <= high")

    def _draw(self, site: Site, out: NDArray[Any]) -> None:
        key, form = site.known_key(), site.form.name
        fill.uniform_between(key, site.shape, low=self.low, high=self.high, dtype=form, box=site.box, out=out)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        return Moments((self.low + self.high) / 2, (self.high - self.low) / math.sqrt(12), self.low, self.high)


def draw(
    law: Initializer,
    key: JaxKey,
    shape: ShapeLike,
    *,
    layout: Layout | None = None,
    dtype: Any = None,
    out_sharding: Sharding | None = None,
) -> Array:
    """Draws a parameter by a law of fanwise: the bits of ``law(shape, key=..., layout=..., dtype=...)``.

    Args:
        law: any initializer of fanwise.
        key: a JAX key, typed or raw, traced or not, which stands for `fanwise.jax.fanwise_key(key)`, or such a key.
        shape: global shape.
        layout: roles of the axes; without one the shape is (fan_in, fan_out), or (*kernel, in, out).
        dtype: float32, bfloat16, float16, an 8-bit float, or float64 in JAX's 64-bit mode; JAX's default by default.
        out_sharding: where the array goes. No device then holds more than its shard. Without one it goes where a
            committed key lives: its device, or its mesh, on which every device then holds all of it.

    Returns:
        The array. Orthogonal matrices agree to the tolerance that `fanwise.Orthogonal` states, all else to the bit.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a shape or layout that do not fit the law, or numbers that the dtype cannot hold.
        MemoryError: more bytes than this machine has.

    Example:
        >>> import fanwise
        >>> w = draw(fanwise.he_normal, jax.random.key(0), (784, 100))
        >>> bool((w == jax.jit(lambda key: draw(fanwise.he_normal, key, (784, 100)))(jax.random.key(0))).all())
        True
    """
    if not isinstance(law, Initializer):
        raise TypeError(f"law = {law!r}: expected an initializer of fanwise, such as fanwise.he_normal")
    kind, sizes, named = as_kind(dtype), checked_layout_shape(shape, layout), stream_key(key)
    kind.check_reach(law.moments(sizes, layout=layout))
    return draw_checked(law, named, (sizes, layout), kind, home_of(key, out_sharding))


@standard_promotion()
def draw_checked(
    law: Initializer, key: StreamKey, site: tuple[Shape, Layout | None], kind: Kind, out_sharding: Sharding | None
) -> Array:
    """Draws what `draw` does, once the arguments are checked."""
    sharding = known_sharding(out_sharding)
    if isinstance(key, TracedKey) or inside_trace():
        return _under_sharding(lambda words: _traced(law, (key, words), site, kind), stream_of(key), sharding)
    if sharding is None:
        check_memory(site[0], kind.form.dtype().itemsize)
        return jnp.asarray(_piece(law, key, site, kind, None))
    array: Array = jax.make_array_from_callback(
        site[0], sharding, lambda index: _piece(law, key, site, kind, box_of(index or (), site[0])), dtype=kind.dtype
    )
    return array


def _piece(
    law: Initializer, key: Key, site: tuple[Shape, Layout | None], kind: Kind, box: Box | None
) -> NDArray[np.generic]:
    """A box of the values, by the native kernel."""
    shape, layout = site
    drawn = law(shape, key=key, layout=layout, dtype=kind.form.name, box=box)
    return drawn if kind.form.name == kind.dtype.name else drawn.astype(kind.dtype)


def box_of(index: tuple[slice, ...], shape: Shape) -> Box:
    """The box that an index of slices cuts out."""
    ranges = [part.indices(size) for part, size in zip(index, shape, strict=True)]
    return Box(tuple(first for first, _, _ in ranges), tuple(stop - first for first, stop, _ in ranges))


def placed(make: Callable[[], Array], shape: Shape, dtype: np.dtype[Any], out_sharding: Sharding | None) -> Array:
    """An array that needs no key, where it is wanted.

    Args:
        make: makes it whole.
        shape: of it.
        dtype: of it.
        out_sharding: where it goes.
    """
    sharding = known_sharding(out_sharding)
    if sharding is None:
        return make()
    if inside_trace():
        return _under_sharding(lambda _: make(), jnp.zeros(0), sharding)
    array: Array = jax.jit(make, out_shardings=sharding)()
    return array


# Shardings


def home_of(key: JaxKey, out_sharding: Sharding | None) -> Sharding | None:
    """The placement of what a key draws: the one asked for, else that of a committed key with a value.

    Args:
        key: any.
        out_sharding: the one asked for.
    """
    if out_sharding is not None or not isinstance(key, Array) or inside_trace() or is_traced(key) or not key.committed:
        return out_sharding
    if isinstance(key.sharding, NamedSharding) and key.sharding.is_fully_replicated:
        return NamedSharding(key.sharding.mesh, PartitionSpec())
    return key.sharding if isinstance(key.sharding, SingleDeviceSharding) else None


def known_sharding(sharding: Sharding | None) -> jax.sharding.Sharding | None:
    """The sharding that an argument means: a PartitionSpec is one of the mesh that is set.

    Raises:
        TypeError: no sharding.
        ValueError: a PartitionSpec where no mesh is set.
    """
    if sharding is None or isinstance(sharding, jax.sharding.Sharding):
        return sharding
    if not isinstance(sharding, PartitionSpec):
        raise TypeError(f"out_sharding = {sharding!r}: expected a jax.sharding.Sharding or a PartitionSpec")
    mesh = jax.sharding.get_abstract_mesh() if inside_trace() else jax.sharding.get_mesh()
    if mesh.empty:
        raise ValueError(f"out_sharding = {sharding!r} and no mesh is set: give a NamedSharding, or use jax.set_mesh")
    return NamedSharding(mesh, sharding)


def _under_sharding(make: Any, words: Array, sharding: jax.sharding.Sharding | None) -> Array:
    """Makes an array of a stream's words inside a program, under a sharding."""
    if sharding is None:
        array: Array = make(words)
    elif isinstance(sharding, NamedSharding) and AxisType.Explicit in sharding.mesh.axis_types:
        array = jax.sharding.auto_axes(make, out_sharding=sharding)(words)
    else:
        array = lax.with_sharding_constraint(make(words), sharding)
    return array


# Inside a program


def _traced(law: Initializer, key: tuple[StreamKey, Array], site: tuple[Shape, Layout | None], kind: Kind) -> Array:
    shape, layout = site
    parts = resolved_parts(law, shape, layout)
    if not parts:
        return jnp.zeros(shape, kind.dtype)
    if not all(isinstance(part.law, _KNOWN) for part in parts):
        return _on_host(law, key[0], site, kind)
    return _joined(parts, key[1], shape, kind.form).astype(kind.dtype)


def _joined(parts: tuple[Part, ...], words: Array, shape: Shape, form: Format) -> Array:
    """The parts in their places: each value is chosen by its index, so that shards need nothing of each other."""
    drawn = stream.words(words, shape)
    each = [
        matrix_part(part, words, shape, form) if isinstance(part.law, MADE_HERE) else _values(part, drawn, form)
        for part in parts
    ]
    placed = [_padded(array, part.box, shape) for array, part in zip(each, parts, strict=True)]
    pairs = list(zip(placed, parts, strict=True))
    return reduce(lambda array, pair: jnp.where(_within(pair[1].box, shape), pair[0], array), pairs[1:], placed[0])


def _padded(array: Array, box: Box, shape: Shape) -> Array:
    if array.shape == shape:
        return array
    ends = [(a, size - a - n) for a, n, size in zip(box.start, box.shape, shape, strict=True)]
    return jnp.pad(array, ends)


def _within(box: Box, shape: Shape) -> Array:
    """Whether each index lies in a box."""
    inside: Any = True
    for axis, (first, extent) in enumerate(zip(box.start, box.shape, strict=True)):
        if extent < shape[axis]:
            index = lax.broadcasted_iota(jnp.int32, shape, axis)
            inside = inside & (index >= first) & (index < first + extent)
    return jnp.asarray(inside)


def _values(part: Part, drawn: Array, form: Format) -> Array:
    """Values over the whole shape: the part's own are chosen from them."""
    law = part.law
    if isinstance(law, ConstantLaw) or (isinstance(law, UniformBetween) and law.low == law.high):
        return jnp.full(drawn.shape, law.moments(()).mean, form.dtype())
    return stream.values(drawn, stream_law(law, form), form)


def stream_law(law: Initializer, form: Format) -> Law:
    """The stream's law of an elementwise initializer.

    Raises:
        TypeError: another initializer.
        ValueError: numbers that the dtype cannot hold.
    """
    if isinstance(law, ElementwiseLaw):
        return law.stream_law(form)
    if isinstance(law, UniformBetween):
        return uniform_between_law(form, law.low, law.high)
    raise TypeError(f"law = {law!r}: expected one that draws each element alone")


_KNOWN = (ConstantLaw, ElementwiseLaw, UniformBetween, *MADE_HERE)


def _on_host(law: Initializer, key: StreamKey, site: tuple[Shape, Layout | None], kind: Kind) -> Array:
    """Laws that no program of JAX computes here (`Sparse`, `ICNR`): the key goes to the host, which draws."""
    target = jax.ShapeDtypeStruct(site[0], kind.dtype)
    words = key.data if isinstance(key, TracedKey) else jnp.zeros(0, jnp.uint32)

    def answer(data: Any) -> NDArray[np.generic]:
        known = _known_key(key, data)
        return np.asarray(_piece(law, known, site, kind, None))

    array: Array = jax.pure_callback(answer, target, words, vmap_method="sequential")
    return array


def _known_key(key: StreamKey, data: Any) -> Key:
    if isinstance(key, Key):
        return key
    plain = fanwise_key(np.asarray(data))
    return Key(plain.seed, key.path, key.domain)
