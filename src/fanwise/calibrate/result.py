"""What a calibration did: a value, printed as a table."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fanwise.plan.plan import Plan
from fanwise.plan.render.table import rich_lines, table_width, terminal_width, text_of
from fanwise.report.axes import number
from fanwise.report.document import Column, Document, Row, Section, Table, Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text as RichText

UNKNOWN = "-"


@dataclass(frozen=True)
class Line:
    """What was done at one op, in the order of execution.

    Args:
        paths: the parameters that carry its scale: the weight, or the length of a weight-normalised one.
        module: path of the module that calls it, "" for the model itself.
        kind: of the op.
        role: of its weight in the model.
        before: the statistic of its output, with all ops before it calibrated.
        target: what the statistic should be; NaN where the op is left for what it is.
        factors: what the weight was multiplied by: one number, or one for each unit; () where the op is left, and where
            an op before it settled the weight.
        left: why it is left, "" where it is calibrated.
        note: what else is to be known.
        ratio: length of the gradient over that of the weight before balancing; NaN where nothing was balanced.
    """

    paths: tuple[str, ...]
    module: str
    kind: str
    role: str
    before: float
    target: float
    factors: tuple[float, ...] = ()
    left: str = ""
    note: str = ""
    ratio: float = math.nan


@dataclass(frozen=True, repr=False)
class Calibration:
    """What a calibration did.

    Args:
        lines: one an op with a weight, in the order of execution.
        mode: "layer" or "channel".
        statistic: "std" or "second_moment".
        name: of the model's class.
        batch: the inputs in words.
        forwards: how many forward passes were computed; another one where the weights were balanced.
        plan: the plan with the factors in it, None where none was given.
        model: the calibrated model: what was given where its weights can be written, a new one in JAX.
    """

    lines: tuple[Line, ...]
    mode: str = "layer"
    statistic: str = "std"
    name: str = ""
    batch: str = ""
    forwards: int = 1
    plan: Plan | None = None
    model: Any = field(default=None, compare=False)

    def __iter__(self) -> Iterator[Any]:
        warnings.warn(
            "model, result = calibrate(...): read the model as result.model; a calibration will not be a pair",
            DeprecationWarning,
            stacklevel=2,
        )
        return iter((self.model, self))

    def __repr__(self) -> str:
        return f"<Calibration of {self.name or 'a model'}: {len(self.factors)} weights scaled, {len(self.left)} left>"

    def __str__(self) -> str:
        width = terminal_width()
        return text_of(self.table(width=width), width)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RichText]":
        return rich_lines(self.table(width=options.max_width), options)

    @property
    def factors(self) -> Mapping[str, float | tuple[float, ...]]:
        """What each weight was multiplied by, by path: one number, or one for each unit."""
        scaled = ((path, line.factors) for line in self.lines if line.factors for path in line.paths)
        return MappingProxyType({path: factors[0] if len(factors) == 1 else factors for path, factors in scaled})

    @property
    def left(self) -> Mapping[str, str]:
        """Why weights were left, by path."""
        return MappingProxyType({path: line.left for line in self.lines if line.left for path in line.paths})

    def table(self, *, width: int | None = None) -> Document:
        """The result as a report, for any renderer.

        Args:
            width: letters in a line; columns for which there is no room are left out. None shows all.
        """
        table = Table(COLUMNS, tuple(_row(line) for line in self.lines))
        if all(math.isnan(line.ratio) for line in self.lines):
            table = _without(table, RATIO)
        for label in LEAVING:
            if width is None or table_width(table) <= width:
                break
            table = _without(table, label)
        about = ", ".join(filter(None, (self.name, self.batch, f"mode {self.mode}, {self.statistic}")))
        return Document("Calibration", about, (Section("Weights", (table, Text(self._total()))),))

    def _total(self) -> str:
        scaled = sum(bool(line.factors) for line in self.lines)
        passes = "1 forward pass" if self.forwards == 1 else f"{self.forwards} forward passes"
        return f"{scaled} of {len(self.lines)} ops calibrated, {passes}."


RATIO = "grad/weight"
COLUMNS = (
    Column("weight", help="The parameter that carries the scale."),
    Column("op", help="What uses it."),
    Column("role", help="What it is in the model."),
    Column("before", align="right", help="The statistic of the op's output, with all ops before it calibrated."),
    Column("target", align="right", help="What it should be."),
    Column("factor", align="right", help="What the weight was multiplied by; the range where each unit has its own."),
    Column(RATIO, align="right", help="Length of the gradient over that of the weight, before balancing."),
)
LEAVING = (RATIO, "role", "op")
"""The columns that a narrow terminal goes without, in this order."""


def _row(line: Line) -> Row:
    cells = (
        " + ".join(line.paths),
        line.kind,
        line.role,
        _figure(line.before),
        UNKNOWN if line.left else _figure(line.target),
        _factor(line.factors),
        _figure(line.ratio),
    )
    remark = f"Left: {line.left}." if line.left else ""
    note = f"{line.note[:1].upper()}{line.note[1:]}." if line.note else ""
    return Row(cells, tone="warn" if line.left else "neutral", note=" ".join(filter(None, (remark, note))))


def _factor(factors: tuple[float, ...]) -> str:
    if not factors:
        return UNKNOWN
    low, high = _figure(min(factors)), _figure(max(factors))
    return low if low == high else f"{low} to {high}"


def _figure(value: float) -> str:
    """Four digits of a number."""
    return UNKNOWN if not math.isfinite(value) else number(value, digits=4)


def _without(table: Table, label: str) -> Table:
    keep = [i for i, column in enumerate(table.columns) if column.label != label]
    rows = tuple(Row(tuple(row.cells[i] for i in keep), tone=row.tone, note=row.note) for row in table.rows)
    return Table(tuple(table.columns[i] for i in keep), rows)
