"""Arithmetic by the names that functions and operators have in the frameworks."""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from fanwise.graph.op import Op

SUMS = frozenset({"add", "radd", "iadd", "sub", "rsub", "isub", "subtract"})
"""Functions that add or subtract."""
PRODUCTS = frozenset({"mul", "rmul", "imul", "multiply"})
"""Functions that multiply."""
QUOTIENTS = frozenset({"div", "rdiv", "idiv", "truediv", "itruediv", "true_divide", "divide"})
"""Functions that divide."""

PLAIN = frozenset(
    {"to", "float", "half", "bfloat16", "double", "type", "contiguous", "clone", "detach", "t", "transpose", "permute"}
    | {"reshape", "view", "flatten", "expand", "expand_as", "broadcast_to", "repeat", "tile", "squeeze", "unsqueeze"}
)
"""Functions that change none of the values, and at most repeat them."""
FUNCTIONS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "exp": math.exp,
        "log": math.log,
        "sqrt": math.sqrt,
        "abs": abs,
        "neg": lambda x: -x,
        "negative": lambda x: -x,
        "square": lambda x: x * x,
        "softplus": lambda x: math.log1p(math.exp(x)),
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
        "logistic": lambda x: 1 / (1 + math.exp(-x)),
    }
)
"""Functions by which models make a temperature of a parameter."""


def constant_of(op: Op) -> float:
    """The size of the number that an op multiplies by, 1 where it does something else."""
    constant = op.constant
    if len(op.inputs) != 1 or not constant:
        return 1.0
    if op.name in QUOTIENTS:
        return 1.0 / abs(constant)
    return abs(float(constant)) if op.name in PRODUCTS else 1.0


def made_of(value: float, steps: Iterable[str]) -> float:
    """The number that a model makes of a number by functions; 1 where one of them is not known or has no value there.

    Args:
        value: of a parameter.
        steps: names of the functions, in order.

    Example:
        >>> made_of(4.0, ("view", "sqrt"))
        2.0
    """
    try:
        for step in steps:
            value = value if step in PLAIN else FUNCTIONS[step](value)
    except (KeyError, ArithmeticError, ValueError):
        return 1.0
    return value
