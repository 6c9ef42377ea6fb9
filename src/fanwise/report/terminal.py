"""A report on a terminal, through rich; without colour and on any width it says the same."""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import TYPE_CHECKING, TypeAlias

from fanwise.report.cards import bars_lines, card_lines, verdict_line
from fanwise.report.columns import table_lines
from fanwise.report.document import (
    Bars,
    Block,
    Card,
    Details,
    Document,
    Facts,
    Grid,
    LineChart,
    PlainBlock,
    Section,
    Slider,
    Table,
    Text,
    Verdict,
)
from fanwise.report.lines import MARKS, Line, plain, verdict, wrapped
from fanwise.report.plot import chart_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text as RichText

STYLES = {
    "": "",
    "title": "bold",
    "strong": "bold",
    "muted": "dim",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
    "neutral": "dim",
    "curve0": "cyan",
    "curve1": "magenta",
    "curve2": "green",
    "curve3": "yellow",
}
"""What the styles of a line look like, in the words of rich."""

WIDEST_TEXT = 100
"""Letters in a line of prose on a wide terminal."""

WIDEST_CARD = 120
"""Letters in a line of a card, whose place stands at the right end."""

BRAILLE = range(0x2801, 0x2900)
ASCII = (
    str.maketrans("✓✕·…", "+x.~")
    | str.maketrans("┤│└┬─┈┊", "+|++-.:")
    | str.maketrans("▁▂▃▄▅▆▇█", "_.-~=+*#")
    | str.maketrans("²±×σ√≥≤", "2+xsv><")  # noqa: RUF001
    | dict.fromkeys(BRAILLE, ord("*"))
)
"""What stands for our letters on a terminal that has ASCII only."""

Item: TypeAlias = Document | Section | Block


def render(item: Item, console: "Console") -> None:
    """Print a document, a section or a single block.

    Args:
        item: what to print.
        console: a rich console; its width, colours and encoding are respected.
    """
    for text in rich_lines(item, console.width, ascii_only=console.options.ascii_only):
        console.print(text, soft_wrap=True, highlight=False)


def rich_lines(item: Item, width: int, *, ascii_only: bool = False) -> Iterator["RichText"]:
    """The lines of an item as rich prints them, for an object's ``__rich_console__``; no markup is read in them."""
    from rich.text import Text as RichText  # noqa: PLC0415

    for line in item_lines(item, width):
        spans = [(_in_ascii(text) if ascii_only else text, STYLES[style]) for text, style in line]
        text = RichText.assemble(*spans, no_wrap=True, overflow="ignore")
        text.rstrip()
        yield text


def item_lines(item: Item, width: int) -> list[Line]:
    """The lines that `render` prints, before they are coloured."""
    match item:
        case Document():
            return _document_lines(item, width)
        case Section():
            return _section_lines(item, width)
    return _block_lines(item, width)


def _in_ascii(text: str) -> str:
    return text.translate(ASCII).encode("ascii", "replace").decode()


def _document_lines(document: Document, width: int) -> list[Line]:
    prose = min(width, WIDEST_TEXT)
    head = wrapped(document.title, prose, "title") + wrapped(document.subtitle, prose, "muted")
    parts = [head, *(_section_lines(section, width) for section in document.sections)]
    return _spaced([*parts, wrapped(document.footer, prose, "muted")])


def _section_lines(section: Section, width: int) -> list[Line]:
    title = plain(section.title)
    head: list[Line] = [((title, "title"),), (("─" * len(title), "muted"),)] if title else []
    runs = groupby(section.blocks, key=lambda block: isinstance(block, Card) and not (block.points or block.follows))
    return head + _spaced([part for brief, run in runs for part in _parts(run, width, brief=brief)])


def _parts(blocks: Iterable[Block], width: int, *, brief: bool) -> list[list[Line]]:
    """The lines of each block; those of brief cards together, without empty lines between them."""
    parts = [_block_lines(block, width) for block in blocks]
    return [list(chain.from_iterable(parts))] if brief else parts


def _spaced(parts: list[list[Line]]) -> list[Line]:
    """The parts with an empty line between each two."""
    filled = [part for part in parts if part]
    return list(chain.from_iterable([*part, ()] for part in filled))[:-1]


def _block_lines(block: Block, width: int) -> list[Line]:
    match block:
        case LineChart():
            return chart_lines(block, width)
        case Grid():
            return _spaced([chart_lines(chart, width) for chart in block.charts])
        case Slider():
            return _slider_lines(block, width)
        case Details():
            head: list[Line] = [((plain(block.summary), "strong"),)]
            return _spaced([head, *(_plain_lines(part, width) for part in block.blocks)])
    return _plain_lines(block, width)


def _plain_lines(block: PlainBlock, width: int) -> list[Line]:
    match block:
        case Facts():
            lines = _facts_lines(block)
        case Table():
            lines = table_lines(block, width)
        case Verdict():
            lines = [verdict_line(block)]
        case Bars():
            lines = bars_lines(block, width)
        case Card():
            lines = card_lines(block, min(width, WIDEST_CARD))
        case Text():
            lines = _spaced([wrapped(paragraph, min(width, WIDEST_TEXT)) for paragraph in block.paragraphs])
    return lines


def _facts_lines(facts: Facts) -> list[Line]:
    column = max(len(fact.label) for fact in facts.items) + 2
    return [
        (
            (f"{plain(fact.label):<{column}}", "muted"),
            (plain(fact.value), "strong"),
            (" ", ""),
            verdict(fact.tone) if fact.tone != "neutral" else ("", ""),
        )
        for fact in facts.items
    ]


def _slider_lines(slider: Slider, width: int) -> list[Line]:
    """The marks of all frames in a row, the one shown in brackets; then that frame."""
    shown = slider.frames[slider.start]
    marks = (
        (f"[{MARKS[frame.tone]}]" if frame is shown else f" {MARKS[frame.tone]} ", frame.tone)
        for frame in slider.frames
    )
    first, last = plain(slider.frames[0].label), plain(slider.frames[-1].label)
    head: list[Line] = [
        ((plain(slider.label), "strong"), (f", here {plain(shown.label)}", "")),
        ((f"{first} ", "muted"), *marks, (f" {last}", "muted")),
    ]
    return _spaced([head, *(_block_lines(block, width) for block in shown.blocks)])
