"""`fix`: what the findings of a check would have drawn anew, as a plan, a table and code."""

from typing import Any

from fanwise.check.fix import FixSession, Mending
from fanwise.check.report import Report
from fanwise.jax.backend import BACKEND
from fanwise.measure.losses import LossLike
from fanwise.plan.recipes.recipe import Recipe

__all__ = ["Mending", "fix"]


def fix(model: Any, report: Report, batch: Any, *, loss: LossLike = None, recipe: str | Recipe = "unit") -> Mending:
    """The plan that mends the findings of a report by drawing parameters anew: those that its safe fixes name.

    Args:
        model: the model that was checked, or one made alike.
        report: of `check`.
        batch: as for `check`.
        loss: as for `check`: it says whether the batch holds a target.
        recipe: whose laws they get.

    Returns:
        What changes, with code to paste; ``apply(model, found.plan, key)`` does it.

    Raises:
        TypeError: no report, no model, or a batch of no known kind.
        ValueError: a report on another model, or an unknown recipe.
        ModelError: the model could not be run on this batch.

    Example:
        >>> import jax
        >>> from fanwise.jax import apply, check
        >>> model = (lambda p, x: jax.nn.relu(x @ p["w"]) @ p["head"], {
        ...     "w": 0.2 * jax.random.normal(jax.random.key(0), (64, 64)),
        ...     "head": 9.0 * jax.random.normal(jax.random.key(1), (64, 10))})
        >>> batch = jax.random.normal(jax.random.key(2), (32, 64)), jax.numpy.arange(32) % 10
        >>> found = fix(model, check(model, batch, "cross_entropy"), batch, loss="cross_entropy")
        >>> [row.path for row in found.rows], check(apply(model, found.plan, key=0), batch, "cross_entropy").ok
        (['head'], True)
    """
    return FixSession(BACKEND, batch, loss, recipe).mending(model, report)
