"""A plan on paper: one line a parameter, repeated structure and equal reasons told once."""

import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fanwise.plan.folding import Fold, fold
from fanwise.plan.formula import SIGMA, TIMES, formula, joined, short, size_text
from fanwise.plan.row import UNUSED, Row
from fanwise.report.columns import GAP
from fanwise.report.document import Column, Document, Section, Table, Text
from fanwise.report.document import Row as Line
from fanwise.report.terminal import STYLES, Item, item_lines

if TYPE_CHECKING:
    from rich.console import ConsoleOptions
    from rich.text import Text as RichText

COLUMNS = (
    Column("parameter", help="Its path; in braces what a repeated structure counts, with how many there are."),
    Column("shape", help="As it is stored."),
    Column("role", help="What it is in the model."),
    Column("op", help="The op that uses it."),
    Column("law", help="What its values are drawn from; | stands between the maps of a fused weight."),
    Column("fan_in", align="right", help="How many input values feed one output value."),
    Column("std", align="right", help="Of the values that it gets."),
    Column("why", align="right", help="Which of the reasons below."),
)

LEAVING = ("op", "fan_in", "role", "shape", "std")
"""The columns that a narrow terminal goes without, in this order."""

ASCII_LETTERS = str.maketrans({"²": "^2", "±": "+-", TIMES: "x", SIGMA: " sigma", "…": "~", "─": "-", "·": "."})
"""How formulas are spelled where there is ASCII only."""

WIDTH = 120
"""Letters in a line where the output is no terminal."""

MOST_NAMED = 12
"""Parameters that are listed by name below the table."""

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plan_document(
    rows: Sequence[Row], *, title: str, subtitle: str = "", full: bool = False, width: int | None = None
) -> Document:
    """The rows as a report.

    Args:
        rows: of the plan.
        title: heading.
        subtitle: line below it.
        full: show every row, instead of one for each repeated structure.
        width: letters in a line; columns for which there is no room are left out. None shows all.
    """
    folds = folded_rows(rows, full=full)
    reasons = _reasons([rows[item.members[0]] for item in folds])
    table = fitted(Table(COLUMNS, tuple(_line(item, rows, reasons) for item in folds)), width)
    reasons_text = tuple(Text(f"{number} {reason}") for reason, number in reasons.items())
    notes = (Text(totals(rows)), *(Text(line) for line in meant_lines(rows, folds)))
    parameters = Section("Parameters", (table, *notes))
    return Document(title, subtitle, (parameters, Section("Why", reasons_text)) if reasons_text else (parameters,))


def fitted(table: Table, width: int | None) -> Table:
    """The table without the columns for which there is no room; its caption names them."""
    shown, left_out = table, []
    for label in LEAVING:
        if width is None or table_width(shown) <= width:
            break
        left_out.append(label)
        shown = _without(shown, label)
    caption = f"No room at this width for: {', '.join(left_out)}." if left_out else ""
    return replace(shown, caption=caption)


def table_width(table: Table) -> int:
    """Letters in a line that shows every cell whole."""
    texts = [[column.label, *(row.cells[i] for row in table.rows)] for i, column in enumerate(table.columns)]
    gaps = len(GAP) * (len(texts) - 1) + (2 if table.judged else 0)
    return sum(max(map(len, column)) for column in texts) + gaps


def _without(table: Table, label: str) -> Table:
    keep = [i for i, column in enumerate(table.columns) if column.label != label]
    rows = tuple(replace(row, cells=tuple(row.cells[i] for i in keep)) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in keep), rows=rows)


def folded_rows(rows: Sequence[Row], *, full: bool = False) -> tuple[Fold, ...]:
    """The rows that a table shows as one, by what it says of them; each alone where `full`."""
    return fold([row.path for row in rows], range(len(rows)) if full else [_said(row) for row in rows])


def totals(rows: Sequence[Row]) -> str:
    """How many numbers and parameters there are, and what their laws stand on."""
    drawn = [row for row in rows if row.law is not None]
    guessed = sum(row.guess for row in drawn)
    counts = {
        "derived": len(drawn) - guessed,
        "guessed (marked !)": guessed,
        "kept": len(rows) - len(drawn),
        "kept as meant": sum(row.meant for row in rows),
        "unused": sum(row.role == UNUSED for row in rows),
    }
    numbers = count_text(sum(row.size for row in rows))
    totals = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "derived")
    return f"{numbers} numbers in {len(rows)} parameters: {totals}."


def meant_lines(rows: Sequence[Row], folds: Sequence[Fold]) -> tuple[str, ...]:
    """What a plan keeps as it was meant, in one line; none where it keeps nothing."""
    names = [counted(item) for item in folds if rows[item.members[0]].meant]
    if not names:
        return ()
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (f"Kept as it was meant: {', '.join(names[:MOST_NAMED])}{more}.",)


def count_text(count: int) -> str:
    """A count in words.

    Example:
        >>> count_text(124_439_808), count_text(999)
        ('124.4 M', '999')
    """
    for unit, letter in UNITS:
        if count >= unit:
            return f"{count / unit:.4g} {letter}"
    return str(count)


def terminal_width() -> int:
    """Letters in a line of the terminal, or of what stands for one."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def text_of(item: Item, width: int) -> str:
    """The item as plain lines."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in item_lines(item, width))


def rich_lines(item: Item, options: "ConsoleOptions") -> Iterator["RichText"]:
    """The lines that rich prints, for an object's ``__rich_console__``; no markup is read in them."""
    from rich.text import Text as RichText  # noqa: PLC0415

    for line in item_lines(item, options.max_width):
        spans = [(_in_ascii(text) if options.ascii_only else text, STYLES[style]) for text, style in line]
        rich_text = RichText.assemble(*spans, no_wrap=True, overflow="ignore")
        rich_text.rstrip()
        yield rich_text


def _in_ascii(text: str) -> str:
    return text.translate(ASCII_LETTERS).encode("ascii", "replace").decode()


def _line(item: Fold, rows: Sequence[Row], reasons: Mapping[str, int]) -> Line:
    row, why = rows[item.members[0]], _reason(rows[item.members[0]])
    fan_in = joined([short(fans.fan_in) for fans in row.fans])
    number = str(reasons[why]) if why else ""
    cells = (counted(item), size_text(row.shape), row.role, row.op, formula(row), fan_in, short(row.std), number)
    return Line(cells, tone="warn" if row.guess else "neutral", note=_note(row))


def counted(item: Fold) -> str:
    """The pattern of a fold, with how many it stands for."""
    count = len(item.members)
    return item.pattern + (f" {TIMES}{count}" if count > 1 else "")


def _reason(row: Row) -> str:
    return " ".join(filter(None, (row.reason, f"({row.source})" if row.source else "")))


def _reasons(rows: Sequence[Row]) -> dict[str, int]:
    """The distinct reasons, numbered from 1 in the order in which they are first needed."""
    distinct = dict.fromkeys(filter(None, map(_reason, rows)))
    return {reason: number for number, reason in enumerate(distinct, 1)}


def _note(row: Row) -> str:
    """What few parameters have and a reader should know."""
    parts = [
        f"Also called {', '.join(row.aliases)}." if row.aliases else "",
        f"Draws from the random number stream {row.stream}." if row.stream else "",
        f"Calibrated by {short(row.factor)}." if row.factor != 1 else "",
    ]
    return " ".join(filter(None, parts))


def _said(row: Row) -> Hashable:
    """What the table says of a row but for its path; rows that share storage or a stream stand alone."""
    alone = row.path if row.aliases or row.stream else ""
    return alone, row.shape, row.role, row.op, row.law, row.layout, row.reason, row.source, row.guess, row.factor
