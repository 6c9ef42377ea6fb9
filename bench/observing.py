"""Models of the zoo as they are built and as a plan makes them, run once: what the benches of theory look at."""

import gc
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

from fanwise.adapters.protocol import Backend
from fanwise.measure.observation import Observation
from fanwise.plan.plan import Plan
from zoo.model import Framework, Model
from zoo.registry import models


def backend_of(framework: Framework) -> Backend:
    """The adapter of a framework."""
    backend: Backend = import_module(f"fanwise.{framework}.backend").BACKEND
    return backend


def healthy(framework: Framework | None, name: str) -> Iterator[Model]:
    """The models without a planted break, of one framework or of all, whose names contain a text."""
    for each in get_args(Framework) if framework is None else (framework,):
        yield from (one for one in models(each).values() if one.planted is None and name in one.name)


def built(backend: Backend, model: Model, seed: int) -> Any:
    """The model with its own initial weights."""
    with backend.seeded(seed) as key:
        return model.build(*key)


def observed(backend: Backend, model: Model, start: str, seed: int) -> tuple[Observation, Plan | None]:
    """One run, forward and backward; and the plan under which the weights were drawn.

    Args:
        backend: of its framework.
        model: a record of the zoo.
        start: "built" for its own weights, "planned" for those of the unit recipe.
        seed: of the weights.
    """
    warnings.simplefilter("ignore")
    module = built(backend, model, seed)
    given, target = backend.split(model.batch(), model.loss)
    plan = None
    if start == "planned":
        plan = import_module(f"fanwise.{model.framework}").plan(module, given)
        module = backend.apply(module, plan, seed)
    run = backend.observe(module, backend.inputs(module, given), target, model.loss, backward=True)
    forget(model.framework)
    return run, plan


def forget(framework: Framework) -> None:
    """Lets go of what a framework keeps of the models that it has seen."""
    if framework == "keras":
        import_module("keras").utils.clear_session()
    gc.collect()
