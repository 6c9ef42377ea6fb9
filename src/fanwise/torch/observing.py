"""`observe`: one run of a model, forward and backward, and what it showed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.check.observation import Loss, Observation
from fanwise.patterns import recognised
from fanwise.torch.batches import LossCalls, LossLike, Scored, score
from fanwise.torch.held import check_model
from fanwise.torch.recorder import Recorder
from fanwise.torch.run import Inputs, ModelError, forward, given_tensors, main_outputs, prepared
from fanwise.torch.storage import is_abstract
from fanwise.torch.taps import Taps
from fanwise.torch.weighing import weigh
from fanwise.trace import Trace
from fanwise.visiting import Watcher


def observe(
    model: nn.Module, inputs: Inputs, target: Any = None, loss: LossLike = None, *, backward: bool = True
) -> Observation:
    """Runs a model once, forward and backward, and measures every op and every parameter.

    The model runs as in `fanwise.torch.run` and is left as it was; gradients are never written into `.grad`. Numbers
    stay on the device until the end. Memory: what a training step takes; without a backward pass, what inference takes.

    Args:
        model: with values; a model on the meta device has none.
        inputs: what its forward takes.
        target: what the loss compares with, None where the batch has none.
        loss: see `fanwise.torch.batches.score`.
        backward: whether gradients are wanted.

    Raises:
        TypeError: no module, TorchScript, or lazy parameters.
        ModelError: the model, its loss or its backward pass raised an error, or the model has no values.
    """
    check_model(model)
    _check_values(model)
    given = given_tensors(inputs)
    taps = Taps()
    recorder = Recorder(model, Watcher(), given, taps.see)
    try:
        with prepared(model, given, recorder), torch.set_grad_enabled(backward), _recurrent_backward(model):
            with LossCalls() as calls:
                outputs = forward(model, inputs, recorder)
                scored = score(outputs, target, loss)
            gradients = _gradients(model, scored)
            told = None if scored is None else calls.told(scored)
            trace = recognised(recorder.trace(main_outputs(outputs)))
            seen = _observation(model, trace, (taps, given, outputs), (told, gradients))
            return replace(seen, backward=backward and scored is not None)
    finally:
        taps.close()


def _check_values(model: nn.Module) -> None:
    empty = [path for path, tensor in model.named_parameters() if is_abstract(tensor)]
    if empty:
        raise ModelError(
            f"parameter {empty[0]!r} is on the meta device and has no values to check: materialize the model first "
            "(fanwise.torch.materialize), or look at its plan (fanwise plan --meta)"
        )


def _recurrent_backward(model: nn.Module) -> Any:
    """For cuDNN there is no backward pass for recurrent layers in evaluation mode; torch's own kernels have one."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent)


def _gradients(model: nn.Module, scored: Scored | None) -> dict[str, Tensor | None]:
    held = {path: tensor for path, tensor in model.named_parameters() if tensor.requires_grad}
    if scored is None or not held or not scored.value.requires_grad:
        return {}
    try:
        found = torch.autograd.grad(scored.value, list(held.values()), allow_unused=True)
    except Exception as error:
        raise ModelError(f"the backward pass failed: {type(error).__name__}: {error}") from error
    return dict(zip(held, found, strict=True))


def _observation(
    model: nn.Module,
    trace: Trace,
    seen: tuple[Taps, Sequence[Tensor], Any],
    learned: tuple[Loss | None, Mapping[str, Tensor | None]],
) -> Observation:
    taps, given, outputs = seen
    count = len(trace.ops)
    floats = [tensor for tensor in given if tensor.is_floating_point()]
    for place, tensor in enumerate(floats):
        taps.measure(count + 1 + place, tensor, compared=True)
    output = next(
        (tensor for tensor in main_outputs(outputs) if tensor.is_floating_point() and tensor.numel() > 1), None
    )
    if output is not None:
        taps.measure(count, output, compared=True)
    signals = taps.signals(count + 1 + len(floats))
    loss, gradients = learned
    numbers = iter(range(len(floats)))
    return Observation(
        trace,
        tuple(signals[:count]),
        weigh(dict(model.named_parameters()), trace, gradients),
        tuple(signals[count + 1 :]),
        loss,
        tuple(next(numbers) if tensor.is_floating_point() else None for tensor in given),
        signals[count],
    )
