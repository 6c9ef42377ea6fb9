import math
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
import scipy.stats
import statistics_of
import stream_reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fanwise import Box, Key
from fanwise.stream import fill
from fanwise.stream.fill import normal, truncated_normal, uniform, uniform_between, words
from fanwise.stream.formats import FORMATS
from fanwise.stream.law import NORMAL_REACH, normal_law
from fanwise.stream.truncation import Truncation

LARGE, MUTANT = (10_000_000,), (1_000_000,)


def truncnorm(low, high, std=1.0):
    sigma = std / scipy.stats.truncnorm(low, high).std()
    return scipy.stats.truncnorm(low, high, scale=sigma)


LAWS = {
    "uniform": (uniform, {"bound": 0.05}, scipy.stats.uniform(-0.05, 0.1)),
    "uniform between": (uniform_between, {"low": -1.0, "high": 3.0}, scipy.stats.uniform(-1, 4)),
    "normal": (normal, {"std": 0.02}, scipy.stats.norm(0, 0.02)),
    "normal with a mean": (normal, {"std": 2.0, "mean": -3.0}, scipy.stats.norm(-3, 2)),
    "truncated at 2 sigmas": (truncated_normal, {"std": 0.02}, truncnorm(-2, 2, 0.02)),
    "truncated, lopsided": (truncated_normal, {"low": -1.0, "high": 3.0}, truncnorm(-1, 3)),
    "truncated, one-sided": (truncated_normal, {"low": 0.5, "high": math.inf}, truncnorm(0.5, math.inf)),
    "truncated, narrow": (truncated_normal, {"low": -0.1, "high": 0.1}, truncnorm(-0.1, 0.1)),
    "truncated, tail": (truncated_normal, {"low": 5.0, "high": 6.0}, truncnorm(5, 6)),
    "truncated, far tail": (truncated_normal, {"low": 9.0, "high": 10.0}, truncnorm(9, 10)),
    "truncated, far lower tail": (truncated_normal, {"low": -10.0, "high": -9.0}, truncnorm(-10, -9)),
    "truncated, wide one-sided": (truncated_normal, {"low": 3.0, "high": 1000.0}, truncnorm(3, 1000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_moments_and_distribution(name):
    function, arguments, law = LAWS[name]
    assert statistics_of.follows(function(Key(11, name), LARGE, **arguments), law)


@pytest.mark.parametrize("name", LAWS)
def test_a_std_a_percent_off_fails(name):
    function, arguments, law = LAWS[name]
    drawn = function(Key(11, name), MUTANT, **arguments)
    assert abs(statistics_of.variance_error((drawn - law.mean()) * 1.01 + law.mean(), law)) > statistics_of.SIGMAS


@pytest.mark.parametrize("name", LAWS)
def test_a_law_with_a_tail_cut_off_fails(name):
    """The Kolmogorov distance sees 0.5 % of the mass moved, also in a tenth of the sample: sqrt(1e6) 0.005 = 5."""
    function, arguments, law = LAWS[name]
    drawn = function(Key(11, name), MUTANT, **arguments)
    assert statistics_of.kolmogorov_distance(np.minimum(drawn, law.ppf(0.995)), law) > statistics_of.KOLMOGOROV


def test_neighbouring_streams_are_independent():
    """Correlations between seeds, paths, shifted elements and domains: each within 5 standard errors of 0."""
    n = 1_000_000
    first = normal(Key(10), (n,))
    others = [normal(Key(11), (n,)), normal(Key(10, "a"), (n,)), normal(Key(10).derive("d"), (n,)), np.roll(first, 1)]
    for other in others:
        assert abs(np.mean(first.astype(np.float64) * other)) < 5 / math.sqrt(n)
    assert abs(np.mean(first.astype(np.float64) * first)) > 5 / math.sqrt(n)  # the mutant: one key used twice
    assert not set(words(10, 1000).tolist()) & set(words(11, 1000).tolist())


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", LAWS)
def test_bounds_are_never_exceeded_in_any_dtype(name, dtype):
    function, arguments, law = LAWS[name]
    drawn = function(Key(2, name), (1_000_000,), dtype=dtype, **arguments).astype(np.float64)
    low, high = law.support()
    assert drawn.min() >= low
    assert drawn.max() <= high
    if name == "uniform between":
        assert drawn.max() < high


def test_coarse_rounding_would_exceed_the_bounds_without_the_clamp():
    """The mutant of the test above: float32 values inside 0.05 that plain rounding takes outside."""
    drawn = uniform(Key(2), (1_000_000,), bound=0.05)
    assert drawn.max() <= 0.05 < float(drawn.astype(ml_dtypes.bfloat16).max())


def rounded_to_bfloat16(values):
    """Nearest even by bit arithmetic, independent of ml_dtypes."""
    bits = values.view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + (bits >> 16 & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_one_seed_gives_the_same_weights_in_every_dtype_up_to_rounding():
    single = normal(1, (100_000,), std=0.02)
    assert (normal(1, (100_000,), std=0.02, dtype="bfloat16").astype(np.float32) == rounded_to_bfloat16(single)).all()
    assert (normal(1, (100_000,), std=0.02, dtype="float16") == single.astype(np.float16)).all()
    double = normal(1, (100_000,), std=0.02, dtype="float64")
    np.testing.assert_allclose(double, single, rtol=3 * 2.0**-24)  # integer, unit and product round once each


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_low_precision_normals_reach_the_tail(dtype):
    """Beyond 4 sigmas: 6.33e-5 of 4 million, 253 +- 16."""
    count = int((np.abs(normal(4, (4_000_000,), dtype=dtype).astype(np.float32)) > 4).sum())
    expected = 4_000_000 * 2 * scipy.stats.norm.sf(4)
    assert abs(count - expected) < 5 * math.sqrt(expected) + 0.02 * expected  # a bfloat16 step at 4 holds 2 % of them


def test_bfloat16_uniform_is_unbiased():
    """The sample mean of 16 million within 5 standard errors of 0, with the half-open bound kept."""
    drawn = uniform_between(6, (16_000_000,), low=-1.0, high=1.0, dtype="bfloat16").astype(np.float32)
    assert drawn.min() >= -1
    assert drawn.max() < 1
    assert abs(drawn.mean(dtype=np.float64)) < 5 / math.sqrt(3 * 16_000_000)


SHAPES = st.lists(st.integers(0, 9), min_size=0, max_size=4).map(tuple)


@st.composite
def shape_and_box(draw):
    shape = draw(SHAPES)
    start = tuple(draw(st.integers(0, n)) for n in shape)
    return shape, Box(start, tuple(draw(st.integers(0, n - a)) for a, n in zip(start, shape, strict=True)))


@settings(max_examples=1000, deadline=None)
@given(shape_and_box(), st.sampled_from(list(LAWS)), st.sampled_from(list(FORMATS)), st.sampled_from([3, 64, 1 << 16]))
def test_a_box_is_a_slice_of_the_whole(case, name, dtype, piece):
    """1,000 random boxes, laws and dtypes; small pieces, so that every path of the cutting is taken."""
    shape, box = case
    function, arguments, _ = LAWS[name]
    whole = function(5, shape, dtype=dtype, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill, "PIECE", piece)
        part = function(5, shape, dtype=dtype, box=box, **arguments)
    assert part.shape == box.shape
    assert part.tobytes() == whole[box.slices()].tobytes()


def test_a_box_counted_from_its_own_corner_would_differ():
    """The mutant of the test above: elements counted inside the box instead of the global shape."""
    box = Box((2, 0), (3, 4))
    assert (normal(5, (9, 4), box=box) != normal(5, box.shape)).any()


def test_boxes_far_out_in_a_huge_shape():
    shape = (2**31, 2**31)
    box = Box((2**31 - 1, 2**31 - 5), (1, 5))
    stream = stream_reference.key_words(9)
    assert words(9, shape, box=box)[0].tolist() == [stream_reference.word(stream, 2**62 - 5 + i) for i in range(5)]


def test_one_element_more_keeps_the_first_ones():
    assert (normal(5, 1001)[:1000] == normal(5, 1000)).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_out_may_have_any_strides(order):
    whole = normal(5, (6, 8))
    out = np.zeros((6, 8), np.float32, order=order)
    assert normal(5, (6, 8), out=out) is out
    assert (out == whole).all()
    wide = np.zeros((6, 16), np.float32)
    normal(5, (6, 8), out=wide[:, ::2])
    assert (wide[:, ::2] == whole).all()
    assert (wide[:, 1::2] == 0).all()
    reverse = np.zeros((6, 8), np.float32)
    normal(5, (6, 8), out=reverse[::-1])
    assert (reverse[::-1] == whole).all()


def read_only():
    array = np.zeros((4, 4), np.float32)
    array.flags.writeable = False
    return array


BAD_OUT = {
    "read-only": (read_only(), ValueError, "read-only"),
    "another dtype": (np.zeros((4, 4)), TypeError, "dtype float64, expected float32"),
    "another shape": (np.zeros((4, 5), np.float32), ValueError, r"shape \(4, 5\), expected \(4, 4\)"),
    "expanded": (np.broadcast_to(np.zeros(4, np.float32), (4, 4)), ValueError, "read-only|overlapping"),
    "overlapping": (
        np.lib.stride_tricks.as_strided(np.zeros(7, np.float32), (4, 4), (4, 4)),
        ValueError,
        "overlapping elements",
    ),
    "a list": ([[0.0] * 4] * 4, TypeError, r"expected a numpy\.ndarray"),
}


@pytest.mark.parametrize("name", BAD_OUT)
def test_bad_targets_are_refused_and_left_alone(name):
    out, error, message = BAD_OUT[name]
    before = np.array(out, copy=True)
    with pytest.raises(error, match=message):
        normal(0, (4, 4), out=out)
    assert (np.asarray(out) == before).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"std": -1.0}, r"std = -1\.0: expected a number >= 0"),
        ({"std": math.nan}, "std = nan: expected a finite number"),
        ({"std": math.inf}, "std = inf: expected a finite number"),
        ({"mean": math.nan}, "mean = nan"),
        ({"std": 1e39}, "more than float32 can hold"),
        ({"std": 70000.0, "dtype": "float16"}, "more than float16 can hold"),
        ({"std": 20000.0, "dtype": "float16"}, r"reach 1\.268e\+05, more than float16"),
        ({"std": 1e-9, "dtype": "float16"}, "too small for float16"),
        ({"std": 1e-40}, "too small for float32"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_written(arguments, message):
    dtype = arguments.get("dtype", "float32")
    out = np.full((4,), 7, dtype)
    with pytest.raises(ValueError, match=message):
        normal(0, (4,), out=out, **arguments)
    assert (out == 7).all()


@pytest.mark.parametrize("std", ["0.02", None, 1j, np.ones(3), True])
def test_a_std_that_is_no_number_is_refused(std):
    with pytest.raises(TypeError, match=r"std = .*: expected a number"):
        normal(0, (4,), std=std)


@pytest.mark.parametrize(
    "dtype", ["int32", "uint8", bool, np.complex64, "float99", "float8_e4m3fn", None, 3, ml_dtypes.float8_e5m2]
)
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="expected one of float64, float32, float16, bfloat16"):
        normal(0, (4,), dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, "f4", np.dtype("float32"), ml_dtypes.bfloat16, float])
def test_dtypes_may_be_given_as_types(dtype):
    assert normal(0, (4,), dtype=dtype).dtype == np.dtype(dtype)


def test_uniform_edges():
    assert (uniform_between(0, 5, low=2.0, high=2.0) == 2).all()
    wide = uniform_between(0, 100_000, low=-3e38, high=3e38)
    assert np.isfinite(wide).all()
    assert wide.min() < -2.9e38
    narrow = uniform_between(0, 100_000, low=1000.0, high=1000.001)
    assert narrow.min() >= 1000.0
    assert float(narrow.max()) < 1000.001
    assert len(np.unique(narrow)) == 17  # float32 steps of 2**-14 in 0.001
    with pytest.raises(ValueError, match="no float32 number lies between"):
        uniform_between(0, 5, low=1 + 1e-12, high=1 + 2e-12)
    with pytest.raises(ValueError, match="expected low <= high"):
        uniform_between(0, 5, low=2.0, high=1.0)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="expected a finite number"):
            uniform_between(0, 5, low=0.0, high=bad)


def test_no_spread_gives_plain_zeros():
    for drawn in (normal(0, 8, std=0.0), uniform(0, 8, bound=0.0), truncated_normal(0, 8, std=0.0)):
        assert drawn.tobytes() == bytes(32)  # no -0
    assert (normal(0, 8, std=0.0, mean=2.5) == 2.5).all()
    assert (truncated_normal(0, 8, std=0.0, mean=2.5) == 2.5).all()


def test_normal_reach():
    edge = normal_law(FORMATS["float64"], 1.0, 0.0).values(np.array([0, 1 << 31], np.uint32), np.float64)
    assert edge.tolist() == [NORMAL_REACH, -NORMAL_REACH]


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (0.5, 0.5), (math.nan, 1.0), (38.0, 39.0), (-40.0, -39.0)])
def test_impossible_truncations_are_refused(low, high):
    with pytest.raises(ValueError, match=r"expected low < high|beyond 37"):
        truncated_normal(0, 5, low=low, high=high)


@pytest.mark.parametrize("bound", ["2", None, True])
def test_a_bound_that_is_no_number_is_refused(bound):
    with pytest.raises(TypeError, match="expected a number of sigmas"):
        Truncation(-2, bound)


def test_a_shape_larger_than_memory_is_refused_before_it_is_allocated():
    with pytest.raises(MemoryError, match="GiB: draw it in parts"):
        normal(0, (2**42,))


def test_threads_change_nothing():
    keys = [Key(0, f"layer.{i}") for i in range(64)]
    alone = [normal(key, (1000,)).tobytes() for key in keys]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda key: normal(key, (1000,)).tobytes(), keys)) == alone
