"""The nonlinearities whose gain is known, as data: one entry each."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.stream.arguments import checked_number

F64: TypeAlias = NDArray[np.float64]
Function: TypeAlias = Callable[[F64], F64]

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
"""Klambauer et al., "Self-normalizing neural networks", 2017, eq. 14: E f = 0 and E f^2 = 1 at a standard normal."""


@dataclass(frozen=True)
class GaussianMoments:
    """What a nonlinearity f does to a standard normal z.

    Args:
        mean: E f(z).
        second_moment: E f(z)^2.
        slope_second_moment: E f'(z)^2.
    """

    mean: float
    second_moment: float
    slope_second_moment: float

    @property
    def variance(self) -> float:
        """E f^2 - (E f)^2."""
        return self.second_moment - self.mean**2


@dataclass(frozen=True)
class Nonlinearity:
    """An activation function on float64 arrays.

    Args:
        name: how it is written, parameters included: "leaky_relu(0.2)".
        function: its values.
        slope: its derivative; None where it is not known.
        kinks: where the function or its derivative is not smooth.
        closed_form: its Gaussian moments, where a closed form is known.
    """

    name: str
    function: Function
    slope: Function | None = None
    kinks: tuple[float, ...] = ()
    closed_form: GaussianMoments | None = None


@dataclass(frozen=True)
class NonlinearityEntry:
    """One row of the registry.

    Args:
        name: how it is called.
        make: gives the nonlinearity; its arguments are the parameters, in the order of "name(a, b)".
        example: how it is written in tables and tests, parameters included.
        formula: f(x) in one line.
        source: author, title, year.
        synonyms: other names of the same.
    """

    name: str
    make: Callable[..., Nonlinearity]
    example: str
    formula: str
    source: str = ""
    synonyms: tuple[str, ...] = ()


def nonlinearity(name: str, **parameters: float) -> Nonlinearity:
    """The nonlinearity of this name.

    Args:
        name: a name or synonym of `NONLINEARITIES`; parameters may stand in it, as in "leaky_relu(0.2)".
        parameters: the same by name.

    Raises:
        TypeError: not a str; a parameter that it does not have, or one that it needs and did not get: no slope is
            ever assumed.
        ValueError: an unknown name, or a parameter that is not a finite number.

    Example:
        >>> nonlinearity("leaky_relu", negative_slope=0.2).name
        'leaky_relu(0.2)'
    """
    if not isinstance(name, str):
        raise TypeError(f"nonlinearity = {name!r}: expected a name, a Nonlinearity or a function of arrays")
    base, positional = _parsed(name)
    if base not in _BY_ANY_NAME:
        raise ValueError(f"nonlinearity {name!r}: expected one of {', '.join(_BY_ANY_NAME)}, or a function of arrays")
    make = _BY_ANY_NAME[base].make
    try:
        bound = inspect.signature(make).bind(*positional, **parameters)
    except TypeError as error:
        raise TypeError(f"nonlinearity {name!r}: {error} (write {_BY_ANY_NAME[base].example!r})") from None
    values = {key: checked_number(value, name=key) for key, value in bound.arguments.items()}
    return make(**values)


def _parsed(name: str) -> tuple[str, list[float]]:
    match = re.fullmatch(r"\s*([a-z_0-9^]+)\s*(?:\((.*)\))?\s*", name)
    if match is None:
        return name, []
    inside = [part for part in (match[2] or "").split(",") if part.strip()]
    try:
        return match[1], [float(part) for part in inside]
    except ValueError:
        raise ValueError(f"nonlinearity {name!r}: the parameters in brackets must be numbers") from None


def erf(x: F64) -> F64:
    """The error function, elementwise."""
    return np.asarray(_ERF(x), np.float64)


_ERF = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(x: F64) -> F64:
    return 0.5 * (1 + np.tanh(x / 2))


def _density(x: F64) -> F64:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _cdf(x: F64) -> F64:
    return 0.5 * (1 + erf(x / math.sqrt(2)))


def _softplus(x: F64) -> F64:
    return np.logaddexp(0.0, x)


def _step(x: F64) -> F64:
    return np.where(x > 0, 1.0, 0.0)


def linear() -> Nonlinearity:
    """f(x) = x."""
    return Nonlinearity("linear", np.array, np.ones_like, (), GaussianMoments(0.0, 1.0, 1.0))


def leaky_relu(negative_slope: float) -> Nonlinearity:
    """f(x) = x above 0, negative_slope x below."""
    kept = (1 + negative_slope**2) / 2
    moments = GaussianMoments((1 - negative_slope) / math.sqrt(2 * math.pi), kept, kept)
    return Nonlinearity(
        f"leaky_relu({negative_slope:g})",
        lambda x: np.where(x > 0, x, negative_slope * x),
        lambda x: np.where(x > 0, 1.0, negative_slope),
        (0.0,),
        moments,
    )


def relu() -> Nonlinearity:
    """f(x) = max(x, 0)."""
    moments = GaussianMoments(1 / math.sqrt(2 * math.pi), 0.5, 0.5)
    return Nonlinearity("relu", lambda x: np.maximum(x, 0.0), _step, (0.0,), moments)


def relu_squared() -> Nonlinearity:
    """f(x) = max(x, 0)^2."""
    moments = GaussianMoments(0.5, 1.5, 2.0)
    return Nonlinearity(
        "relu_squared", lambda x: np.maximum(x, 0.0) ** 2, lambda x: 2 * np.maximum(x, 0.0), (0.0,), moments
    )


def relu6() -> Nonlinearity:
    """f(x) = min(max(x, 0), 6)."""
    return Nonlinearity(
        "relu6", lambda x: np.clip(x, 0.0, 6.0), lambda x: np.where((x > 0) & (x < 6), 1.0, 0.0), (0.0, 6.0)
    )


def tanh() -> Nonlinearity:
    """The hyperbolic tangent."""
    return Nonlinearity("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2)


def erf_unit() -> Nonlinearity:
    """The error function."""
    moments = GaussianMoments(0.0, 2 / math.pi * math.asin(2 / 3), 4 / (math.pi * math.sqrt(5)))
    return Nonlinearity("erf", erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x), (), moments)


def sin() -> Nonlinearity:
    """The sine."""
    moments = GaussianMoments(0.0, (1 - math.exp(-2)) / 2, (1 + math.exp(-2)) / 2)
    return Nonlinearity("sin", np.sin, np.cos, (), moments)


def sigmoid() -> Nonlinearity:
    """f(x) = 1 / (1 + exp(-x))."""
    return Nonlinearity("sigmoid", _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x))


def gelu() -> Nonlinearity:
    """f(x) = x Phi(x)."""
    return Nonlinearity("gelu", lambda x: x * _cdf(x), lambda x: _cdf(x) + x * _density(x))


def gelu_tanh() -> Nonlinearity:
    """f(x) = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    c = math.sqrt(2 / math.pi)

    def slope(x: F64) -> F64:
        t = np.tanh(c * (x + 0.044715 * x**3))
        return np.asarray((1 + t) / 2 + x * (1 - t * t) * c * (1 + 0.134145 * x * x) / 2)

    return Nonlinearity("gelu_tanh", lambda x: x * (1 + np.tanh(c * (x + 0.044715 * x**3))) / 2, slope)


def quick_gelu() -> Nonlinearity:
    """f(x) = x sigmoid(1.702 x)."""

    def slope(x: F64) -> F64:
        s = _sigmoid(1.702 * x)
        return np.asarray(s * (1 + 1.702 * x * (1 - s)))

    return Nonlinearity("quick_gelu", lambda x: x * _sigmoid(1.702 * x), slope)


def silu() -> Nonlinearity:
    """f(x) = x sigmoid(x)."""
    return Nonlinearity("silu", lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)))


def elu(alpha: float = 1.0) -> Nonlinearity:
    """f(x) = x above 0, alpha (exp(x) - 1) below."""
    return Nonlinearity(
        "elu" if alpha == 1 else f"elu({alpha:g})",
        lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        lambda x: np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))),
        (0.0,),
    )


def selu() -> Nonlinearity:
    """f(x) = 1.0507 elu(x, 1.6733)."""
    return Nonlinearity(
        "selu",
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0.0))),
        lambda x: SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0.0))),
        (0.0,),
    )


def softplus() -> Nonlinearity:
    """f(x) = log(1 + exp(x))."""
    return Nonlinearity("softplus", _softplus, _sigmoid)


def mish() -> Nonlinearity:
    """f(x) = x tanh(softplus(x))."""

    def slope(x: F64) -> F64:
        t = np.tanh(_softplus(x))
        return np.asarray(t + x * (1 - t * t) * _sigmoid(x))

    return Nonlinearity("mish", lambda x: x * np.tanh(_softplus(x)), slope)


def hardswish() -> Nonlinearity:
    """f(x) = x min(max(x + 3, 0), 6) / 6."""
    return Nonlinearity(
        "hardswish",
        lambda x: x * np.clip(x + 3, 0.0, 6.0) / 6,
        lambda x: np.where(x < -3, 0.0, np.where(x > 3, 1.0, (2 * x + 3) / 6)),
        (-3.0, 3.0),
    )


def softsign() -> Nonlinearity:
    """f(x) = x / (1 + |x|)."""
    return Nonlinearity("softsign", lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2.0, (0.0,))


def hardtanh() -> Nonlinearity:
    """f(x) = min(max(x, -1), 1)."""
    return Nonlinearity(
        "hardtanh", lambda x: np.clip(x, -1.0, 1.0), lambda x: np.where(np.abs(x) < 1, 1.0, 0.0), (-1.0, 1.0)
    )


_ENTRIES = (
    NonlinearityEntry("linear", linear, "linear", "x", synonyms=("identity",)),
    NonlinearityEntry("relu", relu, "relu", "max(x, 0)"),
    NonlinearityEntry(
        "leaky_relu", leaky_relu, "leaky_relu(0.2)", "x if x > 0 else negative_slope x", synonyms=("prelu",)
    ),
    NonlinearityEntry(
        "relu_squared",
        relu_squared,
        "relu_squared",
        "max(x, 0)^2",
        'So et al., "Primer: searching for efficient transformers", 2021',
        ("relu^2", "squared_relu", "relu2"),
    ),
    NonlinearityEntry("relu6", relu6, "relu6", "min(max(x, 0), 6)"),
    NonlinearityEntry("tanh", tanh, "tanh", "tanh(x)"),
    NonlinearityEntry("erf", erf_unit, "erf", "erf(x)"),
    NonlinearityEntry("sin", sin, "sin", "sin(x)"),
    NonlinearityEntry("sigmoid", sigmoid, "sigmoid", "1 / (1 + exp(-x))", synonyms=("logistic",)),
    NonlinearityEntry(
        "gelu", gelu, "gelu", "x Phi(x)", 'Hendrycks and Gimpel, "Gaussian error linear units", 2016, eq. 1'
    ),
    NonlinearityEntry(
        "gelu_tanh",
        gelu_tanh,
        "gelu_tanh",
        "x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2",
        'Hendrycks and Gimpel, "Gaussian error linear units", 2016, section 2',
        ("gelu_new",),
    ),
    NonlinearityEntry(
        "quick_gelu",
        quick_gelu,
        "quick_gelu",
        "x sigmoid(1.702 x)",
        'Hendrycks and Gimpel, "Gaussian error linear units", 2016, section 2',
    ),
    NonlinearityEntry(
        "silu",
        silu,
        "silu",
        "x sigmoid(x)",
        'Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2017',
        ("swish",),
    ),
    NonlinearityEntry(
        "elu",
        elu,
        "elu(1)",
        "x if x > 0 else alpha (exp(x) - 1), alpha 1 unless given",
        'Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by ELUs", 2015, eq. 15',
    ),
    NonlinearityEntry(
        "selu",
        selu,
        "selu",
        "1.0507 elu(x, 1.6733)",
        'Klambauer et al., "Self-normalizing neural networks", 2017, eq. 2',
    ),
    NonlinearityEntry("softplus", softplus, "softplus", "log(1 + exp(x))"),
    NonlinearityEntry(
        "mish", mish, "mish", "x tanh(softplus(x))", 'Misra, "Mish: a self regularized activation function", 2019'
    ),
    NonlinearityEntry(
        "hardswish",
        hardswish,
        "hardswish",
        "x min(max(x + 3, 0), 6) / 6",
        'Howard et al., "Searching for MobileNetV3", 2019',
    ),
    NonlinearityEntry("softsign", softsign, "softsign", "x / (1 + |x|)"),
    NonlinearityEntry("hardtanh", hardtanh, "hardtanh", "min(max(x, -1), 1)"),
)

NONLINEARITIES: Mapping[str, NonlinearityEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every nonlinearity by name, in the order of the documentation."""

_BY_ANY_NAME: dict[str, NonlinearityEntry] = {
    name: entry for entry in _ENTRIES for name in (entry.name, *entry.synonyms)
}
