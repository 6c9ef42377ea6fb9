"""Every entry of the registry keeps every promise; the cases come from the registry."""

import copy
import inspect
import json
import math
import pickle

import numpy as np
import pytest
import scipy.stats
import statistics_of
from hypothesis import given, settings
from hypothesis import strategies as st

import fanwise as fw
from fanwise import INITIALIZERS, Blocks, Box, Fans, Initializer, Key, Layout, Normal, VarianceScaling
from fanwise.stream.formats import FORMATS

ENTRIES = list(INITIALIZERS.values())
CONVOLUTIONS = {"dirac", "delta_orthogonal", "icnr"}
DETERMINISTIC = {"zeros", "ones", "constant", "identity", "dirac"}

every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
every_random_entry = pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.name not in DETERMINISTIC], ids=lambda entry: entry.name
)


def shape_for(entry, scale=1):
    return (3, 3, 16 * scale, 32 * scale) if entry.name in CONVOLUTIONS else (192 * scale, 128 * scale)


def standard_error(entry, law, shape):
    """Relative standard error of a sample's second moment.

    For laws of whole matrices the elements are nearly uncorrelated with kurtosis near 3; the 2 of `sparse` and
    `blocks`, whose zeros raise the kurtosis, comes from E x^4 = 3 std^4 / share of elements that are not 0.
    """
    size = math.prod(shape)
    share = {"sparse": 15 / shape[0], "blocks": 0.5, "delta_orthogonal": 1 / 9, "icnr": 0.25}.get(entry.name, 1.0)
    return math.sqrt(max(3 / share - 1, 0.8) / size)


@every_random_entry
def test_moments_are_what_it_says(entry):
    law, shape = entry.example, shape_for(entry, 2)
    values, expected = law(shape, key=3).astype(np.float64), law.moments(shape)
    error = standard_error(entry, law, shape)
    second = np.mean(values**2) / (expected.std**2 + expected.mean**2)
    assert abs(second - 1) < 5 * error
    assert abs(values.mean() - expected.mean) < 5 * expected.std * max(error, 1 / math.sqrt(values.size))
    assert expected.low <= values.min()
    assert values.max() <= expected.high
    assert abs(1.21 * second - 1) > 5 * error  # the mutant: a std 10 % off


@pytest.mark.parametrize("name", sorted(DETERMINISTIC))
def test_moments_of_laws_that_draw_nothing_are_exact(name):
    law, shape = INITIALIZERS[name].example, shape_for(INITIALIZERS[name])
    values, expected = law(shape, dtype="float64"), law.moments(shape)
    assert values.mean() == pytest.approx(expected.mean, abs=1e-12)
    assert values.std() == pytest.approx(expected.std, abs=1e-12)
    assert (values.min(), values.max()) == (expected.low, expected.high)


@every_entry
@pytest.mark.parametrize("dtype", FORMATS)
def test_every_dtype_is_the_same_weights_rounded(entry, dtype):
    shape = shape_for(entry)
    drawn, double = entry.example(shape, key=3, dtype=dtype), entry.example(shape, key=3, dtype="float64")
    half_step = 2.0 ** -FORMATS[dtype].precision
    steps = np.where(np.abs(double) < 0.99 * np.abs(double).max(), 1, 2)  # at a bound the dtype rounds inward
    allowed = (steps * half_step + 2.0**-22) * np.abs(double) + FORMATS[dtype].smallest
    if isinstance(
        entry.example, fw.Orthogonal | fw.DeltaOrthogonal | fw.LooksLinear
    ):  # computed in float32, to the tolerance it states
        allowed = allowed + 16 * math.sqrt(max(shape)) * 2.0**-23 * entry.example.moments(shape).high
    assert drawn.dtype == FORMATS[dtype].dtype()
    assert (np.abs(drawn.astype(np.float64) - double) <= allowed).all()


@every_random_entry
def test_the_key_alone_decides(entry):
    shape = shape_for(entry)
    first = entry.example(shape, key=Key(3).child("w"))
    assert (entry.example(shape, key=Key(3).child("w")) == first).all()
    for other in (Key(4).child("w"), Key(3).child("v"), Key(3)):
        assert (entry.example(shape, key=other) != first).any()
    with pytest.raises(TypeError, match="key = None: random numbers need one"):
        entry.example(shape)


@every_entry
def test_a_box_is_a_slice(entry):
    shape = shape_for(entry)
    whole = entry.example(shape, key=5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        start = tuple(int(rng.integers(0, n + 1)) for n in shape)
        box = Box(start, tuple(int(rng.integers(0, n - a + 1)) for a, n in zip(start, shape, strict=True)))
        assert entry.example(shape, key=5, box=box).tobytes() == whole[box.slices()].tobytes()


@every_entry
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_writes_into_an_array_of_any_strides(entry, dtype):
    shape = shape_for(entry)
    expected = entry.example(shape, key=5, dtype=dtype)
    backing = np.full(tuple(2 * n for n in reversed(shape)), 9, expected.dtype)
    out = backing[tuple(slice(None, None, 2) for _ in shape)].T
    assert entry.example(shape, key=5, dtype=dtype, out=out) is out
    assert (out == expected).all()
    assert (backing == 9).sum() >= backing.size - out.size  # nothing beside it was touched
    with pytest.raises(ValueError, match="out has shape"):
        entry.example(shape, key=5, dtype=dtype, out=out[1:])


def test_a_scalar_parameter_is_filled():
    assert fw.Constant(0.5)(()).shape == ()
    assert fw.Normal(1.0)((), key=3) == fw.Normal(1.0)((1,), key=3)[0]


@every_entry
def test_empty_weights_are_empty_whatever_their_fans(entry):
    shapes = ((3, 3, 0, 4), (3, 3, 0, 0), (0, 3, 4, 4)) if entry.name in CONVOLUTIONS else ((0, 5), (6, 0), (0, 0))
    for shape in shapes:
        assert entry.example(shape, key=0).shape == shape
        assert math.isfinite(entry.example.moments(shape).std)


@every_entry
def test_round_trips(entry):
    law = entry.example
    assert eval(repr(law), vars(fw)) == law
    assert fw.from_config(json.loads(json.dumps(fw.to_config(law)))) == law
    assert pickle.loads(pickle.dumps(law)) == copy.deepcopy(law) == law
    assert hash(law) == hash(copy.deepcopy(law))


@every_entry
def test_every_entry_can_be_looked_up_and_imported(entry):
    for name in (entry.name, *entry.synonyms):
        if isinstance(entry.make, Initializer):
            assert fw.initializer(name) == entry.make == vars(fw)[name]
        else:
            assert entry.make.__name__ in fw.__all__
            assert isinstance(entry.example, entry.make)
    assert entry.formula
    assert inspect.getdoc(type(entry.example))


@every_entry
def test_a_law_is_frozen(entry):
    with pytest.raises(AttributeError):
        entry.example.scale = 3


STDS = {  # from the papers' formulas at (784, 100)
    "lecun_normal": 784**-0.5,
    "lecun_uniform": 784**-0.5,
    "glorot_normal": (2 / 884) ** 0.5,
    "glorot_uniform": (2 / 884) ** 0.5,
    "he_normal": (2 / 784) ** 0.5,
    "he_uniform": (2 / 784) ** 0.5,
    "orthogonal": 784**-0.5,
    "sparse": 784**-0.5,
}


@pytest.mark.parametrize("name", STDS)
def test_presets_have_the_papers_std(name):
    assert fw.initializer(name).moments((784, 100)).std == pytest.approx(STDS[name], rel=1e-14)


@pytest.mark.parametrize(("preset", "bound"), [("glorot_uniform", (6 / 884) ** 0.5), ("he_uniform", (6 / 784) ** 0.5)])
def test_uniform_presets_have_the_papers_bound(preset, bound):
    assert fw.initializer(preset).moments((784, 100)).high == pytest.approx(bound, rel=1e-14)


def test_modes():
    fans = Fans(100, 400)
    stds = {mode: VarianceScaling(2.0, mode).std(fans) for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")}
    expected = {"fan_in": 100, "fan_out": 400, "fan_avg": 250, "fan_geo_avg": 200}
    assert stds == pytest.approx({mode: math.sqrt(2 / fan) for mode, fan in expected.items()})


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_distributions_at_ten_million_values(distribution):
    shape = (2500, 4000)
    std = 1 / 50
    law = {
        "normal": scipy.stats.norm(0, std),
        "truncated_normal": scipy.stats.truncnorm(-2, 2, scale=std / 0.8796256610342398),
        "uniform": scipy.stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std),
    }[distribution]
    drawn = VarianceScaling(1.0, "fan_in", distribution)(shape, key=1).ravel()
    assert statistics_of.follows(drawn, law)
    assert not statistics_of.follows(drawn * np.float32(1.005), law)


LAYOUTS = {
    "depthwise": (Layout.depthwise(), (3, 3, 64, 1), 1 / 3),
    "transposed": (Layout.conv_transpose("in out kernel kernel", stride=2), (64, 256, 4, 4), 1 / 16),
    "experts": (Layout.dense("stack in out"), (16, 256, 512), 1 / 16),
    "512 -> 8 x 64": (Layout.dense("in out out"), (512, 8, 64), 512**-0.5),
    "fused q, k, v": (Layout.dense("out in").fuse(0, 3), (768, 256), 1 / 16),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_decide_the_std(name):
    layout, shape, std = LAYOUTS[name]
    assert fw.lecun_normal.moments(shape, layout=layout).std == pytest.approx(std, rel=1e-12)


def test_fused_maps_have_their_own_fans_and_one_stream():
    layout, shape = Layout.dense("out in").fuse(0, (64, 16, 16)), (96, 128)
    drawn = fw.glorot_normal(shape, key=1, layout=layout, dtype="float64")
    unit = Normal(1.0)(shape, key=1, dtype="float64")
    np.testing.assert_allclose(drawn[:64], unit[:64] * math.sqrt(2 / 192), rtol=1e-15)
    np.testing.assert_allclose(drawn[64:], unit[64:] * math.sqrt(2 / 144), rtol=1e-15)
    whole = fw.glorot_normal(shape, key=1, layout=Layout.dense("out in"), dtype="float64")
    assert np.abs(whole / unit - math.sqrt(2 / 192)).max() > 1e-3  # the mutant: fans of the fused matrix


def test_blocks_draw_each_block_by_its_own_law():
    law = Blocks((fw.orthogonal, fw.zeros, fw.he_normal), axis=1, sizes=(32, 8, 16))
    drawn = law((32, 56), key=2, dtype="float64")
    np.testing.assert_allclose(drawn[:, :32].T @ drawn[:, :32], np.eye(32), atol=1e-13)
    assert (drawn[:, 32:40] == 0).all()
    he = Normal(math.sqrt(2 / 32))((32, 56), key=2, dtype="float64")
    np.testing.assert_allclose(drawn[:, 40:], he[:, 40:], rtol=1e-15)
    box = Box((3, 30), (5, 20))
    assert (law((32, 56), key=2, dtype="float64", box=box) == drawn[box.slices()]).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fw.Normal(-1.0), ValueError, r"std = -1\.0: expected a number >= 0"),
        (lambda: fw.Normal("0.02"), TypeError, "std = '0.02': expected a number"),
        (lambda: fw.Normal(None), TypeError, "std = None"),
        (lambda: fw.Normal(0.1 + 0j), TypeError, "expected a number"),
        (lambda: fw.Uniform(math.inf), ValueError, "bound = inf"),
        (lambda: fw.TruncatedNormal(1.0, 2.0, 1.0), ValueError, "expected low < high"),
        (lambda: fw.TruncatedNormal(math.nan), ValueError, "std = nan"),
        (lambda: VarianceScaling(-1.0), ValueError, r"scale = -1\.0"),
        (lambda: VarianceScaling(math.nan), ValueError, "scale = nan"),
        (lambda: VarianceScaling(math.inf), ValueError, "scale = inf"),
        (lambda: VarianceScaling(1.0, "fan_sum"), ValueError, "expected one of fan_in, fan_out, fan_avg, fan_geo_avg"),
        (lambda: VarianceScaling(1.0, ["fan_in"]), TypeError, "expected one of fan_in"),
        (lambda: VarianceScaling(1.0, "fan_in", "cauchy"), ValueError, "expected one of normal, truncated_normal"),
        (lambda: VarianceScaling(1.0, "fan_in", 3), TypeError, "distribution = 3"),
        (lambda: fw.Orthogonal(math.nan), ValueError, "gain = nan"),
        (lambda: fw.Orthogonal(-1.0), ValueError, r"gain = -1\.0"),
        (lambda: fw.Orthogonal(1.0, "q"), ValueError, "expected one of second_moment, norm"),
        (lambda: fw.Constant(math.nan), ValueError, "value = nan"),
        (lambda: fw.Constant("abc"), TypeError, "value = 'abc'"),
        (lambda: fw.Constant(np.ones(3)), TypeError, "expected a number"),
        (lambda: fw.Sparse(0), ValueError, "nonzero = 0"),
        (lambda: fw.Sparse(1.5), TypeError, "nonzero = 1.5: expected an integer"),
        (lambda: fw.Sparse(math.nan), TypeError, "expected an integer"),
        (lambda: fw.ICNR("he_normal"), TypeError, "base = 'he_normal': expected an initializer"),
        (lambda: fw.ICNR(fw.he_normal, 4, "middle"), ValueError, "expected one of inner, outer"),
        (lambda: Blocks((), 0), ValueError, "laws is empty"),
        (lambda: Blocks((fw.zeros, 3), 0), TypeError, "laws holds 3"),
        (lambda: Blocks((fw.zeros,), -1), ValueError, "axis = -1"),
        (lambda: Blocks((fw.zeros,), 0, (1, 2)), ValueError, "expected one for each"),
        (lambda: fw.initializer("he_norml"), ValueError, "expected one of zeros, ones"),
        (lambda: fw.initializer(["he_normal"]), ValueError, "expected one of zeros"),
        (lambda: fw.initializer("he_normal", gain=2.0), TypeError, "has no parameter 'gain': it takes none"),
        (lambda: fw.initializer("normal", stddev=2.0), TypeError, "has no parameter 'stddev': it takes std"),
        (lambda: fw.from_config({"scale": 1.0}), TypeError, "expected a mapping with 'name'"),
        (lambda: fw.from_config({"name": "normal", "std": 1.0, "seed": 3}), TypeError, "has no parameter 'seed'"),
        (lambda: fw.to_config(3), TypeError, "not one of fanwise's initializers"),
    ],
)
def test_bad_laws_are_refused_where_they_are_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("law", "shape", "options", "error", "message"),
    [
        (fw.glorot_normal, (), {}, ValueError, "a shape with 0 axes has no fans"),
        (fw.he_normal, (5,), {}, ValueError, "a shape with 1 axes has no fans"),
        (fw.orthogonal, (5,), {}, ValueError, "a shape with 1 axes has no fans"),
        (fw.identity, (3, 4, 5), {}, ValueError, "has kernel axes"),
        (fw.dirac, (4, 4), {}, ValueError, "has no kernel axes"),
        (fw.delta_orthogonal, (4, 4), {}, ValueError, "has no kernel axes"),
        (fw.delta_orthogonal, (3, 3, 8, 4), {}, ValueError, "8 inputs into 4 outputs leave no isometry"),
        (fw.delta_orthogonal, (4, 3, 8, 8), {}, ValueError, r"window \(4, 3\) has no centre"),
        (fw.dirac, (8, 2, 3), {"layout": Layout.conv("out in kernel", groups=3)}, ValueError, "do not divide"),
        (fw.he_normal, (4, 4), {"layout": "out in"}, TypeError, r"expected a fanwise\.Layout"),
        (fw.he_normal, (4, 4), {"layout": Layout.conv()}, ValueError, "has 2 axes, the layout"),
        (fw.he_normal, (4, 4), {"key": 1.5}, TypeError, "seed = 1.5 is not an integer"),
        (fw.he_normal, (4, 4), {"dtype": "int32"}, TypeError, "expected one of float64"),
        (fw.Constant(300), (4,), {"dtype": "uint8"}, TypeError, "dtype = 'uint8'"),
        (fw.Constant(0.5), (4,), {"dtype": "int32"}, TypeError, "dtype = 'int32'"),
        (fw.Constant(1e40), (4,), {}, ValueError, "more than float32 can hold"),
        (fw.Constant(1e-50), (4,), {}, ValueError, "would be stored as 0"),
        (Normal(1.0), (2**40, 2**40), {}, ValueError, "limit is"),
        (Normal(1.0), (2**42,), {}, MemoryError, "GiB"),
        (fw.orthogonal, (2**21, 2**21), {}, MemoryError, "GiB"),
        (fw.ICNR(fw.he_normal, 4), (3, 3, 4, 6), {}, ValueError, "copies = 4 do not divide the 6 outputs"),
        (fw.ICNR(fw.he_normal, 4), (4, 2, 4), {"layout": Layout.dense("in out out")}, ValueError, "one 'out' axis"),
        (Blocks((fw.zeros, fw.ones), 1), (4, 5), {}, ValueError, "2 equal blocks do not fill axis 1"),
        (Blocks((fw.zeros, fw.ones), 2), (4, 5), {}, ValueError, "axis = 2: the shape"),
    ],
)
def test_bad_calls_are_refused_before_anything_is_allocated(law, shape, options, error, message):
    with pytest.raises(error, match=message):
        law(shape, **{"key": 0, **options})


def test_float16_he_with_a_huge_fan():
    """std 6.3e-4 is representable in float16, where a variance of 4e-7 computed in float16 would not be."""
    drawn = fw.he_normal((5_000_000, 2), key=0, dtype="float16").astype(np.float64)
    std = math.sqrt(2 / 5_000_000)
    assert abs(np.mean(drawn**2) / std**2 - 1) < 5 * math.sqrt(2 / drawn.size)


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.sampled_from([(64, 32), (32, 64), (48, 48)]))
def test_gain_and_scale_are_factors(factor, shape):
    plain = fw.orthogonal(shape, key=1, dtype="float64")
    np.testing.assert_allclose(fw.Orthogonal(factor)(shape, key=1, dtype="float64"), factor * plain, rtol=1e-13)
    scaled = VarianceScaling(factor**2)(shape, key=1, dtype="float64")
    np.testing.assert_allclose(scaled, factor * fw.lecun_normal(shape, key=1, dtype="float64"), rtol=1e-13)


def test_zero_gain_is_zeros():
    assert not fw.VarianceScaling(0.0)((4, 4), key=0).any()
    assert not fw.Orthogonal(0.0)((4, 4), key=0).any()


def test_adding_a_layer_moves_no_other():
    def model(names):
        return {name: fw.he_normal((16, 16), key=Key(0).child(name)) for name in names}

    small, large = model(["a", "b"]), model(["a", "new", "b"])
    assert all((small[name] == large[name]).all() for name in small)
