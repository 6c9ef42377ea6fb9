"""Checks of the numbers that users pass in."""

import math
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
        raise TypeError(f"{name} = {value!r}: expected a number")
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
        raise TypeError(f"{name} = {value!r}: expected an integer")
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
        raise TypeError(f"{name} = {value!r}: expected one of {', '.join(choices)}")
    if value not in choices:
        raise ValueError(f"{name} = {value!r}: expected one of {', '.join(choices)}")
    return value


def _range_text(low: float, high: float) -> str:
    if math.isinf(high):
        return f">= {low:g}"
    return f"<= {high:g}" if math.isinf(low) else f"in [{low:g}, {high:g}]"
