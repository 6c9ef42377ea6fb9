"""`calibrate`: weights scaled on real data, in one forward pass."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from fanwise.calibrate.arrays import Measured, adjusted, changed, checked_reach, moments
from fanwise.calibrate.calibrator import Calibrator, OtherwiseError
from fanwise.calibrate.decisions import Found, calibrated, checked_key, fixed_by, with_factors
from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.tasks import Task
from fanwise.calibrate.units import spread
from fanwise.graph.op import Op
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.keras.measure.joined_batches import joined, joining
from fanwise.keras.measure.losses import named_loss, split
from fanwise.keras.measure.observe import observe
from fanwise.keras.trace.abstract_run import structure
from fanwise.keras.trace.inputs import as_inputs, inputs_text
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.run import (
    Inputs,
    ModelError,
    check_backend,
    forward,
    given_tensors,
    on_backend,
    prepared,
    run,
    without_gradients,
)
from fanwise.keras.trace.variables import as_array, check_model, dtype_of, variables
from fanwise.keras.weights.apply import apply
from fanwise.keras.weights.read_write import values_of
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.stream.formats import FORMATS, Array
from fanwise.stream.key import Key, KeyLike


def calibrate(  # noqa: PLR0913  (one parameter a choice; all but two by name)
    model: Any,
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
    measured on calibrated input. A bias is scaled with its weight, so that a target is always met; an activation that
    a layer applies itself comes after. What follows each op is read before, from a pass over shapes alone. The model
    runs for inference with batch statistics, as in `run`; directions of weights are kept. Where anything fails,
    nothing was changed.

    Args:
        model: any built Keras model, on any backend.
        batch: what the model is called with, as for `plan`; where a `loss` is given, a tuple (inputs, target).
        more: further batches of the same kind: all are run as one, so that their statistics are pooled at every op.
        mode: "layer" scales each op as a whole; "channel" gives each unit mean 0 and variance ``target**2``, through
            the columns of the kernel and through the bias.
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
        TypeError: an argument of the wrong kind, no Keras model.
        ValueError: an unknown choice, a plan without a key or in mode "channel", batches that do not fit each other, a
            weight that cannot hold its factor, or a model that was not built.
        ModelError: the model could not be run.

    Example:
        >>> import numpy as np
        >>> hidden = keras.layers.Dense(64, name="hidden")
        >>> model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.ReLU(), keras.layers.Dense(10)])
        >>> x = np.random.default_rng(0).normal(size=(256, 64)).astype("float32")
        >>> result = calibrate(model, x)
        >>> len(result.factors), result.forwards
        (2, 1)
        >>> print(*(f"{keras.ops.convert_to_numpy(part(x)).std():.4f}" for part in (hidden, model)))
        1.0000 0.3035

    References:
        Mishkin and Matas, "All you need is a good init", 2015; Kraehenbuehl et al., "Data-dependent initializations of
        convolutional neural networks", 2015; Salimans and Kingma, "Weight normalization", 2016, section 3.
    """
    check_model(model)
    check_backend()
    options = Options(mode, statistic, target, head, branches, gain_after, only)
    source = _Source(model, options, plan, checked_key(plan, key, options))
    named_loss(loss)
    batches = [split(one, loss) for one in (batch, *more)]
    inputs = joined([as_inputs(model, given) for given, _ in batches])
    with source.kept():
        found = source.calibrated(inputs)
        if balance:
            found = source.balanced(found, inputs, (_target(batches), loss))
        made = found.settled(source.put(found))
    return replace(made, model=type(model).__name__, batch=inputs_text(None if more else batch, inputs))


@dataclass(frozen=True)
class _Source:
    """Where a model's numbers come from: they are there already, or a plan draws them."""

    model: Any
    options: Options
    plan: Plan | None
    key: Key | None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Puts the parameters back where anything fails; a run puts everything else back itself."""
        held = variables(self.model)
        copies = {path: values_of(variable) for path, variable in held.items()}
        try:
            yield
        except BaseException:
            for path, variable in held.items():
                variable.assign(copies[path])
            raise

    def calibrated(self, inputs: Inputs) -> Found:
        """One pass, in which every op's factor is found; parameters stay as they are, or as the plan has them."""
        if self.plan is not None and self.key is not None:
            apply(self.model, self.plan, self.key)
        how = self.options, fixed_by(self.plan)
        found = calibrated(
            lambda: structure(self.model, inputs),
            lambda: run(self.model, inputs),
            lambda trace: _run(self.model, inputs, trace, how),
        )
        if found is None:
            raise ModelError("the model does other things in each of two runs on the same inputs: nothing to calibrate")
        return found

    def balanced(self, found: Found, inputs: Inputs, scored: tuple[Any, LossLike]) -> Found:
        """The same with equal ratios of gradient to weight, from a run of the calibrated model."""
        held = variables(self.model)
        before = {path: values_of(held[path]) for path in found.changes}
        self.put(found)
        values = observe(self.model, inputs, *scored).values
        if self.plan is None:
            for path, copy in before.items():
                held[path].assign(copy)
        return found.balanced(values)

    def put(self, found: Found) -> Plan | None:
        """Writes the changes, and gives the plan that tells them, where one drew the numbers."""
        if self.plan is not None and self.key is not None:
            made = with_factors(self.plan, found.changes)
            apply(self.model, made, self.key)
            return made
        held = variables(self.model)
        for path, change in found.changes.items():
            form = FORMATS[dtype_of(held[path])]
            checked_reach(path, values_of(held[path]), change, (form.smallest, form.largest))
        for path, change in found.changes.items():
            held[path].assign(changed(values_of(held[path]), change, found.spreads.get(path)))
        return None


def _run(model: Any, inputs: Inputs, trace: Trace, how: tuple[Options, Mapping[str, str]]) -> Calibrator | None:
    """The forward pass; None where the model does other things than its trace says."""
    given = given_tensors(inputs)
    before = tuple(moments(as_array(tensor)) for tensor in given)
    calibrator = Calibrator(trace, *how, lambda number: before[number])

    def tap(op: Op, output: Any) -> Any:
        task = calibrator.task(op)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by its line
            if task is not None:
                output = _answered(calibrator, task, recorder, (op, output))
            calibrator.remember(op, lambda: moments(as_array(output)))
        return output

    recorder = Recorder(model, Watcher(), given, tap=tap)
    with prepared(model, recorder), without_gradients():
        try:
            forward(model, inputs, recorder)
        except ModelError as error:
            if isinstance(error.__cause__, OtherwiseError):
                return None
            raise
    return calibrator


def _answered(calibrator: Calibrator, task: Task, recorder: Recorder, seen: tuple[Op, Any]) -> Any:
    """The output with which the model goes on."""
    op, output = seen
    array = as_array(output)
    answer = calibrator.answer(task, Measured(array, op.axis))
    if not answer.changes:
        return output
    again = recorder.again(_changed(calibrator, task, recorder.variables))
    if again is not None:
        return again
    bias = values_of(recorder.variables[task.bias]) if task.bias else None
    return keras.ops.convert_to_tensor(adjusted(array, answer, bias, op.axis), dtype=output.dtype)


def _changed(calibrator: Calibrator, task: Task, held: Mapping[str, Any]) -> dict[str, Array]:
    """Where units are set one by one: the op's parameters as they will be, for it to be computed again with them.

    Their rounding is then known to what follows, and does not add up over the layers. Empty where the op sees something
    that is made of a parameter.
    """
    if calibrator.options.mode != "channel" or any(use.steps for use in task.op.uses if use.path in task.paths):
        return {}
    lies, changes = spread(calibrator.trace, task), calibrator.changes
    return {
        path: changed(values_of(held[path]), changes[path], lies if path in task.weights else None)
        for path in task.paths
    }


def _target(batches: Sequence[tuple[Any, Any]]) -> Any:
    given = [None if target is None else on_backend(Inputs((target,))).args[0] for _, target in batches]
    return joining().targets(given)
