"""`calibrate`: weights scaled on real data, in one forward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanwise.calibrate.arrays import Measured, adjusted, changed, checked_reach, moments
from fanwise.calibrate.calibrator import Calibrator, Change, OtherwiseError
from fanwise.calibrate.decisions import Found, calibrated, check_plan, fixed_by, with_factors
from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.tasks import Task
from fanwise.calibrate.units import Spread, spread
from fanwise.graph.visitor import Watcher
from fanwise.jax.measure.joined_batches import JOINING, joined
from fanwise.jax.measure.losses import named_loss, split
from fanwise.jax.measure.observe import observe
from fanwise.jax.stream.keys import JaxKey
from fanwise.jax.trace.abstract_run import Slice, Structure, form_of, structure_of, structure_of_run
from fanwise.jax.trace.executed_op import ExecutedOp
from fanwise.jax.trace.inputs import as_inputs, inputs_text
from fanwise.jax.trace.models import as_model
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.run import Inputs, ModelError, Program, interpreted, program_of
from fanwise.jax.weights.apply import apply, as_stream, formed
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.stream.key import Key


def calibrate(  # noqa: PLR0913  (one parameter a choice; all but two by name)
    model: Any,
    batch: Any,
    *,
    more: Sequence[Any] = (),
    mode: str = "layer",
    statistic: str = "std",
    target: float = 1.0,
    head: str = "loss",
    branches: str = "share",
    gain_after: bool = False,
    only: str | Sequence[str] | None = None,
    plan: Plan | None = None,
    key: JaxKey | int | None = None,
    balance: bool = False,
    loss: LossLike = None,
) -> tuple[Any, Calibration]:
    """The model with its weights scaled on real data, in one forward pass; the one that is given stays as it is.

    The program is interpreted op by op. At each op with a weight the output is measured, over all its values and in
    double precision; the weight gets the factor that gives the output its target, and the output times that factor goes
    on, into loops, branches and rematerialised parts too, so that what follows is measured on calibrated input. A bias
    that alone reads a map is scaled with it, so that a target is always met. What follows each op is read before, from
    a pass over shapes. Each matrix of a stack that a scan goes through has a factor of its own; what a loop over time
    applies at every step is left.

    Args:
        model: as for `fanwise.jax.plan`, with values.
        batch: inputs as for `fanwise.jax.plan`. Where a `loss` is given, the last element of a tuple is what it
            compares with.
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
        key: of the plan's numbers, as for `apply`.
        balance: makes the ratios of gradient to weight equal along chains of maps and positively homogeneous
            functions, with another forward pass and a backward pass; the model's function is kept.
        loss: as `check` takes it; it is computed for `balance` alone.

    Returns:
        The model in the form in which it came, and what was done: one line an op with what was measured, the target,
        the factor, or why it was left. A slice of a stack is called ``path[index]``.

    Raises:
        TypeError: an argument of the wrong kind, or no model.
        ValueError: an unknown choice, a plan without a key or in mode "channel", batches that do not fit each other, a
            weight that cannot hold its factor, or a model or inputs without values.
        ModelError: the model could not be run.

    Example:
        >>> def network(p, x):
        ...     return jax.nn.relu(x @ p["w0"] + p["b0"]) @ p["w1"]
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> params = {"w0": jax.random.normal(keys[0], (64, 64)), "b0": jnp.zeros(64)}
        >>> params["w1"] = jax.random.normal(keys[1], (64, 10))
        >>> x = jax.random.normal(keys[2], (256, 64))
        >>> (network, made), result = calibrate((network, params), x)
        >>> sorted(result.factors), result.forwards
        (['w0', 'w1'], 1)
        >>> print(f"{(x @ made['w0']).std():.5f} {network(made, x).std():.3f}")
        1.00000 0.303

    References:
        Mishkin and Matas, "All you need is a good init", 2015; Kraehenbuehl et al., "Data-dependent initializations of
        convolutional neural networks", 2015; Salimans and Kingma, "Weight normalization", 2016, section 3.
    """
    options = Options(mode, statistic, target, head, branches, gain_after, only)
    check_plan(plan, key, options)
    named_loss(loss)
    stream = None if key is None else as_stream(key)
    batches = [split(one, loss) for one in (batch, *more)]
    inputs = joined([as_inputs(given) for given, _ in batches])
    source = _Source(model, options, plan, stream)
    found = source.calibrated(inputs)
    if balance:
        values = observe(
            source.changed(found)[0], inputs, JOINING.targets([target for _, target in batches]), loss
        ).values
        found = replace(found, decided=found.decided.balanced(values))
    made, planned = source.changed(found)
    told = inputs_text(None if more else batch, inputs)
    return made, replace(found.decided.settled(planned), model=as_model(model).name, batch=told)


@dataclass(frozen=True)
class _Found:
    """What was decided, and the slices of stacks that it speaks of."""

    decided: Found
    slices: Mapping[str, Slice]


@dataclass(frozen=True)
class _Source:
    """Where a model's numbers come from: they are there already, or a plan draws them."""

    model: Any
    options: Options
    plan: Plan | None
    key: Key | None

    def calibrated(self, inputs: Inputs) -> _Found:
        """One pass, in which every op's factor is found."""
        program = program_of(self._drawn(self.plan), inputs)
        if program.is_abstract:
            raise ValueError(
                f"{program.model.name} or its inputs are shapes alone: calibration measures what a model computes, so "
                "materialize it first (fanwise.jax.materialize)"
            )
        tried: list[Structure] = []

        def passed(structure: Structure) -> Calibrator | None:
            tried.append(structure)
            return _passed(program, structure, self.options, _fixed(structure, self.plan))

        found = calibrated(lambda: structure_of(program), lambda: structure_of_run(program), passed)
        if found is None:
            raise ModelError("the model does other things in each of two runs on the same inputs: nothing to calibrate")
        return _Found(found, tried[-1].slices)

    def changed(self, found: _Found) -> tuple[Any, Plan | None]:
        """The model with what was found, and the plan that says it."""
        if self.plan is not None:
            planned = with_factors(self.plan, found.decided.changes)
            return self._drawn(planned), planned
        made = as_model(self.model)
        return formed(self.model, made.rebuild({**made.leaves, **_written(made.leaves, found)})), None

    def _drawn(self, plan: Plan | None) -> Any:
        return self.model if plan is None or self.key is None else apply(self.model, plan, self.key)


def _passed(program: Program, structure: Structure, options: Options, fixed: Mapping[str, str]) -> Calibrator | None:
    """The forward pass; None where the program does other things than its structure says."""
    given = tuple(moments(np.asarray(array)) for array in program.given)
    calibrator = Calibrator(structure.trace, options, fixed, lambda number: given[number])
    run = _Run(structure, calibrator, dict(program.model.leaves))
    recorder = Recorder({one.path: one for one in program.parameters}, program.model.leaves, Watcher(), see=run.see)
    try:
        interpreted(program, recorder, program.values())
    except ModelError as error:
        if isinstance(error.__cause__, OtherwiseError):
            return None
        raise
    return calibrator if len(recorder.ops) == len(structure.forms) else None


def _fixed(structure: Structure, plan: Plan | None) -> Mapping[str, str]:
    """Parameters that no factor can be told of."""
    stacks = {} if plan is None else {name: one.path for name, one in structure.slices.items()}
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

    def see(self, carried: ExecutedOp) -> Any:
        """The output that goes on."""
        number, structure = carried.op.index, self._structure
        if number >= len(structure.forms) or structure.forms[number] != form_of(carried.op):
            raise OtherwiseError
        if number in self._awaited:
            self._maps[number] = carried
        op, output = structure.ops.get(number), carried.output
        if op is None:
            return output
        task = self._calibrator.task(op)
        if task is not None:
            output = self._answered(task, carried)
        share = structure.shares.get(number, 1.0)
        self._calibrator.remember(op, lambda: moments(np.asarray(output) / share))
        return output

    def _answered(self, task: Task, carried: ExecutedOp) -> Any:
        output, axis = np.asarray(carried.output), task.op.axis
        bias = _leaf(self._leaves, self._structure.slices, task.bias) if task.bias else None
        answer = self._calibrator.answer(task, Measured(output, axis))
        if not answer.changes:
            return carried.output
        if self._calibrator.options.mode == "channel" and not any(use.steps for use in task.op.uses):
            return self._again(task, carried)
        return jnp.asarray(adjusted(output, answer, bias, axis))

    def _again(self, task: Task, carried: ExecutedOp) -> Any:
        """The output of the op from its parameters as they will be: their rounding is then known to what follows."""
        slices, lies = self._structure.slices, spread(self._calibrator.trace, task)
        changes = {path: self._calibrator.changes[path] for path in task.paths}
        spreads = {} if lies is None else {task.weights[0]: lies}
        drawn = _with_changes(self._leaves, slices, changes, spreads)
        if carried.op.index not in self._structure.maps:
            return carried.again(drawn, {})
        made = self._maps[self._structure.maps[carried.op.index]].again(drawn, {})
        place = next(place for place, value in enumerate(carried.values) if value.is_data)
        read = carried.values[place]
        for step in read.views.steps if read.views is not None else ():
            made = step(made)
        return carried.again(drawn, {place: made.astype(read.dtype)})


# Parameters


def _leaf(leaves: Mapping[str, Any], slices: Mapping[str, Slice], path: str) -> Any:
    """The values of a parameter, or of a slice of one."""
    one = slices.get(path)
    return np.asarray(leaves[path] if one is None else leaves[one.path][one.place])


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
    made: dict[str, Any] = {}
    for path, change in changes.items():
        values = _leaf(leaves, slices, path)
        limits = jnp.finfo(values.dtype)
        checked_reach(path, values, change, (float(limits.smallest_subnormal), float(limits.max)))
        new, one = changed(values, change, spreads.get(path)), slices.get(path)
        if one is None:
            made[path] = new
        else:
            made.setdefault(one.path, np.array(leaves[one.path]))[one.place] = new
    return {path: _placed(array, leaves[path]) for path, array in made.items()}


def _placed(array: Any, like: Any) -> Any:
    """Values where those were whose place they take."""
    return jax.device_put(array, like.sharding) if isinstance(like, jax.Array) else array


def _written(leaves: Mapping[str, Any], found: _Found) -> dict[str, Any]:
    return _with_changes(leaves, found.slices, found.decided.changes, found.decided.spreads)
