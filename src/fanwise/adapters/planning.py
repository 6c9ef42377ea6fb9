"""A plan for a model of any framework: the recipe watches runs of it, or of theory where nothing has values."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fanwise.adapters.protocol import Backend, PreparedRun
from fanwise.graph.op import Parameter
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import ModelError, Watcher
from fanwise.plan.fixed_point import plan_until_stable, rows_of
from fanwise.plan.plan import Plan
from fanwise.plan.planner import Planner
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.plan.recipes.unit import Recipe
from fanwise.theory.propagation import propagate


def plan_model(backend: Backend, model: Any, batch: Any, recipe: str | Recipe) -> Plan:
    """A law for every parameter of a model, from what it does with some inputs.

    Args:
        backend: the framework.
        model: on whose values, or by theory where it has none, it is measured what feeds each op.
        batch: its inputs.
        recipe: its name, or a `Recipe`.
    """
    chosen, inputs = as_recipe(recipe), backend.inputs(model, batch)
    planner = _decide(backend.prepare(model, inputs), chosen, lambda: constants_of(backend, model))
    return Plan(rows_of(planner), chosen.name, backend.version, backend.describe(batch, inputs))


def _decide(prepared: PreparedRun, recipe: Recipe, constants: Callable[[], Mapping[str, float]]) -> Planner:
    """The planner after its runs of a model: on values where there are some, by theory where there are none."""
    if prepared.is_abstract:
        trace = prepared.run(Watcher())
        return plan_until_stable(trace, recipe, None, lambda planner: propagate(trace, planner))
    values = constants()
    planner = _from_structure(prepared, recipe, values)
    if planner is None:
        planner = plan_until_stable(prepared.run(Watcher()), recipe, values, prepared.run)
    return planner


def _from_structure(prepared: PreparedRun, recipe: Recipe, constants: Mapping[str, float]) -> Planner | None:
    """A planner that knows the model from a pass without values; None where a run shows something else."""
    expected = prepared.structure()
    if expected is None or any(use.steps for op in expected.ops for use in op.uses):
        return None  # what a model makes of a parameter is measured
    traces: list[Trace] = []
    try:
        planner = plan_until_stable(expected, recipe, constants, lambda planner: traces.append(prepared.run(planner)))
    except ModelError:
        return None
    return planner if all(trace == expected for trace in traces) else None


def constants_of(backend: Backend, model: Any) -> dict[str, float]:
    """The value of each small parameter whose values are all equal, by path."""
    read = backend.reader(model)
    values = {parameter.path: read(parameter.path) for parameter in backend.parameters(model) if _is_small(parameter)}
    return {path: float(array.flat[0]) for path, array in values.items() if bool(np.all(array == array.flat[0]))}


def _is_small(parameter: Parameter) -> bool:
    """Whether it is a vector, a number, or holds as many numbers as one: of no other does a plan ask the value."""
    shape = parameter.shape
    return min(shape, default=1) > 0 and (len(shape) < 2 or min(shape) == 1) and "complex" not in parameter.dtype
