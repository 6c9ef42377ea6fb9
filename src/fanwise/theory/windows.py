"""The average and the largest of neighbours that are alike to some degree."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fanwise.theory.samples import HERE, SAMPLES, Likeness, Rows, Values, fresh, likeness, normal_rows, second

HALVINGS = 12
"""Of the interval in which a correlation is looked for."""


def average(rows: Rows, count: float, name: object, *, left: bool) -> Rows:
    """The mean over so many neighbours: normal, but for what all of them share.

    Args:
        rows: a sample of one of them.
        count: how many there are.
        name: of the op.
        left: whether more than one window is left of an example.
    """
    mean = float(rows[HERE].mean())
    own = likeness(rows).minus(mean * mean)
    here = own.average(count)
    return mean + normal_rows(Likeness(here, own.elsewhere if left else here, own.another), "average", name)


def largest(
    rows: Rows, counts: NDArray[np.float64], name: object, *, left: bool, alike: Likeness | None = None
) -> Rows:
    """The largest of so many neighbours, which are alike as two places of the sample are.

    Neighbours are drawn by a Gaussian copula: the sample's own values, in the order of correlated normal ones. Of n
    independent ones the largest has the distribution F^n, so that it stands where F is U^(1/n).

    Args:
        rows: a sample of one of them.
        counts: how many there are, one number a feature or one for all.
        name: of the op.
        left: whether more than one window is left of an example.
        alike: second moments of two of them; None for those of two places of the sample.
    """
    ordered = np.sort(rows[HERE])
    alike = likeness(rows) if alike is None else alike
    near = _correlation(ordered, alike.elsewhere)
    far = min(_correlation(ordered, alike.another), near)
    shared, own = fresh(name, "all"), [fresh(name, "example", i) for i in (0, 1)]
    rows_out = []
    for row, example in enumerate((0, 0, 1)):
        centre = math.sqrt(far) * shared + math.sqrt(near - far) * own[example]
        drawn = _largest_normal(counts, np.random.default_rng([row]))
        rows_out.append(_placed(ordered, centre + math.sqrt(1 - near) * drawn))
    return np.stack([rows_out[0], rows_out[1] if left else rows_out[0], rows_out[2]])


def _largest_normal(counts: NDArray[np.float64], numbers: np.random.Generator) -> Values:
    """The largest of so many independent normal values: 1 - F = 1 - U^(1/n)."""
    tail = -np.expm1(np.log(numbers.random(SAMPLES)) / np.maximum(counts, 1.0))
    points, logarithms = _tails()
    return np.asarray(np.interp(-np.log(np.maximum(tail, 1e-300)), logarithms, points))


@cache
def _tails() -> tuple[Values, Values]:
    """Points of the normal distribution, and minus the logarithm of what lies above each."""
    points = np.linspace(-9.0, 37.0, 9201)
    return points, np.array([-math.log(math.erfc(point / math.sqrt(2)) / 2) for point in points])


MOST_DRAWN = 1 << 20
"""Numbers that are drawn for neighbours at most."""


@dataclass(frozen=True)
class Neighbours:
    """For each value of a sample so many others that are alike to it, as columns of the sample.

    Args:
        columns: of the neighbours, of each row and group of features.
        group: of each row and feature.
    """

    columns: tuple[NDArray[np.intp], ...]
    group: tuple[NDArray[np.intp], ...]

    def total(self, rows: Rows) -> Rows:
        """Sum of what the neighbours have."""
        sums = (row[columns].sum(axis=1) for row, columns in zip(rows, self.columns, strict=True))
        return np.stack([total[group] for total, group in zip(sums, self.group, strict=True)])


def neighbours(rows: Rows, count: int, name: object) -> Neighbours:
    """Values at so many other places of each value's example, by a Gaussian copula as in `largest`.

    Args:
        rows: a sample.
        count: how many, at least one.
        name: of the op.
    """
    near = _correlation(np.sort(rows[HERE]), likeness(rows).elsewhere)
    drawn, numbers = max(min(SAMPLES, MOST_DRAWN // count), 1), np.random.default_rng([count, 1])
    normals, group = np.sort(fresh("ranks")), np.empty(SAMPLES, np.intp)
    columns, groups = [], []
    for number, row in enumerate(rows):
        order = np.argsort(row, kind="stable")
        ranked = np.empty(SAMPLES)
        ranked[order] = normals
        centre = math.sqrt(near) * ranked + math.sqrt(1 - near) * fresh(name, "centre", number)
        group[np.argsort(centre)] = np.arange(SAMPLES) * drawn // SAMPLES
        middle = np.sort(centre)[(np.arange(drawn) * SAMPLES + SAMPLES // 2) // drawn]
        others = math.sqrt(near) * middle[:, None] + math.sqrt(1 - near) * numbers.standard_normal((drawn, count))
        columns.append(order[np.clip(np.searchsorted(normals, others), 0, SAMPLES - 1)])
        groups.append(group.copy())
    return Neighbours(tuple(columns), tuple(groups))


def chance_of_largest(values: Values, count: float) -> Values:
    """For each value of a sample, the chance that it is the largest of so many; equal ones share it.

    (R^n - L^n) / (n (R - L)), with the shares R of the values up to it and L of those below.
    """
    ordered = np.sort(values)
    below, up_to = (np.searchsorted(ordered, values, side) / SAMPLES for side in ("left", "right"))
    return np.asarray((up_to**count - below**count) / (count * (up_to - below)))


def _correlation(ordered: Values, wanted: float) -> float:
    """The correlation of normal values in whose order two values have this product."""
    first, other = fresh("copula", 0), fresh("copula", 1)
    low, high = 0.0, 1.0
    if second(ordered - ordered.mean()) <= 1e-12 * second(ordered) or second(ordered) == 0:
        return 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        pair = _placed(ordered, middle * first + math.sqrt(1 - middle**2) * other)
        low, high = (middle, high) if float(np.mean(_placed(ordered, first) * pair)) < wanted else (low, middle)
    return low


def _placed(ordered: Values, normals: NDArray[np.float64]) -> Values:
    """The values of a sample at the ranks of normal ones."""
    places = np.searchsorted(np.sort(fresh("ranks")), normals)
    return np.asarray(ordered[np.clip(places, 0, SAMPLES - 1)])
