"""Several batches made one, along the axis of their examples."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fanwise.calibrate.joining import Joining
from fanwise.torch.trace.run import Inputs


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The batches one after the other: tensors along their first axis, everything else must be equal.

    Raises:
        ValueError: batches that differ in more than the number of their examples.
    """
    if len(batches) == 1:
        return batches[0]
    args = _JOINING([batch.args for batch in batches])
    return Inputs(args, _JOINING([dict(batch.kwargs or {}) for batch in batches]))


_JOINING = Joining(Tensor, lambda tensor: (tuple(tensor.shape), tensor.dtype), lambda tensors: torch.cat(list(tensors)))
