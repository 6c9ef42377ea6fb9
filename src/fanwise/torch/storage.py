"""The memory behind a tensor."""

import torch
from torch import Tensor


def is_strided(tensor: Tensor) -> bool:
    """Whether a tensor has one storage with strides: no sparse, nested or opaque one."""
    return tensor.layout is torch.strided and not tensor.is_nested


def storage_of(tensor: Tensor) -> int | None:
    """A number that tells storages apart as long as they live; None where a tensor has none."""
    if not is_strided(tensor):
        return None
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # opaque wrappers, such as those of vmap
        return None
