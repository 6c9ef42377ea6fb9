"""`fix`: what the findings of a check would have drawn anew, as a plan, a table and code."""

from typing import Any

from fanwise.check.fix import FixSession, Mending
from fanwise.check.report import Report
from fanwise.keras.backend import BACKEND
from fanwise.measure.losses import LossLike
from fanwise.plan.recipes.recipe import Recipe
from fanwise.stream.key import KeyLike

__all__ = ["Mending", "fix"]


def fix(
    model: Any,
    report: Report,
    batch: Any = None,
    *,
    loss: LossLike = None,
    recipe: str | Recipe = "unit",
    apply: bool = False,
    key: KeyLike = 0,
) -> Mending:
    """The plan that mends the findings of a report by drawing parameters anew: those that its safe fixes name.

    Args:
        model: the model that was checked, or one built alike.
        report: of `check`.
        batch: as for `check`.
        loss: as for `check`: it says whether the batch holds a target.
        recipe: whose laws they get.
        apply: also do it, in place.
        key: the stream of the whole model, where it is applied; each parameter has the child named by its path.

    Returns:
        What changes, with code to paste; ``apply(model, found.plan, key)`` does it.

    Raises:
        TypeError: no report, no Keras model, or a batch of no known kind.
        ValueError: a report on another model, a model that was not built, or an unknown recipe.
        ModelError: the model could not be run on this batch.
    """
    fixed = FixSession(BACKEND, batch, loss, recipe).mending(model, report)
    if apply and fixed:
        BACKEND.apply(model, fixed.plan, key)
    return fixed
