"""Expectations of functions of a standard normal variable, to about 1e-12."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]

Integrand: TypeAlias = Callable[[F64, F64], F64]
"""Values at the nodes x, shape (panels, nodes), of panels with half-widths of shape (panels, 1)."""

REACH = 14.0
"""The normal density beyond is below 2e-43."""

NODES = 16
TOLERANCE = 1e-14
LEAST_WIDTH = 1e-12
PANEL_LIMIT = 1 << 15
NOISE_LIMIT = 1e-5
NEGLIGIBLE = 1e-15
"""Share of an expectation that may come from beyond 13; any power of z leaves less."""


class QuadratureError(ArithmeticError):
    """An expectation does not converge: the function is not finite, not a function, or too rough."""


def normal_mean(function: Callable[[F64], F64], *, kinks: Sequence[float] = ()) -> float:
    """E f(Z) of a standard normal Z, by adaptive Gauss-Legendre quadrature.

    Args:
        function: takes and returns float64 arrays of one axis.
        kinks: where f or a derivative jumps; panels are split there. Unknown ones are found by bisection.

    Raises:
        QuadratureError: f is not finite, or too rough for the integral to converge.
    """
    return _adaptive(lambda x, half: function(x.ravel()).reshape(x.shape), kinks)[0]


def normal_panels(function: Callable[[F64], F64], *, kinks: Sequence[float] = ()) -> F64:
    """Edges of the panels of [-14, 14] that resolve f against the normal density; they crowd where it is not smooth.

    Raises:
        QuadratureError: f is not finite, or too rough.
    """
    return _adaptive(lambda x, half: function(x.ravel()).reshape(x.shape), kinks)[1]


def legendre_nodes(low: F64, high: F64) -> tuple[F64, F64]:
    """Nodes and weights of the Gauss-Legendre rule on each panel, along a new last axis."""
    nodes, weights = _rule()
    half = ((high - low) / 2)[..., None]
    return low[..., None] + half * (1 + nodes), half * weights


def normal_mean_of_squared_slope(function: Callable[[F64], F64], *, kinks: Sequence[float] = ()) -> float:
    """E f'(Z)^2 of a standard normal Z, f' from the polynomial through each panel's nodes.

    Raises:
        QuadratureError: f is not finite, or jumps, where the expectation is infinite.
    """

    def squared_slope(x: F64, half: F64) -> F64:
        slope: F64 = (function(x.ravel()).reshape(x.shape) @ _differentiation().T) / half
        return slope**2

    return _adaptive(squared_slope, kinks)[0]


def _adaptive(integrand: Integrand, kinks: Sequence[float]) -> tuple[float, F64]:
    """Halves panels until halving changes nothing; what never settles is judged at the end.

    Returns:
        The integral, and the edges of the panels.
    """
    inside = [kink for kink in kinks if abs(kink) < REACH]
    edges = np.unique(np.concatenate([np.arange(-REACH, REACH + 1), np.asarray(inside, np.float64)]))
    low, high = edges[:-1], edges[1:]
    values, total, mass, left_over = _panels(integrand, low, high), 0.0, 0.0, 0.0
    if abs(values[0]) + abs(values[-1]) > NEGLIGIBLE * np.abs(values).sum():
        raise QuadratureError("the expectation does not converge: the function grows too fast")
    while low.size:
        middle = (low + high) / 2
        left, right = _panels(integrand, low, middle), _panels(integrand, middle, high)
        scale = mass + np.abs(values).sum()
        error = np.abs(left + right - values)
        settled = error <= TOLERANCE * scale
        exhausted = ~settled & ((high - low < LEAST_WIDTH) | (low.size > PANEL_LIMIT))
        left_over += float(error[exhausted].sum())
        done = settled | exhausted
        total += float((left + right)[done].sum())
        mass += float(np.abs(left + right)[done].sum())
        edges = np.r_[edges, middle[~done]]
        low, high = np.r_[low[~done], middle[~done]], np.r_[middle[~done], high[~done]]
        values = np.r_[left[~done], right[~done]]
    if left_over > NOISE_LIMIT * mass:
        raise QuadratureError(
            "the expectation does not converge: the function (or its slope) jumps, or is noisier than float64"
        )
    return total, np.sort(edges)


def _panels(integrand: Integrand, low: F64, high: F64) -> F64:
    """Integral of integrand times normal density over each panel."""
    x, weights = legendre_nodes(low, high)
    values = integrand(x, ((high - low) / 2)[:, None])
    if not np.isfinite(values).all():
        raise QuadratureError("the function is not finite for all z in [-14, 14]")
    return np.asarray((weights * normal_density(x) * values).sum(axis=1))


def normal_density(z: F64) -> F64:
    """The standard normal density."""
    return np.asarray(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))


@lru_cache(maxsize=1)
def _rule() -> tuple[F64, F64]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


@lru_cache(maxsize=1)
def _differentiation() -> F64:
    """Matrix that takes values at the nodes to the slopes of the polynomial through them there.

    References:
        Berrut and Trefethen, "Barycentric Lagrange interpolation", 2004, section 9.3.
    """
    nodes, _ = _rule()
    gaps = nodes[:, None] - nodes + np.eye(NODES)
    weights = 1 / gaps.prod(axis=1)
    matrix = np.asarray(weights / weights[:, None] / gaps)
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix
