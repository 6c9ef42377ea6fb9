"""`apply` and `materialize`: the numbers of a plan, put into a model."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from fanwise.laws.elementwise import Normal
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
from fanwise.stream.key import Key, KeyLike, as_key
from fanwise.torch.held import check_model, parameters
from fanwise.torch.tensors import checked_writable, fill_

POWER_ITERATIONS = 15
"""As many as torch makes when it sets a spectral norm up."""


@dataclass(frozen=True)
class Undefined:
    """What a materialised model still lacks.

    Args:
        parameters: left on the meta device: the plan leaves them as they are, and there is nothing yet.
        buffers: left on the meta device: no plan speaks of buffers.
    """

    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()


def apply(
    model: nn.Module,
    plan: Plan,
    key: KeyLike,
    *,
    only: str | Collection[str] | None = None,
    skip_loaded: Collection[str] = (),
) -> nn.Module:
    """Fills a model's parameters, in place, by the laws of a plan.

    Element i of a parameter is a function of the seed, the parameter's path and i alone: not of its dtype, device,
    memory format, or of what else the model holds. Tied storage is drawn once.

    Args:
        model: any module with memory; `materialize` serves models on the meta device.
        plan: for this model: the same paths and shapes.
        key: the stream of the whole model, a `Key` or a seed; each parameter has the child named by its path.
        only: patterns of paths, such as ``"head.*"``: the others are left alone.
        skip_loaded: paths of weights that came from a checkpoint and are left alone.

    Returns:
        The model.

    Raises:
        TypeError: an argument of the wrong kind, or a parameter whose memory cannot be written.
        ValueError: a plan for another model; everything that differs is listed, and nothing was changed.
    """
    check_model(model)
    stream = as_key(key)
    tensors = dict(model.named_parameters(remove_duplicate=False))
    check_fits(model, plan)
    chosen = [row for row in plan.rows if row.law is not None and _is_chosen(row, only, skip_loaded)]
    for row in chosen:
        if tensors[row.path].is_meta:
            raise ValueError(f"parameter {row.path!r} is on the meta device and has no memory: use materialize")
        checked_writable(_real(tensors[row.path]), name=row.path)
    for row in chosen:
        _fill(tensors[row.path], row, stream)
    _refresh(model)
    return model


def materialize(model: nn.Module, plan: Plan, key: KeyLike, device: torch.device | str = "cpu") -> Undefined:
    """Gives a model on the meta device its parameters, allocating and filling one after the other.

    Args:
        model: built under ``torch.device("meta")``; parameters that have memory already are left alone.
        plan: for this model.
        key: as for `apply`.
        device: where the parameters go.

    Returns:
        What is still on the meta device.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model; nothing was changed.
    """
    check_model(model)
    stream = as_key(key)
    check_fits(model, plan)
    homes = _homes(model)
    for row in plan.rows:
        tensor = homes[row.path][0][0]._parameters[homes[row.path][0][1]]
        if row.law is not None and tensor is not None and tensor.is_meta:
            made = nn.Parameter(torch.empty_like(tensor, device=device), requires_grad=tensor.requires_grad)
            _fill(made, row, stream)
            for module, name in (home for path in row.names for home in homes[path]):
                module._parameters[name] = made
    left = tuple(path for path, tensor in model.named_parameters() if tensor.is_meta)
    return Undefined(left, tuple(path for path, tensor in model.named_buffers() if tensor.is_meta))


def check_fits(model: nn.Module, plan: Plan) -> None:
    """Raises where a plan is not one for this model.

    Raises:
        TypeError: no plan.
        ValueError: parameters that the plan lacks, rows that the model lacks, other shapes: all of them.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan = {type(plan).__name__}: expected a fanwise Plan, such as plan(model, inputs)")
    held = {parameter.path: parameter for parameter in parameters(model)}
    names = {name: parameter for parameter in held.values() for name in (parameter.path, *parameter.aliases)}
    rows = {row.path: row for row in plan.rows}
    planned = {name for row in plan.rows for name in row.names}
    faults = [f"{path}: not in the model" for path in rows if path not in names]
    faults += [f"{path}: not in the plan" for path in held if path not in planned]
    faults += [
        f"{path}: shape {names[path].shape} in the model, {row.shape} in the plan"
        for path, row in rows.items()
        if path in names and names[path].shape != row.shape
    ]
    if faults:
        raise ValueError(_listed("the plan is for another model", faults))


def _listed(title: str, faults: list[str], most: int = 20) -> str:
    shown = "\n  ".join(faults[:most])
    more = f"\n  and {len(faults) - most} more" if len(faults) > most else ""
    return f"{title}, {len(faults)} differences:\n  {shown}{more}"


def _is_chosen(row: Row, only: str | Collection[str] | None, skip: Collection[str]) -> bool:
    patterns = (only,) if isinstance(only, str) else only
    wanted = patterns is None or any(fnmatchcase(name, pattern) for name in row.names for pattern in patterns)
    return wanted and not any(name in skip for name in row.names)


def _fill(tensor: Tensor, row: Row, stream: Key) -> None:
    key, law = stream.child(row.stream or row.path), row.law
    assert law is not None
    if tensor.is_complex():
        deviation = law.moments(row.shape, layout=row.layout).std / math.sqrt(2)
        fill_(_real(tensor), Normal(deviation), key=key)
    else:
        order = row.canonical_axes if row.order == "canonical" else None
        fill_(tensor, law, key=key, layout=row.layout, order=order)
    if row.factor != 1:
        with torch.no_grad():
            tensor.mul_(row.factor)


def _real(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of real numbers; others as they are."""
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor


def _refresh(model: nn.Module) -> None:
    """Lets parametrizations that keep an estimate in buffers see the new weights: spectral norms iterate in training."""
    for module in model.modules():
        if isinstance(module, ParametrizationList) and any(True for _ in module.buffers()):
            flags = {part: part.training for part in module.modules()}
            module.train()
            with torch.no_grad():
                for _ in range(POWER_ITERATIONS):
                    module()
            for part, flag in flags.items():
                part.training = flag


def _homes(model: nn.Module) -> Mapping[str, list[tuple[nn.Module, str]]]:
    """Where each parameter's path, with every path of the same object, is registered."""
    found: dict[str, list[tuple[nn.Module, str]]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name in module._parameters:
            found.setdefault(f"{prefix}.{name}".lstrip("."), []).append((module, name))
    return found
