"""The trace of a model, read from a pass in which nothing is computed."""

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.restore import unchanged
from fanwise.torch.trace.run import Inputs, ModelError, followed, forward, given_tensors, main_outputs
from fanwise.torch.trace.storage import storage_of
from fanwise.torch.trace.substitute import swapped

SMALL = 1 << 29
"""Products in a run that takes about as long as its ops take without values."""


def structure(model: nn.Module, inputs: Inputs) -> Trace | None:
    """The trace of a model, from a pass over tensors that have shapes and no values.

    Only parameters, inputs and what is computed of them are without values. The mode of fake tensors is not entered:
    what the model makes of nothing, such as a grid of positions, has its values, so that a cache may keep it. Hooks
    that a user hung on the modules are not called. The model is left as it was.

    Args:
        model: any module with values.
        inputs: what its forward takes.

    Returns:
        None where the model cannot run without values, for what it does depends on them.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with unchanged(model, given_tensors(inputs)), _silent():
        try:
            _drop_values(model, mode)
            return _trace(model, _without_memory(inputs, mode))
        except (ModelError, NotImplementedError, RuntimeError):
            return None


def is_large(model: nn.Module, inputs: Inputs) -> bool:
    """Whether a pass without values takes less time than a run, by products of parameters with positions of inputs."""
    positions = max(map(_positions, given_tensors(inputs)), default=0)
    return positions * sum(tensor.numel() for tensor in model.parameters()) > SMALL


def _positions(tensor: Tensor) -> int:
    return math.prod(tensor.shape[:-1]) if tensor.is_floating_point() else tensor.numel()


def _trace(model: nn.Module, inputs: Inputs) -> Trace:
    recorder = Recorder(model, Watcher(), given_tensors(inputs))
    with followed(model, recorder), torch.no_grad(), _unwatched(model):
        outputs = forward(model, inputs, recorder)
        return recognised(recorder.trace(main_outputs(outputs)))


def _without_memory(inputs: Inputs, mode: FakeTensorMode) -> Inputs:
    new: dict[int, Tensor] = {id(tensor): mode.from_tensor(tensor) for tensor in given_tensors(inputs)}
    return Inputs(tuple(swapped(list(inputs.args), new)), swapped(dict(inputs.kwargs or {}), new))


def _drop_values(model: nn.Module, mode: FakeTensorMode) -> None:
    """Gives a model parameters and buffers without values, that share storages as its own do."""
    stand_ins: dict[int, Tensor] = {}
    storages: dict[object, Tensor] = {}
    for module in model.modules():
        for name, tensor in module._buffers.items():
            module._buffers[name] = None if tensor is None else _without_values(tensor, mode, storages)
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in stand_ins:
                stand_ins[id(parameter)] = _without_values(parameter, mode, storages)
            if isinstance(module, nn.RNNBase):
                setattr(module, name, stand_ins[id(parameter)])  # it keeps a list beside them
            else:
                vars(module)["_parameters"][name] = stand_ins[id(parameter)]


def _without_values(parameter: Tensor, mode: FakeTensorMode, storages: dict[object, Tensor]) -> Tensor:
    """A fake tensor for a parameter or buffer; a parameter on the meta device stands for one with the inputs."""
    storage, is_parameter = storage_of(parameter), type(parameter) is nn.Parameter
    if storage is None or not (is_parameter or _is_plain(parameter)):
        return mode.from_tensor(parameter)
    key = storage, parameter.dtype
    if key not in storages:
        count = parameter.untyped_storage().nbytes() // parameter.element_size()
        storages[key] = torch.empty(count, dtype=parameter.dtype, device="meta")
    view = storages[key].as_strided(parameter.shape, parameter.stride(), parameter.storage_offset())
    device = "cpu" if parameter.is_meta else parameter.device
    return FakeTensor(mode, view, device, requires_grad=parameter.requires_grad, _is_param=is_parameter)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is nothing but its memory, so that its fake needs none of torch's own slow description."""
    marked = tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.requires_grad or tensor.is_meta
    return type(tensor) is Tensor and not marked


@contextmanager
def _unwatched(model: nn.Module) -> Iterator[None]:
    """Takes hooks off that are not torch's own: they would be shown tensors without values."""
    each = [hooks for module in model.modules() for hooks in (module._forward_hooks, module._forward_pre_hooks)]
    with ExitStack() as stack:
        for hooks in filter(None, each):
            stack.callback(hooks.update, dict(hooks))
            stack.callback(hooks.clear)
            own = {number: hook for number, hook in hooks.items() if _is_torch(hook)}
            hooks.clear()
            hooks.update(own)
        yield


@contextmanager
def _silent() -> Iterator[None]:
    """Torch logs what it cannot do without values: `structure` answers None instead."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _is_torch(hook: Any) -> bool:
    return type(hook).__module__.partition(".")[0] == "torch"
