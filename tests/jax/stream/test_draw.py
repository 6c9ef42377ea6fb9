"""`draw`: every law of fanwise as a JAX array, with keys that have a value and traced ones."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

import fanwise  # noqa: E402
from fanwise import Blocks, Key, Layout  # noqa: E402
from fanwise.jax import draw, fanwise_key  # noqa: E402
from fanwise.laws.initializers import INITIALIZERS  # noqa: E402
from fanwise.laws.structured import DeltaOrthogonal, LooksLinear, MatrixLaw, Orthogonal, Sparse  # noqa: E402

CONVOLUTIONS = ("delta_orthogonal", "dirac")
LAWS = {name: entry.example for name, entry in INITIALIZERS.items()}
KEY = jax.random.key(11)
EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-11}


def shape_for(name):
    return (3, 3, 8, 12) if name in CONVOLUTIONS else (12, 8)


def expected(law, shape, dtype="float32", **options):
    return law(shape, key=fanwise_key(KEY), dtype=dtype, **options)


def assert_same(got, wanted, law, dtype):
    got = np.asarray(got)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    if isinstance(law, (Orthogonal, DeltaOrthogonal, LooksLinear)):  # the tolerance that `fanwise.Orthogonal` states
        largest = np.linalg.norm(wanted.astype(np.float64).reshape(-1, wanted.shape[-1]), 2)
        tolerance = (16 * np.sqrt(max(wanted.shape)) * 2.0**-24 + EPS[dtype]) * largest
        assert np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max() < tolerance
    else:
        assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", LAWS)
def test_every_law_with_a_value_and_traced(name, dtype):
    law, shape = LAWS[name], shape_for(name)
    wanted = expected(law, shape, dtype)
    assert_same(draw(law, KEY, shape, dtype=dtype), wanted, law, dtype)
    assert_same(jax.jit(lambda key: draw(law, key, shape, dtype=dtype))(KEY), wanted, law, dtype)


@pytest.mark.parametrize(
    ("law", "shape", "layout"),
    [
        (fanwise.he_normal, (96, 32), Layout.dense("out in").fuse(0, (32, 48, 16))),
        (fanwise.glorot_uniform, (4, 16, 24), Layout.dense("stack in out")),
        (fanwise.he_normal, (3, 3, 1, 32), Layout.conv("kernel kernel in out", groups=32)),
        (Blocks((fanwise.Zeros(), fanwise.Ones(), fanwise.Normal(0.1)), axis=0), (12,), None),
        (Blocks((fanwise.orthogonal, fanwise.he_normal), axis=1), (8, 16), Layout.dense("in out")),
        (fanwise.orthogonal, (8, 32), Layout.dense("in out").fuse(1, 4)),
        (fanwise.VarianceScaling(1.0, "fan_geo_avg", "truncated_normal"), (6, 5, 4), Layout.dense("in in out")),
    ],
    ids=str,
)
def test_layouts_and_blocks(law, shape, layout):
    wanted = expected(law, shape, layout=layout)
    tolerance = 0 if "rthogonal" not in repr(law) else 1e-5
    for got in (
        draw(law, KEY, shape, layout=layout),
        jax.jit(lambda key: draw(law, key, shape, layout=layout))(KEY),
        jax.jit(lambda: draw(law, KEY, shape, layout=layout))(),
    ):
        assert np.abs(np.asarray(got) - wanted).max() <= tolerance


def test_orthogonal_under_jit_is_orthogonal_at_any_size():
    for shape in ((1, 1), (64, 64), (70, 200)):
        made = np.asarray(jax.jit(lambda key, shape=shape: draw(fanwise.Orthogonal(1.0, "norm"), key, shape))(KEY))
        gram = made.T @ made if shape[0] >= shape[1] else made @ made.T
        assert np.abs(gram - np.eye(len(gram))).max() < 16 * np.sqrt(max(shape)) * 2.0**-24


def test_float64_in_64_bit_mode():
    laws = (fanwise.Normal(0.02), fanwise.Uniform(0.3), fanwise.TruncatedNormal(0.02), fanwise.orthogonal)
    with jax.enable_x64(True):
        for law in laws:
            wanted = expected(law, (12, 8), "float64")
            got = np.asarray(jax.jit(lambda key, law=law: draw(law, key, (12, 8), dtype="float64"))(KEY))
            assert got.dtype == np.float64
            assert np.abs(got - wanted).max() <= (1e-14 if law is fanwise.orthogonal else 0)
            assert np.array_equal(np.asarray(draw(law, KEY, (12, 8), dtype="float64")) == wanted, np.ones((12, 8)))
    with pytest.raises(TypeError, match="64-bit mode"):
        draw(fanwise.Normal(0.02), KEY, (3,), dtype="float64")


def test_shapes_without_values():
    shape = jax.eval_shape(lambda key: draw(fanwise.he_normal, key, (784, 100), dtype="bfloat16"), KEY)
    assert (shape.shape, shape.dtype) == ((784, 100), jnp.bfloat16)


def test_a_key_of_fanwise_inside_a_program():
    law, key = fanwise.he_normal, Key(0).child("encoder.0.weight")
    program = jax.jit(lambda: draw(law, key, (40, 30)))
    assert np.array_equal(program(), law((40, 30), key=key))
    assert "f32[40,30]" not in program.lower().as_text().split("func")[0]  # no constant of the numbers


def test_empty_and_scalar_shapes():
    for shape in ((0, 5), (5, 0), (0,)):
        for made in (
            draw(fanwise.Normal(1.0), KEY, shape),
            jax.jit(lambda k, s=shape: draw(fanwise.Normal(1.0), k, s))(KEY),
        ):
            assert made.shape == shape
    assert draw(fanwise.Normal(1.0), KEY, ()) == jax.jit(lambda key: draw(fanwise.Normal(1.0), key, ()))(KEY)


@pytest.mark.parametrize(
    ("dtype", "std", "message"),
    [
        ("float16", 70000.0, "more than float16 can hold"),
        ("float16", 1e-9, "too small for float16"),
        ("float32", 1e39, "more than float32 can hold"),
        ("float8_e4m3fn", 200.0, "more than float8_e4m3fn can hold"),
        ("float8_e5m2", 1e-9, "stored as 0 in float8_e5m2"),
    ],
)
def test_scales_that_a_dtype_cannot_hold_are_refused(dtype, std, message):
    with pytest.raises(ValueError, match=message):
        draw(fanwise.Normal(std), KEY, (3, 4), dtype=dtype)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda key: draw(fanwise.Normal(std), key, (3, 4), dtype=dtype))(KEY)


@pytest.mark.parametrize("dtype", ["int32", "bool", "float99", "complex64", jnp.int8])
def test_dtypes_in_which_nothing_is_drawn_are_refused(dtype):
    with pytest.raises(TypeError, match="expected one of float64, float32"):
        draw(fanwise.Normal(1.0), KEY, (3, 4), dtype=dtype)


def test_8_bit_floats_are_rounded_float32():
    wanted = expected(fanwise.Normal(1.0), (4096,))
    for dtype in (jnp.float8_e4m3fn, jnp.float8_e5m2):
        for made in (
            draw(fanwise.Normal(1.0), KEY, (4096,), dtype=dtype),
            jax.jit(lambda k, d=dtype: draw(fanwise.Normal(1.0), k, (4096,), dtype=d))(KEY),
        ):
            assert np.asarray(made).tobytes() == wanted.astype(dtype).tobytes()


def test_laws_that_no_program_computes_are_drawn_on_the_host():
    made = jax.jit(lambda key: draw(Sparse(3), key, (10, 6)))(KEY)
    assert np.array_equal(made, expected(Sparse(3), (10, 6)))
    assert issubclass(Sparse, MatrixLaw)
    both = jax.vmap(lambda key: draw(Sparse(3), key, (10, 6)))(jax.random.split(KEY, 2))
    assert not np.array_equal(both[0], both[1])


def test_arguments_of_the_wrong_kind():
    with pytest.raises(TypeError, match="expected an initializer of fanwise"):
        draw("he_normal", KEY, (3, 4))
    with pytest.raises(TypeError, match=r"expected a fanwise\.Layout"):
        draw(fanwise.he_normal, KEY, (3, 4), layout="in out")
    with pytest.raises(TypeError, match="out_sharding"):
        draw(fanwise.he_normal, KEY, (3, 4), out_sharding="x")
    with pytest.raises(ValueError, match="no mesh is set"):
        draw(fanwise.he_normal, KEY, (3, 4), out_sharding=jax.sharding.PartitionSpec("x"))
