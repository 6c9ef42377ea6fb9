"""The gain of a nonlinearity: the factor on the std of the weights that makes up for what it takes away."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fanwise.laws.nonlinearities import F64, Function, GaussianMoments, Nonlinearity, nonlinearity
from fanwise.laws.quadrature import normal_mean, normal_mean_of_squared_slope
from fanwise.stream.arguments import checked_choice

NonlinearityLike: TypeAlias = str | Nonlinearity | Callable[[F64], F64]
"""A name ("relu", "leaky_relu(0.2)"), a `Nonlinearity`, or any function of NumPy arrays."""

KINDS = ("second_moment", "variance", "backward")


def gain(f: NonlinearityLike, *, kind: str = "second_moment", **parameters: float) -> float:
    """The gain of a nonlinearity f at a standard normal pre-activation z.

    "second_moment": 1 / sqrt(E f(z)^2): weights of std gain / sqrt(fan_in) keep the second moment of the
    pre-activations from layer to layer. "variance": 1 / std f(z): the same where the mean is taken out between the
    layers, by a normalisation or centred weights. "backward": 1 / sqrt(E f'(z)^2): std gain / sqrt(fan_out) keeps
    the second moment of the gradients.

    Args:
        f: name, `Nonlinearity`, or function that takes and returns float64 arrays of one axis.
        kind: which of the three.
        parameters: those of a named nonlinearity, such as ``negative_slope=0.2``; never assumed.

    Returns:
        The factor on the std: scale, the factor on the variance, is its square. Error below 1e-9.

    Raises:
        TypeError: not a nonlinearity, or a parameter missing or unknown.
        ValueError: an unknown name or kind, or a function whose moment is 0.
        QuadratureError: the function is not finite, jumps, or is too noisy.

    Example:
        >>> round(gain("relu") ** 2, 12), round(gain("gelu"), 6), round(gain(lambda x: x**2), 6)
        (2.0, 1.53353, 0.57735)

    References:
        He et al., "Delving deep into rectifiers", 2015, eq. 10 and 14 (relu); Poole et al., "Exponential
        expressivity in deep neural networks through transient chaos", 2016, eq. 3 (any f).
    """
    checked_choice(kind, KINDS, name="kind")
    if kind == "backward":
        moment = _slope_second_moment(as_nonlinearity(f, **parameters))
    else:
        moments = _forward_moments(as_nonlinearity(f, **parameters))
        moment = moments[1] if kind == "second_moment" else moments[1] - moments[0] ** 2
    if moment <= 0:
        raise ValueError(f"{f!r} has no {kind} gain: its moment is {moment:g}")
    return 1 / math.sqrt(moment)


def gaussian_moments(f: NonlinearityLike, **parameters: float) -> GaussianMoments:
    """E f, E f^2 and E f'^2 of a nonlinearity at a standard normal.

    The arguments and errors are those of `gain`.

    Example:
        >>> gaussian_moments("relu").second_moment
        0.5
    """
    unit = as_nonlinearity(f, **parameters)
    return GaussianMoments(*_forward_moments(unit), _slope_second_moment(unit))


def as_nonlinearity(f: NonlinearityLike, **parameters: float) -> Nonlinearity:
    """The nonlinearity that an argument means; a bare function has slope None.

    Raises:
        TypeError: not a nonlinearity, or parameters for one that is no name.
        ValueError: an unknown name.
    """
    if isinstance(f, str):
        return nonlinearity(f, **parameters)
    if parameters:
        raise TypeError(f"parameters {sorted(parameters)} go with a name, not with {f!r}")
    if isinstance(f, Nonlinearity):
        return f
    if not callable(f):
        raise TypeError(f"nonlinearity = {f!r}: expected a name, a Nonlinearity or a function of arrays")
    return Nonlinearity(getattr(f, "__name__", "function"), _checked_function(f))


def _forward_moments(unit: Nonlinearity) -> tuple[float, float]:
    if unit.closed_form is not None:
        return unit.closed_form.mean, unit.closed_form.second_moment
    mean = normal_mean(unit.function, kinks=unit.kinks)
    return mean, normal_mean(lambda z: unit.function(z) ** 2, kinks=unit.kinks)


def _slope_second_moment(unit: Nonlinearity) -> float:
    if unit.closed_form is not None:
        return unit.closed_form.slope_second_moment
    slope = unit.slope
    if slope is None:
        return normal_mean_of_squared_slope(unit.function, kinks=unit.kinks)
    return normal_mean(lambda z: slope(z) ** 2, kinks=unit.kinks)


def _checked_function(f: Callable[[F64], F64]) -> Function:
    """The function, with its result as float64 and its shape checked."""

    def checked(z: F64) -> F64:
        values = np.asarray(f(z), np.float64)
        if values.shape != z.shape:
            raise TypeError(f"the nonlinearity returned shape {values.shape} for input of shape {z.shape}")
        return values

    return checked
