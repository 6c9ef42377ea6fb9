"""What mends a model: the parameters that would be drawn anew, and what a check finds afterwards."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fanwise.check.findings import Finding
from fanwise.plan.folding import fold
from fanwise.plan.formula import short
from fanwise.plan.plan import Plan
from fanwise.plan.render.table import counted, table_width
from fanwise.report.document import Column, Document, Row, Section, Table, Text

COLUMNS = (
    Column("parameter", help="Its path; in braces what a repeated structure counts, with how many there are."),
    Column("found", help="The law recognised in its values."),
    Column("new law", help="What it would be drawn from."),
    Column("std found", align="right"),
    Column("new std", align="right"),
    Column("why", align="right", help="Which of the reasons below."),
)

LEAVING = ("new law", "found")
"""The columns that a narrow terminal goes without, in this order: the stds say the same."""
_NUMBER = re.compile(r"(?<![\w²])\d+(\.\d+)?(e[-+]?\d+)?(?=²|\))")
"""The number in a formula such as N(0, 0.05²) or U(±0.1)."""


@dataclass(frozen=True)
class Change:
    """One parameter that would be drawn anew.

    Args:
        path: of it.
        found: the law recognised in its values, in words.
        law: the law that it would get, in words.
        before: std of its values.
        after: std of the new ones.
        reason: why this law.
    """

    path: str
    found: str
    law: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True)
class Mending:
    """What mends a model; false where nothing can be drawn anew.

    What is offered was tried on a copy of the model, which was checked again: a fix that left its own finding, or made
    another, is among the `unsafe` ones.

    Args:
        plan: a row for every parameter, with a law for those that are drawn anew alone: `apply` it.
        rows: what changes.
        unsafe: what is for you to decide, in words: changes of the model, of its data or its loss; new draws of what
            looks trained; new draws that were tried and did not cure.
        code: the same as code to paste behind the line that makes ``model``; "" without rows.
        remains: what a check of the mended model still finds, warnings and errors, those that follow from others
            within these; None without rows, or where the mended model could not be run.
    """

    plan: Plan
    rows: tuple[Change, ...] = ()
    unsafe: tuple[str, ...] = ()
    code: str = ""
    remains: tuple[Finding, ...] | None = None

    @property
    def cures(self) -> bool:
        """Whether the mended model was checked, and nothing at warning or above was found."""
        return self.remains == ()

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def table(self) -> Document:
        """What changes, as a report."""
        return self.document()

    def document(self, *, width: int | None = None) -> Document:
        """The same.

        Args:
            width: letters in a line; columns for which there is no room are left out. None shows all.
        """
        return _document(self, width)


def _document(mending: Mending, width: int | None) -> Document:
    rows = mending.rows
    reasons = {reason: number for number, reason in enumerate(dict.fromkeys(row.reason for row in rows), 1)}
    folds = fold([row.path for row in rows], [_said(row) for row in rows])
    lines = tuple(_line(counted(item), [rows[i] for i in item.members], reasons) for item in folds)
    count = f"{len(rows)} parameter" + "s" * (len(rows) != 1)
    table = _fitted(Table(COLUMNS, lines), width)
    what = (table, Text(f"{count} would be drawn anew.")) if rows else ()
    sections = (
        Section("What changes", what),
        Section("Why", tuple(Text(f"{number} {reason}") for reason, number in reasons.items())),
        Section("After this fix", tuple(_left(mending))),
        Section("For you to decide", tuple(Text(f"- {text}") for text in mending.unsafe)),
    )
    filled = tuple(section for section in sections if section.blocks)
    title = f"Fix by recipe {mending.plan.recipe!r}" if rows else "Fix"
    about = ", ".join(filter(None, (mending.plan.framework, mending.plan.inputs)))
    return Document(title, about, filled or (Section("What changes", (Text("Nothing: no finding has a fix."),)),))


def _left(mending: Mending) -> Iterator[Text]:
    """What a check of the mended model says."""
    if mending.cures:
        yield Text("A check of the mended model finds nothing.")
    for finding in mending.remains or ():
        yield Text(f"- {finding.code} {finding.message}")


def _fitted(table: Table, width: int | None) -> Table:
    """The table without the columns of `LEAVING` for which there is no room."""
    shown = table
    for label in LEAVING:
        if width is None or table_width(shown) <= width:
            break
        keep = [i for i, column in enumerate(shown.columns) if column.label != label]
        rows = tuple(replace(row, cells=tuple(row.cells[i] for i in keep)) for row in shown.rows)
        shown = replace(shown, columns=tuple(shown.columns[i] for i in keep), rows=rows)
    return shown


def _said(row: Change) -> tuple[str, ...]:
    """What the table says of a change but for its path and numbers."""
    return row.found, _NUMBER.sub("…", row.law), row.reason


def _line(name: str, rows: Sequence[Change], reasons: Mapping[str, int]) -> Row:
    """One line for changes that differ in their numbers alone."""
    first = rows[0]
    law = first.law if len({row.law for row in rows}) == 1 else _NUMBER.sub("…", first.law)
    law_parts = first.found.partition("), ")  # "U(±sqrt(1/fan_in)), torch default"
    stds = (_span([row.before for row in rows]), _span([row.after for row in rows]))
    return Row((name, law_parts[0] + law_parts[1][:1], law, *stds, str(reasons[first.reason])))


def _span(numbers: Sequence[float]) -> str:
    """The numbers, or the least and the largest; nothing where one is not known."""
    if any(math.isnan(number) for number in numbers):
        return ""
    low, high = short(min(numbers)), short(max(numbers))
    return low if low == high else f"{low} to {high}"
