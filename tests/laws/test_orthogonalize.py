"""Haar matrices: orthogonal to rounding, equal to a slow reference, uniform; and each check can fail."""

import math

import numpy as np
import pytest
import scipy.stats
import threadpoolctl

from fanwise.laws import orthogonalize
from fanwise.laws.matrices import haar

SHAPES = [
    *[(1, 1), (2, 2), (2, 1), (1, 2), (3, 3), (64, 64), (65, 65), (193, 193), (600, 600)],
    *[(700, 40), (40, 700), (600, 130), (130, 600), (5, 1), (1, 5)],
    *[(7, 3, 3), (2, 3, 80, 70), (3, 70, 80), (1000, 9, 4), (4, 90, 200)],
]
DTYPES = ["float32", "float64"]


def gaussian(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tolerance(shape, dtype):
    """Error of an entry of Q: n <= m reflections, each off by at most 8 eps of a column's norm, in random directions.

    One reflection: v is off by 7 roundings of eps / 2 at the worst, v v^T by 2 |v|^2 = 4 times that: 14 eps if all err
    alike, half where they do not. Q^T Q is off by twice as much as Q. For n of them n is the worst case (Higham,
    "Accuracy and stability of numerical algorithms", 2002, lemma 19.3) and its root the likely one (Higham and Mary, "A
    new approach to probabilistic rounding error analysis", 2019).
    """
    return 8 * math.sqrt(max(shape[-2:])) * np.finfo(dtype).eps


def defect(q):
    """max |Q^T Q - I| along the shorter side, in float64."""
    q = q.astype(np.float64)
    tall = q if q.shape[-2] >= q.shape[-1] else np.swapaxes(q, -2, -1)
    return np.abs(np.swapaxes(tall, -2, -1) @ tall - np.eye(tall.shape[-1])).max(initial=0)


def reflections(x):
    """The maps H_k of the columns of a tall matrix, one by one in extended precision, and their signs."""
    rows = x.shape[0]
    for k in range(x.shape[1]):
        v = np.zeros(rows, np.longdouble)
        v[k:] = x[k:, k]
        sign = -1 if v[k] < 0 else 1
        v[k] += sign * np.sqrt(v @ v)
        yield v / np.sqrt(v @ v / 2), -sign


def reference(x):
    """Q of a tall matrix, from the definition."""
    q = np.zeros(x.shape, np.longdouble)
    for k, (v, sign) in reversed(list(enumerate(reflections(x)))):
        q[k, k] = sign
        q -= np.outer(v, v @ q)
    return q


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_orthonormal_along_the_shorter_side(shape, dtype):
    x = gaussian(shape, dtype)
    q = haar(x)
    assert (q.shape, q.dtype) == (x.shape, x.dtype)
    assert defect(q) <= 2 * tolerance(shape, dtype)


@pytest.mark.parametrize("shape", [(65, 65), (600, 130), (3, 70, 80)])
def test_the_bound_tells_float32_from_float64_and_sees_a_lost_coupling(shape, monkeypatch):
    assert defect(haar(gaussian(shape, "float32"))) > 2 * tolerance(shape, "float64")
    monkeypatch.setattr(orthogonalize, "coupling", lambda v: np.eye(v.shape[-1]))
    assert defect(haar(gaussian(shape))) > 1e3 * tolerance(shape, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (9, 4), (64, 64), (65, 65), (300, 200)])
def test_equals_the_reflections_one_by_one(shape, dtype):
    x = gaussian(shape, dtype, seed=1)
    exact = reference(x)
    assert np.abs(haar(x) - exact).max() <= tolerance(shape, dtype)
    if shape[0] > shape[1]:
        np.testing.assert_array_equal(haar(x.T), haar(x).T)
    if shape[1] > 1:  # the mutant
        moved = x * (1 + 1e3 * np.finfo(dtype).eps * np.eye(*shape)).astype(dtype)
        assert np.abs(haar(moved) - exact).max() > tolerance(shape, dtype)


@pytest.mark.parametrize("shape", [(2, 2), (9, 4), (30, 30), (150, 100)])
def test_is_the_q_of_a_matrix_whose_columns_the_reflections_carry(shape):
    """Householder's QR of G with g_k = H_0 ... H_(k-1) x_k has these reflections, and R's diagonal positive."""
    x = gaussian(shape, seed=2)
    g, before = np.zeros(shape), []
    for k, (v, _) in enumerate(reflections(x)):
        column = x[:, k].astype(np.longdouble)
        for earlier in reversed(before):
            column = column - earlier * (earlier @ column)
        g[:, k] = column
        before.append(v)
    q, r = np.linalg.qr(g)
    bound = np.linalg.cond(g) * tolerance(shape, "float64")
    assert np.abs(haar(x) - q * np.sign(np.diagonal(r))).max() <= bound < 1e-3
    assert np.abs(haar(x) - q).max() > 0.1  # the mutant: LAPACK's signs


def singular_values(shape, values, seed=3):
    """A matrix of given singular values."""
    u, v = (np.linalg.qr(gaussian((size, min(shape)), seed=seed))[0] for size in shape)
    return u * values @ v.T


NEARLY_SINGULAR = {
    "condition 1e12": singular_values((120, 100), np.logspace(0, -12, 100)),
    "square, one tiny": singular_values((80, 80), np.append(np.ones(79), 1e-12)),
    "rank 1": np.outer(gaussian((90,)), gaussian((70,), seed=1)),
    "twice a column": np.repeat(gaussian((100, 50)), 2, axis=1),
    "triangle": np.triu(gaussian((70, 70))),
    "zeros": np.zeros((80, 66)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NEARLY_SINGULAR)
def test_nearly_singular_input_is_no_special_case(name, dtype):
    x = NEARLY_SINGULAR[name].astype(dtype)
    assert defect(haar(x)) <= 2 * tolerance(x.shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_that_do_not_average_out_stay_within_the_worst_case(dtype):
    """All ones: each reflection errs like the one before it, so n takes the place of its root."""
    shape = (500, 500)
    assert defect(haar(np.ones(shape, dtype))) <= math.sqrt(500) * 2 * tolerance(shape, dtype)


def test_gram_schmidt_by_cholesky_is_not_orthogonal_at_condition_1e7():
    """The mutant: Q = X R^-1, fast too, keeps the bound at condition 1 and loses its square of digits."""
    for condition, kept in [(1, True), (1e7, False)]:
        x = singular_values((120, 100), np.logspace(0, -math.log10(condition), 100))
        q = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x).T)
        assert bool(defect(q) <= 2 * tolerance(x.shape, "float64")) is kept


def test_only_the_lower_triangle_is_read_and_nothing_is_written():
    x = gaussian((150, 100))
    blind = np.where(np.tri(*x.shape, dtype=bool), x, np.nan)
    kept = blind.copy()
    np.testing.assert_array_equal(haar(blind), haar(x))
    np.testing.assert_array_equal(blind, kept)
    blind[3, 3] = np.nan
    assert np.isnan(haar(blind)).any()  # the mutant


def test_zero_columns_count_as_unit_vectors_and_empty_shapes_stay():
    assert np.abs(haar(np.zeros((4, 3))) - np.eye(4, 3)).max() <= tolerance((4, 3), "float64")
    np.testing.assert_array_equal(haar(np.array([[-2.0]])), [[-1.0]])
    for shape in [(0, 0), (0, 3), (3, 0), (0, 3, 3), (2, 0, 3), (0, 100, 80)]:
        assert haar(np.zeros(shape)).shape == shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_block_widths_threads_stacks_and_precisions_agree(dtype, monkeypatch):
    x = gaussian((2, 400, 300), dtype, seed=4)
    q, bound = haar(x), 2 * tolerance(x.shape, dtype)
    np.testing.assert_array_equal(haar(x.copy()), q)
    with threadpoolctl.threadpool_limits(1):
        assert np.abs(haar(x) - q).max() <= bound
    assert np.abs(np.stack([haar(x[0]), haar(x[1])]) - q).max() <= bound
    assert np.abs(haar(x.astype(np.float64)) - q).max() <= bound
    monkeypatch.setattr(orthogonalize, "block_width", lambda columns: 37)
    monkeypatch.setattr(orthogonalize, "STRIP", 50)
    monkeypatch.setattr(orthogonalize, "SMALL", 5)
    assert np.abs(haar(x) - q).max() <= bound
    assert np.abs(haar(x[::-1]) - q).max() > bound  # the mutant: the other matrix


def without_signs(x):
    """Orthogonal, not Haar: LAPACK's Q."""
    return np.linalg.qr(x)[0]


def far_from_haar(q):
    """Largest distance, in standard errors, of moments of a stack of square matrices from those of Haar's law.

    Of order n: E Q = 0; E Q_ij Q_kl = 1/n where both agree, else 0; E Q_00^2 Q_11^2 = (n + 1) / ((n - 1) n (n + 2)).
    """
    n, draws = q.shape[-1], len(q)
    entries = q.reshape(draws, -1)
    pairs = (entries[:, :, None] * entries[:, None, :]).reshape(draws, -1)
    fourth = (q[:, 0, 0] * q[:, -1, -1]) ** 2
    samples = np.column_stack([entries, pairs, fourth, np.trace(q, axis1=1, axis2=2) ** 2])
    expected = [0] * n**2 + list(np.eye(n**2).ravel() / n) + [(n + 1) / ((n - 1) * n * (n + 2)), 1]
    return np.max(np.abs(samples.mean(0) - expected) / samples.std(0)) * math.sqrt(draws)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_haar_moments(order):
    """5.5 standard errors: one in 2.6e7, over at most 652 moments."""
    x = gaussian((20_000, order, order), seed=5)
    assert far_from_haar(haar(x)) < 5.5
    assert far_from_haar(without_signs(x)) > 20
    assert far_from_haar(np.abs(haar(x))) > 20


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (80, 80)])
def test_every_corner_entry_has_the_law_of_a_coordinate_on_the_sphere(shape):
    """Q_ij^2 is Beta(1/2, (m - 1)/2) for a longer side of m, signs even; 80 columns make two blocks."""
    draws = 20_000 if max(shape) < 10 else 1_000
    x, law = gaussian((draws, *shape), seed=6), scipy.stats.beta(0.5, (max(shape) - 1) / 2)
    for row, column in [(0, 0), (-1, 0), (0, -1), (-1, -1)]:
        entries = haar(x)[:, row, column]
        assert scipy.stats.kstest(entries**2, law.cdf).pvalue > 5.7e-7
        assert abs(np.mean(entries > 0) - 0.5) < 5 * 0.5 / math.sqrt(draws)
    assert abs(np.mean(without_signs(x)[:, 0, 0] > 0) - 0.5) > 5 * 0.5 / math.sqrt(draws)
    wrong = scipy.stats.beta(0.5, max(shape) / 2 + 1)  # a sphere of three more dimensions
    if max(shape) < 10:
        assert scipy.stats.kstest(haar(x)[:, 0, 0] ** 2, wrong.cdf).pvalue < 5.7e-7


def test_traces_of_two_blocks_are_nearly_normal():
    """Order 80, 1000 draws: tr Q has mean 0 and variance 1, tr Q^2 mean 1 and variance 2.

    Diaconis and Shahshahani, "On the eigenvalues of random matrices", 1994, theorem 4.
    """
    q = haar(gaussian((1_000, 80, 80), seed=7))
    first, second = np.trace(q, axis1=1, axis2=2), np.einsum("sij,sji->s", q, q)
    error = 5 / math.sqrt(1_000)
    assert abs(first.mean()) < error
    assert abs(np.mean(first**2) - 1) < error * math.sqrt(2)
    assert abs(second.mean() - 1) < error * math.sqrt(2)
    raw = without_signs(gaussian((1_000, 80, 80), seed=7))
    assert abs(np.trace(raw, axis1=1, axis2=2).mean()) > error
