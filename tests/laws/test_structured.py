import math

import numpy as np
import pytest
import scipy.stats

import fanwise as fw
from fanwise import Layout

ROUNDING = {"float64": 1e-13, "float32": 1e-6, "float16": 5e-3, "bfloat16": 2e-2}


@pytest.mark.parametrize("shape", [(64, 64), (128, 32), (32, 128), (1, 5), (5, 1)])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_orthonormal_along_the_shorter_side(shape, dtype):
    q = fw.Orthogonal(preserve="norm")(shape, key=1, dtype=dtype).astype(np.float64)
    gram = q @ q.T if shape[0] < shape[1] else q.T @ q
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=ROUNDING[dtype])


@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (3, 3, 8, 16)])
def test_second_moments_are_kept_tall_and_wide(shape):
    """Widening 64 -> 256: torch, Keras and JAX leave 0.25 of the second moment."""
    matrix = fw.orthogonal(shape, key=1, dtype="float64").reshape(-1, shape[-1])
    entries = np.mean(np.sum(matrix**2, axis=0))
    assert entries == pytest.approx(1, abs=1e-12)
    norm = fw.Orthogonal(preserve="norm")(shape, key=1, dtype="float64").reshape(matrix.shape)
    assert np.mean(np.sum(norm**2, axis=0)) == pytest.approx(min(matrix.shape[0] / matrix.shape[1], 1), abs=1e-12)


def test_transposed_convolution_keeps_the_second_moment():
    layout = Layout.conv_transpose("in out kernel kernel", stride=2)
    kernel = fw.orthogonal((64, 16, 4, 4), key=0, layout=layout, dtype="float64")
    assert np.mean(kernel**2) * layout.fans((64, 16, 4, 4)).fan_in == pytest.approx(1, abs=1e-12)


def test_haar_and_not_merely_orthogonal():
    """Haar matrices of order 3: trace of mean 0 and variance 1, uniform entries; QR without the sign fix fails."""
    draws = 20_000
    q = fw.orthogonal((draws, 3, 3), key=4, layout=Layout.dense("stack in out"), dtype="float64")
    traces = np.trace(q, axis1=1, axis2=2)
    assert abs(traces.mean()) < 5 / math.sqrt(draws)
    assert abs(np.mean(traces**2) - 1) < 5 * math.sqrt((3 - 1) / draws)  # fourth moment of the trace is at most 3
    first = (q[:, 0, 0] + 1) / 2  # a coordinate of a uniform point on the sphere in 3-D is uniform in [-1, 1]
    assert scipy.stats.kstest(first, "uniform").pvalue > 5.7e-7
    raw = np.linalg.qr(np.random.default_rng(0).normal(size=(draws, 3, 3)))[0]
    assert abs(np.trace(raw, axis1=1, axis2=2).mean()) > 5 / math.sqrt(draws)


def test_each_fused_and_grouped_matrix_is_orthogonal_and_its_own():
    gates = fw.orthogonal((4 * 32, 32), key=1, layout=Layout.dense("out in").fuse(0, 4), dtype="float64").reshape(
        4, 32, 32
    )
    for gate in gates:
        np.testing.assert_allclose(gate @ gate.T, np.eye(32), atol=1e-13)
    assert np.abs(gates[0] - gates[1]).max() > 0.1
    grouped = fw.orthogonal((32, 8, 1, 1), key=1, layout=Layout.conv("out in kernel kernel", groups=4), dtype="float64")
    for group in grouped.reshape(4, 8, 8):
        np.testing.assert_allclose(group @ group.T, np.eye(8), atol=1e-13)
    fused_as_one = fw.orthogonal((128, 32), key=1, layout=Layout.dense("out in"), dtype="float64")[:32]
    assert np.abs(fused_as_one @ fused_as_one.T - np.eye(32)).max() > 0.1  # the mutant


def circular(kernel, image):
    """kernel (3, 3, in, out), image (in, n, n); wraps around."""
    taps = ((i, j, np.roll(image, (1 - i, 1 - j), (1, 2))) for i in range(3) for j in range(3))
    return sum(np.einsum("io,ihw->ohw", kernel[i, j], shifted) for i, j, shifted in taps)


def test_delta_orthogonal_is_an_isometry_of_images_at_any_depth():
    """100 layers: norm ratio 1 +- 1e-6; the flattened orthogonal kernel is off by more than 10 %."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(16, 8, 8))
    delta, flat = start, start
    for layer in range(100):
        delta = circular(fw.delta_orthogonal((3, 3, 16, 16), key=layer, dtype="float64"), delta)
        flat = circular(fw.Orthogonal(preserve="norm")((3, 3, 16, 16), key=layer, dtype="float64"), flat)
    assert np.linalg.norm(delta) / np.linalg.norm(start) == pytest.approx(1, abs=1e-6)
    assert abs(np.linalg.norm(flat) / np.linalg.norm(start) - 1) > 0.1


@pytest.mark.parametrize("preserve", ["norm", "second_moment"])
def test_delta_orthogonal_widening(preserve):
    kernel = fw.DeltaOrthogonal(2.0, preserve)((3, 16, 64), key=0, dtype="float64")
    assert (kernel[[0, 2]] == 0).all()
    factor = 4 if preserve == "norm" else 4 * 64 / 16
    np.testing.assert_allclose(kernel[1] @ kernel[1].T, factor * np.eye(16), atol=1e-12)


def test_identity_and_dirac_pass_their_input_through():
    x = np.random.default_rng(0).normal(size=12)
    np.testing.assert_array_equal(x @ fw.identity((12, 12), dtype="float64"), x)
    image = np.random.default_rng(0).normal(size=(4, 6, 6))
    np.testing.assert_array_equal(circular(fw.dirac((3, 3, 4, 4), dtype="float64"), image), image)
    stacked = fw.Identity(2.0)((3, 4, 5), layout=Layout.dense("stack in out"))
    assert (stacked == 2 * np.eye(4, 5)).all()


def test_dirac_with_groups_is_one_identity_a_group():
    kernel = fw.dirac((6, 2, 3), layout=Layout.conv("out in kernel", groups=2))
    expected = np.zeros((6, 2, 3), np.float32)
    for group in range(2):
        for channel in range(2):
            expected[3 * group + channel, channel, 1] = 1
    assert (kernel == expected).all()


def test_sparse_reads_exactly_so_many_inputs():
    w = fw.Sparse(15)((784, 200), key=0, dtype="float64")
    assert (np.count_nonzero(w, axis=0) == 15).all()
    used = np.count_nonzero(w, axis=1)
    # hypergeometric: each input is read by 200 * 15 / 784 outputs on average, variance about the same
    assert abs(used.mean() - 200 * 15 / 784) < 1e-12
    assert used.var() == pytest.approx(200 * (15 / 784) * (1 - 15 / 784), rel=5 * math.sqrt(2 / 784))
    values = w[w != 0]
    assert abs(np.mean(values**2) * 15 - 1) < 5 * math.sqrt(2 / values.size)
    assert (np.count_nonzero(fw.Sparse(15)((8, 5), key=0), axis=0) == 8).all()


@pytest.mark.parametrize(("repeat", "source"), [("inner", lambda o: o // 4 * 4), ("outer", lambda o: o % 3)])
def test_icnr_copies(repeat, source):
    kernel = fw.ICNR(fw.he_normal, 4, repeat)((3, 3, 5, 12), key=0)
    base = fw.he_normal((3, 3, 5, 12), key=0)
    for channel in range(12):
        assert (kernel[..., channel] == base[..., source(channel)]).all()


def test_icnr_upsamples_like_nearest_neighbours():
    """A pixel shuffle of an ICNR convolution gives equal values in each 2 x 2 cell; a plain one does not."""
    image = np.random.default_rng(0).normal(size=(5, 4, 4))

    def spread(kernel):
        y = circular(kernel, image).reshape(3, 2, 2, 4, 4)  # PyTorch's PixelShuffle: (channel, i, j)
        return np.ptp(y, axis=(1, 2)).max()

    assert spread(fw.ICNR(fw.he_normal, 4)((3, 3, 5, 12), key=0, dtype="float64")) < 1e-12
    assert spread(fw.he_normal((3, 3, 5, 12), key=0, dtype="float64")) > 0.1
