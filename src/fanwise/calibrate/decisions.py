"""What passes over a model find, whatever framework computes them: decisions, changes, and a plan with its factors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from fanwise.calibrate.balancing import balanced
from fanwise.calibrate.calibrator import Calibrator, Change, merged
from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration, Line
from fanwise.calibrate.units import Spread, spread
from fanwise.laws.elementwise import Zeros
from fanwise.plan.plan import Plan

Seen = TypeVar("Seen")
"""What an adapter knows of a model before it calibrates it: a trace, and what else it needs."""


@dataclass(frozen=True)
class Decisions:
    """What a run found.

    Args:
        calibrator: its decisions.
        changes: of parameters, by path.
        lines: of the result.
        forwards: how often the model was run.
    """

    calibrator: Calibrator
    changes: Mapping[str, Change]
    lines: tuple[Line, ...]
    forwards: int

    @property
    def spreads(self) -> Mapping[str, Spread]:
        """How the units lie in each weight that is changed."""
        tasks = self.calibrator.tasks.values()
        lie = {task.weights[0]: spread(self.calibrator.trace, task) for task in tasks}
        return MappingProxyType({path: own for path, own in lie.items() if own is not None and path in self.changes})

    def balanced(self, values: Mapping[str, "Weighed"]) -> "Decisions":
        """Decisions with equal ratios of gradient to weight.

        Args:
            values: of the parameters of the calibrated model, by path, from a run of it forward and backward.
        """
        ratios = {
            path: math.sqrt(value.gradient / value.second_moment)
            for path, value in values.items()
            if value.second_moment
        }
        factors = balanced(self.calibrator.trace, self.calibrator.tasks, ratios)
        lines = tuple(_with_ratio(line, ratios, factors) for line in self.lines)
        return replace(self, changes=merged(self.changes, factors), lines=lines, forwards=self.forwards + 1)

    def settled(self, plan: Plan | None) -> Calibration:
        """The result.

        Args:
            plan: with the factors, where one drew the numbers.
        """
        options = self.calibrator.options
        return Calibration(self.lines, options.mode, options.statistic, forwards=self.forwards, plan=plan)


class Weighed(Protocol):
    """Second moments of a parameter and of its gradient."""

    @property
    def second_moment(self) -> float:
        """E w^2."""
        ...

    @property
    def gradient(self) -> float:
        """E g^2."""
        ...


def calibrated(
    structure: Callable[[], Seen | None], seen: Callable[[], Seen], passed: Callable[[Seen], Calibrator | None]
) -> Decisions | None:
    """One pass, in which every op's factor is found; more where what the model does depends on values.

    Args:
        structure: the model's trace from a pass without values, None where there can be none.
        seen: its trace from a run.
        passed: a calibrating pass; None where the model does other things than the trace says.

    Returns:
        None where the model does other things in each of two runs.
    """
    trace = structure()
    calibrator = None if trace is None else passed(trace)
    forwards = 1
    if calibrator is None:
        forwards = 2 if trace is None else 3
        calibrator = passed(seen())
    if calibrator is None:
        return None
    changes = {path: change for path, change in calibrator.changes.items() if not change.identity}
    return Decisions(calibrator, changes, tuple(calibrator.lines), forwards)


def fixed_by(plan: Plan | None) -> Mapping[str, str]:
    """Why parameters cannot be scaled, by path: the plan draws no numbers for them, so that no factor can be told."""
    rows = () if plan is None else plan.kept
    return {row.path: f"the plan leaves {row.path} as it is" for row in rows}


def with_factors(plan: Plan, changes: Mapping[str, Change]) -> Plan:
    """The plan with the factors of a calibration; what is drawn as 0 needs none."""
    rows = (
        replace(row, factor=row.factor * float(changes[row.path].scale))
        if row.path in changes and not isinstance(row.law, Zeros)
        else row
        for row in plan.rows
    )
    return replace(plan, rows=tuple(rows))


def check_plan(plan: Plan | None, key: object, options: Options) -> None:
    """Raises where a plan cannot tell what is asked for.

    Raises:
        ValueError: a plan without a key, a key without a plan, or mode "channel".
    """
    if plan is None and key is None:
        return
    if plan is None or key is None:
        missing = "plan" if plan is None else "key"
        raise ValueError(f"{missing} = None: plan and key go together, the key says which numbers the plan draws")
    if options.mode == "channel":
        raise ValueError(
            "plan= in mode 'channel': a plan has one factor a parameter, units and biases cannot be told by it; "
            "use mode='layer', or apply the plan and calibrate without it"
        )


def _with_ratio(line: Line, ratios: Mapping[str, float], factors: Mapping[str, float]) -> Line:
    path = line.paths[0]
    if path not in factors or not line.factors:
        return line
    return replace(line, factors=tuple(factor * factors[path] for factor in line.factors), ratio=ratios[path])
