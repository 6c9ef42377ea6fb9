"""Haar orthonormal matrices from Gaussian ones by random Householder reflections, at the speed of matrix products.

Column k of the Gaussian matrix, from its diagonal down, names the reflection H_k that maps it to the first axis of the
rows k and below. With D the signs that make that axis positive, Q = H_0 H_1 ... H_(n-1) D: column 0 is uniform on the
sphere, column 1 uniform on what is orthogonal to it, and so on, which is Haar's law. The same steps factor a matrix
into Q and R, but there column k is first carried through the reflections before it. A Gaussian vector carried through
an independent orthogonal map is the same Gaussian vector, so that half of the work changes nothing but which numbers
are used. It would also lose digits: the Q factor of a matrix moves by its condition number times a rounding error,
while here every reflection is a well conditioned function of its own column.

References:
    Stewart, "The efficient generation of random orthogonal matrices with an application to condition estimators",
    1980, section 3, for the law; Mezzadri, "How to generate random matrices from the classical compact groups", 2007,
    section 5, for the signs; Joffrain et al., "Accumulating Householder transformations, revisited", 2006, equation
    (8), for the products of reflections.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)

# Measured on two cores, OpenBLAS: narrower blocks pay for more passes over Q, wider ones for triangles held as squares.
NARROWEST, WIDEST = 64, 192
# Rows of Q updated at once, so that the product is subtracted while it is still in the cache.
STRIP = 512
# Values of small matrices handled at once: enough to hide the calls, few enough for the cache.
TOGETHER = 2**16
# Triangles up to this order are inverted by LAPACK.
SMALL = 32


def orthonormal_columns(gaussian: NDArray[Real]) -> NDArray[Real]:
    """Matrices of orthonormal columns, Haar distributed, in the precision of the input.

    With eps that of the dtype, every entry of Q is within 8 sqrt(m) eps of what exact arithmetic gives, and every entry
    of Q^T Q within 16 sqrt(m) eps of the identity's; m takes the place of its root for input made so that errors cannot
    average out, such as all ones. How near to singular the input is makes no difference. BLAS libraries, thread counts
    and block widths therefore agree to 16 sqrt(m) eps; for one of each, the bits are the same.

    Args:
        gaussian: shape (..., m, n), m >= n, independent standard normal entries; those above the diagonal are not read.

    Returns:
        The same shape and dtype.
    """
    rows, columns = gaussian.shape[-2:]
    out = np.zeros(gaussian.shape, gaussian.dtype)
    stack = (math.prod(gaussian.shape[:-2]), rows, columns)
    sources, targets = gaussian.reshape(stack), out.reshape(stack)
    step = max(TOGETHER // max(rows * columns, 1), 1)
    for start in range(0, stack[0], step):
        _fill_(targets[start : start + step], sources[start : start + step])
    return out


def _fill_(q: NDArray[Real], gaussian: NDArray[Real]) -> None:
    """Q from zeros, the last block of reflections first: each needs only the corner below and right of it."""
    columns = gaussian.shape[-1]
    width = block_width(columns)
    for start in reversed(range(0, columns, width)):
        reflect_(q[..., start:, start:], gaussian[..., start:, start : start + width])


def block_width(columns: int) -> int:
    """Reflections to apply at once: an eighth of them, in steps of `NARROWEST`, at most `WIDEST`."""
    return min(max(columns // 8 // NARROWEST, 1) * NARROWEST, WIDEST)


def reflect_(q: NDArray[Real], gaussian: NDArray[Real]) -> None:
    """Put a block of reflections before those that `q` holds below and right of the block, and 0 elsewhere.

    Args:
        q: shape (..., m, c), overwritten.
        gaussian: shape (..., m, b), b <= c.
    """
    width = gaussian.shape[-1]
    v, signs = reflectors(gaussian)
    inner = np.empty((*q.shape[:-2], width, q.shape[-1]), q.dtype)
    inner[..., :width] = np.swapaxes(v[..., :width, :], -2, -1) * signs[..., None, :]
    np.matmul(np.swapaxes(v[..., width:, :], -2, -1), q[..., width:, width:], out=inner[..., width:])
    diagonal = np.arange(width)
    q[..., diagonal, diagonal] = signs
    _subtract_product_(q, v, coupling(v) @ inner)


def reflectors(gaussian: NDArray[Real]) -> tuple[NDArray[Real], NDArray[Real]]:
    """Vectors v_k of norm sqrt(2) and signs s_k: (I - v_k v_k^T) s_k e_k = x_k / |x_k|, x_k the column from k down.

    A column of zeros counts as e_k. The last v of a square is 0.
    """
    v = np.tril(gaussian)
    heads = np.diagonal(v, axis1=-2, axis2=-1).astype(np.float64)
    norms = np.sqrt(np.einsum("...ij,...ij->...j", v, v, dtype=np.float64))
    empty = norms == 0
    heads, norms = heads + empty, norms + empty
    diagonal = np.arange(v.shape[-1])
    v[..., diagonal, diagonal] = heads + np.where(heads < 0, -norms, norms)
    v /= np.sqrt(norms * (norms + np.abs(heads))).astype(v.dtype)[..., None, :]
    signs = np.where(heads < 0, 1, -1).astype(v.dtype)
    if v.shape[-2] == v.shape[-1]:  # in one dimension no reflection is needed, and 1 x 1 is exact
        v[..., -1, -1], signs[..., -1] = 0, -signs[..., -1]
    return v, signs


def coupling(v: NDArray[Real]) -> NDArray[Real]:
    """T with (I - v_0 v_0^T) (I - v_1 v_1^T) ... = I - V T V^T: the inverse of I + the upper triangle of V^T V."""
    gram = np.triu(np.swapaxes(v, -2, -1) @ v)
    diagonal = np.arange(gram.shape[-1])
    gram[..., diagonal, diagonal] = 1
    return inverse_of_triangle(gram)


def inverse_of_triangle(upper: NDArray[Real]) -> NDArray[Real]:
    """The inverse of upper triangular matrices, by halves: [[A, B], [0, C]] has -A^-1 B C^-1 in its corner."""
    size = upper.shape[-1]
    if size <= SMALL:
        return np.linalg.inv(upper).astype(upper.dtype, copy=False)
    half = size // 2
    inverse = np.zeros_like(upper)
    first = inverse_of_triangle(upper[..., :half, :half])
    last = inverse_of_triangle(upper[..., half:, half:])
    inverse[..., :half, :half], inverse[..., half:, half:] = first, last
    inverse[..., :half, half:] = -first @ (upper[..., :half, half:] @ last)
    return inverse


def _subtract_product_(q: NDArray[Real], left: NDArray[Real], right: NDArray[Real]) -> None:
    """Subtract `left` @ `right` from `q`, a strip of rows at a time."""
    strip = np.empty((*q.shape[:-2], min(STRIP, q.shape[-2]), q.shape[-1]), q.dtype)
    for start in range(0, q.shape[-2], STRIP):
        rows = left[..., start : start + STRIP, :]
        q[..., start : start + STRIP, :] -= np.matmul(rows, right, out=strip[..., : rows.shape[-2], :])
