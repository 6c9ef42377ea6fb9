"""Several batches made one, along the axis of their examples."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.calibrate.joining import Joining
from fanwise.jax.trace.run import Inputs

JOINING = Joining(
    (jax.Array, np.ndarray, jax.ShapeDtypeStruct),
    lambda array: (tuple(array.shape), array.dtype),
    lambda arrays: jnp.concatenate([jnp.asarray(array) for array in arrays]),
)


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The batches one after the other: arrays along their first axis, everything else must be equal.

    Raises:
        ValueError: batches that differ in more than the number of their examples.
    """
    if len(batches) == 1:
        return batches[0]
    args = JOINING([batch.args for batch in batches])
    return Inputs(args, JOINING([dict(batch.kwargs) for batch in batches]))
