"""From a trace to the rows of a plan: the planner watches runs until what it needs early has settled."""

from collections.abc import Callable

from fanwise.plan.measured import Measured
from fanwise.plan.planner import Decision, Planner
from fanwise.plan.row import Row

PASSES = 3
"""At most so many runs until what a map is planned from, and only a run can measure, has settled."""


def plan_until_stable(make: Callable[[Measured], Planner], execute: Callable[[Planner], object]) -> Planner:
    """The planner after as many runs as it takes.

    Args:
        make: a planner, from what the pass before measured.
        execute: runs the model, or a theory of it, with the planner as the visitor.
    """
    known = Measured()
    for _ in range(PASSES):
        planner = make(known)
        execute(planner)
        planner.finish()
        if not known.has_moved(planner.measured):
            break
        known = planner.measured
    return planner


def rows_of(planner: Planner) -> list[Row]:
    """One row a parameter, in the model's order."""
    return [_row(planner.decisions[path]) for path in planner.cases]


def _row(decision: Decision) -> Row:
    case, choice = decision.case, decision.choice
    parameter = case.parameter
    return Row(
        path=parameter.path,
        shape=parameter.shape,
        dtype=parameter.dtype,
        law=choice.law,
        layout=case.layout,
        role=case.role,
        op="" if case.op is None else str(case.op.kind),
        reason=choice.reason,
        source=choice.source,
        aliases=parameter.aliases,
        fed=decision.fed,
        gives=decision.gives,
        guess=choice.guess,
    )
