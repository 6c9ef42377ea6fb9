"""Samples that stand for a tensor: its value at one place, at another place of the example, and in another example.

Values of a feature at two places of one example (positions of a picture, tokens of a text), or in two examples, go
through the same weights, so they are correlated: pooling, attention and batch normalisation depend on by how much. A
sample is an array of three rows, one column for each of many features:

- `HERE`: the value at some place of some example;
- `ELSEWHERE`: at another place of the same example; the same where an example has one place alone;
- `ANOTHER`: at another place of another example.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

SAMPLES = 8192
"""Features that stand for a tensor: what two independent tensors have in common errs by about 1 %."""

ORDERS = 127
"""Orders of the sample that are kept; each may begin anywhere, so that there are a million."""

Values: TypeAlias = NDArray[np.float64]
"""One value a feature: shape (SAMPLES,)."""
Rows: TypeAlias = NDArray[np.float64]
"""Shape (3, SAMPLES)."""

HERE, ELSEWHERE, ANOTHER = 0, 1, 2


@dataclass(frozen=True)
class Likeness:
    """Second moments of a feature's value with itself and with its values at other places.

    Args:
        here: E x^2.
        elsewhere: E x x' at two places of one example.
        another: E x x' at places of two examples.
    """

    here: float
    elsewhere: float = 0.0
    another: float = 0.0

    def __add__(self, other: "Likeness") -> "Likeness":
        return Likeness(self.here + other.here, self.elsewhere + other.elsewhere, self.another + other.another)

    def __mul__(self, factor: float) -> "Likeness":
        return Likeness(self.here * factor, self.elsewhere * factor, self.another * factor)

    def average(self, places: float, examples: float = 1.0) -> float:
        """Second moment of the mean over so many places of so many examples."""
        of_one = (self.here + (places - 1) * self.elsewhere) / places
        return (of_one + (examples - 1) * self.another) / examples

    def minus(self, other: float) -> "Likeness":
        """Likeness less what all places share."""
        return Likeness(max(self.here - other, 0.0), self.elsewhere - other, self.another - other)


def likeness(rows: Rows) -> Likeness:
    """The second moments of a sample."""
    here, elsewhere, another = rows @ rows[HERE] / SAMPLES
    return Likeness(float(here), float(elsewhere), float(another))


def second(values: Values) -> float:
    """E x^2."""
    return float(values @ values) / len(values)


def fresh(*name: object) -> Values:
    """Standard normal values that belong to a name: evenly spread over the distribution, in an order of their own."""
    number = _number(*name)
    return _turned(_shuffled()[number % ORDERS], number // ORDERS % SAMPLES)


def normal_rows(moments: Likeness, *name: object) -> Rows:
    """A normal sample of these second moments, independent of every other one."""
    return np.asarray(_factors(moments) @ independent(*name))


def independent(*name: object) -> Rows:
    """Standard normal rows of a name, without anything in common: not even by chance."""
    rows = np.stack([fresh(*name, row) for row in (HERE, ELSEWHERE, ANOTHER)])
    chance = np.linalg.cholesky(rows @ rows.T / SAMPLES)
    return np.asarray(np.linalg.inv(chance) @ rows)


def reshaped(rows: Rows, moments: Likeness) -> Rows:
    """Sample brought to other second moments, each row a combination of the rows that were."""
    if not np.isfinite(rows).all():  # a signal that has overflowed has no second moments to change
        return rows
    before, after = _factors(likeness(rows)), _factors(moments)
    return np.asarray(after @ np.linalg.pinv(before, rcond=1e-9) @ rows)


def same_everywhere(values: Values) -> Rows:
    """A sample of what no place and no example changes, such as a bias."""
    return np.stack([values, values, values])


def rearranged(rows: Rows, *name: object, back: bool = False) -> Rows:
    """Other features of the same kind: independent of the sample itself; `back` undoes it."""
    number = _number(*name)
    order = _turned(_orders()[number % ORDERS], number // ORDERS % SAMPLES)
    if not back:
        return rows[:, order]
    undone = np.empty_like(rows)
    undone[:, order] = rows
    return undone


def one_place(rows: Rows) -> Rows:
    """The sample of a tensor whose examples have one place each."""
    return np.stack([rows[HERE], rows[HERE], rows[ANOTHER]])


DRAWS, MOST_DRAWN = 512, 1 << 20
"""Groups of features that are drawn to be taken together, and numbers that are drawn for them at most."""


def of_others(rows: Rows, count: int, name: object, combine: Callable[..., Values]) -> Rows:
    """For each feature of the sample what so many others, drawn from it, give together.

    Args:
        rows: the sample.
        count: how many others, at least one.
        name: of the op.
        combine: such as `numpy.sum`, over an axis.
    """
    drawn = max(min(DRAWS, MOST_DRAWN // count), 1)
    columns = generator("others", name).integers(SAMPLES, size=(drawn, count))
    groups = np.stack([combine(row[columns], axis=1) for row in rows])
    return np.asarray(groups[:, np.arange(SAMPLES) % drawn])


def generator(*name: object) -> np.random.Generator:
    """Random numbers that belong to a name."""
    return np.random.default_rng(_number(*name))


def _number(*name: object) -> int:
    return int.from_bytes(blake2b("/".join(map(str, name)).encode(), digest_size=8).digest(), "little")


@cache
def _orders() -> NDArray[np.intp]:
    """Orders of the sample, of which a name takes one, turned by a number of places."""
    numbers = np.random.default_rng(0)
    return np.stack([numbers.permutation(SAMPLES) for _ in range(ORDERS)])


@cache
def _shuffled() -> NDArray[np.float64]:
    """The values of the sample in each of these orders."""
    return np.asarray(_quantiles()[_orders()])


def _turned(values: NDArray[Any], places: int) -> NDArray[Any]:
    """A sequence turned by a number of places, as by `numpy.roll`, which takes longer to see how than to do it."""
    return np.concatenate((values[len(values) - places :], values[: len(values) - places]))


@cache
def _quantiles() -> Values:
    inverse = NormalDist().inv_cdf
    half = np.array([inverse((i + 0.5) / SAMPLES) for i in range(SAMPLES // 2, SAMPLES)])
    values = np.concatenate([-half[::-1], half])
    return np.asarray(values / math.sqrt(second(values)))


def _factors(moments: Likeness) -> NDArray[np.float64]:
    """A lower triangle whose product with its transpose has these second moments, as far as there is one."""
    here = math.sqrt(max(moments.here, 0.0))
    if here == 0 or not math.isfinite(here):
        return np.diag([here, here, here])
    below = np.clip(moments.elsewhere / here, -here, here)
    own = math.sqrt(max(moments.here - below**2, 0.0))
    first = np.clip(moments.another / here, -here, here)
    second_ = (moments.another - first * below) / own if own > 1e-8 * here else 0.0
    reach = math.sqrt(max(moments.here - first**2, 0.0))
    second_ = float(np.clip(second_, -reach, reach))
    last = math.sqrt(max(moments.here - first**2 - second_**2, 0.0))
    return np.array([[here, 0.0, 0.0], [below, own, 0.0], [first, second_, last]])
