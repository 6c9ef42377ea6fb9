"""Repeated structure: names that differ in integer components alone, told once."""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Axis:
    """An integer component of a path and the values that it takes, ascending.

    Args:
        at: which component of the path, counted from 0.
        values: what stands there.
    """

    at: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """Items whose names differ in the components of `axes` alone: every combination of their values is there.

    Args:
        parts: the components of the first item's name.
        axes: from left to right; empty for an item that stands alone.
        members: positions of the items, the last axis running fastest.
    """

    parts: tuple[str, ...]
    axes: tuple[Axis, ...]
    members: tuple[int, ...]

    @property
    def pattern(self) -> str:
        """The name, with braces where it varies.

        Example:
            >>> fold(["h.0.w", "h.1.w", "h.2.w"], ["same"] * 3)[0].pattern
            'h.{0..2}.w'
        """
        parts = list(self.parts)
        for axis in self.axes:
            parts[axis.at] = braces(axis.values)
        return ".".join(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members."""
        return spelled(self.parts, self.axes)

    @property
    def steps(self) -> tuple[int, ...] | None:
        """How far apart the members lie along each axis; None where the distances differ."""
        sizes = [len(axis.values) for axis in self.axes]
        steps = [self.members[math.prod(sizes[i + 1 :])] - self.members[0] for i in range(len(sizes))]
        return tuple(steps) if lattice(self.members[0], steps, sizes) == self.members else None


def fold(names: Sequence[str], kinds: Sequence[Hashable], *, regular: bool = False) -> tuple[Fold, ...]:
    """The items, those folded together that are of one kind and differ in integer components of their names alone.

    Args:
        names: dotted names.
        kinds: what else must be equal; one an item.
        regular: fold only what can be written down by first member, steps of the values and steps of the positions.

    Returns:
        In the order of their first members.

    Example:
        >>> [fold.pattern for fold in fold(["a.0", "b", "a.2", "a.4"], "xyxx")]
        ['a.{0..4..2}', 'b']
    """
    number: dict[Hashable, int] = {}
    kind_of = [number.setdefault(kind, len(number)) for kind in kinds]
    folds = [Fold(tuple(name.split(".")), (), (i,)) for i, name in enumerate(names)]
    for at in reversed(range(max((len(item.parts) for item in folds), default=0))):
        folds = _folded_at(at, folds, kind_of, regular=regular)
    return tuple(sorted(folds, key=lambda item: min(item.members)))


def braces(values: Sequence[int]) -> str:
    """The values as a shell would expand them: {0..11}, {0..22..2}, {1,3,7}; (a mixture of ranges in a list).

    Example:
        >>> braces((0, 1, 2, 5, 7))
        '{0..2,5,7}'
    """
    step = _step(values)
    if len(values) > 2 and step > 1:
        return f"{{{values[0]}..{values[-1]}..{step}}}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return "{" + ",".join(f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs) + "}"


def spelled(parts: Sequence[str], axes: Sequence[Axis]) -> tuple[str, ...]:
    """Every name that the components and axes make, the last axis running fastest."""
    names, words = [], list(parts)
    for values in product(*(axis.values for axis in axes)):
        for axis, value in zip(axes, values, strict=True):
            words[axis.at] = str(value)
        names.append(".".join(words))
    return tuple(names)


def lattice(first: int, steps: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """The positions from `first` on, by a step for each axis, the last axis running fastest."""
    return tuple(
        first + sum(i * step for i, step in zip(index, steps, strict=True)) for index in product(*map(range, sizes))
    )


def _folded_at(at: int, folds: Sequence[Fold], kind_of: Sequence[int], *, regular: bool) -> list[Fold]:
    """The folds, those made one that differ in component `at` alone."""
    groups: dict[Hashable, list[Fold]] = {}
    for item in folds:
        groups.setdefault(_key(item, at, kind_of, regular=regular), []).append(item)
    merged = []
    for group in groups.values():
        if len(group) > 1:
            group.sort(key=lambda item: int(item.parts[at]))
        merged += [_merged(run, at) for run in (_runs(group, at) if regular else [group])]
    return merged


def _key(item: Fold, at: int, kind_of: Sequence[int], *, regular: bool) -> Hashable:
    """What folds must share to become one along component `at`; their own position where they cannot."""
    if at >= len(item.parts) or not _INTEGER.fullmatch(item.parts[at]):
        return item.members
    others = (*item.parts[:at], *item.parts[at + 1 :])
    inner = tuple(member - item.members[0] for member in item.members) if regular else ()
    return len(item.parts), others, item.axes, kind_of[item.members[0]], inner


def _merged(group: Sequence[Fold], at: int) -> Fold:
    if len(group) == 1:
        return group[0]
    values = tuple(int(item.parts[at]) for item in group)
    members = tuple(member for item in group for member in item.members)
    return Fold(group[0].parts, (Axis(at, values), *group[0].axes), members)


def _runs(group: Sequence[Fold], at: int) -> list[list[Fold]]:
    """The folds cut where the step of the value or of the position changes."""
    runs: list[list[Fold]] = [[group[0]]]
    for before, item in pairwise(group):
        run = runs[-1]
        if len(run) == 1 or _distance(run[0], run[1], at) == _distance(before, item, at):
            run.append(item)
        else:
            runs.append([item])
    return runs


def _distance(a: Fold, b: Fold, at: int) -> tuple[int, int]:
    return int(b.parts[at]) - int(a.parts[at]), b.members[0] - a.members[0]


def _step(values: Sequence[int]) -> int:
    """The step between neighbours, where it is the same everywhere; else 0."""
    steps = {b - a for a, b in pairwise(values)}
    return steps.pop() if len(steps) == 1 else 0
