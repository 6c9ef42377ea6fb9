"""The factories of the drop-in for `jax.nn.initializers`; `fanwise.jax.initializers` is their public page."""

import math
from typing import Any

import numpy as np
from jax import Array

from fanwise.jax.init.constants import checked_constant, fill_array
from fanwise.jax.init.factories import (
    Axes,
    Constant,
    Drawn,
    OrthonormalCentre,
    OrthonormalColumns,
    ScaledByFans,
    checked_axis,
    checked_dtype,
    scale_of,
    value_of,
)
from fanwise.jax.stream.draw import Sharding, UniformBetween
from fanwise.laws.base import Initializer as Law
from fanwise.laws.elementwise import DISTRIBUTIONS, MODES, Normal, TruncatedNormal
from fanwise.laws.layout import Layout
from fanwise.stream.arguments import checked_choice
from fanwise.stream.box import ShapeLike
from fanwise.stream.truncation import Truncation


def zeros(key: Any, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
    """Zeros; the key is not read.

    Args:
        key: anything.
        shape: of the array.
        dtype: any of JAX's; float32 (in 64-bit mode float64) by default.
        out_sharding: where the array goes.
    """
    return fill_array(0, shape, dtype, out_sharding)


def ones(key: Any, shape: ShapeLike, dtype: Any = None, out_sharding: Sharding | None = None) -> Array:
    """Ones; arguments as for `zeros`."""
    return fill_array(1, shape, dtype, out_sharding)


def constant(value: Any, dtype: Any = None) -> Constant:
    """The same value everywhere, or an array that broadcasts to the shape.

    Args:
        value: a number, or an array or nested lists of numbers; infinite ones too, as in a mask.
        dtype: of the arrays, unless the call names one.

    Raises:
        TypeError: no numbers.
        ValueError: NaN, or numbers that the dtype named here cannot hold; when called, those that
            the dtype of the call cannot hold, or a value whose shape does not fit.

    Example:
        >>> constant(-7.0)(None, (2,))
        Array([-7., -7.], dtype=float32)
    """
    numbers = np.asarray(value) if isinstance(value, list | tuple) else value
    return Constant(checked_constant(numbers, dtype), dtype)


def from_law(law: Law, layout: Layout | None = None, dtype: Any = None) -> Drawn:
    """Any law of fanwise as an initializer of Flax, of nnx and of whatever takes one.

    Args:
        law: an initializer of fanwise, such as ``fanwise.he_normal`` or ``fanwise.Orthogonal(1.4)``.
        layout: roles of the axes. Without one the shape is (fan_in, fan_out), or (*kernel, in, out), as in Flax.
        dtype: of the arrays, unless the call names one.

    Raises:
        TypeError: an argument of the wrong kind.

    Example:
        >>> import fanwise, jax
        >>> experts = from_law(fanwise.he_normal, fanwise.Layout.dense("stack in out"))
        >>> w = experts(jax.random.key(0), (16, 256, 512))
        >>> round(float(w.std() * (256 / 2) ** 0.5), 2)
        1.0
    """
    if not isinstance(law, Law):
        raise TypeError(f"law = {law!r}: expected an initializer of fanwise, such as fanwise.he_normal")
    if layout is not None and not isinstance(layout, Layout):
        raise TypeError(f"layout = {layout!r}: expected a fanwise.Layout, such as Layout.dense('out in')")
    return Drawn("from_law", law, dtype=checked_dtype(dtype), layout=layout)


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Drawn:
    """Uniform numbers in [0, scale): JAX's uniform is not symmetric.

    Args:
        scale: above every number, >= 0.
        dtype: of the arrays, unless the call names one.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a scale that is negative or not finite.

    Example:
        >>> import jax
        >>> w = uniform(10.0)(jax.random.key(0), (1000,))
        >>> bool((w >= 0).all()), bool((w < 10).all())
        (True, True)
    """
    return Drawn("uniform", UniformBetween(0.0, scale_of(scale, "scale")), dtype=checked_dtype(dtype))


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Drawn:
    """Normal numbers around 0.

    Args:
        stddev: standard deviation, >= 0.
        dtype: of the arrays, unless the call names one.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a stddev that is negative or not finite.
    """
    return Drawn("normal", Normal(scale_of(stddev, "stddev")), dtype=checked_dtype(dtype))


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Drawn:
    """Normal numbers kept to [lower, upper] sigmas; `stddev` is that of the parent, as in JAX.

    Args:
        stddev: sigma, >= 0. The numbers returned have less: 0.8796 of it with the default bounds.
        dtype: of the arrays, unless the call names one.
        lower: lower bound in sigmas, may be -inf.
        upper: upper bound in sigmas, may be inf.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a stddev that is negative or not finite, or bounds without a normal number between them.

    Example:
        >>> import jax
        >>> w = truncated_normal(5.0)(jax.random.key(0), (100, 100))
        >>> bool((abs(w) <= 10).all()), round(float(w.std()), 1)
        (True, 4.4)
    """
    sigma, low, high = scale_of(stddev, "stddev"), value_of(lower, "lower"), value_of(upper, "upper")
    spread = Truncation(low, high).moments()[1]
    return Drawn("truncated_normal", TruncatedNormal(sigma * spread, low, high), dtype=checked_dtype(dtype))


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Drawn:
    """Numbers of variance scale / fan.

    Args:
        scale: variance times fan, >= 0.
        mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
        distribution: "truncated_normal" (two sigmas; this variance after the cut), "normal" or "uniform" (symmetric).
        in_axis: axis or axes of the inputs.
        out_axis: axis or axes of the outputs.
        batch_axis: axis or axes that are neither and count for no fan. All others are a window and count for both.
            fan_in is the number of elements over the sizes of `out_axis` and `batch_axis`, fan_out over those of
            `in_axis` and `batch_axis`, as in JAX, also where an axis is both (Flax's embeddings have ``out_axis=0``).
        dtype: of the arrays, unless the call names one.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a scale that is negative or not finite, an unknown mode or distribution; when called, an axis that
            the shape does not have or that one argument names twice.

    Example:
        >>> import jax
        >>> w = variance_scaling(2.0, "fan_in", "normal")(jax.random.key(0), (400, 300))
        >>> round(float(w.std() * 200**0.5), 2)
        1.0
    """
    law = ScaledByFans(
        scale_of(scale, "scale"),
        checked_choice(mode, MODES, name="mode"),
        checked_choice(distribution, DISTRIBUTIONS, name="distribution"),
        in_axis,
        out_axis,
        batch_axis,
    )
    return Drawn("variance_scaling", law, dtype=checked_dtype(dtype))


def glorot_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Drawn:
    """Uniform numbers within sqrt(6 / (fan_in + fan_out)); arguments as for `variance_scaling`.

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16.
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Drawn:
    """Truncated normal numbers of variance 2 / (fan_in + fan_out); arguments as for `variance_scaling`.

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 12.
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Drawn:
    """Uniform numbers within sqrt(3 / fan_in); arguments as for `variance_scaling`.

    References:
        LeCun et al., "Efficient BackProp", 1998, eq. 16.
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def lecun_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Drawn:
    """Truncated normal numbers of variance 1 / fan_in; arguments as for `variance_scaling`.

    References:
        LeCun et al., "Efficient BackProp", 1998, eq. 16.
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def he_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Drawn:
    """Uniform numbers within sqrt(6 / fan_in); arguments as for `variance_scaling`.

    References:
        He et al., "Delving deep into rectifiers", 2015, eq. 10.
    """
    return variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def he_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Drawn:
    """Truncated normal numbers of variance 2 / fan_in, as in JAX; `fanwise.he_normal` is not truncated.

    Arguments as for `variance_scaling`.

    References:
        He et al., "Delving deep into rectifiers", 2015, eq. 10.
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> OrthonormalColumns:
    """Orthonormal matrices times a scale, uniform over all of them: the axis of the columns against all others.

    Equal keys give equal matrices to the tolerance that `fanwise.Orthogonal` states. Computed in float32, in float64
    for float64, then rounded to the dtype.

    Args:
        scale: factor on the matrix; its size is that of the singular values.
        column_axis: which axis counts the columns.
        dtype: of the arrays, unless the call names one.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a scale that is not finite; when called, fewer than 2 axes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q = orthogonal()(jax.random.key(0), (3, 3))
        >>> bool(jnp.allclose(q @ q.T, jnp.eye(3), atol=1e-6))
        True

    References:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks", 2013.
    """
    factor = scale_of(scale, "scale", low=-math.inf)
    return OrthonormalColumns(factor, checked_axis(column_axis, "column_axis"), checked_dtype(dtype))


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> OrthonormalCentre:
    """Kernels whose centre tap is an orthonormal matrix and whose other taps are 0; arguments as for `orthogonal`.

    References:
        Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018, algorithm 1.
    """
    factor = scale_of(scale, "scale", low=-math.inf)
    return OrthonormalCentre(factor, checked_axis(column_axis, "column_axis"), checked_dtype(dtype))
