"""Pytest's side of `check`: every ``--init-check train.py:build`` becomes a test.

pytest loads this module in every run of every project that has fanwise installed: it imports pytest and nothing else.
"""

from types import TracebackType
from typing import Any, TypeAlias

import pytest

HELP = (
    "check the model that a factory builds at step zero, as a test of its own; the factory may return the model, "
    "(model, batch) or (model, batch, loss); may be repeated"
)

Reported: TypeAlias = "tuple[str, int | None, str]"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--init-check`` and ``--init-check-fail-on``."""
    group = parser.getgroup("fanwise", "fanwise: models at step zero")
    group.addoption("--init-check", action="append", default=[], metavar="FILE.PY:FACTORY", help=HELP)
    group.addoption(
        "--init-check-fail-on",
        default="warning",
        choices=("error", "warning", "info"),
        help="from which severity on a finding fails the test",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds a test for each ``--init-check``."""
    for target in config.getoption("--init-check"):
        items.append(InitCheck.from_parent(session, name=target, nodeid=f"init-check::{target}"))


class UnhealthyError(Exception):
    """A model that is not healthy; the message is the report's table."""


class InitCheck(pytest.Item):
    """The check of one factory's model. Its name is the target."""

    def runtest(self) -> None:
        """Builds the model under several seeds and checks it.

        Raises:
            UnhealthyError: something grave was found.
        """
        from fanwise.targets.commands import commands  # noqa: PLC0415
        from fanwise.targets.order import Order  # noqa: PLC0415
        from fanwise.targets.resolved import resolve  # noqa: PLC0415

        target = resolve(Order(self.name, fail_on=self.config.getoption("--init-check-fail-on")))
        report = commands(target.framework).examined(target)
        if not report.ok:
            raise UnhealthyError(str(report))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = "short") -> Any:
        """The report's table; where the model could not be built or run, where that happened."""
        error = excinfo.value
        if isinstance(error, UnhealthyError):
            return str(error)
        own = error.with_traceback(_without_pytest(error.__traceback__))
        return super().repr_failure(pytest.ExceptionInfo.from_exception(own), style)

    def reportinfo(self) -> Reported:
        """Where the test stands: it has no line of its own."""
        return self.name.rpartition(":")[0] or self.name, None, f"init check: {self.name}"


def _without_pytest(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from this file on."""
    here = trace
    while here is not None and here.tb_frame.f_code.co_filename != __file__:
        here = here.tb_next
    return here or trace
