"""Arithmetic by the names that functions and operators have in the frameworks."""

from fanwise.graph.op import Op

SUMS = frozenset({"add", "radd", "iadd", "sub", "rsub", "isub", "subtract"})
"""Functions that add or subtract."""
PRODUCTS = frozenset({"mul", "rmul", "imul", "multiply"})
"""Functions that multiply."""
QUOTIENTS = frozenset({"div", "rdiv", "idiv", "truediv", "itruediv", "true_divide", "divide"})
"""Functions that divide."""


def constant_of(op: Op) -> float:
    """The size of the number that an op multiplies by, 1 where it does something else."""
    constant = op.constant
    if len(op.inputs) != 1 or not constant:
        return 1.0
    if op.name in QUOTIENTS:
        return 1.0 / abs(constant)
    return abs(float(constant)) if op.name in PRODUCTS else 1.0
