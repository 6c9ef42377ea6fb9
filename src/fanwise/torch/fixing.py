"""`fix`: what the findings of a check would have drawn anew, as a plan, a table and code; and done, where asked."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.check.findings import Finding, Fix
from fanwise.check.recognise import found_law
from fanwise.check.report import Report
from fanwise.plan.folding import fold
from fanwise.plan.formula import formula, short
from fanwise.plan.plan import Plan, nearest
from fanwise.plan.recipes import Recipe
from fanwise.plan.row import Row
from fanwise.plan.table import counted, table_width
from fanwise.report.document import Column, Document, Section, Table, Text
from fanwise.report.document import Row as Line
from fanwise.stream.key import KeyLike
from fanwise.torch import applying
from fanwise.torch.batches import LossLike, split
from fanwise.torch.held import check_model
from fanwise.torch.pasting import pasted
from fanwise.torch.planning import plan
from fanwise.torch.storage import is_abstract, is_strided
from fanwise.torch.weighing import values_of

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

    Args:
        plan: a row for every parameter, with a law for those that are drawn anew alone: `apply` it.
        rows: what changes.
        unsafe: fixes that are no new draw, or that would overwrite what looks trained: in words, for you to decide.
    """

    plan: Plan
    rows: tuple[Change, ...] = ()
    unsafe: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows)

    @cached_property
    def code(self) -> str:
        """The same as code to paste behind the line that makes ``model``: it needs torch alone; "" without rows."""
        return pasted(self.plan.rows, recipe=self.plan.recipe)

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
    if not isinstance(report, Report):
        raise TypeError(f"report = {type(report).__name__}: expected what fanwise.torch.check returns")
    fixes = [found.fix for found in _found(report.findings) if found.fix is not None]
    paths = {path for one in fixes if one.safe for path in one.paths}
    if not paths:
        return Mending(Plan(()), (), _unsafe(fixes))
    inputs, _ = split(batch, loss)
    whole = plan(model, inputs, recipe)
    made = _restricted(whole, paths)
    held = dict(model.named_parameters(remove_duplicate=False))
    rows = tuple(_change(row, held[row.path]) for row in made if row.law is not None)
    if apply:
        applying.apply(model, made, key)
    return Mending(made, rows, _unsafe(fixes))


def _found(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings and what follows from them, without what is by design."""
    return (one for finding in findings for one in finding.walk() if not one.design)


def _unsafe(fixes: Sequence[Fix]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.text for one in fixes if not (one.safe and one.paths)))


def _restricted(whole: Plan, paths: Iterable[str]) -> Plan:
    """The plan with laws for these paths alone."""
    unknown = sorted(path for path in paths if path not in whole)
    if unknown:
        raise ValueError(f"the report is on another model: no parameter {unknown[0]!r}{_nearest(unknown[0], whole)}")
    meant = {whole[path].path for path in paths}
    rows = [row if row.path in meant or row.law is None else row.edited(None, "as it was found") for row in whole]
    return replace(whole, rows=rows)


def _nearest(path: str, whole: Plan) -> str:
    return nearest(path, {name: row for row in whole for name in row.names})


def _change(row: Row, tensor: Tensor) -> Change:
    reason = " ".join(filter(None, (row.reason, f"({row.source})" if row.source else "")))
    after = math.nan if row.std is None else row.std
    return Change(row.path, _found_law(row, tensor), formula(row), _std(tensor), after, reason)


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
        Section("For you to decide", tuple(Text(f"- {text}") for text in mending.unsafe)),
    )
    filled = tuple(section for section in sections if section.blocks)
    title = f"Fix by recipe {mending.plan.recipe!r}" if rows else "Fix"
    about = ", ".join(filter(None, (mending.plan.framework, mending.plan.inputs)))
    return Document(title, about, filled or (Section("What changes", (Text("Nothing: no finding has a fix."),)),))


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


def _line(name: str, rows: Sequence[Change], reasons: Mapping[str, int]) -> Line:
    """One line for changes that differ in their numbers alone."""
    first = rows[0]
    law = first.law if len({row.law for row in rows}) == 1 else _NUMBER.sub("…", first.law)
    found = first.found.partition("), ")  # "U(±sqrt(1/fan_in)), torch default"
    stds = (_span([row.before for row in rows]), _span([row.after for row in rows]))
    return Line((name, found[0] + found[1][:1], law, *stds, str(reasons[first.reason])))


def _span(numbers: Sequence[float]) -> str:
    """The numbers, or the least and the largest; nothing where one is not known."""
    if any(math.isnan(number) for number in numbers):
        return ""
    low, high = short(min(numbers)), short(max(numbers))
    return low if low == high else f"{low} to {high}"
