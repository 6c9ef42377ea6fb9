"""The drop-in's interface is that of jax.nn.initializers; bad arguments; Flax and Equinox take it."""

import inspect
import math
import pickle
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.nn.initializers as theirs  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from scipy import stats  # noqa: E402
from statistics_of import follows  # noqa: E402

import fanwise  # noqa: E402
from fanwise import Key, Layout  # noqa: E402
from fanwise.jax import initializers as ours  # noqa: E402

NAMES = [name for name in dir(theirs) if not name.startswith("_")]
PLAIN = ("zeros", "ones", "Initializer")
FACTORIES = [name for name in NAMES if name not in PLAIN]
REQUIRED = {"constant": (0.5,), "variance_scaling": (2.0, "fan_in", "normal")}
SCALED = {"uniform": "scale", "normal": "stddev", "truncated_normal": "stddev", "orthogonal": "scale"}
SCALED |= {"delta_orthogonal": "scale", "variance_scaling": "scale"}
KEY = jax.random.key(3)
MANY = (400, 500)


def made(name, module=ours, **options):
    """An initializer with the arguments that have no default."""
    found = getattr(module, name)
    return found if name in PLAIN else found(*REQUIRED.get(name, ()), **options)


def shape_for(name):
    return (3, 3, 6, 8) if name == "delta_orthogonal" else (20, 12)


# The interface.


def test_the_public_names_are_jaxs():
    assert sorted(NAMES) == sorted(set(ours.__all__) - {"from_law"})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Initializer"])
def test_signatures_are_jaxs(name):
    pairs = [
        [(p.name, p.kind, p.default) for p in inspect.signature(getattr(module, name)).parameters.values()]
        for module in (ours, theirs)
    ]
    assert pairs[0] == pairs[1]
    calls = [list(inspect.signature(made(name, module)).parameters) for module in (ours, theirs)]
    assert calls[0] == calls[1] == ["key", "shape", "dtype", "out_sharding"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Initializer"])
def test_shapes_and_dtypes_are_jaxs(name):
    dtypes = (jnp.float32,) if "orthogonal" in name else (jnp.float32, jnp.bfloat16)  # JAX raises for those
    for dtype in dtypes:
        each = [partial(made(name, module), shape=shape_for(name), dtype=dtype) for module in (ours, theirs)]
        results = [jax.eval_shape(init, KEY) for init in each]
        assert (results[0].shape, results[0].dtype) == (results[1].shape, results[1].dtype)
    assert isinstance(made(name), ours.Initializer)


@pytest.mark.parametrize("name", FACTORIES)
def test_initializers_are_values(name):
    init = made(name)
    assert init == made(name)
    again = pickle.loads(pickle.dumps(init))
    assert np.array_equal(again(KEY, shape_for(name)), init(KEY, shape_for(name)))


@pytest.mark.parametrize("name", [name for name in FACTORIES if "orthogonal" not in name])
def test_the_same_bits_with_a_value_and_traced(name):
    init, shape = made(name), shape_for(name)
    assert np.array_equal(jax.jit(lambda key: init(key, shape))(KEY), init(KEY, shape))


def test_a_key_of_fanwise_gives_what_numpy_gives():
    key = Key(0).child("w")
    assert np.array_equal(ours.normal(0.02)(key, (30, 20)), fanwise.Normal(0.02)((30, 20), key=key))


# The meaning.


def truncated(sigma):
    return stats.truncnorm(-2, 2, scale=sigma)


CORRECTED = 0.87962566103423978
LAWS = {
    "uniform": (ours.uniform(0.3), stats.uniform(0, 0.3)),
    "normal": (ours.normal(0.3), stats.norm(0, 0.3)),
    "truncated_normal": (ours.truncated_normal(0.3), truncated(0.3)),
    "one-sided": (ours.truncated_normal(0.3, lower=0.5, upper=3.0), stats.truncnorm(0.5, 3.0, scale=0.3)),
    "he_normal": (ours.he_normal(), truncated(math.sqrt(2 / 400) / CORRECTED)),
    "he_uniform": (ours.he_uniform(), stats.uniform(-math.sqrt(6 / 400), 2 * math.sqrt(6 / 400))),
    "glorot_normal": (ours.glorot_normal(), truncated(math.sqrt(2 / 900) / CORRECTED)),
    "glorot_uniform": (ours.glorot_uniform(), stats.uniform(-math.sqrt(6 / 900), 2 * math.sqrt(6 / 900))),
    "lecun_normal": (ours.lecun_normal(), truncated(math.sqrt(1 / 400) / CORRECTED)),
    "lecun_uniform": (ours.lecun_uniform(), stats.uniform(-math.sqrt(3 / 400), 2 * math.sqrt(3 / 400))),
    "fan_out": (ours.variance_scaling(1.5, "fan_out", "normal"), stats.norm(0, math.sqrt(1.5 / 500))),
    "fan_geo_avg": (ours.variance_scaling(1.0, "fan_geo_avg", "normal"), stats.norm(0, 200000**-0.25)),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws(name):
    init, law = LAWS[name]
    sample = np.asarray(init(KEY, MANY)).ravel()
    low, high = law.support()
    assert low <= sample.min()
    assert sample.max() <= high
    assert follows(sample, law)
    assert not follows(sample * 1.02, law)


@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform", "truncated_normal", "uniform", "lecun_normal"])
def test_the_laws_of_jax_itself_are_the_same(name):
    pair = [np.asarray(made(name, module)(KEY, MANY)) for module in (ours, theirs)]
    distance, chance = stats.ks_2samp(pair[0].ravel(), pair[1].ravel())
    assert chance > 1e-6, distance


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 4, 5), {}),
        ((3, 4, 5), {"in_axis": 0, "out_axis": 1, "batch_axis": 2}),
        ((2, 3, 4, 5), {"in_axis": (0, 1), "out_axis": (2, 3)}),
        ((7, 6), {"in_axis": 1, "out_axis": 0}),
        ((6, 5), {"in_axis": 1, "out_axis": 0, "batch_axis": ()}),
        ((9,), {"in_axis": 0, "out_axis": ()}),
        ((9,), {"in_axis": 0}),
        ((50, 16), {"out_axis": 0}),
        ((50, 16), {"in_axis": 1}),
        ((5, 6, 7), {"in_axis": -1}),
        ((5, 6, 7), {"out_axis": -2}),
        ((5, 6, 7), {"in_axis": (0, 1, 2)}),
        ((5, 6, 7), {"in_axis": 0, "out_axis": 0, "batch_axis": 0}),
    ],
)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
def test_fans_are_jaxs(shape, axes, mode):
    from jax._src.nn.initializers import _compute_fans  # noqa: PLC0415  (JAX's own rule, which is not public)

    fan_in, fan_out = _compute_fans(shape, *({"in_axis": -2, "out_axis": -1, "batch_axis": ()} | axes).values())
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}.get(mode, (fan_in * fan_out) ** 0.5)
    law = ours.variance_scaling(2.0, mode, "normal", **axes).law(shape)
    assert law.std == pytest.approx((2 / fan) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("column_axis", [-1, 0, 1])
def test_orthogonal_columns(column_axis):
    for shape in ((12, 7), (5, 12), (3, 4, 5)):
        q = np.moveaxis(np.asarray(ours.orthogonal(2.0, column_axis)(KEY, shape)), column_axis, -1)
        q = q.reshape(-1, shape[column_axis])
        assert np.allclose(np.linalg.svd(q, compute_uv=False), 2.0, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6, 8), (4, 3, 6, 8), (3, 5, 2, 6, 6)])
def test_delta_orthogonal_has_jaxs_centre(shape):
    pair = [np.asarray(made("delta_orthogonal", module)(KEY, shape)) for module in (ours, theirs)]
    assert np.array_equal(pair[0] != 0, pair[1] != 0)
    centre = pair[0].reshape(-1, *shape[-2:]).sum(0)
    assert np.allclose(centre @ centre.T, np.eye(shape[-2]), atol=1e-5)


def test_complex_numbers_keep_the_variance():
    for init in (
        ours.normal(1.0),
        ours.variance_scaling(400.0, "fan_in", "uniform"),
        ours.variance_scaling(400.0, "fan_in", "truncated_normal"),
    ):
        sample = np.asarray(init(KEY, MANY, jnp.complex64)).ravel()
        squares = np.abs(sample) ** 2
        assert abs(squares.mean() - 1) < 5 * squares.std() / math.sqrt(sample.size)
        assert abs(np.corrcoef(sample.real, sample.imag)[0, 1]) < 5 / math.sqrt(sample.size)
    for init in (ours.uniform(), ours.truncated_normal(), ours.orthogonal()):
        with pytest.raises(TypeError, match="expected a real dtype"):
            init(KEY, (4, 4), jnp.complex64)


def test_half_precision_is_the_rounded_float32():
    for init in (ours.lecun_normal(), ours.normal(0.02)):
        exact = np.asarray(init(KEY, (64, 64)))
        for dtype in (jnp.bfloat16, jnp.float16):
            assert np.array_equal(init(KEY, (64, 64), dtype), exact.astype(dtype))
    assert float(jnp.max(ours.uniform(1.0)(KEY, (1 << 20,), jnp.bfloat16))) < 1.0


def test_a_longer_array_keeps_its_first_values():
    short, long = (np.asarray(ours.normal()(KEY, (n,))) for n in (1000, 1001))
    assert np.array_equal(short, long[:1000])


def test_dtypes_of_the_factory_and_of_the_call():
    assert ours.normal(dtype=jnp.bfloat16)(KEY, (3,)).dtype == jnp.bfloat16
    assert ours.normal(dtype=jnp.bfloat16)(KEY, (3,), jnp.float32).dtype == jnp.float32
    assert ours.constant(2, jnp.int32)(KEY, (3,)).dtype == jnp.int32
    assert ours.zeros(None, (3,), jnp.int8).dtype == jnp.int8
    assert ours.constant(jnp.arange(3.0))(KEY, (2, 3)).tolist() == [[0, 1, 2], [0, 1, 2]]


# Bad arguments are refused when the initializer is made.

BAD_SCALES = [
    (-1.0, ValueError),  # the first: factors on a matrix have any sign
    (math.nan, ValueError),
    (math.inf, ValueError),
    ("0.02", TypeError),
    (None, TypeError),
]
BAD_SCALES += [(1j, TypeError), (True, TypeError), (np.ones(3), TypeError)]


SIGNED = ("orthogonal", "delta_orthogonal")


@pytest.mark.parametrize(
    ("name", "scale", "error"),
    [(name, *bad) for name in SCALED for bad in BAD_SCALES[1 if name in SIGNED else 0 :]],
)
def test_bad_scales(name, scale, error):
    rest = REQUIRED.get(name, ())[1:]
    with pytest.raises(error, match=SCALED[name]):
        getattr(ours, name)(scale, *rest)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ours.variance_scaling(1.0, "fan_sum", "normal"), ValueError, "fan_geo_avg"),
        (lambda: ours.variance_scaling(1.0, "fan_in", "gaussian"), ValueError, "truncated_normal"),
        (lambda: ours.variance_scaling(1.0, ["fan_in"], "normal"), TypeError, "mode"),
        (lambda: ours.he_normal(in_axis=1.5), TypeError, "in_axis"),
        (lambda: ours.he_normal(in_axis="0"), TypeError, "in_axis"),
        (lambda: ours.truncated_normal(1.0, lower=2.0, upper=1.0), ValueError, "low < high"),
        (lambda: ours.truncated_normal(1.0, lower=math.nan), ValueError, "low"),
        (lambda: ours.normal(dtype="int32"), TypeError, "dtype"),
        (lambda: ours.normal(dtype="float99"), TypeError, "dtype"),
        (lambda: ours.constant("abc"), TypeError, "number"),
        (lambda: ours.constant(math.nan), ValueError, "no NaN"),
        (lambda: ours.constant(math.inf, jnp.float8_e4m3fn), ValueError, "no infinities"),
        (lambda: ours.constant(1e40, jnp.float32), ValueError, "more than float32"),
        (lambda: ours.constant(1000, jnp.float8_e4m3fn), ValueError, "more than float8_e4m3fn"),
        (lambda: ours.constant(300, jnp.uint8), ValueError, "integers from 0 to 255"),
        (lambda: ours.constant(0.5, jnp.int32), ValueError, "holds integers"),
        (lambda: ours.from_law("he_normal"), TypeError, "initializer of fanwise"),
        (lambda: ours.from_law(fanwise.he_normal, "in out"), TypeError, "Layout"),
        (lambda: jax.jit(lambda s: ours.normal(s)(KEY, (3,)))(1.0), TypeError, "stddev is being traced"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("init", "shape", "message"),
    [
        (ours.he_normal(), (5,), "2 or more"),
        (ours.glorot_uniform(), (), "2 or more"),
        (ours.he_normal(in_axis=4), (5, 5), "out of range"),
        (ours.he_normal(in_axis=(1, -1)), (5, 5), "twice"),
        (ours.orthogonal(), (5,), "2 axes"),
        (ours.delta_orthogonal(), (5, 5), "3, 4 or 5 axes"),
        (ours.delta_orthogonal(), (3, 8, 6), "expected no more inputs"),
        (ours.normal(), (3, -1), "negative"),
        (ours.constant(np.ones(3)), (2, 4), "broadcast"),
    ],
)
def test_shapes_that_do_not_fit(init, shape, message):
    with pytest.raises(ValueError, match=message):
        init(KEY, shape)


@pytest.mark.parametrize("shape", [(3.5, 2), "34", (None, 3), (True, 2)])
def test_what_is_no_shape(shape):
    with pytest.raises(TypeError, match="shape"):
        ours.normal()(KEY, shape)


def test_empty_shapes_are_empty():
    for init in (ours.he_normal(), ours.glorot_uniform(), ours.orthogonal(), ours.uniform()):
        for shape in ((0, 5), (5, 0), (0, 0)):
            assert init(KEY, shape).shape == shape


@pytest.mark.parametrize("key", [0, None, np.random.default_rng(0)])
def test_what_is_no_key(key):
    with pytest.raises(TypeError, match="expected a JAX key"):
        ours.normal()(key, (3,))


# Libraries.


def test_flax_linen_takes_them():
    linen = pytest.importorskip("flax.linen", reason="flax is not installed")
    module = linen.Dense(50, kernel_init=ours.he_normal(), bias_init=ours.zeros)
    params = jax.jit(module.init)(KEY, jnp.ones((2, 400)))["params"]
    assert float(params["kernel"].std()) == pytest.approx((2 / 400) ** 0.5, rel=5 / math.sqrt(2 * 20000))
    assert not params["bias"].any()


def test_they_work_in_layers_that_flax_scans_under_jit():
    linen = pytest.importorskip("flax.linen", reason="flax is not installed")

    class Layer(linen.Module):
        @linen.compact
        def __call__(self, x, _):
            return linen.Dense(8, kernel_init=ours.he_normal(), bias_init=ours.zeros)(x), None

    layers = linen.scan(linen.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    params = jax.jit(lambda key: layers().init(key, jnp.ones((2, 8)), None))(KEY)["params"]["Dense_0"]
    assert params["kernel"].shape == (3, 8, 8)
    assert bool((params["kernel"][0] != params["kernel"][1]).all())


@pytest.mark.parametrize("name", ["orthogonal", "delta_orthogonal", "he_normal"])
def test_keys_can_be_mapped_over(name):
    keys, init, shape = jax.random.split(KEY, 3), made(name), shape_for(name)
    mapped = jax.vmap(lambda key: init(key, shape))(keys)
    expected = np.stack([init(key, shape) for key in keys])
    assert np.abs(mapped - expected).max() <= (0 if name == "he_normal" else 16 * math.sqrt(20) * 2.0**-24)


def test_flax_nnx_takes_them():
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
    init = ours.from_law(fanwise.he_normal, Layout.conv("kernel kernel in out"))
    layer = nnx.Conv(16, 64, (3, 3), kernel_init=init, rngs=nnx.Rngs(0))
    assert float(layer.kernel[...].std()) == pytest.approx((2 / 144) ** 0.5, rel=5 / math.sqrt(2 * 9216))


def test_equinox_weights_can_be_replaced():
    equinox = pytest.importorskip("equinox", reason="equinox is not installed")
    layer = equinox.nn.Linear(400, 50, key=KEY)
    init: Callable[..., jax.Array] = ours.from_law(fanwise.he_normal, Layout.dense("out in"))
    layer = equinox.tree_at(lambda one: one.weight, layer, init(KEY, layer.weight.shape, layer.weight.dtype))
    assert float(layer.weight.std()) == pytest.approx((2 / 400) ** 0.5, rel=5 / math.sqrt(2 * 20000))


STRICT = ("he_normal", "glorot_uniform", "truncated_normal", "uniform", "normal")


@pytest.mark.parametrize("name", STRICT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_programs_that_refuse_implicit_promotion_draw_the_same_bits(name, dtype):
    init = made(name, ours)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        drawn = jax.jit(lambda key: init(key, (5, 6), dtype))(KEY)
    assert drawn.tobytes() == init(KEY, (5, 6), dtype).tobytes()


@pytest.mark.parametrize("init", [ours.he_normal(), ours.orthogonal(), ours.zeros, ours.constant(2.0)])
def test_pythons_float_and_complex_mean_the_default_of_jax(init):
    assert init(KEY, (4, 4), float).dtype == jnp.result_type(float)


def test_pythons_complex_means_the_default_of_jax():
    numbers = ours.normal(1.0)(KEY, (4, 4), complex)
    assert numbers.dtype == jnp.result_type(complex)
    assert (numbers == ours.normal(1.0)(KEY, (4, 4), numbers.dtype)).all()


def test_a_constant_is_a_value():
    """A program takes it as a static argument, and does not compile again for an equal one."""
    calls = []

    @partial(jax.jit, static_argnums=0)
    def fill(init):
        calls.append(init)
        return init(None, (2, 3))

    assert fill(ours.constant(np.arange(3))).tolist() == [[0, 1, 2], [0, 1, 2]]
    fill(ours.constant(np.arange(3)))
    assert len(calls) == 1
    fill(ours.constant(np.arange(3) + 1))
    assert len(calls) == 2
    assert ours.constant(np.arange(3.0)) != ours.constant(np.arange(3))
    assert ours.constant(1.0, "float32") != ours.constant(1.0)


def test_constants_of_lists_and_masks():
    assert ours.constant([0.0, -math.inf])(None, (2, 2)).tolist() == [[0.0, -math.inf]] * 2


def test_a_gain_of_orthogonal_matrices_has_any_sign():
    for make in (ours.orthogonal, ours.delta_orthogonal):
        assert (make(-2.0)(KEY, (3, 4, 4)) == -make(2.0)(KEY, (3, 4, 4))).all()
