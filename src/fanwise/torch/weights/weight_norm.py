"""State that normalised weights keep beside their parameters, after the parameters were drawn anew."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

POWER_ITERATIONS = 60
"""Leave a spectral norm within 0.5 % for random matrices of any size; the 15 that torch makes leave 2 %."""


def refresh_(model: nn.Module, drawn: Collection[Tensor]) -> None:
    """Lets weight and spectral norms see new parameters: the latter estimate singular vectors in buffers.

    Random states and training flags stay as they are; norms of parameters that were not drawn are left alone.

    Args:
        model: any module.
        drawn: the parameters that have new values.
    """
    new = {id(tensor) for tensor in drawn}
    for module in model.modules():
        if any(id(tensor) in new for tensor in module._parameters.values()):
            _refresh(module)


def _refresh(module: nn.Module) -> None:
    if any(tensor.is_meta for tensor in module.buffers()):  # nothing to start from: `materialize` lists them
        return
    if isinstance(module, ParametrizationList) and any(isinstance(part, _SpectralNorm) for part in module):
        _iterate(module, module)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm):
            _iterate(module, partial(hook, module, None))
        if isinstance(hook, (SpectralNorm, WeightNorm)):
            hook(module, None)


def _iterate(module: nn.Module, compute: Callable[[], Any]) -> None:
    """Computes weights as in training, in which alone spectral norms iterate, and all else as in evaluation."""
    flags = {part: part.training for part in module.modules()}
    try:
        for part in flags:
            part.training = part is module or isinstance(part, _SpectralNorm)
        with torch.no_grad():
            for _ in range(POWER_ITERATIONS):
                compute()
    finally:
        for part, flag in flags.items():
            part.training = flag
