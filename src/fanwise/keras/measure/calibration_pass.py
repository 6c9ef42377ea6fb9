"""The run of a Keras model in which its weights are calibrated; see `fanwise.calibrate.session.CalibrationPass`."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from fanwise.calibrate.arrays import Measured, adjusted, changed, checked_reach, moments
from fanwise.calibrate.calibrator import Calibrator, Change, OtherwiseError
from fanwise.calibrate.decisions import fixed_by
from fanwise.calibrate.options import Options
from fanwise.calibrate.session import NumberSource
from fanwise.calibrate.tasks import Task
from fanwise.calibrate.units import Spread, spread
from fanwise.graph.op import Op
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.keras.trace.abstract_run import structure
from fanwise.keras.trace.recorder import Recorder
from fanwise.keras.trace.run import (
    Inputs,
    ModelError,
    forward,
    given_tensors,
    prepared,
    run,
    without_gradients,
)
from fanwise.keras.trace.variables import as_array, dtype_of, variables
from fanwise.keras.weights.apply import apply
from fanwise.keras.weights.read_write import values_of
from fanwise.plan.plan import Plan
from fanwise.stream.formats import FORMATS, Array


@dataclass(frozen=True)
class KerasCalibration:
    """A built model on inputs.

    Args:
        model: any Keras model.
        inputs: of it.
        source: the plan and its key, where one draws the numbers.
        options: what should be reached.
    """

    model: Any
    inputs: Inputs
    source: NumberSource
    options: Options

    @contextmanager
    def kept(self, *, early: bool) -> Iterator[None]:
        """Puts the parameters back on errors; a run puts everything else back itself."""
        by_path = variables(self.model)
        copies = {path: values_of(variable) for path, variable in by_path.items()}
        try:
            yield
        except BaseException:
            for path, variable in by_path.items():
                variable.assign(copies[path])
            raise

    @contextmanager
    def undone(self, paths: Collection[str]) -> Iterator[None]:
        """Assigns the values of parameters again at the end."""
        by_path = variables(self.model)
        copies = {path: values_of(by_path[path]) for path in paths}
        yield
        for path, copy in copies.items():
            by_path[path].assign(copy)

    def draw(self, plan: Plan) -> Any:
        """The model itself."""
        return self.model if self.source.key is None else apply(self.model, plan, self.source.key)

    def structure(self) -> Trace | None:
        """The trace, from a pass over shapes."""
        return structure(self.model, self.inputs)

    def seen(self) -> Trace:
        """The trace, from an ordinary run."""
        return run(self.model, self.inputs)

    def passed(self, structure: Trace) -> Calibrator | None:
        """The forward pass."""
        given = given_tensors(self.inputs)
        before = tuple(moments(as_array(tensor)) for tensor in given)
        calibrator = Calibrator(structure, self.options, fixed_by(self.source.plan), lambda number: before[number])

        def tap(op: Op, output: Any) -> Any:
            task = calibrator.task(op)
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by its line
                if task is not None:
                    output = _answered(calibrator, task, recorder, (op, output))
                calibrator.remember(op, lambda: moments(as_array(output)))
            return output

        recorder = Recorder(self.model, Watcher(), given, tap=tap)
        with prepared(self.model, recorder), without_gradients():
            try:
                forward(self.model, self.inputs, recorder)
            except ModelError as error:
                if isinstance(error.__cause__, OtherwiseError):
                    return None
                raise
        return calibrator

    def changed(self, changes: Mapping[str, Change], spreads: Mapping[str, Spread]) -> Any:
        """The model itself; it is written once all changes are known to fit."""
        by_path = variables(self.model)
        for path, change in changes.items():
            form = FORMATS[dtype_of(by_path[path])]
            checked_reach(path, values_of(by_path[path]), change, (form.smallest, form.largest))
        for path, change in changes.items():
            by_path[path].assign(changed(values_of(by_path[path]), change, spreads.get(path)))
        return self.model


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


def _changed(calibrator: Calibrator, task: Task, by_path: Mapping[str, Any]) -> dict[str, Array]:
    """The op's parameters as they will be, for it to be computed again with them, where units are set one by one.

    Their rounding is then known to what follows, and does not add up over the layers. Empty where the op sees something
    that is made of a parameter.
    """
    if calibrator.options.mode != "channel" or any(use.steps for use in task.op.uses if use.path in task.paths):
        return {}
    lies, changes = spread(calibrator.trace, task), calibrator.changes
    return {
        path: changed(values_of(by_path[path]), changes[path], lies if path in task.weights else None)
        for path in task.paths
    }
