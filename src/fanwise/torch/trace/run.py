"""Runs a model once, op by op, shows a visitor each op, and returns the trace."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.graph.inputs import Inputs
from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import ModelError, Visitor, Watcher
from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.provenance import check_model, parameters
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.restore import unchanged
from fanwise.torch.trace.substitute import second_moment

__all__ = ["Inputs", "ModelError", "Visitor", "Watcher", "parameters", "run", "second_moment"]


def run(model: nn.Module, inputs: Inputs, visitor: Visitor | None = None) -> Trace:
    """Executes a model once and traces what it does.

    Nothing is left behind: parameters, buffers, `.grad`, hooks, attributes, the inputs, random states and the training
    flags are as before. The model runs in evaluation mode, so that no dropout or layer drop hides a parameter, but
    batch norms take the batch's own statistics.

    Args:
        model: any `torch.nn.Module`, on any device; on the meta device, and with fake tensors, nothing is computed, and
            where the model asks for values, ``all()`` holds and ``any()`` and ``in`` do not.
        inputs: what its forward takes.
        visitor: what is shown each op.

    Returns:
        The ops in order, with norms written by hand and fused projections named (`fanwise.graph.patterns`).

    Raises:
        TypeError: no module, TorchScript, or lazy parameters.
        ModelError: the forward raised an error; the message names the module and the op.

    Example:
        >>> trace = run(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), Inputs((torch.ones(2, 3),)))
        >>> [(str(op.kind), op.module) for op in trace.ops]
        [('linear', '0'), ('activation', '1')]
    """
    return Runs(model, inputs)(visitor or Watcher())


class Runs:
    """Runs of one model on one batch: without gradients, until its forward asks for some (`torch.autograd.grad`).

    Args:
        model: any module.
        inputs: what its forward takes.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        check_model(model)
        self._model, self._inputs = model, inputs
        self._with_gradients = False

    def __call__(self, visitor: Visitor) -> Trace:
        """The trace of one run; a visitor that remembers must not be the first one."""
        given = given_tensors(self._inputs)
        recorder = Recorder(self._model, visitor, given)
        try:
            with prepared(self._model, given, recorder), torch.set_grad_enabled(self._with_gradients):
                outputs = forward(self._model, self._inputs, recorder)
                return recognised(recorder.trace(main_outputs(outputs)))
        except ModelError:
            if self._with_gradients or not recorder.asks_for_gradients:
                raise
        self._with_gradients = True
        return self(visitor)


def given_tensors(inputs: Inputs) -> list[Tensor]:
    """The tensors among a model's inputs, in order."""
    return list(tensors_in([*inputs.args, dict(inputs.kwargs or {})]))


@contextmanager
def prepared(
    model: nn.Module, given: Sequence[Tensor], recorder: Recorder, *, training: bool = False
) -> Iterator[None]:
    """The context of a run: whatever it changes is put back, nothing is compiled, and modules are followed."""
    with unchanged(model, given, training=training), followed(model, recorder):
        yield


@contextmanager
def followed(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """The same where the model is put back by what surrounds it: written parameters alone are put back."""
    with ExitStack() as stack:
        stack.callback(recorder.writes.restore)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_silent(model))
        stack.enter_context(recorder.followed())
        yield


@contextmanager
def _silent(model: nn.Module) -> Iterator[None]:
    """A compiled module warns of hooks that are global, as those are that follow the modules here."""
    from torch._dynamo import OptimizedModule  # noqa: PLC0415  (doubles the time of an import; a run loads it anyway)

    if not any(isinstance(module, OptimizedModule) for module in model.modules()):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile\\(module\\)` when there are global hooks")
        yield


def forward(
    model: nn.Module, inputs: Inputs, recorder: Recorder, within: AbstractContextManager[Any] | None = None
) -> Any:
    """Calls the model and returns its outputs.

    Args:
        model: any module.
        inputs: what its forward takes.
        recorder: writes down what it does.
        within: a mode that sees each call before the recorder.

    Raises:
        ModelError: it raised an error.
    """
    try:
        with recorder, within or nullcontext():
            return model(*inputs.args, **dict(inputs.kwargs or {}))
    except Exception as error:
        raise ModelError(
            f"the model could not be run on these inputs: {type(error).__name__} {recorder.location}: {error}"
            f"{inputs.guess}"
        ) from error


def main_outputs(outputs: Any) -> list[Tensor]:
    """The tensors that a model returns, its logits first where it names them."""
    if isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), Tensor):
        return [outputs["logits"], *(tensor for tensor in tensors_in(outputs) if tensor is not outputs["logits"])]
    return list(tensors_in(outputs))
