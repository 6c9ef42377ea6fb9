"""Which parameters hold the numbers of others: the same, or the same beginning up to a factor."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from fanwise.stream.formats import Array

MARKS = 16
"""Fewest values by which two parameters are compared with each other."""
GRID = 1e-4
"""Width of the cells in which the directions of two beginnings are compared: float32 rounds by 1e-7."""


def twins_of(marks: Mapping[str, Hashable]) -> dict[str, str]:
    """For each parameter whose mark an earlier one has: that one's path.

    Args:
        marks: what two parameters are compared by, in the model's order.

    Example:
        >>> twins_of({"a": 1, "b": 2, "c": 1})
        {'c': 'a'}
    """
    first: dict[Hashable, str] = {}
    earlier = {path: first.setdefault(mark, path) for path, mark in marks.items()}
    return {path: other for path, other in earlier.items() if other != path}


def is_varied(values: Sequence[float] | Array) -> bool:
    """Whether values are many numbers: identities, masks and constants hold the same few by design.

    Example:
        >>> is_varied([0.0, 1.0] * 8), is_varied(list(range(16)))
        (False, True)
    """
    return len(np.unique(np.asarray(values))) > min(MARKS, len(values)) // 2


def beginning(array: Array) -> tuple[float, ...]:
    """The first values of an array, as it is stored."""
    return tuple(np.asarray(array.flat[:MARKS], np.float64).tolist()) if array.dtype.kind == "f" else ()


def kin_of(beginnings: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """For each parameter that begins with an earlier one's numbers times a factor: that one's path.

    A generator that is started anew from one seed gives the same numbers whatever the shape; laws multiply them by
    their stds. Two beginnings of random numbers lie in one direction, within 1e-4, by chance never.

    Args:
        beginnings: the first values of each parameter, in the model's order; what is shorter or repeats itself is left
            out.

    Example:
        >>> row = [float(number) for number in range(1, 17)]
        >>> kin_of({"a": row, "b": [2 * x for x in row], "c": row[::-1]})
        {'b': 'a'}
    """
    cells = {path: tuple(_cells(values)) for path, values in beginnings.items() if _tells(values)}
    kin: dict[str, str] = {}
    for number in range(2):
        kin = twins_of({path: cell[number] for path, cell in cells.items()}) | kin
    return kin


def _tells(values: Sequence[float]) -> bool:
    return len(values) >= MARKS and all(map(math.isfinite, values)) and is_varied(values)


def _cells(values: Sequence[float]) -> Iterator[Hashable]:
    """The cells of two grids in which the direction lies: at a border of one it is inside of the other."""
    row = np.asarray(values)
    row = row / np.abs(row).max()
    direction = row / np.linalg.norm(row) * math.copysign(1.0, row[np.abs(row).argmax()])
    for offset in (0.0, 0.5):
        yield np.floor(direction / GRID + offset).tobytes()
