"""The report of a check: what `fanwise.torch.check` returns."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fanwise.check.render.jsonable import to_jsonable
from fanwise.check.render.page import page
from fanwise.check.render.sarif import to_sarif
from fanwise.check.render.table import document
from fanwise.check.render.words import verdict
from fanwise.check.report_data import ReportData
from fanwise.check.rules.registry import RULES
from fanwise.plan.render.table import terminal_width, text_of
from fanwise.report.document import Document
from fanwise.report.html import write_html
from fanwise.report.jsonable import to_json
from fanwise.report.terminal import rich_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text


@dataclass(frozen=True, repr=False)
class Report(ReportData):
    """What a check found, and ways to show it: printed, as a table, JSON, SARIF or a page.

    The fields are those of `ReportData`: `findings`, `layers`, `observations` and what was checked.
    """

    @property
    def table(self) -> Document:
        """The report for a terminal; `fanwise.check.render.table.document` takes a width, and whether to fold."""
        return document(self)

    def to_json(self) -> str:
        """The report as JSON text, in the form that ``fanwise/check/report.schema.json`` describes."""
        return to_json(to_jsonable(self))

    def to_sarif(self, *, root: str | Path | None = None) -> str:
        """The report as a SARIF 2.1.0 log.

        Args:
            root: folder to which files below it are told relatively; None is the working directory.
        """
        return to_json(to_sarif(self, RULES, root=Path.cwd() if root is None else root))

    def html(self, path: str | Path) -> Path:
        """Write the report as a page that opens from a file and loads nothing.

        Returns:
            The path, as a Path.
        """
        return write_html(page(self), path)

    def __repr__(self) -> str:
        return f"<Report of {self.model or 'a model'}: {verdict(self).text}>"

    def __str__(self) -> str:
        width = terminal_width()
        return text_of(document(self, width=width), width)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["Text"]:
        item = document(self, width=options.max_width)
        return rich_lines(item, options.max_width, ascii_only=options.ascii_only)
