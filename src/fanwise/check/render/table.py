"""The report of a check on a terminal: layers, findings, notes, and the verdict where the eye lands."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from fanwise.check.findings import counted
from fanwise.check.render.words import (
    UNKNOWN,
    Measure,
    about,
    card,
    design_note,
    figure,
    measures,
    notes,
    title,
    tone_of,
    verdict,
)
from fanwise.check.report_data import Layer, ReportData
from fanwise.plan.render.table import table_width
from fanwise.report.document import Document, Row, Section, Table, Text

FEW = 16
"""Up to so many layers, all are shown."""

MOST_MARKED = 12
"""Layers with findings that a folded table shows; those beyond are counted."""

ORDER = (
    "depth",
    "layer",
    "law found",
    "output size",
    "expected",
    "change",
    "gradient",
    "expected grad",
    "dead",
    "sat.",
    "findings",
)
"""The columns of the layer table."""

MOST_LAWS = 3
"""Laws that the caption names where they have no column."""

LEAVING = ("expected grad", "law found", "expected", "sat.", "depth", "gradient")
"""The columns that a narrow terminal goes without, in this order."""

WIDEST_LAYER = 28
"""Letters of a layer's name for which other columns give way; a longer name is shortened where needed."""


def document(report: ReportData, *, full: bool = False, width: int | None = None) -> Document:
    """The report for a terminal.

    Args:
        report: what a check found.
        full: show every layer, and what follows from each finding.
        width: letters in a line; columns for which there is no room are left out. None shows all.
    """
    cards = tuple(card(report, finding, full=full, follows=full) for finding in report.findings)
    sentences = notes(report)
    sections = (
        Section("Layers", (layer_table(report.layers, full=full, width=width),)) if report.layers else None,
        Section("Findings", cards) if cards else None,
        Section("Notes", (Text(" ".join(sentences)),)) if sentences else None,
        Section("", (verdict(report),)),
    )
    return Document(title(report), about(report), tuple(section for section in sections if section is not None))


def layer_table(layers: Sequence[Layer], *, full: bool, width: int | None) -> Table:
    """One line a layer; long runs of layers without findings are folded unless `full`."""
    shown = list(range(len(layers))) if full else shown_layers(layers)
    for brief, leaving in _attempts():
        columns = measures(layers, order=[label for label in ORDER if label not in leaving])
        table = Table(
            tuple(measure.column for measure in columns),
            tuple(_rows(layers, shown, columns, brief=brief)),
            caption=_caption(layers, leaving),
            names=_name_column(columns),
        )
        if width is None or _least_width(table) <= width:
            return table
    return table


def shown_layers(layers: Sequence[Layer]) -> list[int]:
    """Places of the layers that a folded table shows, in order.

    These are the ends, those with findings, and the neighbours of the first of them; a lone layer between two of
    them is not worth folding.
    """
    marked = [i for i, layer in enumerate(layers) if layer.severity is not None]
    ends = (0, 1, len(layers) - 2, len(layers) - 1)
    around = range(marked[0] - 2, marked[0] + 3) if marked else ()
    wanted = {*marked[:MOST_MARKED], *ends, *around}
    wanted |= {i for i in range(len(layers)) if {i - 1, i + 1} <= wanted}
    return [i for i in range(len(layers)) if len(layers) <= FEW or i in wanted]


def _attempts() -> Iterator[tuple[bool, tuple[str, ...]]]:
    """How to say less, step by step: shorter laws, then fewer columns."""
    yield False, ()
    yield True, ()
    for count in range(1, len(LEAVING) + 1):
        yield True, LEAVING[:count]


def _caption(layers: Sequence[Layer], leaving: Sequence[str]) -> str:
    """The columns left out; the laws found, where theirs is one of them."""
    left_out = [measure.column.label for measure in measures(layers, order=leaving)]
    if not left_out:
        return ""
    laws = f" Laws: {_laws(layers)}." if "law found" in left_out else ""
    return f"No room at this width for: {', '.join(left_out)}.{laws}"


def _laws(layers: Sequence[Layer]) -> str:
    """The commonest laws, each with how many layers it is found in."""
    counts = Counter(layer.law or UNKNOWN for layer in layers).most_common()
    laws = [f"{law} in {counted(count, 'layer')}" for law, count in counts[:MOST_LAWS]]
    return "; ".join([*laws, "…"] if len(counts) > MOST_LAWS else laws)


def _name_column(columns: Sequence[Measure]) -> int:
    return [measure.column.label for measure in columns].index("layer")


def _least_width(table: Table) -> int:
    """Letters in a line that shows every cell whole, but for long names."""
    rows = tuple(row for row in table.rows if row.cells)
    longest = max((len(row.cells[table.names]) for row in rows), default=0)
    return table_width(replace(table, rows=rows)) - max(0, longest - WIDEST_LAYER)


def _rows(layers: Sequence[Layer], shown: Sequence[int], columns: Sequence[Measure], *, brief: bool) -> Iterator[Row]:
    last = -1
    for i in shown:
        if i > last + 1:
            yield Row((), note=_gap(layers[last + 1 : i]))
        yield _row(layers[i], columns, brief=brief)
        last = i


def _row(layer: Layer, columns: Sequence[Measure], *, brief: bool) -> Row:
    cells = (measure.cell(layer) for measure in columns)
    shortened = (_short_law(cell) if brief and cell == layer.law else cell for cell in cells)
    return Row(tuple(shortened), tone=tone_of(layer.severity), note=design_note(layer))


def _short_law(law: str) -> str:
    """A law without what stands behind its formula: "U(±a), torch default" is U(±a)."""
    formula, bracket, _ = law.partition("), ")
    return formula + ")" if bracket else law


def _gap(layers: Sequence[Layer]) -> str:
    """Layers that are not shown, in words."""
    marked = sum(layer.severity is not None for layer in layers)
    designed = sum(bool(layer.design) for layer in layers)
    parts = (
        f"… {len(layers)} layers more",
        _range("output size", layers, lambda layer: layer.rms),
        _range("gradient", layers, lambda layer: layer.gradient),
        f"{marked} with findings: {_codes(layers)}" if marked else "",
        f"{designed} by design" if designed else "",
    )
    return ", ".join(filter(None, parts))


def _range(label: str, layers: Sequence[Layer], value: Callable[[Layer], float]) -> str:
    known = [value(layer) for layer in layers if not math.isnan(value(layer))]
    if not known:
        return ""
    low, high = figure(min(known)), figure(max(known))
    return f"{label} {low}" if low == high else f"{label} {low} to {high}"


def _codes(layers: Sequence[Layer]) -> str:
    return " ".join(dict.fromkeys(chain.from_iterable(layer.codes for layer in layers))) or UNKNOWN
