"""What changes from one plan to another."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

from fanwise.plan.folding import fold
from fanwise.plan.formula import formula, short
from fanwise.plan.row import Row
from fanwise.plan.table import counted, rich_lines, terminal_width, text_of
from fanwise.report.document import Column, Document, Section, Table, Text
from fanwise.report.document import Row as Line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text as RichText

COLUMNS = (
    Column("parameter"),
    Column("change", help="added, removed, or what differs."),
    Column("before"),
    Column("after"),
    Column("std ratio", align="right", help="std after over std before."),
)


@dataclass(frozen=True)
class Change:
    """One parameter before and after; `before` is None where it was added, `after` where it was removed.

    Raises:
        ValueError: both are None, or their paths differ.
    """

    before: Row | None
    after: Row | None

    def __post_init__(self) -> None:
        if len({row.path for row in (self.before, self.after) if row is not None}) != 1:
            raise ValueError(f"before = {self.before!r}, after = {self.after!r}: expected rows of one parameter")

    @property
    def path(self) -> str:
        """The parameter's path."""
        return next(row.path for row in (self.before, self.after) if row is not None)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that differ; empty where the parameter was added or removed."""
        if self.before is None or self.after is None:
            return ()
        return tuple(name for name in _FIELDS if vars(self.before)[name] != vars(self.after)[name])

    @property
    def std_ratio(self) -> float | None:
        """Std after over std before; None where one is not known or the one before is 0."""
        stds = [None if row is None else row.std for row in (self.before, self.after)]
        return None if stds[1] is None or not stds[0] else stds[1] / stds[0]

    @property
    def kind(self) -> str:
        """`added`, `removed`, or the fields that differ."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else ", ".join(self.fields)


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
        kinds = [_said(change) for change in self.changes]
        folds = fold([change.path for change in self.changes], range(len(kinds)) if full else kinds)
        lines = tuple(_line(counted(item), self.changes[item.members[0]]) for item in folds)
        table = (Table(COLUMNS, lines),) if lines else ()
        return Document("What changes", "", (Section("Parameters", (*table, Text(self._totals()))),))

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


_FIELDS = tuple(field.name for field in fields(Row))


def _line(path: str, change: Change) -> Line:
    sides = ("" if row is None else formula(row) for row in (change.before, change.after))
    return Line((path, change.kind, *sides, short(change.std_ratio)))


def _said(change: Change) -> Hashable:
    sides = tuple("" if row is None else (formula(row), row.shape) for row in (change.before, change.after))
    return change.kind, sides, change.std_ratio
