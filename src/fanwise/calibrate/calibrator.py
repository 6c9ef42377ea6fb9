"""The decisions of a calibration, op by op, as the model runs."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fanwise.calibrate.measuring import Answer, Float64, Measurement, Moments
from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Line
from fanwise.calibrate.solving import factor_for
from fanwise.calibrate.tasks import Task, tasks
from fanwise.calibrate.units import spread
from fanwise.graph.kinds import WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import Trace
from fanwise.plan.recipes.unit import head_std

SAME = "its output is the same at every example: its bias alone"
ONE, NOTHING = np.ones(()), np.zeros(())


@dataclass(frozen=True)
class Change:
    """What a parameter w becomes: scale * w + shift; arrays hold one number for each unit."""

    scale: Float64
    shift: Float64

    @property
    def identity(self) -> bool:
        """Whether the parameter stays as it is."""
        return bool((self.scale == 1).all() and (self.shift == 0).all())


@dataclass(frozen=True)
class _Wish:
    """What an op should give, and what of that could not be met."""

    scale: Float64
    shift: Float64 = field(default_factory=lambda: NOTHING)
    note: str = ""


class OtherwiseError(Exception):
    """A run does other things than the trace says."""


class Calibrator:
    """Answers at each op of a run what is made of its output, and keeps the changes of the parameters.

    A parameter is settled by the first op that uses it; what later ones give follows from that.

    Args:
        trace: of the model, from before the run.
        options: what should be reached.
        fixed: why parameters cannot be scaled, by path, besides what the trace says.
        fed: measures the model's own inputs.
    """

    def __init__(self, trace: Trace, options: Options, fixed: Mapping[str, str], fed: Callable[[int], Moments]) -> None:
        self.tasks = tasks(trace, options, fixed)
        self.changes: dict[str, Change] = {}
        self.lines: list[Line] = []
        self.trace = trace
        self.options = options
        self._fed = fed
        self._streams = {join.op: join.stream for join in trace.joins}
        self._wanted = {trace.ops[i].key: trace.ops[i] for i in self._streams.values() if i >= 0}
        self._pending = iter(self.tasks.values())
        self._moments: dict[tuple[str, int, int], Moments] = {}

    def task(self, op: Op) -> Task | None:
        """Task at the op that comes next in the run, None for one that has no weight.

        Raises:
            OtherwiseError: the trace says that another op comes here.
        """
        if op.kind not in WEIGHTED or not op.uses:
            return None
        task = next(self._pending, None)
        if task is None or _name(task.op) != _name(op):
            raise OtherwiseError
        return task

    def remember(self, op: Op, measured: Callable[[], Moments]) -> None:
        """Keeps the moments of a residual stream, once the output is as it goes on.

        Raises:
            OtherwiseError: the trace says that another op stands here.
        """
        expected = self._wanted.get(op.key)
        if expected is not None:
            if (expected.name, expected.shape) != (op.name, op.shape):
                raise OtherwiseError
            self._moments[op.key] = measured()

    def answer(self, task: Task, measured: Measurement) -> Answer:
        """Answer to an op's output."""
        before = measured.whole()
        line = self._line(task, before)
        settled = [path for path in task.paths if path in self.changes]
        if task.left or settled:
            note = "" if task.left else f"{settled[0]} is settled where it is used first"
            return self._closed(task, replace(line, left=task.left, note=note, target=math.nan), None)
        fault = _fault(before, line.before) or ("" if measured.varies() else SAME)
        if fault:
            return self._closed(task, replace(line, left=fault), None)
        wish = self._wish(task, measured, line)
        return self._closed(task, replace(line, factors=tuple(wish.scale.ravel().tolist()), note=wish.note), wish)

    def _line(self, task: Task, before: Moments) -> Line:
        return Line(
            task.weights,
            task.op.module,
            str(task.op.kind),
            task.case.role,
            before.statistic(self.options.statistic),
            self._target(task),
        )

    def _closed(self, task: Task, line: Line, wish: _Wish | None) -> Answer:
        """Settles the op's parameters, and says what its output becomes by all that is settled."""
        scale, shift = (ONE, NOTHING) if wish is None else (wish.scale, wish.shift)
        for path in task.paths:
            self.changes.setdefault(path, Change(scale, shift if path == task.bias else NOTHING))
        weight = self.changes[task.weights[0]].scale
        if not task.bias:
            return self._told(line, Answer(weight, NOTHING, NOTHING))
        bias = self.changes[task.bias]
        return self._told(line, Answer(weight, bias.scale - weight, bias.shift))

    def _told(self, line: Line, answer: Answer) -> Answer:
        self.lines.append(line)
        return answer

    # Targets

    def _target(self, task: Task) -> float:
        options, case = self.options, task.case
        if case.role == "head" and options.head == "loss":
            return head_std(case)
        if case.role == "branch_end" and case.join is not None and options.branches == "share":
            stream = self._stream(case.join.op).statistic(options.statistic)
            share = stream / math.sqrt(case.join.total * case.ends)
            return share if math.isfinite(share) and share > 0 else options.target
        return options.target

    def _stream(self, join: int) -> Moments:
        """Of the stream that a branch left; a sum of branches that all left before it is what they left."""
        stream = self._streams[join]
        while stream >= 0 and self.trace.ops[stream].key not in self._moments and stream in self._streams:
            join, stream = stream, self._streams[stream]
        if stream == INPUT:
            return self._fed((self.trace.ops[join].given or (0,))[0])
        if self.trace.ops[stream].key not in self._moments:
            raise OtherwiseError
        return self._moments[self.trace.ops[stream].key]

    # Factors

    def _wish(self, task: Task, measured: Measurement, line: Line) -> _Wish:
        if self.options.mode == "channel":
            return self._of_units(task, measured, line)
        if (
            self.options.gain_after
            and task.case.role not in ("head", "branch_end")
            and task.op.kind != OpKind.EMBEDDING
        ):
            return self._after(task, measured, line)
        return _Wish(np.asarray(line.target / line.before))

    def _after(self, task: Task, measured: Measurement, line: Line) -> _Wish:
        """The factor with which the activation that follows gives the target."""
        plain = np.asarray(line.target / line.before)
        if task.activation is None:
            return _Wish(plain, note="no activation alone follows: held at its own output")
        follower = self.trace.ops[task.activation]
        name, replay = follower.nonlinearity or follower.name, follower.replay
        if replay is None:
            return _Wish(plain, note=f"{name} cannot be replayed: held at its own output")
        factor_after = factor_for(
            lambda factor: measured.through(replay, factor).statistic(self.options.statistic), line.target
        )
        if factor_after is None:
            return _Wish(plain, note=f"no factor lets {name} give {line.target:.3g}: held at its own output")
        return _Wish(np.asarray(factor_after), note=f"held after {name}")

    def _of_units(self, task: Task, measured: Measurement, line: Line) -> _Wish:
        """Each unit's variance, and its mean where there is a bias; the number of units is the bias's too."""
        if spread(self.trace, task) is None:
            return _Wish(np.asarray(line.target / line.before), note="its units are not rows: scaled as a whole")
        means, variances = measured.units()
        alive = variances > np.maximum((1e-6 * means) ** 2, (1e-6 * line.before) ** 2)
        scale = np.where(alive, line.target / np.sqrt(np.where(alive, variances, 1.0)), 1.0)
        dead = int((~alive).sum())
        remarks = [f"{dead} of {len(alive)} units are constant and left"] if dead else []
        if not task.bias:
            return _Wish(scale, note="; ".join([*remarks, "no bias: the means stay"]))
        return _Wish(scale, np.where(alive, -scale * means, 0.0), "; ".join(remarks))


def _name(op: Op) -> tuple[Hashable, ...]:
    """What an op must have in common with that of the trace; other ops may stand between."""
    return op.module, op.call, op.kind, tuple(use.path for use in op.uses)


def _fault(moments: Moments, before: float) -> str:
    """Why an output cannot be scaled, "" where it can."""
    if not math.isfinite(moments.mean) or not math.isfinite(moments.variance):
        return "its output is not finite"
    if before == 0:
        return "its output is constant: no factor changes that" if moments.rms else "its output is 0: dead"
    return ""


def merged(changes: Mapping[str, Change], factors: Mapping[str, float]) -> dict[str, Change]:
    """Changes with further factors after them."""
    merged = dict(changes)
    for path, factor in factors.items():
        change = merged.get(path, Change(ONE, NOTHING))
        merged[path] = Change(change.scale * factor, change.shift * factor)
    return merged
