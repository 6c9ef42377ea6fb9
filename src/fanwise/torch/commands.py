"""What the command line does with PyTorch models."""

from typing import Any

from fanwise.laws.initializers import to_config
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
from fanwise.torch.planning import plan
from fanwise.torch.targets import build


def planned(target: str, inputs: str | None, recipe: str, *, meta: bool = False) -> Plan:
    """The plan of a target's model: with these inputs, its factory's own, or those of its configuration."""
    model, own = build(target, meta=meta)
    return plan(model, own if inputs is None else inputs, recipe)


def jsonable(made: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    return {"recipe": made.recipe, "framework": made.framework, "parameters": [_values(row) for row in made.rows]}


def _values(row: Row) -> dict[str, Any]:
    return {
        "path": row.path,
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
