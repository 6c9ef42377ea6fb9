"""A plan for a model of any framework: the recipe watches runs of it, or of theory where nothing has values."""

from typing import Any

import numpy as np

from fanwise.adapters.protocol import Backend
from fanwise.graph.op import Parameter
from fanwise.graph.visitor import Watcher
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
    prepared = backend.prepare(model, inputs)
    trace = prepared.run(Watcher())

    def execute(planner: Planner) -> None:
        if prepared.is_abstract:
            propagate(trace, planner)
        else:
            prepared.run(planner)

    constants = None if prepared.is_abstract else constants_of(backend, model)
    planner = plan_until_stable(trace, chosen, constants, execute)
    return Plan(rows_of(planner), chosen.name, backend.version, backend.describe(batch, inputs))


def constants_of(backend: Backend, model: Any) -> dict[str, float]:
    """The value of each small parameter whose values are all equal, by path."""
    read = backend.reader(model)
    values = {parameter.path: read(parameter.path) for parameter in backend.parameters(model) if _is_small(parameter)}
    return {path: float(array.flat[0]) for path, array in values.items() if bool(np.all(array == array.flat[0]))}


def _is_small(parameter: Parameter) -> bool:
    """Whether it is a vector, a number, or holds as many numbers as one: of no other does a plan ask the value."""
    shape = parameter.shape
    return min(shape, default=1) > 0 and (len(shape) < 2 or min(shape) == 1) and "complex" not in parameter.dtype
