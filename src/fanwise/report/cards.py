"""Cards, bars and verdicts as lines of text."""

from fanwise.report.axes import number
from fanwise.report.document import Bars, Card, Verdict
from fanwise.report.lines import Line, Span, broken, plain, verdict, wrapped

BARS = "▁▂▃▄▅▆▇█"
GAP = "  "


def verdict_line(item: Verdict) -> Line:
    """Its mark and its sentence."""
    return (verdict(item.tone), (" ", ""), (plain(item.text), "strong"))


def bars_lines(bars: Bars, width: int) -> list[Line]:
    """Label, bars and range on a line; below it the caption."""
    tallest = max(bars.counts, default=0) or 1
    letters = "".join(BARS[-(-7 * count // tallest)] for count in bars.counts)
    ends = f" {number(bars.low, digits=2)} to {number(bars.high, digits=2)}" if bars.counts else ""
    head: Line = ((plain(bars.label), "strong"), (GAP, ""), (letters, "curve0"), (ends, "muted"))
    return [head, *wrapped(bars.caption, width, "muted", indent=2)]


def card_lines(card: Card, width: int) -> list[Line]:
    """The first letter of its level, its code and title, its place at the right end; below them what else is known."""
    code = plain(card.code)
    margin = 2 + (len(code) + len(GAP) if code else 0)
    head: Line = ((card.level[0].upper(), card.tone), (" ", ""), *(((code, "strong"), (GAP, "")) if code else ()))
    lines = _headed(head, _title_lines(card, width - margin), margin)
    points = [line for label, text in card.points for line in _point_lines(label, text, width - margin)]
    follows = [line for other in card.follows for line in card_lines(other, width - margin)]
    return lines + _indented([*points, *wrapped(card.note, width - margin, "muted"), *follows], margin)


def _headed(head: Line, lines: list[Line], margin: int) -> list[Line]:
    """The lines with a head before the first of them."""
    return [(*head, *lines[0]), *_indented(lines[1:], margin)]


def _indented(lines: list[Line], margin: int) -> list[Line]:
    return [((" " * margin, ""), *line) for line in lines]


def _title_lines(card: Card, room: int) -> list[Line]:
    """The title; its place at the end of the last line, or on a line of its own."""
    titles: list[Line] = list(wrapped(card.title, room)) or [()]
    place = plain(card.place)
    if not place:
        return titles
    used = sum(len(text) for text, _ in titles[-1])
    if used + len(GAP) + len(place) <= room:
        tail: Span = (" " * (room - used - len(place)) + place, "muted")
        return [*titles[:-1], (*titles[-1], tail)]
    return [*titles, *wrapped(f"at {place}", room, "muted")]


def _point_lines(label: str, text: str, room: int) -> list[Line]:
    """A label in its style, and its text."""
    first, *others = broken(plain(f"{label}: {text}"), max(room, 20))
    start = len(plain(label)) + 1
    lines: list[Line] = [((first[:start], "muted"), (first[start:], ""))]
    return lines + [((part, ""),) for part in others]
