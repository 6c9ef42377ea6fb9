"""Windows of pools, softmaxes and products against closed forms and against counting."""

import math

import numpy as np
import pytest
from small_traces import BATCH, PLACES, WIDTH, dense, op, said

from fanwise import Layout, VarianceScaling
from fanwise.graph.details import Pooling
from fanwise.graph.op import INPUT, Use
from fanwise.theory import coverage, windows
from fanwise.theory.propagation import SAMPLES, Given, Grounds
from fanwise.theory.samples import HERE, Likeness, normal_rows

ERROR = 5 * math.sqrt(2 / SAMPLES)


def matrix(pooling, size, few):
    """The mean over windows as a matrix, by counting."""
    window, stride = pooling.window[1], pooling.stride[1]
    begin = pooling.padding[1][0] if not isinstance(pooling.padding, str) else 0
    rows = np.zeros((few, size))
    for i in range(few):
        inside = [place for tap in range(window) if 0 <= (place := i * stride + tap - begin) < size]
        rows[i, inside] = 1 / (window if pooling.counts_zeros else len(inside))
    return rows


@pytest.mark.parametrize("counts_zeros", [True, False])
@pytest.mark.parametrize(
    ("size", "window", "stride", "zeros"), [(9, 3, 2, 1), (7, 2, 1, 1), (12, 4, 3, 0), (5, 3, 1, 1)]
)
def test_means_and_their_gradients_are_those_of_their_matrix(size, window, stride, zeros, counts_zeros):
    few = (size + 2 * zeros - window) // stride + 1
    pooling = Pooling("mean", (1, window, 1), (1, stride, 1), ((0, 0), (zeros, zeros), (0, 0)), (), counts_zeros)
    axes = coverage.windows_of(pooling, (2, size, 3), (2, few, 3))
    mean = matrix(pooling, size, few)
    alike = Likeness(2.0, 0.6, 0.1)
    among = 0.6 + 1.4 * np.eye(size)
    assert coverage.averaged(alike, axes).here == pytest.approx(np.trace(mean @ among @ mean.T) / few)
    assert coverage.factor_of_mean(axes) == pytest.approx(mean.sum() / few)
    back = coverage.spread_back(alike, axes)
    whole = mean.T @ (0.6 + 1.4 * np.eye(few)) @ mean
    assert back.here == pytest.approx(np.trace(whole) / size)
    assert back.elsewhere == pytest.approx((whole.sum() - np.trace(whole)) / (size * (size - 1)))


@pytest.mark.parametrize(("size", "few"), [(12, 4), (13, 5), (7, 7), (8, 1)])
def test_adaptive_windows_divide_an_axis_as_torch_does(size, few):
    pooling = Pooling("mean", (1, -(-size // few) if size != few else 1, 1))
    axes = coverage.windows_of(pooling, (2, size, 3), (2, few, 3))
    counts = [-(-(i + 1) * size // few) - i * size // few for i in range(few)]
    assert [list(axis.counts) for axis in axes] == ([] if size == few else [counts])


@pytest.mark.parametrize(("count", "mean", "size"), [(2, 0.5642, 1.0), (4, 1.0294, 1.5513), (10, 1.5388, 2.7121)])
def test_the_largest_of_independent_normal_values(count, mean, size):
    """Means and second moments of order statistics: David and Nagaraja, 2003, table of the largest of n."""
    rows = windows.largest(normal_rows(Likeness(1.0), "a"), np.array(float(count)), 0, left=True)
    assert rows[HERE].mean() == pytest.approx(mean, abs=ERROR)
    assert np.mean(rows[HERE] ** 2) == pytest.approx(size, rel=ERROR)


def test_the_largest_of_many_grows_beyond_the_sample():
    """E max of n = 1e5 normal values is 4.39; Cramer, "Mathematical methods of statistics", 1946, 28.6."""
    drawn = windows._largest_normal(np.array(1e5), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(4.386, abs=0.03)


def test_equal_values_share_the_chance_to_be_the_largest():
    values = np.maximum(np.random.default_rng(0).standard_normal(SAMPLES), 0.0)
    chance = windows.chance_of_largest(values, 4)
    assert chance.mean() == pytest.approx(1 / 4, rel=1e-3)
    assert chance[values == 0].mean() == pytest.approx(0.5**4 / 4 / 0.5, rel=ERROR)  # all four are 0, and one is taken


def test_a_pool_of_another_kind_has_no_rule():
    pool = op(0, "pool", [INPUT], name="lp_pool2d", shape=(4, 2, 2, WIDTH), reads=[(4, 4, 4, WIDTH)])
    assert said([pool], {}).grounds == (Grounds.NOTHING,)


@pytest.mark.parametrize("width", [4, 64, 300])
def test_softmax_weights_over_a_few_features_are_those_of_groups(width):
    numbers = np.random.default_rng(0).standard_normal((200_000 // width, width))
    weights = np.exp(numbers) / np.exp(numbers).sum(1, keepdims=True)
    found = said([op(0, "softmax", [INPUT], shape=(16, 12, width), reads=[(16, 12, width)])], {})
    assert found.second_moments[0] == pytest.approx((weights**2).mean(), rel=2 * ERROR)
    assert found.means[0] == pytest.approx(1 / width, rel=ERROR)


@pytest.mark.parametrize("places", [1, 4, 32])
def test_a_tensor_times_itself_meets_its_own_places(places):
    """Scores q q^T: at its own place a token gives sum q_i^2, of mean n and second moment n^2 + 2 n."""
    shape, width = (16, places, WIDTH), WIDTH
    ops = [
        op(0, "linear", [INPUT], dense("w"), shape=shape, reads=[shape]),
        op(1, "matmul", [0, 0], shape=(16, places, places), reads=[shape, shape], width=width),
    ]
    found = said(ops, {"w": VarianceScaling(1.0)}, w=(WIDTH, WIDTH)).second_moments[1]
    wanted = (width**2 + 2 * width) / places + width * (1 - 1 / places)
    assert found == pytest.approx(wanted, rel=2 * ERROR)


def test_two_halves_of_a_tensor_are_two_tensors():
    shape, half = (16, 12, WIDTH), (16, 12, WIDTH // 2)
    ops = [
        op(0, "linear", [INPUT], dense("w"), shape=shape, reads=[shape]),
        op(1, "mul", [0, 0], shape=half, reads=[half, half]),
        op(2, "mul", [0, 0], shape=shape, reads=[shape, shape]),
    ]
    found = said(ops, {"w": VarianceScaling(1.0)}, gradients={1: 1.0}, w=(WIDTH, WIDTH))
    assert found.second_moments[1] == pytest.approx(1.0, rel=2 * ERROR)
    assert found.second_moments[2] == pytest.approx(3.0, rel=3 * ERROR)  # E x^4
    assert found.gradients[0] == pytest.approx(1.0, rel=2 * ERROR)  # each half gets the other's values


def test_what_is_joined_twice_gets_two_gradients():
    shape, joined = (16, 12, WIDTH), (16, 12, 2 * WIDTH)
    ops = [
        op(0, "linear", [INPUT], dense("w"), shape=shape, reads=[shape]),
        op(1, "concat", [0, 0], shape=joined, reads=[shape, shape]),
    ]
    found = said(ops, {"w": VarianceScaling(1.0)}, gradients={1: 1.0}, w=(WIDTH, WIDTH))
    assert found.gradients[0] == pytest.approx(2.0, rel=2 * ERROR)


def test_a_stream_that_starts_at_zero_is_zero_and_its_norm_gives_the_shift():
    """A map of constants is what was measured; a norm over zeros gives 0 times its scale, plus its shift."""
    ops = [
        op(0, "linear", [], dense("w")),
        op(1, "norm", [0], name="layer_norm", norm="layer_norm", eps=1e-6),
        op(2, "linear", [1], dense("v")),
    ]
    laws, shapes = dict.fromkeys("wv", VarianceScaling(1.0)), dict.fromkeys("wv", (WIDTH, WIDTH))
    found = said(ops, laws, constants={0: Given(0.0)}, **shapes)
    assert found.second_moments == (0.0, 0.0, 0.0)
    assert found.grounds[0] == Grounds.RULES
    assert said(ops, laws, **shapes).second_moments[0] == pytest.approx(1.0, rel=ERROR)  # the mutant: not measured


@pytest.mark.parametrize("same", [0.0, 0.25, 1.0])
def test_places_that_read_one_row_of_a_table_are_alike(same):
    """Token types: every place reads the same row, so that an average over places keeps its size."""
    ops = [
        op(0, "embedding", [INPUT], Use("w", "table", Layout(("lookup", "out")))),
        op(1, "reduce", [0], name="mean", shape=(BATCH, WIDTH), reads=[(BATCH, PLACES, WIDTH)]),
    ]
    found = said(ops, {"w": VarianceScaling(1.0)}, alike={0: same}, gradients={}, w=(50, WIDTH))
    size = found.second_moments[0]
    assert found.elsewhere[0] == pytest.approx(same, abs=1e-6)
    assert found.second_moments[1] == pytest.approx(size * (same + (1 - same) / PLACES), rel=ERROR)
    assert found.scatters[0] == pytest.approx(2 * max(same, 1 / 50) / WIDTH + 2 / SAMPLES, rel=0.2)
