"""Recurrent networks of series."""

from typing import Any

from flax import linen
from jax import Array

from zoo.jax.batches import series
from zoo.jax.libraries import built
from zoo.model import maker


class Recurrent(linen.Module):
    """A cell over time; its last state is read."""

    cell: Any

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        return linen.Dense(10, name="head")(linen.RNN(self.cell, name="body")(x)[:, -1])


tuned = maker("jax", "recurrent", "tuned")
MODELS = (
    tuned("lstm", built(Recurrent(linen.OptimizedLSTMCell(64)), series), series),
    tuned("gru", built(Recurrent(linen.GRUCell(64)), series), series),
)
