"""Laws of whole matrices inside a program: orthonormal columns, window centres, identities, blocks."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Key, Layout, Normal  # noqa: E402
from fanwise.jax.stream.keys import stream_of  # noqa: E402
from fanwise.jax.stream.matrices import haar, matrix_part  # noqa: E402
from fanwise.laws.matrices import haar as numpy_haar  # noqa: E402
from fanwise.laws.resolve import Part  # noqa: E402
from fanwise.laws.structured import DeltaOrthogonal, Dirac, Identity, Orthogonal  # noqa: E402
from fanwise.stream.box import Box  # noqa: E402
from fanwise.stream.formats import FORMATS  # noqa: E402

WORDS = stream_of(Key(5))
DENSE = Layout.dense("in out")


def part_of(law, shape, layout, *, box=None, form="float32"):
    part = Part(law, box or Box.whole(shape), layout)
    return np.asarray(jax.jit(lambda words: matrix_part(part, words, shape, FORMATS[form]))(WORDS))


def is_orthonormal(matrix):
    """Whether the shorter axis of a matrix holds orthonormal vectors."""
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return np.abs(gram - np.eye(len(gram))).max() < 1e-5


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthonormal_matrices(shape):
    gaussian = Normal(1.0)((2, *shape), key=Key(5))
    matrices = np.asarray(jax.jit(haar)(gaussian))
    assert all(is_orthonormal(matrix) for matrix in matrices)


def test_the_sign_of_one_number_stays():
    assert jax.jit(haar)(jnp.array([[[-3.0]], [[3.0]]])).tolist() == [[[-1]], [[1]]]


def test_a_matrix_of_zeros_gives_no_nan():
    assert is_orthonormal(np.asarray(jax.jit(haar)(jnp.zeros((3, 2)))))


def test_each_matrix_of_a_stack_is_orthogonal():
    stack = part_of(Orthogonal(2.0), (3, 4, 4), Layout.dense("stack in out"))
    assert all(is_orthonormal(matrix / 2) for matrix in stack)


def test_a_part_reads_the_numbers_of_its_own_place():
    """The second block of columns is made of the normal numbers that stand there."""
    second = part_of(Orthogonal(), (4, 8), DENSE, box=Box((0, 4), (4, 4)))
    wanted = numpy_haar(Normal(1.0)((4, 8), key=Key(5))[:, 4:])
    np.testing.assert_allclose(second, wanted, atol=1e-5)


def test_a_window_is_0_but_at_its_centre():
    window = part_of(DeltaOrthogonal(2.0), (3, 3, 4, 4), Layout.conv("kernel kernel in out"))
    assert is_orthonormal(window[1, 1] / 2)
    assert window.any(axis=(2, 3)).sum() == 1


def test_identities():
    assert part_of(Identity(3.0), (2, 3), Layout.dense("out in")).tolist() == [[3, 0, 0], [0, 3, 0]]
    window = part_of(Dirac(2.0), (3, 2, 2), Layout.conv("kernel in out"), form="bfloat16")
    assert window.dtype == jnp.bfloat16
    assert window.tolist() == [[[0, 0], [0, 0]], [[2, 0], [0, 2]], [[0, 0], [0, 0]]]


def test_other_laws_are_not_made_here():
    with pytest.raises(TypeError, match="expected one of Orthogonal, DeltaOrthogonal, LooksLinear, Identity, Dirac"):
        part_of(Normal(1.0), (2, 2), DENSE)
