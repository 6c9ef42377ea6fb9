"""Shape and layout to laws without fans: what draws each map of a parameter, resolved once."""

from collections.abc import Iterator
from dataclasses import dataclass

from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.laws.layout import Layout
from fanwise.stream.box import Box, Shape


@dataclass(frozen=True)
class Part:
    """One map of a parameter and the law that fills it.

    Args:
        law: not `Blocks`; without fans where it was resolved.
        box: the part of the parameter.
        layout: roles of its axes, nothing fused; None where none was given.
    """

    law: Initializer
    box: Box
    layout: Layout | None


def resolve(law: Initializer, shape: Shape, layout: Layout | None) -> Initializer:
    """The law without fans that a law is for one map: He's, at a fan of 50, is a normal one of std 0.2.

    Args:
        law: any.
        shape: of the map.
        layout: roles of its axes, nothing fused; None where none is given.

    Raises:
        ValueError: the law does not fit the shape.
    """
    return law._resolved(shape, layout)


def resolved_parts(law: Initializer, shape: Shape, layout: Layout | None) -> tuple[Part, ...]:
    """Every map that a law fills, its law without fans, empty ones left out: together they are the whole parameter.

    Args:
        law: any.
        shape: one that fits the layout.
        layout: roles of the axes, None where none is given.

    Raises:
        ValueError: the law does not fit the shape.
    """
    maps = (Part(resolve(law, box.shape, own), box, own) for box, own in law._parts(shape, layout))
    return tuple(part for each in maps for part in _inner_parts(each) if part.box.size)


def named_parts(law: Initializer, shape: Shape, layout: Layout | None) -> tuple[Part, ...]:
    """Every map that a law fills, blocks taken apart, each with its law as it is named: He's stays He's.

    Args:
        law: any.
        shape: one that fits the layout.
        layout: roles of the axes, None where none is given.

    Raises:
        ValueError: blocks that do not fill their axis.
    """
    maps = (Part(law, box, own) for box, own in law._parts(shape, layout))
    return tuple(part for each in maps for part in _inner_parts(each))


def _inner_parts(part: Part) -> Iterator[Part]:
    if not isinstance(part.law, Blocks):
        yield part
        return
    for law, box in zip(part.law.laws, part.law.boxes(part.box.shape), strict=True):
        start = tuple(a + b for a, b in zip(part.box.start, box.start, strict=True))
        yield from _inner_parts(Part(law, Box(start, box.shape), part.layout))
