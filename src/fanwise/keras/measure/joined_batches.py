"""Several batches made one, along the axis of their examples."""

from collections.abc import Sequence

import keras

from fanwise.calibrate.joining import Joining
from fanwise.keras.trace.run import Inputs
from fanwise.keras.trace.variables import shape_of


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The batches one after the other; see `fanwise.calibrate.joining.Joining.inputs`."""
    return joining().inputs(batches)


def joining() -> Joining:
    """The operations that join tensors of Keras' backend."""
    kind = type(keras.ops.zeros((1,)))
    return Joining(
        kind, lambda tensor: (shape_of(tensor), tensor.dtype), lambda tensors: keras.ops.concatenate(list(tensors))
    )
