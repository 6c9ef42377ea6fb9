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
    """The batches one after the other; see `fanwise.calibrate.joining.Joining.inputs`."""
    return JOINING.inputs(batches)
