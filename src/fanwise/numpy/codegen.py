"""The laws of a plan as NumPy code that writes into the arrays that a user gave."""

import math
from collections.abc import Iterator, Mapping

from fanwise._version import __version__
from fanwise.laws.elementwise import Constant, Normal, Ones, Uniform, Zeros
from fanwise.laws.resolve import resolve
from fanwise.plan.formula import formula, short
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row

SEED = 20150206
"""Weights that are drawn anew by the seed of those that stay would be their copies."""


def pasted(plan: Plan, access: Mapping[str, str]) -> str:
    """Code that draws the parameters of a plan that have a law anew, in place.

    Args:
        plan: its laws are elementwise.
        access: Python that reads each array from ``weights``, by path.

    Returns:
        Lines of Python that need NumPy and ``weights``, what `fanwise.check_weights` was given; "" without rows.

    Example:
        >>> from fanwise import Layout, he_normal
        >>> row = Row("W1", (784, 100), "float32", he_normal, Layout.dense("in out"), "weight", "linear", "He.")
        >>> print(pasted(Plan((row,)), {"W1": "weights[0]"}))
        import numpy as np
        <BLANKLINE>
        # Draws 1 of `weights` anew, by laws of fanwise 0.1.0.
        rng = np.random.default_rng(20150206)  # a seed of its own: yours may have drawn what stays
        # He.
        weights[0][...] = rng.normal(0.0, 0.0505076, (784, 100))  # W1: 1.41421 / sqrt(fan_in 784)
        <BLANKLINE>
    """
    rows = [row for row in plan if row.law is not None]
    if not rows:
        return ""
    head = ("import numpy as np", "", f"# Draws {len(rows)} of `weights` anew, by laws of fanwise {__version__}.")
    seed = f"rng = np.random.default_rng({SEED})  # a seed of its own: yours may have drawn what stays"
    return "\n".join([*head, seed, *_lines(rows, access), ""])


def _lines(rows: list[Row], access: Mapping[str, str]) -> Iterator[str]:
    reason = ""
    for row in rows:
        if row.reason and row.reason != reason:
            yield f"# {row.reason}"
        reason = row.reason
        values, note = _values(row)
        yield f"{access[row.path]}[...] = {values}  # {row.path}{note}"


def _values(row: Row) -> tuple[str, str]:
    """The call that draws a parameter, and what its number is."""
    law = None if row.law is None else resolve(row.law, row.shape, row.layout)
    if isinstance(law, Zeros | Ones | Constant):
        return f"{law.moments(()).mean * row.factor:.6g}", ""
    if isinstance(law, Normal):
        std = law.std * row.factor
        return f"rng.normal(0.0, {std:.6g}, {row.shape})", _fan_note(row, std)
    if isinstance(law, Uniform):
        bound = law.bound * row.factor
        return f"rng.uniform(-{bound:.6g}, {bound:.6g}, {row.shape})", _fan_note(row, bound)
    return f"fanwise.{law!r}({row.shape}, key=0)", f": {formula(row)}, import fanwise"


def _fan_note(row: Row, size: float) -> str:
    if row.layout is None:
        return ""
    fan_in = row.layout.fans(row.shape).fan_in
    return f": {size * math.sqrt(fan_in):.6g} / sqrt(fan_in {short(fan_in)})" if fan_in > 1 else ""
