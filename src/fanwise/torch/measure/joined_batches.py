"""Several batches made one, along the axis of their examples."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fanwise.calibrate.joining import Joining
from fanwise.torch.trace.run import Inputs


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The batches one after the other; see `fanwise.calibrate.joining.Joining.inputs`."""
    return _JOINING.inputs(batches)


_JOINING = Joining(Tensor, lambda tensor: (tuple(tensor.shape), tensor.dtype), lambda tensors: torch.cat(list(tensors)))
