"""A row's law and numbers as short as a table needs them."""

from collections.abc import Sequence
from itertools import groupby

from fanwise.laws.base import Initializer
from fanwise.laws.composite import ICNR
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros
from fanwise.laws.initializers import to_config
from fanwise.laws.layout import Layout
from fanwise.laws.resolve import named_parts, resolve
from fanwise.laws.structured import Sparse
from fanwise.plan.row import Row
from fanwise.stream.box import Shape

KEPT = "kept"
TIMES = "×"  # noqa: RUF001
SIGMA = "σ"  # noqa: RUF001
MOST_PARTS = 4
"""Formulas side by side that a cell shows."""


def formula(row: Row) -> str:
    """What the row's values are drawn from, its fans put in and its calibration left out.

    Example:
        >>> from fanwise import Layout, he_normal
        >>> formula(Row("w", (256, 1024), "float32", he_normal, Layout.dense("out in"), "weight", "linear", ""))
        'N(0, 0.0442²)'
    """
    if row.law is None:
        return KEPT
    return _formulas(row.law, row.shape, row.layout)


def short(number: float | None) -> str:
    """Three digits of a number.

    Example:
        >>> short(0.04419), short(768.0), short(50257), short(0.0), short(None)
        ('0.0442', '768', '50257', '0', '')
    """
    if number is None:
        return ""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e9 else f"{number:.3g}"


def times(factor: float) -> str:
    """The factor as the tail of a formula; nothing where it is 1."""
    return "" if factor == 1 else f" {TIMES} {short(factor)}"


def joined(parts: Sequence[str]) -> str:
    """Texts side by side, equal neighbours told once."""
    distinct = [part for part, _ in groupby(parts)]
    more = " | …" if len(distinct) > MOST_PARTS else ""
    return " | ".join(distinct[:MOST_PARTS]) + more


def size_text(shape: Shape) -> str:
    """The shape as 64x3x7x7."""
    return "x".join(map(str, shape)) or "scalar"


def _formulas(law: Initializer, shape: Shape, layout: Layout | None) -> str:
    """The formulas of all maps, side by side."""
    parts = named_parts(law, shape, layout)
    return joined([_law_formula(part.law, part.box.shape, part.layout) for part in parts])


def _law_formula(law: Initializer, shape: Shape, layout: Layout | None) -> str:
    """The formula of one map."""
    match law:
        case ICNR():
            return f"ICNR {law.copies}: {_formulas(law.base, shape, layout)}"
        case VarianceScaling():
            return _law_formula(resolve(law, shape, layout), shape, layout)
    return _elementwise(law) or _named(law)


def _elementwise(law: Initializer) -> str:
    """The formula of a law without fans; "" for others."""
    if not isinstance(law, Zeros | Ones | Constant | Normal | Uniform | TruncatedNormal):
        return ""
    promised = law.moments(())
    if promised.low == promised.high:
        return short(promised.low)
    if isinstance(law, Uniform):
        return f"U(±{short(law.bound)})"
    gaussian = f"N(0, {short(promised.std)}²)"
    return f"{gaussian} {_cut(law.low, law.high)}" if isinstance(law, TruncatedNormal) else gaussian


def _cut(low: float, high: float) -> str:
    return f"±{short(high)}{SIGMA}" if low == -high else f"in [{low:.3g}, {high:.3g}]{SIGMA}"


def _named(law: Initializer) -> str:
    """The law's name and its gain; words that are not the usual ones in brackets."""
    try:
        config = to_config(law)
    except TypeError:  # a user's own
        return type(law).__name__
    name = f"sparse {law.nonzero}" if isinstance(law, Sparse) else str(config["name"]).replace("_", " ")
    kept_norm = " (norm)" if config.get("preserve") == "norm" else ""
    return name + times(float(config.get("gain", 1.0))) + kept_norm
