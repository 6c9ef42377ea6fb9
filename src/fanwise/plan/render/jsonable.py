"""Plans as plain values, for JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from fanwise.laws.initializers import to_config
from fanwise.plan.change import Change
from fanwise.plan.row import Row


def plan_jsonable(
    headings: Mapping[str, str], rows: Sequence[Row], against: Sequence[Change] | None = None
) -> dict[str, Any]:
    """A plan, and what differs from another one, as plain values.

    Args:
        headings: what the plan says of itself, by name.
        rows: one a parameter.
        against: what changes from the other plan; None where there is none.
    """
    values: dict[str, Any] = {**headings, "parameters": [_values(row) for row in rows]}
    return values if against is None else values | {"against": [_difference(change) for change in against]}


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
