"""The random functions of the drop-in for `torch.nn.init`; `fanwise.torch.init` is their public page."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import ParamSpec

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout
from fanwise.laws.structured import Orthogonal, Sparse
from fanwise.stream import fill
from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import Array
from fanwise.stream.key import Key, KeyLike
from fanwise.stream.law import NORMAL_REACH
from fanwise.stream.truncation import Truncation
from fanwise.torch.init.constants import constant_, dirac_, eye_, zeros_
from fanwise.torch.init.fill import bound_or_infinity, check_axes, check_real, drawn, number, overridable, share
from fanwise.torch.init.formulas import correct_fan, fan_in_and_fan_out, scale_of

P = ParamSpec("P")


@overridable
def uniform_(
    tensor: Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Uniform numbers in [a, b): no value is b or above, in every dtype but the 8-bit ones, which round.

    Real and imaginary parts of complex numbers are drawn alike, as in torch.

    Args:
        tensor: what is filled; floating point or complex.
        a: the smallest value.
        b: above every value; b = a gives that constant.
        generator: draws the stream's name in place of torch's global generator.
        key: the stream, a `fanwise.Key` or a seed; nothing is then drawn from a generator.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, or both a key and a generator.
        ValueError: a > b, bounds that are not finite or that the dtype cannot hold, or a tensor that cannot be filled.

    Example:
        >>> bool((uniform_(torch.empty(3, 5), key=0) < 1).all())
        True
    """
    low, high = number(a, name="a"), number(b, name="b")
    if low > high:
        raise ValueError(f"a = {low}, b = {high}: expected a <= b")
    draw = partial(fill.uniform_between, low=low, high=high)
    return drawn(tensor, draw, max(-low, high), generator=generator, key=key)


@overridable
def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Normal numbers; no value is further than 6.34 stds from the mean.

    Real and imaginary parts of complex numbers have half the variance each, and both have the mean, as in torch.

    Args:
        tensor: what is filled; floating point or complex.
        mean: expectation.
        std: standard deviation, >= 0.
        generator: as for `uniform_`.
        key: as for `uniform_`.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, or both a key and a generator.
        ValueError: a number out of range or that the dtype cannot hold, or a tensor that cannot be filled.

    Example:
        >>> w = torch.empty(3, 5)
        >>> normal_(w, std=0.02, key=0) is w
        True
    """
    centre = number(mean, name="mean")
    return _normal(tensor, number(std, name="std", low=0.0), mean=centre, generator=generator, key=key)


@overridable
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Normal numbers kept to [a, b], by one draw an element and no rejection.

    As in torch, the bounds are absolute and `std` is that of the parent, before truncation: with the default bounds a
    std of 0.02 is not truncated at all. In `fanwise.TruncatedNormal` bounds are in sigmas and std is the result's.

    Args:
        tensor: what is filled; floating point.
        mean: expectation of the parent; may lie outside of [a, b].
        std: standard deviation of the parent, >= 0; 0 gives the mean.
        a: no value is below; may be -inf.
        b: no value is above; may be inf; b = a gives that constant.
        generator: as for `uniform_`.
        key: as for `uniform_`.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, a complex tensor, or both a key and a generator.
        ValueError: a > b, a number out of range or that the dtype cannot hold, bounds more than 37 std from the mean
            on one side of it, or a tensor that cannot be filled.

    Example:
        >>> float(trunc_normal_(torch.empty(1000), a=3.0, b=math.inf, key=0).min()) >= 3
        True
    """
    check_real(tensor, "trunc_normal_")
    low, high = bound_or_infinity(a, name="a"), bound_or_infinity(b, name="b")
    centre, sigma = number(mean, name="mean"), number(std, name="std", low=0.0)
    if low > high or (sigma == 0 and not low <= centre <= high):
        raise ValueError(f"mean = {centre}, std = {sigma}, a = {low}, b = {high}: no normal number lies in [a, b]")
    if sigma == 0 or low == high:
        draw = partial(fill.uniform_between, low=min(max(low, centre), high), high=min(max(low, centre), high))
        return drawn(tensor, draw, abs(min(max(low, centre), high)), generator=generator, key=key)
    cut = Truncation((low - centre) / sigma, (high - centre) / sigma)
    reach = abs(centre) + sigma * cut.reach(NORMAL_REACH)
    draw_cut = partial(_truncated, law=(centre, sigma, low, high))
    return drawn(tensor, draw_cut, reach, generator=generator, key=key)


@overridable
def xavier_uniform_(
    tensor: Tensor,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Uniform numbers within gain sqrt(6 / (fan_in + fan_out)), fans by torch's storage rule.

    Args:
        tensor: (out, in, *kernel), floating point or complex.
        gain: factor on the std, >= 0.
        generator: as for `uniform_`.
        key: as for `uniform_`.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, or both a key and a generator.
        ValueError: fewer than two axes, a gain out of range, a scale that the dtype cannot hold, or a tensor that
            cannot be filled.

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16.
    """
    return _uniform(tensor, _xavier_std(tensor, gain), generator=generator, key=key)


@overridable
def xavier_normal_(
    tensor: Tensor,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Normal numbers of std gain sqrt(2 / (fan_in + fan_out)), fans by torch's storage rule.

    Arguments, result and errors are those of `xavier_uniform_`.

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 12.
    """
    return _normal(tensor, _xavier_std(tensor, gain), generator=generator, key=key)


@overridable
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Uniform numbers within gain sqrt(3 / fan), gain = calculate_gain(nonlinearity, a).

    Args:
        tensor: (out, in, *kernel), floating point or complex.
        a: negative slope, read for leaky_relu alone; sqrt(5) gives torch's own layers, U(+-1 / sqrt(fan_in)).
        mode: "fan_in" or "fan_out", by torch's storage rule.
        nonlinearity: a name that `calculate_gain` knows.
        generator: as for `uniform_`.
        key: as for `uniform_`.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, or both a key and a generator.
        ValueError: fewer than two axes, an unknown mode or nonlinearity, a slope that is no finite number, a scale
            that the dtype cannot hold, or a tensor that cannot be filled.

    Warns:
        UserWarning: the tensor has no elements, as torch warns.

    Example:
        >>> w = kaiming_uniform_(torch.empty(64, 600), nonlinearity="relu", key=0)
        >>> round(float(w.abs().max()), 2)
        0.1

    References:
        He et al., "Delving deep into rectifiers", 2015, eq. 10 and 14.
    """
    if tensor.numel() == 0:
        return _warned_empty(tensor)
    return _uniform(tensor, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator, key=key)


@overridable
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Normal numbers of std gain / sqrt(fan), gain = calculate_gain(nonlinearity, a).

    Arguments, result, errors and references are those of `kaiming_uniform_`.
    """
    if tensor.numel() == 0:
        return _warned_empty(tensor)
    return _normal(tensor, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator, key=key)


@overridable
def orthogonal_(
    tensor: Tensor,
    gain: float = 1,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Orthonormal rows or columns, uniform over all such matrices, times a gain.

    The weight is the matrix of its first axis against all others; all its singular values are |gain|. Computed in
    float32, in float64 for float64, then rounded to the dtype.

    Args:
        tensor: (out, in, *kernel), floating point; any memory format.
        gain: factor on the matrix, of any sign, as in torch.
        generator: as for `uniform_`.
        key: as for `uniform_`. Equal keys give equal matrices to the tolerance that `fanwise.Orthogonal` states.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, a complex tensor, or both a key and a generator.
        ValueError: fewer than two axes, a gain that is not finite, or a tensor that cannot be filled.

    Example:
        >>> q = orthogonal_(torch.empty(3, 3, dtype=torch.float64), key=0)
        >>> torch.allclose(q @ q.T, torch.eye(3, dtype=torch.float64))
        True

    References:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks", 2013.
    """
    check_real(tensor, "orthogonal_")
    factor = number(gain, name="gain")
    if tensor.ndim < 2:
        raise ValueError(f"tensor has shape {tuple(tensor.shape)}: expected 2 or more axes")
    layout = Layout(("out", "in", *("kernel",) * (tensor.ndim - 2)))
    draw = partial(_orthogonal, gain=factor, layout=layout)
    return drawn(tensor, draw, abs(factor), by_element=False, generator=generator, key=key)


@overridable
def sparse_(
    tensor: Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: torch.Generator | None = None,
    *,
    key: KeyLike | None = None,
) -> Tensor:
    """Fills every column with ceil(sparsity * rows) zeros at random places; the rest is normal.

    Args:
        tensor: two axes, floating point.
        sparsity: share of each column that is 0, in [0, 1].
        std: standard deviation of the others, >= 0.
        generator: as for `uniform_`; unlike in torch it decides the places too.
        key: as for `uniform_`.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, a complex tensor, or both a key and a generator.
        ValueError: not two axes, a number out of range, or a tensor that cannot be filled.

    References:
        Martens, "Deep learning via Hessian-free optimization", 2010, section 5.1.
    """
    check_real(tensor, "sparse_")
    check_axes(tensor, 2, 2)
    spread = number(std, name="std", low=0.0)
    kept = tensor.shape[0] - math.ceil(number(sparsity, name="sparsity", low=0.0, high=1.0) * tensor.shape[0])
    law = Sparse(max(kept, 1), spread * math.sqrt(kept))  # with nothing kept the gain is 0
    draw = partial(_law, law=law, layout=Layout.dense("in out"))
    return drawn(tensor, draw, NORMAL_REACH * spread, by_element=False, generator=generator, key=key)


def _deprecated(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """The old name of a function, without the underscore: it warns, as torch's does."""
    name = function.__name__

    def old(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        message = f"fanwise.torch.init.functions.{name[:-1]} is deprecated, as it is in torch: use {name}"
        warnings.warn(message, FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    old.__name__ = old.__qualname__ = name[:-1]
    old.__doc__ = f"Deprecated name of `{name}`."
    return old


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)

# Not public in torch, but imported from there by many.
_no_grad_uniform_ = uniform_
_no_grad_normal_ = normal_
_no_grad_trunc_normal_ = trunc_normal_
_no_grad_fill_ = constant_
_no_grad_zero_ = zeros_


def _xavier_std(tensor: Tensor, gain: float) -> float:
    fans = sum(fan_in_and_fan_out(tensor))
    return number(gain, name="gain", low=0.0) * math.sqrt(2 / max(fans, 1))  # no fans, no elements


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = correct_fan(tensor, mode)
    return math.sqrt(scale_of(nonlinearity, a) / fan)  # as the law: the same bits in float64, too


def _uniform(tensor: Tensor, std: float, *, generator: torch.Generator | None, key: KeyLike | None) -> Tensor:
    bound = math.sqrt(3) * std * share(tensor)
    return drawn(tensor, partial(fill.uniform, bound=bound), bound, generator=generator, key=key)


def _normal(
    tensor: Tensor, std: float, *, generator: torch.Generator | None, key: KeyLike | None, mean: float = 0.0
) -> Tensor:
    spread = std * share(tensor)
    draw = partial(fill.normal, std=spread, mean=mean)
    return drawn(tensor, draw, abs(mean) + NORMAL_REACH * spread, generator=generator, key=key)


def _truncated(
    key: Key,
    shape: Shape,
    /,
    *,
    law: tuple[float, float, float, float],
    dtype: DTypeLike,
    box: Box,
    out: Array,
) -> Array:
    """A truncated normal by torch's numbers: mean and sigma of the parent, absolute bounds."""
    mean, sigma, low, high = law
    cut = Truncation((low - mean) / sigma, (high - mean) / sigma)
    std = sigma * cut.moments()[1]
    fill.truncated_normal(key, shape, std=std, low=cut.low, high=cut.high, mean=mean, dtype=dtype, box=box, out=out)
    # the way to sigmas and back may move a bound by its last digit, which float64 alone would show
    return np.clip(out, low, high, out=out) if out.dtype == np.float64 else out


def _law(
    key: Key, shape: Shape, /, *, law: Initializer, layout: Layout, dtype: DTypeLike, box: Box, out: Array
) -> Array:
    return law(shape, key=key, layout=layout, dtype=dtype, box=box, out=out)


def _orthogonal(
    key: Key, shape: Shape, /, *, gain: float, layout: Layout, dtype: DTypeLike, box: Box, out: Array
) -> Array:
    """Orthonormal matrices times a gain of any sign."""
    matrix = _law(key, shape, law=Orthogonal(abs(gain), "norm"), layout=layout, dtype=dtype, box=box, out=out)
    return np.negative(matrix, out=matrix) if gain < 0 else matrix


def _warned_empty(tensor: Tensor) -> Tensor:
    message = f"Initializing zero-element tensors is a no-op: the tensor has shape {tuple(tensor.shape)}"
    warnings.warn(message, UserWarning, stacklevel=4)  # the caller of the public function
    return tensor
