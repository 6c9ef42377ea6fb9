"""`apply` and `materialize`: the numbers of a plan, put into a model."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.plan.model_fit import check_fits, chosen_rows
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
from fanwise.stream.key import KeyLike, as_key
from fanwise.torch.trace.provenance import check_model, checked_parameters
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.weights.draw_row import check_numbers, check_row, draw_row_
from fanwise.torch.weights.overlap import check_apart
from fanwise.torch.weights.weight_norm import refresh_


@dataclass(frozen=True)
class Undefined:
    """Tensors that a materialised model still lacks; false where it lacks none.

    Args:
        parameters: still without memory: the plan leaves them as they are, and there is nothing yet.
        buffers: still without memory: no plan speaks of buffers.
    """

    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parameters or self.buffers)


def apply(
    model: nn.Module,
    plan: Plan,
    key: KeyLike,
    *,
    only: str | Collection[str] | None = None,
    skip_loaded: Collection[str] = (),
) -> nn.Module:
    """Fills a model's parameters, in place, by the laws of a plan.

    Element i of a parameter is a function of the seed, the parameter's path and i alone: not of its device, memory
    format, or of what else the model holds; its dtype only rounds it. Tied storage is drawn once. Parameters without a
    law, and all buffers but the singular vectors of spectral norms, stay as they are.

    Args:
        model: any module with memory; `materialize` serves models on the meta device.
        plan: for this model: the same paths, shapes and ties; dtypes may differ.
        key: the stream of the whole model, a `Key` or a seed; each parameter has the child named by its path.
        only: a pattern of paths as in a shell, such as ``"head.*"``, or several: the others are left alone.
        skip_loaded: names of tensors that came from a checkpoint and are left alone, such as its keys.

    Returns:
        The model.

    Raises:
        TypeError: an argument of the wrong kind, or a parameter of a kind or dtype that cannot be filled.
        ValueError: a plan for another model, all that differs in one message; a parameter whose memory cannot be
            written, or whose dtype cannot hold the numbers. Whatever is raised, nothing was changed.

    Example:
        >>> from fanwise.torch import plan
        >>> model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
        >>> made = apply(model, plan(model, "64,784"), key=0)
        >>> round(float(made[0].weight.detach().std() * 784**0.5), 2)
        1.0
    """
    check_model(model)
    stream = as_key(key)
    check_fits(checked_parameters(model), plan)
    held = dict(model.named_parameters(remove_duplicate=False))
    targets = [(held[row.path], row) for row in chosen_rows(plan, only, skip_loaded)]
    for tensor, row in targets:
        _check_target(tensor, row)
    check_apart([(row.path, tensor) for tensor, row in targets])
    for tensor, row in targets:
        draw_row_(tensor, row, stream)
    refresh_(model, [tensor for tensor, _ in targets])
    return model


def materialize(model: nn.Module, plan: Plan, key: KeyLike, device: torch.device | str = "cpu") -> Undefined:
    """Gives a model on the meta device its parameters, allocating and filling one after the other.

    The values are those that `apply` would put there. Ties, dtypes, memory formats, `requires_grad` and attributes of
    parameters are kept; the parameters themselves are new objects, so make optimizers afterwards.

    Args:
        model: built under ``torch.device("meta")``; parameters that have memory already are left alone.
        plan: for this model.
        key: as for `apply`.
        device: where the parameters go.

    Returns:
        What is still without memory.

    Raises:
        TypeError: an argument of the wrong kind, or a parameter of a dtype in which nothing is drawn.
        ValueError: a plan for another model, numbers that a dtype cannot hold, or a device that cannot be used.
            Nothing was changed.

    Example:
        >>> from fanwise.torch import plan
        >>> with torch.device("meta"):
        ...     model = nn.Sequential(nn.Linear(784, 100), nn.BatchNorm1d(100))
        >>> materialize(model, plan(model, "64,784"), key=0).buffers
        ('1.running_mean', '1.running_var', '1.num_batches_tracked')
    """
    check_model(model)
    stream, target_device = as_key(key), _check_device(device)
    check_fits(checked_parameters(model), plan)
    held = dict(model.named_parameters(remove_duplicate=False))
    targets = [(held[row.path], row) for row in plan.rows if row.law is not None and is_abstract(held[row.path])]
    for tensor, row in targets:
        check_numbers(tensor.dtype, row)
    homes = _registrations(model)
    for tensor, row in targets:
        parameter = _allocate(tensor, target_device)
        draw_row_(parameter, row, stream)
        for module, name in homes[row.path]:
            setattr(module, name, parameter)  # not into `_parameters`: recurrent modules keep a list beside it
    refresh_(model, [tensor for tensor in model.parameters() if not is_abstract(tensor)])
    return _undefined(model)


def _check_target(tensor: Tensor, row: Row) -> None:
    if tensor.is_meta:
        raise ValueError(f"parameter {row.path!r} is on the meta device and has no memory: use materialize")
    check_row(tensor, row)


def _check_device(device: torch.device | str) -> torch.device:
    """A device on which memory can be had.

    Raises:
        TypeError: no device.
        ValueError: one that does not exist here, or meta.
    """
    if not isinstance(device, torch.device | str):
        raise TypeError(f"device = {device!r}: expected a torch.device or its name, such as 'cpu' or 'cuda:0'")
    try:
        checked = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, ImportError) as error:  # a build without CUDA asserts that it has some
        raise ValueError(f"device = {str(device)!r} cannot be used: {error}") from error
    if checked.type == "meta":
        raise ValueError("device = 'meta': expected one with memory, such as 'cpu' or 'cuda:0'")
    return checked


def _allocate(tensor: Tensor, device: torch.device) -> nn.Parameter:
    """A parameter with memory in place of one without: its dtype, memory format, class and attributes."""
    strides = tensor.stride()
    order = sorted(range(tensor.ndim), key=lambda axis: -strides[axis])
    memory = torch.empty_permuted(tuple(tensor.shape), order, dtype=tensor.dtype, device=device)
    parameter = nn.Parameter(memory, requires_grad=tensor.requires_grad)
    kind: type[Any] = type(tensor)
    if nn.Parameter in kind.__mro__:  # `isinstance` holds for fake tensors too, whose attributes are fake
        parameter.__class__ = kind
        vars(parameter).update(vars(tensor))
    return parameter


def _registrations(model: nn.Module) -> Mapping[str, Sequence[tuple[nn.Module, str]]]:
    """Modules and names under which the tensor of each path is registered."""
    places = {f"{prefix}.{name}" if prefix else name: (module, name) for prefix, module, name in _registered(model)}
    groups = [(parameter.path, *parameter.aliases) for parameter in checked_parameters(model)]
    return {name: [places[other] for other in names] for names in groups for name in names}


def _registered(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    for prefix, module in model.named_modules(remove_duplicate=False):
        yield from ((prefix, module, name) for name, tensor in module._parameters.items() if tensor is not None)


def _undefined(model: nn.Module) -> Undefined:
    named = (model.named_parameters(), model.named_buffers())
    left = [tuple(path for path, tensor in tensors if is_abstract(tensor)) for tensors in named]
    return Undefined(*left)
