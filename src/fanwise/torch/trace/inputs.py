"""The inputs of a run: a batch, a spec in words, or what a transformers configuration says."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.adapters.input_specs import GRAMMAR
from fanwise.graph.inputs import described
from fanwise.torch.trace.hf_inputs import configured
from fanwise.torch.trace.input_specs import parse
from fanwise.torch.trace.provenance import dtype_name
from fanwise.torch.trace.run import Inputs


def as_inputs(model: nn.Module, inputs: Any = None, *, valued: bool = False) -> Inputs:
    """The arguments of the model's forward, on the model's device.

    Args:
        model: whose device the tensors go to, and whose float dtype those have for which none is named.
        inputs: a tensor; a tuple or list of positional arguments; a mapping of named ones; `Inputs`; a spec such as
            ``"32,3,224,224"`` (normal numbers) or ``"input_ids=8,128:int64[0,50257)"``, several joined by ";"; None for
            a transformers model, whose configuration says what it takes.
        valued: tensors keep their values for a model on the meta device, too.

    Raises:
        TypeError: none of these.
        ValueError: a spec that cannot be read, tensors without values for a model that has some, or None for a model
            without a configuration that says enough.

    Example:
        >>> as_inputs(nn.Linear(3, 2).bfloat16(), "4,3").args[0].dtype
        torch.bfloat16
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    if valued and device.type == "meta":
        return _given(model, inputs, torch.device("cpu"))
    read = _given(model, inputs, device)
    args = tuple(_move(value, device) for value in read.args)
    return Inputs(args, {name: _move(value, device) for name, value in (read.kwargs or {}).items()}, read.guess)


def _given(model: nn.Module, inputs: Any, device: torch.device) -> Inputs:
    if isinstance(inputs, Inputs):
        return inputs
    if inputs is None:
        return configured(model, float_dtype(model))
    if isinstance(inputs, str):
        return parse(inputs, device="meta" if device.type == "meta" else "cpu", float_dtype=float_dtype(model))
    if isinstance(inputs, Tensor):
        return Inputs((inputs,))
    if isinstance(inputs, Mapping) and all(isinstance(name, str) for name in inputs):
        return Inputs((), dict(inputs))
    if isinstance(inputs, (tuple, list)):
        return Inputs(tuple(inputs))
    raise TypeError(
        f"inputs = {type(inputs).__name__}: expected a tensor, a tuple of arguments, a mapping of named ones, or a "
        f"spec ({GRAMMAR})"
    )


def float_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of a model's first float parameter of 16 bits or more, float32 where it has none."""
    dtypes = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    return next((dtype for dtype in dtypes if dtype.itemsize > 1), torch.float32)


def _move(value: Any, device: torch.device) -> Any:
    """Nested tuples, lists and mappings with their tensors on a device."""
    if isinstance(value, Tensor):
        return _move_tensor(value, device)
    if isinstance(value, tuple) and type(value) is not tuple:  # a named tuple
        return type(value)(*(_move(item, device) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_move(item, device) for item in value)
    if isinstance(value, dict):
        return {name: _move(item, device) for name, item in value.items()}
    return value


def _move_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.device == device:
        return tensor
    if tensor.is_meta:
        raise ValueError(
            f"inputs: a tensor of shape {tuple(tensor.shape)} is on the meta device, the model on {device}"
        )
    return tensor.to(device)


def inputs_text(asked: Any, given: Inputs) -> str:
    """The inputs in words: the spec, or the shapes."""
    if isinstance(asked, str):
        return asked
    return described(given, lambda value: dtype_name(value.dtype) if isinstance(value, Tensor) else None)
