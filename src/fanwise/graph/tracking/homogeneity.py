"""How what a model makes of a parameter grows with it: twice the parameter gives 2^degree times the result.

Of degree 0 the size of the parameter has no effect: standardised weights, directions of unit length.
"""

from collections.abc import Sequence

from fanwise.graph.arithmetic import PRODUCTS, QUOTIENTS, SUMS

SAME = frozenset(
    """
    mean sum std norm vector_norm linalg_norm linalg_vector_norm max min amax amin neg negative abs absolute clone to
    float double half bfloat16 type contiguous detach reshape view flatten expand squeeze unsqueeze permute transpose
    t T mT getitem stack cat concat concatenate roll flip select narrow index_select gather take cast broadcast_to
    expand_dims swapaxes moveaxis repeat tile unfold as_strided rot90 clip clamp clamp_min
    """.split()  # noqa: SIM905
)
"""Functions of degree 1; a clip keeps a length from 0 and has no effect otherwise."""
DEGREES = {"square": 2.0, "var": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}
"""Functions of another degree."""
POWERS = frozenset({"pow", "power"})


def degree_after(step: str, degrees: Sequence[float | None], exponent: float | None = None) -> float | None:
    """The degree of what a function gives; None where it has none, or where that is not known.

    Args:
        step: the function's name.
        degrees: of what it reads, in the order of its arguments: 0 for numbers and constants.
        exponent: of a power.

    Example:
        >>> degree_after("div", (1.0, degree_after("sqrt", (2.0,))))
        0.0
    """
    known = [degree for degree in degrees if degree is not None]
    if len(known) < len(degrees) or not known:
        return None
    if step in PRODUCTS:
        return sum(known)
    if step in QUOTIENTS:
        return known[0] - sum(known[1:])
    if step in POWERS:
        return None if exponent is None else known[0] * exponent
    if step in SUMS:  # a constant beside them keeps a quotient from dividing by 0
        return max(known) if all(degree in (max(known), 0.0) for degree in known) else None
    return known[0] * DEGREES.get(step, 1.0) if step in SAME or step in DEGREES else None
