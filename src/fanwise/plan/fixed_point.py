"""From a trace to the rows of a plan: the planner watches runs until the tables that are heads too have settled."""

from collections.abc import Callable, Mapping

from fanwise.plan.planner import Decision, Planner
from fanwise.plan.row import Row

PASSES = 3
"""At most so many runs until the tables that are heads too have settled."""


def plan_until_stable(make: Callable[[Mapping[str, float]], Planner], execute: Callable[[Planner], object]) -> Planner:
    """The planner after as many runs as it takes.

    Args:
        make: a planner, from the second moments of what feeds the heads that are tables too, by path.
        execute: runs the model, or a theory of it, with the planner as the visitor.
    """
    heads: dict[str, float] = {}
    for _ in range(PASSES):
        planner = make(heads)
        execute(planner)
        planner.finish()
        if not _moved(heads, planner.measured_heads):
            break
        heads = planner.measured_heads
    return planner


def rows_of(planner: Planner) -> list[Row]:
    """One row a parameter, in the model's order."""
    return [_row(planner.decisions[path]) for path in planner.cases]


def _moved(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    return any(abs(value / before.get(path, 1.0) - 1) > 0.02 for path, value in now.items())


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
