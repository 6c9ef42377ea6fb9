"""What changes from one plan to another, on paper."""

from collections.abc import Hashable, Sequence

from fanwise.plan.change import Change
from fanwise.plan.folding import fold
from fanwise.plan.formula import formula, short
from fanwise.plan.render.table import counted
from fanwise.report.document import Column, Document, Section, Table, Text
from fanwise.report.document import Row as Line

COLUMNS = (
    Column("parameter"),
    Column("change", help="added, removed, or what differs."),
    Column("before"),
    Column("after"),
    Column("std ratio", align="right", help="std after over std before."),
)


def diff_document(changes: Sequence[Change], totals: str, *, full: bool = False) -> Document:
    """The differences of two plans as a report.

    Args:
        changes: parameters that differ.
        totals: how many there are, in words.
        full: show every parameter, instead of one for each repeated structure.
    """
    said = [_said(change) for change in changes]
    folds = fold([change.path for change in changes], range(len(said)) if full else said)
    lines = tuple(_line(counted(item), changes[item.members[0]]) for item in folds)
    table = (Table(COLUMNS, lines),) if lines else ()
    return Document("What changes", "", (Section("Parameters", (*table, Text(totals))),))


def _line(path: str, change: Change) -> Line:
    sides = ("" if row is None else formula(row) for row in (change.before, change.after))
    return Line((path, change.kind, *sides, short(change.std_ratio)))


def _said(change: Change) -> Hashable:
    sides = tuple("" if row is None else (formula(row), row.shape) for row in (change.before, change.after))
    return change.kind, sides, change.std_ratio
