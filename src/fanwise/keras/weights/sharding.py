"""Sharded variables on JAX: every device draws its own part."""

from collections.abc import Callable
from typing import Any

import jax
import keras

from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import Array


def sharded(draw: Callable[[Box], Array], shape: Shape, layout: Any) -> jax.Array:
    """An array whose parts are drawn one by one, where they will lie.

    Args:
        draw: gives the numbers of any box.
        shape: of the whole variable.
        layout: a `keras.distribution.TensorLayout` or a `jax.sharding.Sharding`.

    Raises:
        TypeError: a layout of another kind.
    """
    wanted = layout.backend_layout if isinstance(layout, keras.distribution.TensorLayout) else layout
    if not isinstance(wanted, jax.sharding.Sharding):
        raise TypeError(f"layout = {layout!r}: expected a keras.distribution.TensorLayout or a jax.sharding.Sharding")
    concrete = _on_devices(wanted)

    def part(index: tuple[slice, ...] | None) -> Any:
        index = index or ()
        starts = tuple(piece.start or 0 for piece in index)
        stops = tuple(size if piece.stop is None else piece.stop for piece, size in zip(index, shape, strict=True))
        return draw(Box(starts, tuple(stop - start for start, stop in zip(starts, stops, strict=True))))

    array = jax.make_array_from_callback(shape, concrete, part)
    return array if wanted is concrete else jax.sharding.reshard(array, wanted)


def _on_devices(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """The sharding on the mesh in use where it names an abstract one, as in the constructor of Keras' variables."""
    if isinstance(sharding, jax.sharding.NamedSharding) and isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        return jax.sharding.NamedSharding(jax.sharding.get_mesh(), sharding.spec)
    return sharding
