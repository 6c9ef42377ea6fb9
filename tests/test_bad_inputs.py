"""Bad and edge inputs that were tried on other libraries, by their number there; those that a NumPy library can meet.

What must fail fails before anything is allocated, with a message that names the argument and what it was. What must
work gives the stated answer.
"""

import math
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
import scipy.stats

import fanwise as fw
from fanwise import Key, Layout
from fanwise.stream.fill import normal, truncated_normal, uniform, uniform_between

INF, NAN = math.inf, math.nan
SHAPE = (64, 32)


def he(shape, **options):
    return fw.he_normal(shape, **{"key": 0, **options})


def truncated(**options):
    return truncated_normal(0, (1000,), **options)


FAILS = {
    "S1": (lambda: fw.glorot_normal((), key=0), ValueError, "0 axes has no fans"),
    "S2": (lambda: he((5,)), ValueError, "1 axes has no fans"),
    "S6": (lambda: he((3, -1)), ValueError, "-1 is negative"),
    "S7": (lambda: he((3.5, 2)), TypeError, "3.5 is not an integer"),
    "S8": (lambda: he((None, 2)), TypeError, "None is not an integer"),
    "S9": (lambda: he("34"), TypeError, "expected a sequence of integers"),
    "S11": (lambda: fw.orthogonal((5,), key=0), ValueError, "1 axes has no fans"),
    "S13": (lambda: fw.identity((3, 4, 5)), ValueError, "has kernel axes"),
    "S14": (lambda: fw.dirac((4, 4)), ValueError, "no kernel axes"),
    "S14 delta": (lambda: fw.delta_orthogonal((4, 4), key=0), ValueError, "no kernel axes"),
    "S15": (lambda: fw.dirac((8, 2, 3), layout=Layout.conv("out in kernel", groups=3)), ValueError, "do not divide"),
    "S15 delta": (lambda: fw.delta_orthogonal((3, 8, 4), key=0), ValueError, "8 inputs into 4 outputs"),
    "S16": (lambda: he((2**40, 2**40)), ValueError, r"limit is 2\*\*63"),
    "S17": (lambda: he((2**21, 2**21)), MemoryError, "GiB"),
    "S18": (lambda: Layout.dense().fuse(2, 2), ValueError, "expected one of the 2 axes"),
    "S19": (lambda: Layout(("in", "in/out")), ValueError, "expected roles among"),
    "N1": (lambda: fw.Normal(-1.0), ValueError, "std = -1.0"),
    "N2": (lambda: fw.Normal(NAN), ValueError, "std = nan"),
    "N3": (lambda: fw.Normal(INF), ValueError, "std = inf"),
    "N5": (lambda: normal(0, 4, mean=NAN), ValueError, "mean = nan"),
    "N6": (lambda: fw.VarianceScaling(NAN), ValueError, "scale = nan"),
    "N7": (lambda: fw.VarianceScaling(-1.0), ValueError, "scale = -1.0"),
    "N8": (lambda: fw.Orthogonal(-1.0), ValueError, "gain = -1.0"),
    "N10": (lambda: fw.VarianceScaling(INF), ValueError, "scale = inf"),
    "N11": (lambda: uniform_between(0, 4, low=2.0, high=1.0), ValueError, "expected low <= high"),
    "N14": (lambda: uniform_between(0, 4, low=NAN, high=1.0), ValueError, "low = nan"),
    "N15": (lambda: uniform_between(0, 4, low=0.0, high=INF), ValueError, "high = inf"),
    "N16": (lambda: truncated(low=2.0, high=1.0), ValueError, "expected low < high"),
    "N17": (lambda: truncated(low=0.5, high=0.5), ValueError, "expected low < high"),
    "N23": (lambda: truncated(std=-1.0), ValueError, "std = -1.0"),
    "N24": (lambda: truncated(std=NAN), ValueError, "std = nan"),
    "N25": (lambda: truncated(low=NAN), ValueError, "low = nan"),
    "N31": (lambda: fw.Constant(1e40)((4,)), ValueError, "more than float32 can hold"),
    "N32": (lambda: fw.Constant("abc"), TypeError, "value = 'abc'"),
    "N33": (lambda: fw.Constant(np.ones(3)), TypeError, "expected a number"),
    "N34": (lambda: normal(0, 4, std=1e39), ValueError, "more than float32 can hold"),
    "N35": (lambda: normal(0, 4, std=70000.0, dtype="float16"), ValueError, "more than float16 can hold"),
    "N36": (lambda: normal(0, 4, std=1e-9, dtype="float16"), ValueError, "too small for float16"),
    "N38": (lambda: fw.Normal("0.02"), TypeError, "std = '0.02'"),
    "N39": (lambda: fw.Normal(None), TypeError, "std = None"),
    "N40": (lambda: fw.Normal(1j), TypeError, "std = 1j"),
    "N41": (lambda: fw.Normal(np.ones(3)), TypeError, "expected a number"),
    "N42": (lambda: fw.gain("rellu"), ValueError, "expected one of linear"),
    "N42 law": (lambda: fw.VarianceScaling(1.0, "fan_in", "gauss"), ValueError, "expected one of normal"),
    "N44": (lambda: fw.VarianceScaling(1.0, "fan_sum"), ValueError, "expected one of fan_in"),
    "N45": (lambda: fw.VarianceScaling(1.0, 3), TypeError, "mode = 3"),
    "N46": (lambda: fw.gain(["relu"]), TypeError, "expected a name"),
    "N47": (lambda: fw.gain("leaky_relu", negative_slope=NAN), ValueError, "negative_slope = nan"),
    "N48": (lambda: fw.gain("relu", negative_slope=0.2), TypeError, "unexpected keyword argument"),
    "N49": (lambda: fw.Sparse(1.5), TypeError, "nonzero = 1.5"),
    "N50": (lambda: fw.Sparse(-1), ValueError, "nonzero = -1"),
    "N51": (lambda: fw.Sparse(NAN), TypeError, "nonzero = nan"),
    "N52": (lambda: fw.Constant(NAN), ValueError, "value = nan"),
    "N53": (lambda: truncated(mean=NAN), ValueError, "mean = nan"),
    "D1": (lambda: he(SHAPE, dtype="int32"), TypeError, "dtype = 'int32'"),
    "D2": (lambda: fw.Uniform(1.0)(SHAPE, key=0, dtype=np.int32), TypeError, "expected one of float64"),
    "D3": (lambda: fw.Normal(1.0)(SHAPE, key=0, dtype=bool), TypeError, "expected one of float64"),
    "D4": (lambda: fw.Normal(1.0)(SHAPE, key=0, dtype="complex64"), TypeError, "dtype = 'complex64'"),
    "D5": (lambda: fw.glorot_uniform(SHAPE, key=0, dtype="complex64"), TypeError, "dtype = 'complex64'"),
    "D6": (lambda: fw.orthogonal(SHAPE, key=0, dtype="complex64"), TypeError, "dtype = 'complex64'"),
    "D7": (lambda: fw.TruncatedNormal(1.0)(SHAPE, key=0, dtype="complex64"), TypeError, "dtype = 'complex64'"),
    "D10": (lambda: he(SHAPE, dtype=ml_dtypes.float8_e4m3fn), TypeError, "expected one of float64"),
    "D11": (lambda: he(SHAPE, dtype=ml_dtypes.float8_e5m2), TypeError, "expected one of float64"),
    "D12": (lambda: fw.Constant(1000)((4,), dtype=ml_dtypes.float8_e4m3fn), TypeError, "expected one of float64"),
    "D17": (lambda: he(SHAPE, dtype="float33"), TypeError, "dtype = 'float33'"),
    "D19": (lambda: fw.Constant(300)((4,), dtype="uint8"), TypeError, "dtype = 'uint8'"),
    "D20": (lambda: fw.Constant(0.5)((4,), dtype="int32"), TypeError, "dtype = 'int32'"),
    "M23": (lambda: fw.Orthogonal(NAN), ValueError, "gain = nan"),
    "E1": (lambda: Key(NAN), TypeError, "seed = nan"),
    "E2": (lambda: Key(1.5), TypeError, "seed = 1.5"),
    "E3": (lambda: Key("42"), TypeError, "seed = '42'"),
    "E4": (lambda: Key(True), TypeError, "seed = True"),
    "E5": (lambda: he(SHAPE, key=None), TypeError, "key = None"),
    "E6": (lambda: Key(-1), ValueError, "seed = -1"),
    "E12": (lambda: Key(np.int8(-1)), ValueError, "seed = -1"),
    "E13": (lambda: Key([1, 2]), TypeError, r"seed = \[1, 2\]"),
    "E26": (lambda: he(SHAPE, key=np.random.default_rng(0)), TypeError, "is not an integer"),
    "E27": (lambda: he(SHAPE, key=np.zeros(3, np.uint32)), TypeError, "is not an integer"),
    "E28": (lambda: he(SHAPE, key=(Key(0), Key(1))), TypeError, "is not an integer"),
    "K2": (lambda: fw.initializer("he_norml"), ValueError, "expected one of zeros"),
    "K3": (lambda: fw.from_config({"name": "normal", "std": 1.0, "seed": 1}), TypeError, "no parameter 'seed'"),
}


@pytest.mark.parametrize("case", FAILS)
def test_is_refused(case):
    call, error, message = FAILS[case]
    with pytest.raises(error, match=message):
        call()


def std_of(sample):
    return float(sample.std(dtype=np.float64))


def within(sample, std):
    """The std within 5 standard errors of a normal sample's; bounded laws spread less."""
    return abs(std_of(sample) / std - 1) < 5 / math.sqrt(2 * sample.size)


def follows(sample, law):
    return scipy.stats.kstest(sample[:20_000], law.cdf).pvalue > 5.7e-7


WORKS = {
    "S3": lambda: he((0, 5)).shape == (0, 5),
    "S4": lambda: fw.glorot_normal((0, 0), key=0).shape == (0, 0),
    "S5": lambda: fw.glorot_normal((0, 3, 4, 4), key=0).shape == (0, 3, 4, 4),
    "S10": lambda: (he((np.int64(64), np.uint8(32))) == he(SHAPE)).all(),
    "S12": lambda: fw.orthogonal((0, 5), key=0).shape == (0, 5),
    "S20": lambda: Layout(("in", "in")).fans((3, 4)) == fw.Fans(12, 1),
    "L1": lambda: fw.he_normal.moments((3, 3, 64, 1), layout=Layout.depthwise()).std == (2 / 9) ** 0.5,
    "L2": lambda: Layout.depthwise().fans((3, 3, 64, 1)).fan_out == 9,
    "L3": lambda: Layout.conv_transpose("in out kernel kernel", stride=2).fans((64, 256, 4, 4)).fan_in == 256,
    "L4": lambda: Layout.einsum("bsd,dhk->bshk").fans((512, 8, 64)).fan_in == 512,
    "L5": lambda: Layout.dense("stack in out").fans((16, 256, 512)).fan_in == 256,
    "L6": lambda: Layout.dense("in out out").fans((512, 8, 64)).fan_in == 512,
    "N4": lambda: not normal(0, 100, std=0.0).any(),
    "N9": lambda: not fw.VarianceScaling(0.0)(SHAPE, key=0).any(),
    "N12": lambda: (uniform_between(0, 100, low=1.0, high=1.0) == 1).all(),
    "N13": lambda: np.isfinite(uniform(0, 100_000, bound=3e38)).all(),
    "N18": lambda: follows(truncated_normal(0, 10**6, std=1.0, low=5.0, high=6.0, dtype="float64"), tail(5, 6)),
    "N19": lambda: follows(truncated_normal(0, 10**6, std=1.0, low=9.0, high=10.0, dtype="float64"), tail(9, 10)),
    "N20": lambda: follows(truncated_normal(0, 10**6, std=1.0, low=3.0, high=INF, dtype="float64"), tail(3, INF)),
    "N21": lambda: follows(truncated_normal(0, 200_000, std=1.0, low=3.0, high=1000.0, dtype="float64"), tail(3, 1000)),
    "N22": lambda: not truncated(std=0.0).any(),
    "N26": lambda: within(truncated_normal(0, 4_000_000, std=0.02, low=-100.0, high=100.0), 0.02),
    "N27": lambda: truncated_normal(0, 10**5, std=0.3, low=-4.0, high=-2.0, mean=3.0).max() < 3,
    "N28": lambda: follows(truncated_normal(0, 10**6, std=1.0, low=-0.1, high=0.1, dtype="float64"), tail(-0.1, 0.1)),
    "N29": lambda: np.abs(truncated_normal(0, 20_000_000, std=0.8796256610342398)).max() <= 2,
    "N30": lambda: within(truncated_normal(0, 4_000_000, std=0.02), 0.02),
    "N37": lambda: within(he((5_000_000, 2), dtype="float16").astype(np.float64), (2 / 5_000_000) ** 0.5),
    "N54": lambda: {1000.0} < set(uniform_between(0, 1000, low=1000.0, high=1000.001).tolist()),
    "D8": lambda: orthogonality_error("bfloat16") < 0.02,
    "D9": lambda: orthogonality_error("float16") < 0.005,
    "D13": lambda: tail_count("bfloat16"),
    "D14": lambda: tail_count("float16"),
    "D15": lambda: tail_count("float32"),
    "D16": lambda: len(np.unique(normal(0, 10**6, dtype="float64"))) > 0.999 * 10**6,
    "D21": lambda: bounded_bfloat16(0.02, 2.0),
    "D22": lambda: bounded_bfloat16(1.0, 0.2),
    "D23": lambda: (
        abs(uniform_between(0, 16_000_000, low=-1, high=1, dtype="bfloat16").mean(dtype=np.float64)) < 7.3e-4
    ),
    "E7": lambda: (he(SHAPE, key=2**32) != he(SHAPE, key=0)).any(),
    "E8": lambda: (he(SHAPE, key=2**64) != he(SHAPE, key=0)).any(),
    "E9": lambda: he(SHAPE, key=10**30).shape == SHAPE,
    "E10": lambda: (he(SHAPE, key=np.int64(7)) == he(SHAPE, key=7)).all(),
    "E11": lambda: (he(SHAPE, key=np.uint64(2**63 + 5)) == he(SHAPE, key=2**63 + 5)).all(),
    "E15": lambda: (he(SHAPE, key=Key(0, "a")) != he(SHAPE, key=Key(0, "b"))).any(),
    "E16": lambda: correlation(he((64, 64), key=Key(0, "a")).ravel(), he((64, 128), key=Key(0, "b")).ravel()[:4096]),
    "E17": lambda: not set(normal(10, 1000).tolist()) & set(normal(11, 1000).tolist()),
    "E18": lambda: (normal(0, 1001)[:1000] == normal(0, 1000)).all(),
    "E20": lambda: (np.r_[piece(0, 300), piece(300, 700)] == normal(0, 1000)).all(),
    "E21": lambda: np.abs(normal(0, 1000, dtype="bfloat16").astype(float) - normal(0, 1000)).max() < 6.4 * 2**-8,
    "E23": lambda: threads_agree(),
    "E24": lambda: child_process_agrees(),
    "E30": lambda: (he(SHAPE, key=Key(0).child("late")) == he(SHAPE, key=Key(0, "late"))).all(),
    "K4": lambda: fw.from_config(fw.to_config(fw.he_normal))(SHAPE, key=0).tobytes() == he(SHAPE).tobytes(),
}


@pytest.mark.parametrize("case", WORKS)
def test_works(case):
    assert WORKS[case]()


def tail(low, high):
    return scipy.stats.truncnorm(low, high, scale=1 / scipy.stats.truncnorm(low, high).std())


def orthogonality_error(dtype):
    q = fw.orthogonal((128, 128), key=0, dtype=dtype).astype(np.float64)
    return np.abs(q @ q.T - np.eye(128)).max()


def tail_count(dtype):
    count = (np.abs(normal(0, 4_000_000, dtype=dtype).astype(np.float32)) > 4).sum()
    return abs(count - 253) < 5 * math.sqrt(253) + 6


def bounded_bfloat16(std, sigmas):
    drawn = truncated_normal(0, 4_000_000, std=std, low=-sigmas, high=sigmas, dtype="bfloat16").astype(np.float64)
    bound = sigmas * std / scipy.stats.truncnorm(-sigmas, sigmas).std()
    steps = 2.0**-8 * bound / std  # rounding to 8 bits changes the std by no more than the square of a step
    return np.abs(drawn).max() <= bound and abs(std_of(drawn) / std - 1) < 5 / math.sqrt(2 * drawn.size) + steps**2


def correlation(a, b):
    return abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(a.size)


def piece(start, count):
    return normal(0, 1000, box=fw.Box((start,), (count,)))


def layer(i):
    return he((16, 16), key=Key(0, f"layers.{i}")).tobytes()


def threads_agree():
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(layer, range(64))) == [layer(i) for i in range(64)]


def child_process_agrees():
    """The key alone decides: a child draws what the parent would for one key, and other numbers for another."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(layer, [3, 4]) == [layer(3), layer(4)] and layer(3) != layer(4)
