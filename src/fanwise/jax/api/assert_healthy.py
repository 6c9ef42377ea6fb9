"""`assert_healthy`: a check as one line of a test."""

from typing import Any

from fanwise.check.asserting import healthy
from fanwise.check.findings import Severity
from fanwise.check.report import Report
from fanwise.jax.api.check import check
from fanwise.measure.losses import LossLike


def assert_healthy(
    model: Any, batch: Any, loss: LossLike = None, *, fail_on: Severity = "warning", **options: Any
) -> Report:
    """Raises where a check of the model finds something grave.

    Args:
        model: as for `check`: a model, or a function of a JAX key that makes one.
        batch: as for `check`.
        loss: as for `check`.
        fail_on: from which severity on it raises.
        options: others of `check`, such as ``ignore=["LOS001"]``.

    Returns:
        The report, where nothing was found that is so grave.

    Raises:
        AssertionError: something was; the message is the report's table.
        ModelError, TypeError, ValueError: as `check`.

    Example:
        >>> from fanwise.jax import initializers
        >>> def made(key):
        ...     return (lambda p, x: x @ p["w"]), {"w": initializers.lecun_normal()(key, (64, 10))}
        >>> def test_it_starts_well():
        ...     assert_healthy(made, "32,64")
        >>> test_it_starts_well()
    """
    return healthy(check(model, batch, loss, fail_on=fail_on, **options))
