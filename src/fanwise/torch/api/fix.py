"""`fix`: what the findings of a check would have drawn anew, as a plan, a table and code; and done, where asked."""

from typing import Any

from torch import nn

from fanwise.check.fix import FixSession, Mending
from fanwise.check.report import Report
from fanwise.measure.losses import LossLike
from fanwise.plan.codegen import pasted
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.recipe import Recipe
from fanwise.stream.key import KeyLike
from fanwise.torch.backend import BACKEND
from fanwise.torch.trace.provenance import check_model

__all__ = ["Mending", "fix"]


def fix(
    model: nn.Module,
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
        What changes, with code to paste.

    Raises:
        TypeError: no report, no module, or a batch of no known kind.
        ValueError: a report on another model, or an unknown recipe.
        ModelError: the model could not be run on this batch.
    """
    check_model(model)
    mending = FixSession(BACKEND, batch, loss, recipe, code=_code).mending(model, report)
    if apply and mending:
        BACKEND.apply(model, mending.plan, key)
    return mending


def _code(plan: Plan) -> str:
    return pasted(plan.rows, recipe=plan.recipe)
