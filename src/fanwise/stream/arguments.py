"""Checks of the numbers and names that users pass in, and what messages say of them."""

import difflib
import math
from collections.abc import Iterable
from numbers import Real

import numpy as np


def checked_number(value: object, *, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite real number in [low, high], as a Python float.

    Args:
        value: what the user passed.
        name: what an error calls it.
        low: smallest number allowed.
        high: largest number allowed.

    Raises:
        TypeError: bools, text, None, complex numbers and arrays.
        ValueError: NaN, infinity, or outside [low, high].
    """
    if type(value) is not float and (isinstance(value, (bool, np.bool_)) or not isinstance(value, Real)):
        raise TypeError(f"{name} = {in_words(value)}: expected a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} = {number}: expected a finite number")
    if not low <= number <= high:
        raise ValueError(f"{name} = {number}: expected a number {_range_text(low, high)}")
    return number


def checked_count(value: object, *, name: str, low: int = 1) -> int:
    """An integer not below `low`, as a Python int.

    Raises:
        TypeError: not an integer (bools and 3.0 are not).
        ValueError: below `low`.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} = {in_words(value)}: expected an integer")
    if value < low:
        raise ValueError(f"{name} = {value}: expected an integer >= {low}")
    return int(value)


def checked_choice(value: object, choices: tuple[str, ...], *, name: str) -> str:
    """One of the names in `choices`.

    Raises:
        TypeError: not a str.
        ValueError: another name; the message lists the choices.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} = {in_words(value)}: expected one of {', '.join(choices)}")
    if value not in choices:
        raise ValueError(f"{name} = {in_words(value)}: expected one of {', '.join(choices)}")
    return value


def near_names(name: str, names: Iterable[str], most: int = 3, *, cutoff: float = 0.6) -> list[str]:
    """The names that a wrong one may have been meant for, the nearest first.

    Example:
        >>> near_names("adm", ("adam", "sgd"))
        ['adam']
    """
    return difflib.get_close_matches(name, list(names), most, cutoff)


LONGEST = 100
"""Letters of a value that a message shows."""


def in_words(value: object) -> str:
    """A value as a message shows it: an array by its shape, and no more of anything than a line.

    Example:
        >>> in_words(np.zeros((3, 4))), in_words("he")
        ('ndarray of shape (3, 4)', "'he'")
    """
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {tuple(map(int, shape))}"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _range_text(low: float, high: float) -> str:
    if math.isinf(high):
        return f">= {low:g}"
    return f"<= {high:g}" if math.isinf(low) else f"in [{low:g}, {high:g}]"
