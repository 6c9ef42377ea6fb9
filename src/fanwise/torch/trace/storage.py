"""The memory behind a tensor."""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


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


def is_abstract(tensor: Tensor) -> bool:
    """Whether a tensor has a shape but no values: on the meta device, or fake."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)
