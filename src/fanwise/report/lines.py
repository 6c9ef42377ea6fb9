"""Lines of styled text, as a terminal shows them: what the tables, plots and words of a report are made of."""

import textwrap
from typing import TypeAlias

Span: TypeAlias = tuple[str, str]
"""A text and the name of its style, one of `terminal.STYLES`."""

Line: TypeAlias = tuple[Span, ...]

MARKS = {"good": "✓", "warn": "!", "bad": "✕", "neutral": "·"}


def plain(text: str) -> str:
    r"""The text on one line, without characters that could steer a terminal.

    Example:
        >>> plain("conv\x1b[31m.weight")
        'conv?[31m.weight'
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def wrapped(text: str, width: int, style: str = "", *, indent: int = 0) -> list[Line]:
    """The text in lines of at most `width` letters, indented by so many spaces."""
    margin = " " * indent
    parts = broken(plain(text), max(width - indent, 20))
    return [((margin + part, style),) for part in parts]


def broken(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` letters, broken at spaces: 784-100-10 is one word."""
    return textwrap.wrap(text, width, break_on_hyphens=False)


def cut(text: str, width: int) -> str:
    """The text, shortened in its middle to fit: names of layers differ at both ends.

    Example:
        >>> cut("encoder.layers.11.attention.weight", 24)
        'encoder.layers.…n.weight'
    """
    if len(text) <= width:
        return text
    tail = width // 3
    return text[: width - tail - 1] + "…" + text[-tail:]


def verdict(tone: str) -> Span:
    """The mark of a tone, in its style."""
    return MARKS[tone], tone
