"""A table as lines of text: columns that fit a terminal, and notes in sentences below their rows."""

from collections.abc import Sequence
from itertools import zip_longest

from fanwise.report.document import Column, Row, Table
from fanwise.report.lines import Line, broken, cut, plain, verdict, wrapped

GAP = "  "
NARROWEST = 10
"""Letters that a shortened column keeps at least."""

WIDEST_NOTE = 100
"""Letters in the line of a note on a wide terminal."""


def table_lines(table: Table, width: int) -> list[Line]:
    """The table in `width` letters; headings break between words, and the widest words are cut where needed.

    A table whose numbers alone are wider than that runs over.
    """
    lead = 2 if table.judged else 0
    widths = _widths(table, width - lead)
    lines = wrapped(table.caption, width, "muted")
    lines += [((" " * lead + heading, "muted"),) for heading in _headings(table.columns, widths)]
    for row in table.rows:
        lines += _row_lines(row, table, widths, width)
    return lines


def _widths(table: Table, width: int) -> list[int]:
    """Width of each column: its longest text, less what there is no room for.

    First the headings break between words, then columns of words are shortened.
    """
    cells = [[plain(row.cells[i]) for row in table.rows if row.cells] for i in range(len(table.columns))]
    labels = [plain(column.label) for column in table.columns]
    whole = [_widest([label, *texts]) for label, texts in zip(labels, cells, strict=True)]
    least = [_widest([*label.split(), *texts]) for label, texts in zip(labels, cells, strict=True)]
    short = [
        min(width, NARROWEST) if column.align == "left" else width
        for column, width in zip(table.columns, least, strict=True)
    ]
    return _squeezed(_squeezed(whole, least, width), short, width)


def _squeezed(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """The widths made smaller, down to `least`, until all fit; those that can give most give first."""
    squeezed = list(widths)
    for i in sorted(range(len(widths)), key=lambda i: least[i] - widths[i]):
        excess = max(0, sum(squeezed) + len(GAP) * (len(squeezed) - 1) - width)
        squeezed[i] = max(squeezed[i] - excess, least[i])
    return squeezed


def _widest(texts: Sequence[str]) -> int:
    return max(1, *map(len, texts))


def _headings(columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    """The headings in as many lines as the longest needs, aligned at the bottom."""
    stacks = [broken(plain(column.label), width)[::-1] for column, width in zip(columns, widths, strict=True)]
    layers = list(zip_longest(*stacks, fillvalue=""))[::-1]
    return [_joined(layer, columns, widths) for layer in layers]


def _row_lines(row: Row, table: Table, widths: Sequence[int], width: int) -> list[Line]:
    mark: Line = (verdict(row.tone), (" ", "")) if table.judged else ()
    note = wrapped(row.note, min(width, WIDEST_NOTE), "muted", indent=2 + len(mark))
    if not row.cells:
        return note
    text = _joined([plain(cell) for cell in row.cells], table.columns, widths)
    start = sum(widths[: table.names]) + len(GAP) * table.names
    end = start + widths[table.names]
    return [(*mark, (text[:start], ""), (text[start:end], "strong"), (text[end:], "")), *note]


def _joined(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    """Cells side by side, each in its column."""
    return GAP.join(
        cut(cell, width).rjust(width) if column.align == "right" else cut(cell, width).ljust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    )
