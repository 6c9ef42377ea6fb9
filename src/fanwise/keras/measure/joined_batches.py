"""Several batches made one, along the axis of their examples."""

from collections.abc import Sequence

import keras

from fanwise.calibrate.joining import Joining
from fanwise.keras.trace.run import Inputs
from fanwise.keras.trace.variables import shape_of


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The batches one after the other, along their first axis.

    Raises:
        ValueError: batches that differ in more than the number of their examples.
    """
    if len(batches) == 1:
        return batches[0]
    args = joining()([batch.args for batch in batches])
    return Inputs(args, joining()([dict(batch.kwargs) for batch in batches]))


def joining() -> Joining:
    """How tensors of what Keras computes with are joined."""
    kind = type(keras.ops.zeros((1,)))
    return Joining(
        kind, lambda tensor: (shape_of(tensor), tensor.dtype), lambda tensors: keras.ops.concatenate(list(tensors))
    )
