"""Dynamical isometry: how widely the singular values of the input-output Jacobian of a deep network are spread.

A gradient keeps its mean size where chi = 1; single directions may still grow and vanish. Only a network whose singular
values are all near 1 keeps every direction.
"""

import numpy as np

from fanwise.laws.gain import NonlinearityLike, as_nonlinearity
from fanwise.laws.quadrature import normal_mean
from fanwise.stream.arguments import checked_count, checked_number
from fanwise.theory.meanfield.moments import Unit


def jacobian_variance(f: NonlinearityLike, depth: int, *, q: float = 1.0, orthogonal: bool = False) -> float:
    """Relative variance of the squared singular values of the Jacobian of a wide critical network.

    Var(s^2) / (E s^2)^2 = L (mu_2 / mu_1^2 - 1 - s_1), mu_k = E f'(sqrt(q) z)^(2 k), s_1 = 0 for orthogonal weights and
    -1 for Gaussian ones.

    Args:
        f: name, `Nonlinearity`, or function with a known slope.
        depth: layers.
        q: variance of the pre-activations.
        orthogonal: whether the weights are orthogonal matrices times a gain, instead of independent normal values.

    Raises:
        TypeError: not a nonlinearity, or another argument of the wrong type.
        ValueError: an unknown name, a slope that is not known or vanishes everywhere, a number out of range.
        QuadratureError: the slope is too rough.

    Example:
        >>> jacobian_variance("linear", 10), round(jacobian_variance("relu", 10, orthogonal=True), 9)
        (10.0, 10.0)
        >>> round(jacobian_variance("tanh", 50, q=0.01, orthogonal=True), 3)
        0.036

    References:
        Pennington, Schoenholz and Ganguli, "Resurrecting the sigmoid in deep learning through dynamical isometry:
        theory and practice", 2017; the same, "The emergence of spectral universality in deep networks", 2018.
    """
    known, layers = as_nonlinearity(f), checked_count(depth, name="depth")
    unit = Unit(known, checked_number(q, name="q", low=0.0))
    slope = unit.slope() if unit.q > 0 else None
    if slope is None:
        raise ValueError(f"{known.name} at q = {q:g}: expected q > 0 and a nonlinearity whose slope is known")
    first = normal_mean(lambda z: slope(z) ** 2, kinks=unit.kinks)
    second = normal_mean(lambda z: slope(z) ** 4, kinks=unit.kinks)
    if first <= 0:
        raise ValueError(f"{known.name} has no slope at q = {q:g}: its Jacobian is 0")
    return layers * (second / first**2 - (1 if orthogonal else 0))


def largest_squared_singular_value(depth: int) -> float:
    """Upper edge of the squared singular values of a product of L wide square Gaussian matrices of unit variance.

    (L + 1)^(L + 1) / L^L, about e L; all are 1 for orthogonal ones.

    Args:
        depth: L.

    Raises:
        TypeError: not an integer.
        ValueError: below 1.

    Example:
        >>> largest_squared_singular_value(1), round(largest_squared_singular_value(10), 3)
        (4.0, 28.531)

    References:
        Penson and Zyczkowski, "Product of Ginibre matrices: Fuss-Catalan and Raney distributions", 2011.
    """
    layers = checked_count(depth, name="depth")
    return float(np.exp((layers + 1) * np.log(layers + 1) - layers * np.log(layers)))
