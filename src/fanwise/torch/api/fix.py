"""`fix`: what the findings of a check would have drawn anew, as a plan, a table and code; and done, where asked."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.check.mending import Adapter, Mending, mending
from fanwise.check.recognise import found_law
from fanwise.check.report import Report
from fanwise.measure.losses import LossLike
from fanwise.plan.codegen import pasted
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.unit import Recipe
from fanwise.plan.row import Row
from fanwise.stream.key import KeyLike
from fanwise.torch.api.plan import plan
from fanwise.torch.measure.losses import split
from fanwise.torch.measure.weight_statistics import values_of
from fanwise.torch.trace.provenance import check_model
from fanwise.torch.trace.storage import is_abstract, is_strided
from fanwise.torch.weights import apply as applying

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
    """What would mend the findings of a report by drawing parameters anew: those that its safe fixes name, no other.

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
    held = dict(model.named_parameters(remove_duplicate=False))
    found = mending(
        report,
        Adapter(
            lambda: plan(model, split(batch, loss)[0], recipe),
            lambda row: (_found_law(row, held[row.path]), _std(held[row.path])),
            _code,
        ),
    )
    if apply and found:
        applying.apply(model, found.plan, key)
    return found


def _code(made: Plan) -> str:
    return pasted(made.rows, recipe=made.recipe)


def _found_law(row: Row, tensor: Tensor) -> str:
    """The law that the values look like; "" where nothing can be told."""
    if not tensor.is_floating_point() or not _has_values(tensor):
        return ""
    return found_law(values_of(row.path, tensor, row.layout), row.shape, row.layout).text


def _std(tensor: Tensor) -> float:
    """Standard deviation of a parameter's values; NaN where there are none."""
    if not _has_values(tensor):
        return math.nan
    values = tensor.detach()
    planes = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    squares = float(planes.float().var(dim=tuple(range(values.dim())), correction=0).sum())
    return math.sqrt(squares)


def _has_values(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and not is_abstract(tensor) and is_strided(tensor)
