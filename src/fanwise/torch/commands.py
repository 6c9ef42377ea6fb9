"""What the command line does with PyTorch models."""

from collections.abc import Sequence
from typing import Any

from fanwise.laws.initializers import to_config
from fanwise.plan.diff import Change, Diff
from fanwise.plan.plan import Plan
from fanwise.plan.registry import recipe as as_recipe
from fanwise.plan.row import Row
from fanwise.torch.planning import plan
from fanwise.torch.targets import build, prints_on_stderr


def planned(target: str, inputs: str | None, recipes: Sequence[str], *, meta: bool = False) -> tuple[Plan, ...]:
    """Plans of a target's model, which is built once: with these inputs, its factory's own, or its configuration's.

    What the target's code prints goes to stderr.

    Args:
        target: see `fanwise.torch.targets.build`.
        inputs: a spec.
        recipes: names of recipes, one for each plan.
        meta: build the model without memory.
    """
    chosen = [as_recipe(name) for name in recipes]  # told before a model is built
    with prints_on_stderr():
        model, own = build(target, meta=meta)
        return tuple(plan(model, own if inputs is None else inputs, found) for found in chosen)


def jsonable(made: Plan, against: Diff | None = None) -> dict[str, Any]:
    """A plan, and what differs from another one, as plain values."""
    values: dict[str, Any] = {
        "recipe": made.recipe,
        "framework": made.framework,
        "inputs": made.inputs,
        "parameters": [_values(row) for row in made.rows],
    }
    return values if against is None else values | {"against": [_difference(change) for change in against.changes]}


def _values(row: Row) -> dict[str, Any]:
    return {
        "path": row.path,
        "aliases": list(row.aliases),
        "shape": list(row.shape),
        "dtype": row.dtype,
        "role": row.role,
        "op": row.op,
        "law": None if row.law is None else to_config(row.law),
        "std": row.std,
        "fans": [[fans.fan_in, fans.fan_out] for fans in row.fans],
        "fed": row.fed,
        "gives": row.gives,
        "guess": row.guess,
        "reason": row.reason,
        "source": row.source,
    }


def _difference(change: Change) -> dict[str, Any]:
    """What another plan says of a parameter; None for the law of one that it leaves as it is."""
    law = None if change.before is None or change.before.law is None else to_config(change.before.law)
    return {"path": change.path, "fields": list(change.fields), "law": law, "std_ratio": change.std_ratio}
