"""The run of a torch model in which its weights are calibrated; see `fanwise.calibrate.session.CalibrationPass`."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanwise.calibrate.calibrator import Calibrator, Change, OtherwiseError
from fanwise.calibrate.decisions import fixed_by
from fanwise.calibrate.options import Options
from fanwise.calibrate.session import NumberSource
from fanwise.calibrate.tasks import Task
from fanwise.calibrate.units import Spread, spread
from fanwise.graph.op import Op
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.plan.plan import Plan
from fanwise.stream.key import as_key
from fanwise.torch.measure.rescale import Measured, adjust_, change_, changed, check_changes, moments
from fanwise.torch.trace.abstract_run import structure
from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.provenance import ParameterProvenance
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.run import Inputs, ModelError, forward, given_tensors, prepared, run
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.weights.apply import apply
from fanwise.torch.weights.paging import ParameterPager, check_pageable


@dataclass(frozen=True)
class TorchCalibration:
    """A module on inputs.

    Args:
        model: with values, or on the meta device, where a plan draws each parameter when it is read.
        inputs: with values.
        source: the plan and its key, where one draws the numbers.
        options: what should be reached.
    """

    model: nn.Module
    inputs: Inputs
    source: NumberSource
    options: Options

    def __post_init__(self) -> None:
        if self.is_abstract:
            _check_drawn(self.model, self.source)
        if any(is_abstract(tensor) for tensor in given_tensors(self.inputs)):
            raise ValueError("the inputs have no values: calibration measures what the model computes of real ones")

    @property
    def is_abstract(self) -> bool:
        """Whether parameters have no memory."""
        return any(is_abstract(tensor) for tensor in self.model.parameters())

    @contextmanager
    def kept(self, *, early: bool) -> Iterator[None]:
        """Puts parameters and buffers back on errors; they are copied only where they are written before the end."""
        tensors = [*self.model.parameters(), *self.model.buffers()] if early and not self.is_abstract else []
        copies = [tensor.detach().clone() for tensor in tensors]
        try:
            yield
        except BaseException:
            _restore(tensors, copies)
            raise

    @contextmanager
    def undone(self, paths: Collection[str]) -> Iterator[None]:
        """Copies the values of parameters back at the end."""
        tensors = [tensor for path, tensor in self._tensors().items() if path in paths]
        copies = [tensor.detach().clone() for tensor in tensors]
        yield
        _restore(tensors, copies)

    def draw(self, plan: Plan) -> nn.Module:
        """Fills the module; what has no memory is drawn where it is read."""
        if self.source.key is not None and not self.is_abstract:
            apply(self.model, plan, self.source.key)
        return self.model

    def structure(self) -> Trace | None:
        """The trace, from a pass over fake tensors."""
        return structure(self.model, self.inputs)

    def seen(self) -> Trace:
        """The trace, from an ordinary run."""
        if self.is_abstract:
            raise ModelError("what the model does depends on its values, which it has not: materialize it first")
        return run(self.model, self.inputs)

    def passed(self, structure: Trace) -> Calibrator | None:
        """The forward pass."""
        model, given = self.model, given_tensors(self.inputs)
        before = tuple(moments(tensor) for tensor in given)
        calibrator = Calibrator(structure, self.options, fixed_by(self.source.plan), lambda number: before[number])
        tensors = self._tensors()

        def see(op: Op, output: Tensor) -> None:
            task = calibrator.task(op)
            answer = None if task is None else calibrator.answer(task, Measured(output, op.axis))
            if task is not None and answer is not None and answer.changes:
                new = _changed(calibrator, task, tensors)
                again = next(iter(tensors_in(recorder.again(new) if new else None)), None)
                if again is not None:
                    output.copy_(again)
                else:
                    adjust_(output, answer, values(task.bias) if task.bias else None, op.axis)
            calibrator.remember(op, lambda: moments(output))

        recorder = Recorder(model, Watcher(), given, see)
        pager = self._pager(recorder.provenance)
        values = tensors.get if pager is None else pager.values
        with prepared(model, given, recorder), torch.no_grad():
            try:
                forward(model, self.inputs, recorder, pager)
            except ModelError as error:
                if isinstance(error.__cause__, OtherwiseError):
                    return None
                raise
        return calibrator

    def changed(self, changes: Mapping[str, Change], spreads: Mapping[str, Spread]) -> nn.Module:
        """The module itself; it is written once all changes are known to fit."""
        check_changes(self._tensors(), changes)
        change_(self.model, changes, spreads)
        return self.model

    def _tensors(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters(remove_duplicate=False))

    def _pager(self, provenance: ParameterProvenance) -> ParameterPager | None:
        """The pager of parameters without memory, on the inputs' device; None where all parameters have memory."""
        plan, key = self.source.plan, self.source.key
        if plan is None or key is None or not self.is_abstract:
            return None
        device = next((tensor.device for tensor in given_tensors(self.inputs)), torch.device("cpu"))
        return ParameterPager(self.model, (plan, as_key(key)), device, provenance)


def _restore(tensors: list[Tensor], copies: list[Tensor]) -> None:
    with torch.no_grad():
        for tensor, copy in zip(tensors, copies, strict=True):
            tensor.copy_(copy)


def _changed(calibrator: Calibrator, task: Task, tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """The op's parameters as they will be, for it to be computed again with them, where units are set one by one.

    Their rounding is then known to what follows, and does not add up over the layers. Empty where the op sees something
    that is made of a parameter: what it gives is then scaled instead, as where it sees a view of one.
    """
    if calibrator.options.mode != "channel" or any(use.steps for use in task.op.uses if use.path in task.paths):
        return {}
    lies = spread(calibrator.trace, task)
    changes = calibrator.changes
    return {
        id(tensors[path]): changed(tensors[path], changes[path], lies if path in task.weights else None)
        for path in task.paths
    }


def _check_drawn(model: nn.Module, source: NumberSource) -> None:
    """Raises where a model without memory cannot be calibrated."""
    if source.plan is None:
        raise ValueError(
            "the model's parameters are on the meta device and have no values: give plan= and key=, which draw each "
            "where it is read, or materialize it first (fanwise.torch.materialize)"
        )
    if source.balance:
        raise ValueError("balance=True on the meta device: gradients need all parameters at once, materialize it first")
    check_pageable(model, source.plan)
