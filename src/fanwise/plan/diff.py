"""What changes from one plan to another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanwise.plan.change import Change
from fanwise.plan.render.diff import diff_document
from fanwise.plan.render.table import rich_lines, terminal_width, text_of
from fanwise.plan.row import Row
from fanwise.report.document import Document

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text as RichText


@dataclass(frozen=True)
class Diff:
    """What changes from one plan to another; false where nothing does.

    Args:
        changes: parameters that differ, in the order of the second plan, those removed last.
        headings: what else differs, such as the recipe: before and after, by name.
        reordered: the parameters that both have come in another order.
    """

    changes: tuple[Change, ...]
    headings: Mapping[str, tuple[str, str]]
    reordered: bool = False

    def __bool__(self) -> bool:
        return bool(self.changes or self.headings or self.reordered)

    def __str__(self) -> str:
        return text_of(self.table(), terminal_width())

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["RichText"]:
        return rich_lines(self.table(), options)

    @property
    def added(self) -> tuple[Row, ...]:
        """Rows that the second plan alone has."""
        return tuple(change.after for change in self.changes if change.before is None and change.after is not None)

    @property
    def removed(self) -> tuple[Row, ...]:
        """Rows that the first plan alone has."""
        return tuple(change.before for change in self.changes if change.after is None and change.before is not None)

    @property
    def changed(self) -> tuple[Change, ...]:
        """Parameters that both plans have, and that differ."""
        return tuple(change for change in self.changes if change.fields)

    def table(self, *, full: bool = False) -> Document:
        """The differences as a report.

        Args:
            full: show every parameter, instead of one for each repeated structure.
        """
        return diff_document(self.changes, self._totals(), full=full)

    def _totals(self) -> str:
        counts = {"added": len(self.added), "removed": len(self.removed), "changed": len(self.changed)}
        totals = [f"{count} {name}" for name, count in counts.items() if count] or ["no parameter differs"]
        totals += [f"{name}: {before!r} becomes {after!r}" for name, (before, after) in self.headings.items()]
        return "; ".join([*totals, *(["the order differs"] if self.reordered else [])]) + "."


def difference(before: Sequence[Row], after: Sequence[Row], headings: Mapping[str, tuple[str, str]]) -> Diff:
    """The difference of two plans, from their rows and their headings before and after."""
    old, new = ({row.path: row for row in rows} for rows in (before, after))
    changes = [Change(old.get(path), row) for path, row in new.items() if old.get(path) != row]
    changes += [Change(row, None) for path, row in old.items() if path not in new]
    reordered = [path for path in old if path in new] != [path for path in new if path in old]
    return Diff(tuple(changes), {name: pair for name, pair in headings.items() if pair[0] != pair[1]}, reordered)
