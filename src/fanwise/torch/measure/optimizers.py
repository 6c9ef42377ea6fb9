"""Optimizers of PyTorch: their first step, as it is taken by another of the same kind and options."""

import inspect
from functools import partial
from typing import Any

import torch
from torch import nn

from fanwise.measure.optimizers import Optimizer, by_class
from fanwise.stream.formats import Array


def optimizer_of(value: Any) -> Optimizer | None:
    """The optimizer that an object is, a class with its defaults, or a `functools.partial` of one; None for others.

    Args:
        value: of `torch.optim` or derived from `torch.optim.Optimizer`; its first group of parameters counts.
    """
    kind, options = _kind_and_options(value)
    if kind is None:
        return None
    known = inspect.signature(kind).parameters
    options = {name: option for name, option in options.items() if name in known}
    rate = options.get("lr", known["lr"].default if "lr" in known else None)

    def step(weight: Array, gradient: Array) -> Array:
        with torch.enable_grad():
            parameter = nn.Parameter(torch.from_numpy(weight.copy()))
            parameter.grad = torch.from_numpy(gradient.copy())
            kind([parameter], **options).step()
        moved: Array = parameter.detach().numpy()
        return moved

    return by_class(kind.__name__, rate, step)


def _kind_and_options(value: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(value, torch.optim.Optimizer):
        group = value.param_groups[0]
        return type(value), {name: group[name] for name in value.defaults if name in group}
    if isinstance(value, partial) and _is_class(value.func):
        return value.func, dict(value.keywords)
    return (value, {}) if _is_class(value) else (None, {})


def _is_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
