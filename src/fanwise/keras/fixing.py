"""`fix`: what the findings of a check would have drawn anew, as a plan, a table and code."""

from functools import partial
from typing import Any

from fanwise.check.mending import Adapter, Mending, drawn_again, mending
from fanwise.check.recognise import found_law
from fanwise.check.report import Report
from fanwise.check.weighing import values_of
from fanwise.keras.losses import LossLike, split
from fanwise.keras.memory import read
from fanwise.keras.planning import plan
from fanwise.plan.recipes import Recipe
from fanwise.plan.row import Row


def fix(
    model: Any, report: Report, batch: Any = None, *, loss: LossLike = None, recipe: str | Recipe = "unit"
) -> Mending:
    """What would mend the findings of a report by drawing parameters anew: those that its safe fixes name, no other.

    Args:
        model: the model that was checked, or one built alike.
        report: of `check`.
        batch: as for `check`.
        loss: as for `check`: it says whether the batch holds a target.
        recipe: whose laws they get.

    Returns:
        What changes, with code to paste; ``apply(model, found.plan, key)`` does it.

    Raises:
        TypeError: no report, no Keras model, or a batch of no known kind.
        ValueError: a report on another model, a model that was not built, or an unknown recipe.
        ModelError: the model could not be run on this batch.
    """
    return mending(
        report,
        Adapter(
            lambda: plan(model, split(batch, loss)[0], recipe),
            partial(_found, model),
            partial(drawn_again, package="fanwise.keras"),
        ),
    )


def _found(model: Any, row: Row) -> tuple[str, float]:
    """The law that a parameter's values look like, and their std."""
    values = values_of(read(model, row.path), row.layout)
    return found_law(values, row.shape, row.layout).text, values.std
