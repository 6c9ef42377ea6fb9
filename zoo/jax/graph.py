"""Networks of sets."""

from flax import linen
from jax import Array

from zoo.jax.batches import series
from zoo.jax.laws import he
from zoo.jax.libraries import built
from zoo.model import maker


class Sets(linen.Module):
    """A map of each element, and one of their mean."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """What it makes of its input."""
        for i in range(2):
            x = linen.relu(linen.Dense(64, kernel_init=he, name=f"each{i}")(x))
        x = linen.relu(linen.Dense(64, kernel_init=he, name="all0")(x.mean(1)))
        return linen.Dense(10, name="head")(x)


tuned = maker("jax", "graph", "tuned")
MODELS = (tuned("sets", built(Sets(), series), series),)
