"""`observe`: one run of a model, forward and backward, and what it showed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import checkpoint

from fanwise.graph.kinds import CONVOLUTIONS, WEIGHTED
from fanwise.graph.op import INPUT
from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.measure.best_constant import judged
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Observation, ObservedLoss, observation
from fanwise.torch.measure.distributions import Distributions
from fanwise.torch.measure.losses import LossCalls, TorchArrays, loss_of, opened
from fanwise.torch.measure.round_trips import RoundTrips
from fanwise.torch.measure.taps import Taps, fetch
from fanwise.torch.measure.weight_statistics import weigh
from fanwise.torch.trace.provenance import check_model
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.run import Inputs, ModelError, forward, given_tensors, main_outputs, prepared
from fanwise.torch.trace.storage import is_abstract, is_strided


def observe(
    model: nn.Module, inputs: Inputs, target: Any = None, loss: LossLike = None, *, backward: bool = True
) -> Observation:
    """Runs a model once, forward and backward, and measures every op and every parameter.

    The model runs as in `fanwise.torch.run` and is left as it was; gradients are never written into `.grad`. Where its
    backward pass fails in evaluation mode, it is run in its own. Numbers stay on the device until the end. Memory: what
    a training step takes; without a backward pass, what inference takes.

    Args:
        model: with values; a model on the meta device has none.
        inputs: what its forward takes.
        target: what the loss compares with, None where the batch has none.
        loss: see `fanwise.torch.measure.losses.loss_of`.
        backward: whether gradients are wanted.

    Raises:
        TypeError: no module, TorchScript, or lazy parameters.
        ModelError: the model, its loss or its backward pass raised an error, or the model has no values.
    """
    check_model(model)
    _check_values(model)
    with torch.inference_mode(False), torch.set_grad_enabled(backward):
        batch = (*_alias_tensors((inputs, target), {}), loss)
        try:
            return _observe(model, batch, training=False)
        except _BackwardError:
            if not any(module.training for module in model.modules()):
                raise
            return _observe(model, batch, training=True)


class _BackwardError(ModelError):
    """The backward pass failed."""


def _observe(model: nn.Module, batch: tuple[Inputs, Any, LossLike], *, training: bool) -> Observation:
    taps = Taps()
    try:
        return replace(_observe_run(model, batch, taps, training=training), training=training)
    finally:
        taps.close()


def _observe_run(model: nn.Module, batch: tuple[Inputs, Any, LossLike], taps: Taps, *, training: bool) -> Observation:
    inputs, target, loss = batch
    given = given_tensors(inputs)
    recorder = Recorder(model, Watcher(), given, taps.see)
    context = prepared(model, given, recorder, training=training)
    with context, _aliased_buffers(model), _without_checkpoints(), _recurrent_backward(model):
        with LossCalls() as calls:
            trips = RoundTrips(recorder)
            outputs = forward(model, inputs, recorder, trips)
            main = main_outputs(opened(outputs))
            arrays = TorchArrays(target is None and loss is not None and _classes_last(recorder, main))
            ready = loss_of(outputs, target, loss, arrays)
            with Distributions() as distributions:
                value = None if ready is None else ready(outputs)
        gradients = _gradients(model, value)
        seen = None
        if ready is not None and value is not None:
            with torch.no_grad(), LossCalls():
                seen = judged(calls.observed(ready, value, outputs), ready, outputs, arrays)
            sure, op = distributions.surest(lambda scores: _op_of(recorder, scores))
            seen = replace(seen, sure=sure, sure_op=op)
        trace = recognised(recorder.trace(main))
        observed = _observation(model, trace, (taps, given, main), (seen, gradients))
        observed = _with_elsewhere(observed, model, main, gradients)
    return replace(observed, broken=_broken_buffers(model), round_trips=trips.found(main))


def _op_of(recorder: Recorder, tensor: Tensor) -> int | None:
    """The op that gave a tensor; None where that is not known."""
    source = recorder.sources.get(tensor)
    return None if source is None or source.op < 0 else source.op


def _broken_buffers(model: nn.Module) -> tuple[str, ...]:
    """Buffers of numbers that are not finite; those that hold -inf are masks."""
    floats = {path: buffer for path, buffer in model.named_buffers() if buffer.is_floating_point() and buffer.numel()}
    held = {path: buffer for path, buffer in floats.items() if not is_abstract(buffer) and is_strided(buffer)}
    finite = fetch([(buffer < math.inf).all().float() for buffer in held.values()])
    return tuple(path for path, value in zip(held, finite, strict=True) if value == 0)


def _check_values(model: nn.Module) -> None:
    empty = [path for path, tensor in model.named_parameters() if is_abstract(tensor)]
    if empty:
        raise ModelError(
            f"parameter {empty[0]!r} is on the meta device and has no values to check: materialize the model first "
            "(fanwise.torch.materialize), or look at its plan (fanwise plan --meta)"
        )


def _alias_tensors(value: Any, aliases: dict[int, Tensor]) -> Any:
    """The same values in tensors of their own: what a forward writes into them hangs no graph on the caller's."""
    if isinstance(value, Tensor):
        if id(value) not in aliases:
            aliases[id(value)] = _alias(value)
        return aliases[id(value)]
    if isinstance(value, Inputs):
        return Inputs(_alias_tensors(value.args, aliases), _alias_tensors(value.kwargs, aliases))
    if isinstance(value, tuple) and type(value) is not tuple:  # a named tuple
        return type(value)(*(_alias_tensors(item, aliases) for item in value))
    if type(value) in (tuple, list):
        return type(value)(_alias_tensors(item, aliases) for item in value)
    if type(value) is dict:
        return {name: _alias_tensors(item, aliases) for name, item in value.items()}
    return value


def _alias(tensor: Tensor) -> Tensor:
    """A tensor over the same memory; a copy where autograd needs one. Leaves that want a gradient stay themselves."""
    if tensor.is_inference():
        return tensor.clone()
    if not tensor.requires_grad:
        return tensor.detach()
    return tensor if tensor.is_leaf else tensor.detach().requires_grad_().clone()


@contextmanager
def _aliased_buffers(model: nn.Module) -> Iterator[None]:
    """Other tensors over the memory of the buffers while a run lasts; `prepared` puts the model's own back."""
    aliases: dict[int, Tensor] = {}
    for module in model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = _alias_tensors(buffer, aliases)
    yield


@contextmanager
def _without_checkpoints() -> Iterator[None]:
    """Switches gradient checkpointing off: what is computed anew in a backward pass is not seen by the recorder."""
    home, names = (
        vars(checkpoint),
        {"CheckpointFunction": _PlainCall, "_checkpoint_without_reentrant_generator": _plain_call},
    )
    kept = {name: home[name] for name in names if name in home}
    home.update({name: names[name] for name in kept})
    try:
        yield
    finally:
        home.update(kept)


class _PlainCall:
    """Stands for torch's reentrant checkpoint."""

    @staticmethod
    def apply(function: Any, preserve: bool, *args: Any) -> Any:
        """Calls a function."""
        return function(*args)


def _plain_call(*args: Any, **kwargs: Any) -> Iterator[None]:
    """Stands for what torch does before and after a function that it will call again."""
    yield


def _recurrent_backward(model: nn.Module) -> Any:
    """Uses torch's own kernels for recurrent layers in evaluation mode: cuDNN has no backward pass there."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent)


def _classes_last(recorder: Recorder, outputs: Sequence[Tensor]) -> bool:
    """Whether the last axis of an output counts classes: what the last map gives there, unless it is a convolution."""
    shape = tuple(outputs[0].shape) if outputs else ()
    if len(shape) < 3:
        return False
    trace = recorder.trace(outputs[:1])
    on_the_way = trace.ancestors(trace.outputs[0]) if trace.outputs else ()
    last = max((index for index in on_the_way if trace.ops[index].kind in WEIGHTED), default=None)
    return last is not None and trace.ops[last].kind not in CONVOLUTIONS and trace.ops[last].shape[-1] == shape[-1]


def _gradients(model: nn.Module, loss: Tensor | None) -> dict[str, Tensor | None]:
    held = {path: tensor for path, tensor in model.named_parameters() if tensor.requires_grad}
    if loss is None or not held or not loss.requires_grad:
        return {}
    try:
        gradients = torch.autograd.grad(loss, list(held.values()), allow_unused=True)
    except Exception as error:
        raise _BackwardError(f"the backward pass failed: {type(error).__name__}: {error}") from error
    return dict(zip(held, gradients, strict=True))


def _with_elsewhere(
    run: Observation, model: nn.Module, outputs: Sequence[Tensor], gradients: Mapping[str, Tensor | None]
) -> Observation:
    """The same; what the loss left without a gradient is looked for behind all outputs of the model."""
    left = {path for path, gradient in gradients.items() if gradient is None}
    if not left:
        return run
    behind = _leaves_behind(outputs)
    found = {path for path, tensor in model.named_parameters() if path in left and id(tensor) in behind}
    values = {path: replace(value, elsewhere=path in found) for path, value in run.values.items()}
    return replace(run, values=values)


def _leaves_behind(outputs: Sequence[Tensor]) -> set[int]:
    """The ids of the leaves of autograd's graph that a gradient from these would come to."""
    nodes: list[Any] = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    leaves, seen = set[int](), set[Any]()
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        leaves |= {id(node.variable)} if hasattr(node, "variable") else set()
        nodes += [before for before, _ in node.next_functions if before is not None]
    return leaves


def _observation(
    model: nn.Module,
    trace: Trace,
    seen: tuple[Taps, Sequence[Tensor], Sequence[Tensor]],
    learned: tuple[ObservedLoss | None, Mapping[str, Tensor | None]],
) -> Observation:
    taps, given, outputs = seen
    count = len(trace.ops)
    floats = [tensor for tensor in given if _has_floats(tensor)]
    for number, tensor in enumerate(floats):
        taps.measure(count + 1 + number, tensor, compared=True)
        taps.compare_places(count + 1 + number, tensor, _channels(trace, tensor))
        taps.compare_windows(count + 1 + number, tensor, _channels(trace, tensor))
    output = next((tensor for tensor in outputs if tensor.is_floating_point() and tensor.numel() > 1), None)
    if output is not None:
        taps.measure(count, output, compared=True)
    signals = taps.signals(count + 1 + len(floats))
    loss, gradients = learned
    measured = iter(signals[count + 1 :])
    return observation(
        trace,
        signals[:count],
        weigh(dict(model.named_parameters()), trace, gradients),
        given=[next(measured) if _has_floats(tensor) else None for tensor in given],
        output=signals[count],
        loss=loss,
        backward=torch.is_grad_enabled(),
    )


def _has_floats(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers of floating point: an empty one holds none."""
    return tensor.is_floating_point() and tensor.numel() > 0


def _channels(trace: Trace, tensor: Tensor) -> int:
    """The axis of an input's features: that of the channels where a convolution reads it."""
    convolved = any(op.kind in CONVOLUTIONS and INPUT in op.inputs for op in trace.ops)
    return 1 if convolved and tensor.dim() > 2 else -1
