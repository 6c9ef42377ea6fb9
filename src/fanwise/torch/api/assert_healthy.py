"""`assert_healthy`: a check as one line of a test."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fanwise.check.asserting import healthy
from fanwise.check.findings import Severity
from fanwise.check.report import Report
from fanwise.measure.losses import LossLike
from fanwise.torch.api.check import check


def assert_healthy(
    model: nn.Module | Callable[[], nn.Module],
    batch: Any = None,
    loss: LossLike = None,
    *,
    fail_on: Severity = "warning",
    **options: Any,
) -> Report:
    """Raises where a check of the model finds something grave.

    Args:
        model: a module, or a factory without arguments.
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
        >>> def test_it_starts_well():
        ...     assert_healthy(lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), "32,64")
        >>> test_it_starts_well()
    """
    return healthy(check(model, batch, loss, fail_on=fail_on, **options))
