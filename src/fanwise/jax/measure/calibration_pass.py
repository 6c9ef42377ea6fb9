"""The run of a JAX model in which its weights are calibrated; see `fanwise.calibrate.session.CalibrationPass`."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.calibrate.arrays import Measured, adjusted, changed, checked_reach, moments
from fanwise.calibrate.calibrator import Calibrator, Change, OtherwiseError
from fanwise.calibrate.decisions import fixed_by
from fanwise.calibrate.options import Options
from fanwise.calibrate.session import NumberSource
from fanwise.calibrate.tasks import Task
from fanwise.calibrate.units import Spread, spread
from fanwise.graph.visitor import Watcher
from fanwise.jax.trace.abstract_run import Slice, Structure, form_of, structure_of, structure_of_run
from fanwise.jax.trace.executed_op import ExecutedOp
from fanwise.jax.trace.models import as_model
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.run import Inputs, ModelError, Program, interpret_program, program_of
from fanwise.jax.weights.apply import apply, in_form_of
from fanwise.plan.plan import Plan


class JaxCalibration:
    """A model on inputs.

    Args:
        model: with values.
        inputs: with values.
        source: the plan and its key, where one draws the numbers.
        options: what should be reached.
    """

    def __init__(self, model: Any, inputs: Inputs, source: NumberSource, options: Options) -> None:
        self._model, self._inputs, self._source, self._options = model, inputs, source, options
        self._program: Program | None = None
        self._slices: Mapping[str, Slice] = {}

    def kept(self, *, early: bool) -> AbstractContextManager[None]:
        """Nothing is to be done: arrays cannot be written."""
        return nullcontext()

    def undone(self, paths: Collection[str]) -> AbstractContextManager[None]:
        """Nothing is to be done."""
        return nullcontext()

    def draw(self, plan: Plan) -> Any:
        """A new model; the first is what runs."""
        drawn = apply(self._model, plan, self._source.key)
        self._program = self._program or _program(drawn, self._inputs)
        return drawn

    @property
    def program(self) -> Program:
        """The program that runs."""
        self._program = self._program or _program(self._model, self._inputs)
        return self._program

    def structure(self) -> Structure | None:
        """The structure, from the program on shapes."""
        return structure_of(self.program)

    def seen(self) -> Structure:
        """The structure, from an ordinary run."""
        return structure_of_run(self.program)

    def passed(self, structure: Structure) -> Calibrator | None:
        """The forward pass."""
        self._slices = structure.slices
        return _run_forward(self.program, structure, self._options, _fixed(structure, self._source.plan))

    def changed(self, changes: Mapping[str, Change], spreads: Mapping[str, Spread]) -> Any:
        """A new model in the form in which it came."""
        model = as_model(self._model)
        leaves = {**model.leaves, **_with_changes(model.leaves, self._slices, changes, spreads)}
        return in_form_of(self._model, model.rebuild(leaves))


def _program(model: Any, inputs: Inputs) -> Program:
    program = program_of(model, inputs)
    if program.is_abstract:
        raise ValueError(
            f"{program.model.name} or its inputs are shapes alone: calibration measures what a model computes, so "
            "materialize it first (fanwise.jax.materialize)"
        )
    return program


def _run_forward(
    program: Program, structure: Structure, options: Options, fixed: Mapping[str, str]
) -> Calibrator | None:
    """The forward pass; None where the program does other things than its structure says."""
    given = tuple(moments(np.asarray(array)) for array in program.given)
    calibrator = Calibrator(structure.trace, options, fixed, lambda number: given[number])
    run = _Run(structure, calibrator, dict(program.model.leaves))
    recorder = Recorder(
        {parameter.path: parameter for parameter in program.parameters}, program.model.leaves, Watcher(), see=run.see
    )
    try:
        interpret_program(program, recorder, program.values())
    except ModelError as error:
        if isinstance(error.__cause__, OtherwiseError):
            return None
        raise
    return calibrator if len(recorder.ops) == len(structure.forms) else None


def _fixed(structure: Structure, plan: Plan | None) -> Mapping[str, str]:
    """Parameters that no factor can be told of."""
    stacks = {} if plan is None else {name: part.path for name, part in structure.slices.items()}
    return {
        **{
            path: f"a loop applies {path} over and over: one step does not tell its scale"
            for path in structure.repeated
        },
        **{name: f"each slice of {path} needs a factor, a plan has one for it" for name, path in stacks.items()},
        **fixed_by(plan),
    }


class _Run:
    """Answers what goes on after each operation of a run.

    Args:
        structure: what the program does.
        calibrator: decides.
        leaves: the parameters, which become what they are changed to.
    """

    def __init__(self, structure: Structure, calibrator: Calibrator, leaves: dict[str, Any]) -> None:
        self._structure, self._calibrator, self._leaves = structure, calibrator, leaves
        self._maps: dict[int, ExecutedOp] = {}
        self._awaited = frozenset(structure.maps.values())

    def see(self, executed: ExecutedOp) -> Any:
        """The output that goes on."""
        number, structure = executed.op.index, self._structure
        if number >= len(structure.forms) or structure.forms[number] != form_of(executed.op):
            raise OtherwiseError
        if number in self._awaited:
            self._maps[number] = executed
        op, output = structure.ops.get(number), executed.output
        if op is None:
            return output
        task = self._calibrator.task(op)
        if task is not None:
            output = self._answer(task, executed)
        share = structure.shares.get(number, 1.0)
        self._calibrator.remember(op, lambda: moments(np.asarray(output) / share))
        return output

    def _answer(self, task: Task, executed: ExecutedOp) -> Any:
        output, axis = np.asarray(executed.output), task.op.axis
        bias = _leaf(self._leaves, self._structure.slices, task.bias) if task.bias else None
        answer = self._calibrator.answer(task, Measured(output, axis))
        if not answer.changes:
            return executed.output
        if self._calibrator.options.mode == "channel" and not any(use.steps for use in task.op.uses):
            return self._again(task, executed)
        return jnp.asarray(adjusted(output, answer, bias, axis))

    def _again(self, task: Task, executed: ExecutedOp) -> Any:
        """The output of the op from its parameters as they will be: their rounding is then known to what follows."""
        slices, lies = self._structure.slices, spread(self._calibrator.trace, task)
        changes = {path: self._calibrator.changes[path] for path in task.paths}
        spreads = {} if lies is None else {task.weights[0]: lies}
        drawn = _with_changes(self._leaves, slices, changes, spreads)
        if executed.op.index not in self._structure.maps:
            return executed.again(drawn, {})
        array = self._maps[self._structure.maps[executed.op.index]].again(drawn, {})
        operand = next(operand for operand, value in enumerate(executed.values) if value.is_data)
        read = executed.values[operand]
        for step in read.views.steps if read.views is not None else ():
            array = step(array)
        return executed.again(drawn, {operand: array.astype(read.dtype)})


# Parameters


def _leaf(leaves: Mapping[str, Any], slices: Mapping[str, Slice], path: str) -> Any:
    """The values of a parameter, or of a slice of one."""
    part = slices.get(path)
    return np.asarray(leaves[path] if part is None else leaves[part.path][part.subscript])


def _with_changes(
    leaves: Mapping[str, Any],
    slices: Mapping[str, Slice],
    changes: Mapping[str, Change],
    spreads: Mapping[str, Spread],
) -> dict[str, Any]:
    """The parameters that are changed, as they then are.

    Raises:
        ValueError: a parameter that cannot hold its factor.
    """
    arrays: dict[str, Any] = {}
    for path, change in changes.items():
        values = _leaf(leaves, slices, path)
        limits = jnp.finfo(values.dtype)
        checked_reach(path, values, change, (float(limits.smallest_subnormal), float(limits.max)))
        new, part = changed(values, change, spreads.get(path)), slices.get(path)
        if part is None:
            arrays[path] = new
        else:
            arrays.setdefault(part.path, np.array(leaves[part.path]))[part.subscript] = new
    return {path: _placed(array, leaves[path]) for path, array in arrays.items()}


def _placed(array: Any, like: Any) -> Any:
    """Values where those were whose place they take."""
    return jax.device_put(array, like.sharding) if isinstance(like, jax.Array) else array
