"""What the findings of a check would have drawn anew: as a plan, a table and code."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from typing import Any

import numpy as np

from fanwise.adapters.batches import given_batch
from fanwise.adapters.planning import plan_model
from fanwise.adapters.protocol import Backend
from fanwise.check.findings import Finding, Fix, at_least
from fanwise.check.report import Report
from fanwise.check.session import CheckSession
from fanwise.graph.visitor import ModelError
from fanwise.laws.elementwise import Constant
from fanwise.measure.law_recognition import found_law
from fanwise.measure.losses import LossLike
from fanwise.measure.weight_statistics import values_of
from fanwise.plan.folding import fold
from fanwise.plan.formula import formula, short
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.recipe import Recipe
from fanwise.plan.render.table import counted, table_width
from fanwise.plan.row import UNUSED, Row, nearest
from fanwise.report.document import Column, Document, Section, Table, Text
from fanwise.report.document import Row as Line
from fanwise.stream.formats import Array

COLUMNS = (
    Column("parameter", help="Its path; in braces what a repeated structure counts, with how many there are."),
    Column("found", help="The law recognised in its values."),
    Column("new law", help="What it would be drawn from."),
    Column("std found", align="right"),
    Column("new std", align="right"),
    Column("why", align="right", help="Which of the reasons below."),
)

BEST_CONSTANT = "the best constant output for the batch"
"""Reason of a row whose value a finding gives."""
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
        code: the same as code to paste behind the line that makes ``model``; "" without rows.
        remains: what a check of the mended model still finds, warnings and errors; None where it could not be run.
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


@dataclass(frozen=True)
class FixSession:
    """How the findings of a report are mended.

    Args:
        backend: the framework.
        batch: of the check.
        loss: of the check; it says whether the batch holds a target.
        recipe: whose laws the parameters get.
        code: the rows that have a law, as code to paste; None: code for the adapter.
    """

    backend: Backend
    batch: Any = None
    loss: LossLike = None
    recipe: str | Recipe = "unit"
    code: Callable[[Plan], str] | None = None

    def mending(self, model: Any, report: Report) -> Mending:
        """What would mend the findings by drawing parameters anew: those that safe fixes name, no other.

        Args:
            model: what was checked, or a model built alike.
            report: on it.

        Raises:
            TypeError: no report.
            ValueError: a report on another model.
            ModelError: the model could not be run on the batch.
        """
        if not isinstance(report, Report):
            raise TypeError(f"report = {type(report).__name__}: expected what check returns")
        fixes = [finding.fix for finding in _found(report.findings) if finding.fix is not None]
        paths = {path for finding in fixes if finding.safe for path in finding.paths}
        if not paths:
            return Mending(Plan(()), (), _unsafe(fixes))
        inputs = given_batch(self.backend, model, self.batch, self.loss).inputs
        constants = {path: number for each in fixes if each.safe for path, number in each.constants.items()}
        plan = self._plan(model, inputs, paths)
        plan = plan.override({path: Constant(number) for path, number in constants.items()}, reason=BEST_CONSTANT)
        read = self.backend.reader(model)
        rows = tuple(_change(row, *_law_found(row, read)) for row in plan if row.law is not None)
        code = drawn_again(plan, self.backend.package) if self.code is None else self.code(plan)
        return Mending(plan, rows, _unsafe(fixes), code, self._remaining(model, plan))

    def _plan(self, model: Any, inputs: Any, paths: Iterable[str]) -> Plan:
        """Laws for these parameters, behind and beside all others as they are."""
        whole = _restricted(plan_model(self.backend, model, inputs, self.recipe), paths)
        rest = [escape(row.path) for row in whole if row.law is None and row.role != UNUSED]
        again = plan_model(self.backend, model, inputs, self.recipe, rest)
        return again.only([row.path for row in whole if row.law is not None])

    def _remaining(self, model: Any, plan: Plan) -> tuple[Finding, ...] | None:
        """What a check finds on the mended model, which is left as it was."""
        session = CheckSession(self.backend, self.loss, seeds=1)
        try:
            with self.backend.kept(model):
                report = session.report(self.backend.apply(model, plan, 0), self.batch)
        except (ModelError, TypeError, ValueError):
            return None
        return tuple(finding for finding in report.findings if at_least(finding.severity, "warning"))


def _law_found(row: Row, read: Callable[[str], Array]) -> tuple[str, float]:
    """The law that a parameter's values look like, in words, and their std; nothing where there are none."""
    try:
        values = read(row.path)
    except (TypeError, ValueError):  # of a kind that cannot be read, or without values
        return "", math.nan
    if not values.size:
        return "", math.nan
    if np.iscomplexobj(values):
        return "", float(np.std(values))
    measured = values_of(values, row.layout)
    return found_law(measured, row.shape, row.layout).text, measured.std


def drawn_again(plan: Plan, package: str) -> str:
    """Code that draws the rows of a plan that have a law again, with an adapter: it needs ``model`` and ``batch``.

    Args:
        plan: its laws are those of its recipe.
        package: the adapter, such as "fanwise.jax".

    Returns:
        Lines of Python; "" without rows.
    """
    paths = [row.path for row in plan if row.law is not None]
    if not paths:
        return ""
    count = f"{len(paths)} parameter" + "s" * (len(paths) > 1)
    given = {row.path: row.law.value for row in plan if isinstance(row.law, Constant) and row.reason == BEST_CONSTANT}
    edits = "".join(f".edit({json.dumps(path)}, fanwise.Constant({value!r}))" for path, value in given.items())
    lines = (
        "from glob import escape",
        "",
        *(["import fanwise"] if edits else []),
        f"from {package} import apply, plan",
        "",
        f"# Draws {count} of `model` again by recipe {plan.recipe!r}; `batch` is what it is called with.",
        "again = [",
        *(f"    {json.dumps(path)}," for path in paths),
        "]",
        f"rest = [escape(row.path) for row in plan(model, batch, {json.dumps(plan.recipe)}) if row.path not in again]",
        f"new = plan(model, batch, {json.dumps(plan.recipe)}, keep=rest).only(again){edits}",
        "model = apply(model, new, key=0)",
        "",
    )
    return "\n".join(lines)


def _found(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings and what follows from them, without what is by design."""
    return (nested for finding in findings for nested in finding.walk() if not nested.design)


def _unsafe(fixes: Sequence[Fix]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fix.text for fix in fixes if not (fix.safe and fix.paths)))


def _restricted(whole: Plan, paths: Iterable[str]) -> Plan:
    """The plan with laws for these paths alone."""
    wanted = sorted(paths)
    unknown = next((path for path in wanted if path not in whole), None)
    if unknown is not None:
        near = nearest(unknown, {name: row for row in whole for name in row.names})
        raise ValueError(f"the report is on another model: no parameter {unknown!r}{near}")
    return whole.only(wanted)


def _change(row: Row, law_text: str, before: float) -> Change:
    reason = " ".join(filter(None, (row.reason, f"({row.source})" if row.source else "")))
    after = math.nan if row.std is None else row.std
    return Change(row.path, law_text, formula(row), before, after, reason)


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


def _line(name: str, rows: Sequence[Change], reasons: Mapping[str, int]) -> Line:
    """One line for changes that differ in their numbers alone."""
    first = rows[0]
    law = first.law if len({row.law for row in rows}) == 1 else _NUMBER.sub("…", first.law)
    law_parts = first.found.partition("), ")  # "U(±sqrt(1/fan_in)), torch default"
    stds = (_span([row.before for row in rows]), _span([row.after for row in rows]))
    return Line((name, law_parts[0] + law_parts[1][:1], law, *stds, str(reasons[first.reason])))


def _span(numbers: Sequence[float]) -> str:
    """The numbers, or the least and the largest; nothing where one is not known."""
    if any(math.isnan(number) for number in numbers):
        return ""
    low, high = short(min(numbers)), short(max(numbers))
    return low if low == high else f"{low} to {high}"
