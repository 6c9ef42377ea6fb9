"""Laws for whole matrices where the key is traced: the reflections of `fanwise.laws.orthogonalize`, in JAX.

The matrices are those of the NumPy definition to the tolerance that `fanwise.Orthogonal` states: every entry of both is
within 8 sqrt(m) eps of what exact arithmetic gives, m the longer side.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from fanwise.jax.stream import bits as stream
from fanwise.laws.base import known_layout
from fanwise.laws.layout import Layout, along
from fanwise.laws.matrices import Canonical
from fanwise.laws.resolve import Part
from fanwise.laws.structured import DeltaOrthogonal, Dirac, Identity, LooksLinear, Orthogonal, halved
from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import FORMATS, Format
from fanwise.stream.law import normal_law

MADE_HERE = (Orthogonal, DeltaOrthogonal, LooksLinear, Identity, Dirac)
"""Laws that `matrix_part` makes."""


def matrix_part(part: Part, words: Array, shape: Shape, form: Format) -> Array:
    """The values of one part of a parameter.

    Args:
        part: whose law is one of `MADE_HERE`.
        words: four words that name the stream.
        shape: of the whole parameter.
        form: the dtype to return.
    """
    layout = known_layout(part.layout, part.box.shape)
    canonical = Canonical.of(part.box.shape, layout)
    working = FORMATS["float64" if form.name == "float64" else "float32"]
    match part.law:
        case Orthogonal():
            matrices = _orthogonal(part, canonical, _gaussian(words, shape, part.box, working))
        case LooksLinear():
            matrices = _mirrored(part, canonical, _gaussian(words, shape, part.box, working))
        case DeltaOrthogonal():
            centre = _centre(part.box, layout)
            tap = Canonical.of(centre.shape, layout).gather(_gaussian(words, shape, centre, working))[:, 0]
            matrices = _centred(canonical, _largest(part) * haar(tap))
        case Identity(gain) | Dirac(gain):
            _, _, inputs, outputs = canonical.matrices
            matrices = _centred(canonical, gain * jnp.eye(inputs, outputs, dtype=working.working)[None])
        case law:
            raise TypeError(f"law = {law!r}: expected one of {', '.join(kind.__name__ for kind in MADE_HERE)}")
    weight: Any = canonical.scatter(matrices)  # its methods are those that JAX arrays have too
    return stream.rounded(weight, form)


def haar(gaussian: Any) -> Array:
    """Orthonormal matrices of shape (..., rows, columns), uniform over all; see `fanwise.laws.matrices.haar`."""
    if gaussian.shape[-2] >= gaussian.shape[-1]:
        return _orthonormal_columns(gaussian)
    return jnp.swapaxes(_orthonormal_columns(jnp.swapaxes(gaussian, -2, -1)), -2, -1)


def _orthonormal_columns(gaussian: Array) -> Array:
    """H_0 H_1 ... H_(n-1) D: H_k maps the column k of the Gaussian, from its diagonal down, to its axis k."""
    rows, columns = gaussian.shape[-2:]
    below = jnp.tril(gaussian)
    heads = jnp.diagonal(below, axis1=-2, axis2=-1)
    norms = jnp.sqrt((below * below).sum(-2))
    heads, norms = jnp.where(norms == 0, 1, heads), jnp.where(norms == 0, 1, norms)
    signs = jnp.where(heads < 0, 1, -1).astype(gaussian.dtype)
    first = heads + jnp.where(heads < 0, -norms, norms)
    sizes = (norms + jnp.abs(heads)) / norms
    if rows == columns:  # in one dimension no reflection is needed
        signs, sizes = signs.at[..., -1].multiply(-1), sizes.at[..., -1].set(0)
    columns_of_q: Array = lax.linalg.householder_product(below / first[..., None, :], sizes)
    return columns_of_q * signs[..., None, :]


def _orthogonal(part: Part, canonical: Canonical, gaussian: Any) -> Any:
    stack, kernel, inputs, outputs = canonical.matrices
    matrices = canonical.gather(gaussian).reshape(stack, kernel * inputs, outputs)
    return _largest(part) * haar(matrices).reshape(canonical.matrices)


def _mirrored(part: Part, canonical: Canonical, gaussian: Any) -> Any:
    stack, kernel, inputs, outputs = halved(canonical)
    corner = canonical.gather(gaussian)[:, :, :inputs, :outputs].reshape(stack, kernel * inputs, outputs)
    scaled = _largest(part) * haar(corner).reshape(halved(canonical))
    rows = jnp.concatenate([scaled, -scaled], axis=2)[:, :, : canonical.matrices[2]]
    return jnp.concatenate([rows, -rows], axis=3)[..., : canonical.matrices[3]]


def _largest(part: Part) -> float:
    """The largest singular value."""
    return part.law.moments(part.box.shape, layout=part.layout).high


def _gaussian(words: Array, shape: Shape, box: Box, form: Format) -> Any:
    return stream.values(stream.words(words, shape, box), normal_law(form, 1.0, 0.0), form)


def _centre(box: Box, layout: Layout) -> Box:
    for axis, role in enumerate(layout.axes):
        if role == "kernel":
            box = along(box, axis, box.shape[axis] // 2, 1)
    return box


def _centred(canonical: Canonical, tap: Any) -> Any:
    """Matrices that are 0 but at the window's centre."""
    return jnp.zeros(canonical.matrices, tap.dtype).at[:, canonical.centre()].set(tap)
