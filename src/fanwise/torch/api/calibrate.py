"""`calibrate`: weights scaled on real data, in one forward pass."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.calibrate.calibrator import Calibrator, OtherwiseError
from fanwise.calibrate.decisions import Found, calibrated, checked_key, fixed_by, with_factors
from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.tasks import Task
from fanwise.calibrate.units import spread
from fanwise.graph.op import Op
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.stream.key import Key, KeyLike
from fanwise.torch.measure.joined_batches import joined
from fanwise.torch.measure.losses import named_loss, split
from fanwise.torch.measure.observe import observe
from fanwise.torch.measure.rescale import Measured, adjust_, change_, changed, check_changes, moments
from fanwise.torch.trace.abstract_run import structure
from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.inputs import as_inputs, inputs_text
from fanwise.torch.trace.provenance import ParameterProvenance, check_model
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.run import Inputs, ModelError, forward, given_tensors, prepared, run
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.weights.apply import apply
from fanwise.torch.weights.paging import ParameterPager, check_pageable


def calibrate(  # noqa: PLR0913  (one parameter a choice; all but two by name)
    model: nn.Module,
    batch: Any = None,
    *,
    more: Sequence[Any] = (),
    mode: str = "layer",
    statistic: str = "std",
    target: float = 1.0,
    head: str = "loss",
    branches: str = "share",
    gain_after: bool = False,
    only: str | Collection[str] | None = None,
    plan: Plan | None = None,
    key: KeyLike | None = None,
    balance: bool = False,
    loss: LossLike = None,
) -> Calibration:
    """Scales a model's weights on real data, in place, in one forward pass.

    At each op with a weight the output is measured, over all its values and in double precision; the weight gets the
    factor that gives the output its target, and the output times that factor goes on, so that what follows is
    measured on calibrated input. A bias is scaled with its weight, so that a target is always met. What follows each
    op is read before, from a pass without values. The model runs in evaluation mode with batch statistics, as in
    `run`; directions of weights are kept. Where anything fails, nothing was changed.

    Args:
        model: any `torch.nn.Module`. Where its parameters are on the meta device, `plan` and `key` draw each when the
            model reads it, and it is dropped after: the model may be larger than memory. It stays without memory;
            `materialize` it with the plan of the result.
        batch: a tensor, a tuple of arguments, a mapping of named ones, a spec such as ``"32,3,224,224"``, or None for a
            transformers model. Where a `loss` is given, the last element of a tuple is what it compares with.
        more: further batches of the same kind: all are run as one, so that their statistics are pooled at every op.
        mode: "layer" scales each op as a whole; "channel" gives each unit mean 0 and variance ``target**2``, through
            the rows of the weight and through the bias.
        statistic: "std" of the whole output (the sum of squares divided by the number of values), or
            "second_moment": its root.
        target: what the statistic should be inside the network.
        head: "loss" gives the model's outputs the std with which C classes start 2 % above ln C, at most 0.5;
            "target" treats the head as the others.
        branches: "share" gives the end of a residual branch 1 / sqrt(number of branches) of its stream; "target"
            treats it as the others.
        gain_after: the target holds after the activation that alone follows an op.
        only: patterns of paths of the weights to scale; the others are left.
        plan: whose numbers the model gets first, and which carries the factors in the result: `apply` with it and the
            same key makes the calibrated model again, bit for bit.
        key: of the plan's numbers.
        balance: makes the ratios of gradient to weight equal along chains of maps and positively homogeneous
            functions, with another forward pass and a backward pass; the model's function is kept.
        loss: as `check` takes it; it is computed for `balance` alone.

    Returns:
        One line an op: what was measured, the target, the factor, or why it was left. Printing it shows a table.

    Raises:
        TypeError: an argument of the wrong kind, no module, TorchScript, lazy parameters.
        ValueError: an unknown choice, a plan without a key or in mode "channel", batches that do not fit each other, a
            weight that cannot hold its factor; on the meta device no plan, `balance`, buffers or inputs without values.
        ModelError: the model could not be run.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> x = torch.randn(256, 64)
        >>> result = calibrate(model, x)
        >>> sorted(result.factors), result.forwards
        (['0.weight', '2.weight'], 1)
        >>> with torch.no_grad():
        ...     print(f"{model[0](x).std(correction=0):.5f} {model(x).std(correction=0):.3f}")
        1.00000 0.303

    References:
        Mishkin and Matas, "All you need is a good init", 2015; Kraehenbuehl et al., "Data-dependent initializations of
        convolutional neural networks", 2015; Salimans and Kingma, "Weight normalization", 2016, section 3.
    """
    check_model(model)
    options = Options(mode, statistic, target, head, branches, gain_after, only)
    named_loss(loss)
    source = _Source(model, options, plan, checked_key(plan, key, options))
    _check_values(source, balance=balance)
    batches = [split(one, loss) for one in (batch, *more)]
    inputs = joined([as_inputs(model, given, valued=True) for given, _ in batches])
    _check_given(inputs)
    with source.kept(everything=balance):
        found = source.calibrated(inputs)
        if balance:
            found = source.balanced(found, (inputs, _target(model, batches), loss))
        told = inputs_text(None if more else batch, inputs)
        return replace(source.settled(found), model=type(model).__name__, batch=told)


@dataclass(frozen=True)
class _Source:
    """Where a model's numbers come from: they are there already, or a plan draws them."""

    model: nn.Module
    options: Options
    plan: Plan | None
    key: Key | None

    @property
    def is_abstract(self) -> bool:
        """Whether parameters have no memory."""
        return any(is_abstract(tensor) for tensor in self.model.parameters())

    @contextmanager
    def kept(self, *, everything: bool) -> Iterator[None]:
        """Puts everything back where anything fails; it is copied only where parameters are written before the end."""
        early = (everything or self.plan is not None) and not self.is_abstract
        held = [*self.model.parameters(), *self.model.buffers()] if early else []
        copies = [tensor.detach().clone() for tensor in held]
        try:
            yield
        except BaseException:
            with torch.no_grad():
                for tensor, copy in zip(held, copies, strict=True):
                    tensor.copy_(copy)
            raise

    def calibrated(self, inputs: Inputs) -> Found:
        """One pass, in which every op's factor is found; parameters stay as they are, or as the plan has them."""
        if self.plan is not None and self.key is not None and not self.is_abstract:
            apply(self.model, self.plan, self.key)
        found = calibrated(
            lambda: structure(self.model, inputs),
            lambda: self._seen(inputs),
            lambda trace: _run(self, inputs, trace),
        )
        if found is None:
            raise ModelError("the model does other things in each of two runs on the same inputs: nothing to calibrate")
        return found

    def _seen(self, inputs: Inputs) -> Trace:
        """What an ordinary run shows, where a pass without values shows too little."""
        if self.is_abstract:
            raise ModelError("what the model does depends on its values, which it has not: materialize it first")
        return run(self.model, inputs)

    def balanced(self, found: Found, batch: tuple[Inputs, Any, LossLike]) -> Found:
        """The same with equal ratios of gradient to weight, from a run of the calibrated model."""
        before = {path: tensor.detach().clone() for path, tensor in self._held().items() if path in found.changes}
        self._put(found)
        values = observe(self.model, *batch).values
        if self.plan is None:
            with torch.no_grad():
                for path, copy in before.items():
                    self._held()[path].copy_(copy)
        return found.balanced(values)

    def settled(self, found: Found) -> Calibration:
        """Writes the changes, and says what they are."""
        return found.settled(self._put(found))

    def _put(self, found: Found) -> Plan | None:
        if self.plan is not None and self.key is not None:
            made = with_factors(self.plan, found.changes)
            return made if self.is_abstract else _applied(self.model, made, self.key)
        check_changes(self._held(), found.changes)
        change_(self.model, found.changes, found.spreads)
        return None

    def _held(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters(remove_duplicate=False))

    def pager(self, inputs: Inputs, provenance: ParameterProvenance) -> ParameterPager | None:
        """What gives parameters without memory values, where the inputs are; None where all have some."""
        if self.plan is None or self.key is None or not self.is_abstract:
            return None
        device = next((tensor.device for tensor in given_tensors(inputs)), torch.device("cpu"))
        return ParameterPager(self.model, (self.plan, self.key), device, provenance)


def _applied(model: nn.Module, plan: Plan, key: Key) -> Plan:
    apply(model, plan, key)
    return plan


def _run(source: _Source, inputs: Inputs, trace: Trace) -> Calibrator | None:
    """The forward pass; None where the model does other things than its trace says."""
    model, given = source.model, given_tensors(inputs)
    before = tuple(moments(tensor) for tensor in given)
    calibrator = Calibrator(trace, source.options, fixed_by(source.plan), lambda number: before[number])
    held = dict(model.named_parameters(remove_duplicate=False))

    def see(op: Op, output: Tensor) -> None:
        task = calibrator.task(op)
        answer = None if task is None else calibrator.answer(task, Measured(output, op.axis))
        if task is not None and answer is not None and answer.changes:
            new = _changed(calibrator, task, held)
            made = next(iter(tensors_in(recorder.again(new) if new else None)), None)
            if made is not None:
                output.copy_(made)
            else:
                adjust_(output, answer, values(task.bias) if task.bias else None, op.axis)
        calibrator.remember(op, lambda: moments(output))

    recorder = Recorder(model, Watcher(), given, see)
    pager = source.pager(inputs, recorder.provenance)
    values = held.get if pager is None else pager.values
    with prepared(model, given, recorder), torch.no_grad():
        try:
            forward(model, inputs, recorder, pager)
        except ModelError as error:
            if isinstance(error.__cause__, OtherwiseError):
                return None
            raise
    return calibrator


def _changed(calibrator: Calibrator, task: Task, held: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Where units are set one by one: the op's parameters as they will be, for it to be computed again with them.

    Their rounding is then known to what follows, and does not add up over the layers. Empty where the op sees something
    that is made of a parameter: what it gives is then scaled instead, as where it sees a view of one.
    """
    if calibrator.options.mode != "channel" or any(use.steps for use in task.op.uses if use.path in task.paths):
        return {}
    lies = spread(calibrator.trace, task)
    changes = calibrator.changes
    return {
        id(held[path]): changed(held[path], changes[path], lies if path in task.weights else None)
        for path in task.paths
    }


def _target(model: nn.Module, batches: Sequence[tuple[Any, Any]]) -> Any:
    targets = [target for _, target in batches]
    if any(target is None for target in targets):
        return None
    return joined([as_inputs(model, (target,)) for target in targets]).args[0]


def _check_values(source: _Source, *, balance: bool) -> None:
    """Raises where a model without memory cannot be calibrated."""
    if not source.is_abstract:
        return
    if source.plan is None:
        raise ValueError(
            "the model's parameters are on the meta device and have no values: give plan= and key=, which draw each "
            "where it is read, or materialize it first (fanwise.torch.materialize)"
        )
    if balance:
        raise ValueError("balance=True on the meta device: gradients need all parameters at once, materialize it first")
    check_pageable(source.model, source.plan)


def _check_given(inputs: Inputs) -> None:
    if any(is_abstract(tensor) for tensor in given_tensors(inputs)):
        raise ValueError("the inputs have no values: calibration measures what the model computes of real ones")
