"""What a word becomes: the laws, as integer maps followed by one multiplication.

Every law is one rule: ``value = round(clamp(integer(word) * unit + mean))``. The integer is the law's own map of
the element's word; the product, the sum (left out where mean is 0) and the clamp are in float32, or in float64 for
float64; the last rounding, to nearest even, goes to the dtype. docs/stream-v1.md states it for other languages.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np

from fanwise.stream.formats import Array, Format
from fanwise.stream.normal import FRACTION_BITS, I64, U32, Z_MAX, cell_to_word, first_cell_at_least, normal_fixed
from fanwise.stream.truncation import Truncation

Working: TypeAlias = type[np.floating[Any]]

RESOLVED_CELLS = 1 << 24
"""A truncated normal with fewer of the 2**32 cells than a float32 has fractions takes the float64 path."""

NORMAL_REACH = Z_MAX * 2.0**-FRACTION_BITS
"""No normal value is further from the mean than this many stds: 6.34."""

MIN_STEPS = 16
"""A std of fewer steps of the dtype is refused: rounding alone would change it by more than 0.02 %."""


class IntegerMap(Protocol):
    """A law's own map of words to integers of the same shape."""

    def __call__(self, words: U32, /) -> I64:
        """Integers of the words."""
        ...


def uniform_fixed(words: U32) -> I64:
    """Odd integers in [-(2**31 - 1), 2**31 - 1]: uniform, symmetric around 0, in units of bound / 2**31."""
    return (words ^ np.uint32(1 << 31)).view(np.int32).astype(np.int64) | 1


@dataclass(frozen=True)
class TruncatedFixed:
    """Normal values of the cells first .. first + count - 1 alone: one multiplication, no rejection."""

    first: int
    count: int

    def __call__(self, words: U32, /) -> I64:
        """Integers of the words, in units of 2**-28."""
        cells = np.uint64(self.first) + (words.astype(np.uint64) * np.uint64(self.count) >> np.uint64(32))
        return normal_fixed(cell_to_word(cells))


@dataclass(frozen=True)
class Scaled:
    """integer(word) * unit, in the working type."""

    integer: IntegerMap
    unit: float

    def __call__(self, words: U32, working: Working, /) -> Array:
        """Centred values of the words."""
        product: Array = self.integer(words).astype(working) * working(self.unit)
        return product


@dataclass(frozen=True)
class Quantiles:
    """The float64 path of truncated normals whose mass the 2**32 cells do not resolve."""

    truncation: Truncation
    sigma: float

    def __call__(self, words: U32, working: Working, /) -> Array:
        """Centred values of the words."""
        shares = words.astype(np.float64) * 2.0**-32 + 2.0**-33
        return (self.sigma * self.truncation.quantile(shares)).astype(working)


def nothing(words: U32, working: Working, /) -> Array:
    """The centred values of a law without spread: 0, never -0."""
    return np.zeros(words.shape, working)


@dataclass(frozen=True)
class Law:
    """How `fill` turns words into values.

    Args:
        centred: values before the mean is added, from words and the working type.
        mean: added where it is not 0.
        low: smallest value allowed, a number of the dtype.
        high: largest value allowed, a number of the dtype.
    """

    centred: Callable[[U32, Working], Array]
    mean: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def values(self, words: U32, working: Working) -> Array:
        """Values of the words in the working type, ready to be rounded to the dtype."""
        values = self.centred(words, working)
        if self.mean:
            values = values + working(self.mean)
        if not math.isinf(self.low):
            values = np.maximum(values, working(self.low))
        if not math.isinf(self.high):
            values = np.minimum(values, working(self.high))
        return values


@lru_cache(maxsize=256)
def uniform_law(form: Format, bound: float) -> Law:
    """Uniform in [-bound, bound].

    Raises:
        ValueError: the dtype cannot hold the bound.
    """
    _check_fits(form, bound, name="bound", largest=bound)
    inner = form.round_in(bound, upward=False)
    return Law(_scaled(form, uniform_fixed, bound * 2.0**-31), 0.0, -inner, inner)


@lru_cache(maxsize=256)
def uniform_between_law(form: Format, low: float, high: float) -> Law:
    """Uniform in [low, high), low < high.

    Raises:
        ValueError: the dtype cannot hold the bounds, or none of its numbers lies between them.
    """
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    _check_largest(form, max(abs(low), abs(high)), name="low and high")
    first, last = form.round_in(low, upward=True), form.below(high)
    if first > last:
        raise ValueError(f"low = {low}, high = {high}: no {form.name} number lies between them")
    return Law(_scaled(form, uniform_fixed, half * 2.0**-31), middle, first, last)


@lru_cache(maxsize=256)
def normal_law(form: Format, std: float, mean: float) -> Law:
    """Normal with this mean and std; std 0 gives the mean itself.

    Raises:
        ValueError: the dtype cannot hold such values.
    """
    _check_fits(form, std, name="std", largest=abs(mean) + NORMAL_REACH * std)
    return Law(_scaled(form, normal_fixed, std * 2.0**-FRACTION_BITS), mean)


@lru_cache(maxsize=256)
def truncated_law(form: Format, truncation: Truncation, std: float, mean: float) -> Law:
    """Truncated normal whose values have this std; `mean` is the parent's.

    Raises:
        ValueError: the dtype cannot hold such values, or none of its numbers lies between the bounds.
    """
    if std == 0:
        return Law(nothing, mean)
    sigma = std / truncation.moments()[1]
    _check_fits(form, std, name="std", largest=abs(mean) + sigma * truncation.reach(NORMAL_REACH))
    low = form.round_in(mean + truncation.low * sigma, upward=True)
    high = form.round_in(mean + truncation.high * sigma, upward=False)
    if low > high:
        raise ValueError(f"std = {std}: no {form.name} number lies within the bounds of {truncation}")
    cells = truncated_cells(truncation)
    if cells.count < RESOLVED_CELLS:
        return Law(Quantiles(truncation, sigma), mean, low, high)
    return Law(_scaled(form, cells, sigma * 2.0**-FRACTION_BITS), mean, low, high)


@lru_cache(maxsize=256)
def truncated_cells(truncation: Truncation) -> TruncatedFixed:
    """The cells whose values lie in [low, high]: integers alone decide, so every platform agrees."""
    scale = 1 << FRACTION_BITS
    low = -(1 << 32) if math.isinf(truncation.low) else math.ceil(truncation.low * scale)
    high = 1 << 32 if math.isinf(truncation.high) else math.floor(truncation.high * scale)
    first, stop = first_cell_at_least(low), first_cell_at_least(high + 1)
    return TruncatedFixed(first, stop - first)


def _scaled(form: Format, integer: IntegerMap, unit: float) -> Callable[[U32, Working], Array]:
    rounded = float(form.working(unit))
    return Scaled(integer, rounded) if rounded else nothing


def _check_fits(form: Format, spread: float, *, name: str, largest: float) -> None:
    """Refuses a scale that the dtype cannot hold: too large, or so small that rounding would change it."""
    _check_largest(form, largest, name=f"{name} = {spread:g}")
    # the unit, spread / 2**31 or more, must be a normal number of the working type, or some processors flush it to 0
    normal_unit = math.ldexp(1.0, (-1022 if form.working is np.float64 else -126) + 31)
    smallest = max(MIN_STEPS * form.smallest, normal_unit)
    if 0 < spread < smallest:
        raise ValueError(
            f"{name} = {spread:g} is too small for {form.name}: rounding would change or lose its values "
            f"(expected 0 or >= {smallest:.3g})"
        )


def _check_largest(form: Format, largest: float, *, name: str) -> None:
    if largest > form.largest:
        raise ValueError(f"{name}: values reach {largest:.4g}, more than {form.name} can hold ({form.largest:.4g})")
