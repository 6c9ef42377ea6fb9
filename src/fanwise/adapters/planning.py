"""A plan for a model of any framework: the recipe watches runs of it, or of theory where nothing has values."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from fanwise.adapters.batches import given_batch
from fanwise.adapters.protocol import Backend, PreparedRun
from fanwise.adapters.starts import ModelStarts, checked_keep, kept_paths
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import ModelError, Watcher
from fanwise.plan.fixed_point import plan_until_stable, rows_of
from fanwise.plan.measured import Measured
from fanwise.plan.plan import Plan
from fanwise.plan.planner import Planner
from fanwise.plan.recipes.recipe import Recipe
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.plan.starts import Starts
from fanwise.theory.propagation import propagate

Keep: TypeAlias = str | Collection[str] | None
"""What `plan` keeps: patterns of paths, "trained", or nothing beside what is meant anyway."""


def plan_model(
    backend: Backend,
    model: Any,
    batch: Any,
    recipe: str | Recipe,
    keep: Keep = None,
    *,
    anew: Collection[str] = (),
) -> Plan:
    """A law for every parameter of a model, from what it does with some inputs.

    Args:
        backend: the framework.
        model: on whose values, or by theory where it has none, it is measured what feeds each op.
        batch: its inputs; a target beside them that the model does not take is left out.
        recipe: its name, or a `Recipe`.
        keep: patterns of paths that stay as they are, or "trained" for the weights that look trained.
        anew: paths whose values mean nothing, whatever they look like.

    Raises:
        TypeError: `keep` holds something that is no pattern.
        ValueError: a pattern that matches no parameter.
    """
    chosen, patterns = as_recipe(recipe), checked_keep(keep)
    given = given_batch(backend, model, batch)
    inputs = backend.inputs(model, given.inputs)
    session = _Planning(backend, model, chosen, patterns, frozenset(anew))
    planner = session.decided(backend.prepare(model, inputs))
    described = given.described(backend.describe(given.inputs, inputs))
    return Plan(rows_of(planner), chosen.name, backend.version, described)


@dataclass(frozen=True)
class _Planning:
    """What is planned, how, what stays, and what says nothing of how it was meant."""

    backend: Backend
    model: Any
    recipe: Recipe
    keep: tuple[str, ...]
    anew: frozenset[str]

    def decided(self, prepared: PreparedRun) -> Planner:
        """The planner after its runs of a model: on values where there are some, by theory where there are none."""
        if prepared.is_abstract:
            trace = prepared.run(Watcher())
            return plan_until_stable(self._maker(trace, None), lambda planner: propagate(trace, planner))
        starts = ModelStarts(self.backend.reader(self.model), self.anew)
        planner = self._from_structure(prepared, starts)
        if planner is None:
            planner = plan_until_stable(self._maker(prepared.run(Watcher()), starts), prepared.run)
        return planner

    def _maker(self, trace: Trace, starts: Starts | None) -> Callable[[Measured], Planner]:
        keep = kept_paths(self.backend, self.model, trace, self.keep)
        return lambda known: Planner(trace, self.recipe, starts, keep=keep, known=known)

    def _from_structure(self, prepared: PreparedRun, starts: Starts) -> Planner | None:
        """A planner that knows the model from a pass without values; None where a run shows something else."""
        expected = prepared.structure()
        if expected is None or any(use.steps for op in expected.ops for use in op.uses):
            return None  # what a model makes of a parameter is measured
        traces: list[Trace] = []
        make = self._maker(expected, starts)
        try:
            planner = plan_until_stable(make, lambda planner: traces.append(prepared.run(planner)))
        except ModelError:
            return None
        return planner if all(trace == expected for trace in traces) else None
