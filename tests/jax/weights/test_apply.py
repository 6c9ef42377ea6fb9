"""Reading, applying and materializing: which parameters get numbers, where they lie, and in which form they come."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Constant, Key, Layout, Normal, he_normal, orthogonal  # noqa: E402
from fanwise.jax.stream.keys import fanwise_key  # noqa: E402
from fanwise.jax.weights.apply import apply, as_stream, in_form_of, materialize, read, reader, values_of  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402

SHAPES = {"b": (3,), "w": (4, 3)}
DENSE = Layout.dense("in out")


def linear(params, x):
    return x @ params["w"] + params["b"]


def row(path, law, **options):
    shape = options.pop("shape", SHAPES.get(path))
    layout = DENSE if len(shape) == 2 else None
    return Row(path, shape, "float32", law, options.pop("layout", layout), "weight", "linear", "A test.", **options)


def planned(*rows):
    return Plan(rows or (row("b", Constant(2.0)), row("w", he_normal)))


def model(dtype=jnp.float32):
    return linear, {path: jnp.ones(shape, dtype) for path, shape in SHAPES.items()}


def abstract():
    return linear, jax.eval_shape(lambda: model()[1])


# apply


def test_each_parameter_has_the_numbers_of_its_path():
    function, params = apply(model(), planned(), 7)
    assert function is linear
    assert params["b"].tolist() == [2, 2, 2]
    wanted = he_normal((4, 3), key=Key(7).child("w"), layout=DENSE)
    assert np.asarray(params["w"]).tobytes() == wanted.tobytes()


def test_the_given_model_stays_as_it_is():
    given = model()
    apply(given, planned(), 7)
    assert (given[1]["w"] == 1).all()


def test_a_row_may_name_another_stream():
    params = apply(model(), planned(row("b", Constant(0.0)), row("w", he_normal, stream="other")), 7)[1]
    assert (params["w"] == he_normal((4, 3), key=Key(7).child("other"), layout=DENSE)).all()


def test_a_dtype_rounds_the_same_values():
    law = Normal(1.0)
    plan = planned(row("b", law), row("w", law))
    half = apply(model(jnp.float16), plan, 7)[1]["w"]
    assert half.dtype == jnp.float16
    assert (half == law((4, 3), key=Key(7).child("w"), dtype="float16")).all()


def test_a_factor_multiplies_before_the_one_rounding():
    law = Normal(1.0)
    plan = planned(row("b", law), row("w", law, factor=0.7))
    half = apply(model(jnp.float16), plan, 7)[1]["w"]
    wide = law((4, 3), key=Key(7).child("w"), dtype="float32") * np.float32(0.7)
    assert np.asarray(half).tobytes() == wide.astype(np.float16).tobytes()


def test_canonical_order_counts_a_transposed_matrix_as_the_plain_one():
    layout = Layout.dense("out in")
    other = row("w", Normal(1.0), shape=(3, 4), layout=layout, order="canonical")
    given = (lambda p, x: x @ p["w"].T, {"w": jnp.ones((3, 4))})
    drawn = apply(given, Plan((other,)), 7)[1]["w"]
    assert (Normal(1.0)((4, 3), key=Key(7).child("w")) == drawn.T).all()


def test_rows_without_a_law_and_rows_that_are_not_meant_stay():
    assert (apply(model(), planned(row("b", None), row("w", he_normal)), 7)[1]["b"] == 1).all()
    assert (apply(model(), planned(), 7, only="w")[1]["b"] == 1).all()
    loaded = apply(model(), planned(), 7, skip_loaded=["w"])[1]
    assert ((loaded["w"] == 1).all(), (loaded["b"] == 2).all()) == (True, True)


def test_numbers_that_a_dtype_cannot_hold_are_refused_by_path():
    with pytest.raises(ValueError, match=r"parameter 'w': .*more than float16 can hold"):
        apply(model(jnp.float16), planned(row("b", Constant(0.0)), row("w", Normal(1e5))), 7)
    with pytest.raises(TypeError, match="parameter 'w': dtype"):
        apply((linear, {**model()[1], "w": jnp.ones((4, 3), jnp.float8_e3m4)}), planned(), 7)
    with pytest.raises(ValueError, match=r"parameter 'w': law = Orthogonal.*for a complex parameter"):
        apply(model(jnp.complex64), planned(row("b", None), row("w", orthogonal)), 7)


@pytest.mark.parametrize("sharded", [False, True])
def test_complex_parameters_have_the_laws_second_moment(sharded: bool):
    rows = planned(row("b", Constant(2.0)), row("w", Normal(0.5), shape=(300, 400)))
    like = {"w": jnp.zeros((300, 400), jnp.complex64), "b": jnp.zeros((3,), jnp.complex64)}
    if sharded:
        like = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in like.items()}
    drawn = np.asarray(apply((linear, like), rows, 7)[1]["w"])
    # each part has 120,000 squares of variance 2 (E/2)^2, so E |z|^2 moves by E / sqrt(120,000): five of these
    assert abs((np.abs(drawn) ** 2).mean() / 0.25 - 1) < 5 / math.sqrt(drawn.size)
    assert abs(np.corrcoef(drawn.real.ravel(), drawn.imag.ravel())[0, 1]) < 5 / math.sqrt(drawn.size)
    assert (np.asarray(apply((linear, like), rows, 7)[1]["b"]) == 2.0).all()
    real = np.asarray(apply((linear, {**like, "w": jnp.zeros((300, 400))}), rows, 7)[1]["w"])
    assert np.allclose(drawn.real, real / math.sqrt(2), rtol=1e-6)


def test_a_plan_for_another_model():
    with pytest.raises(ValueError, match="b: not in the plan"):
        apply(model(), planned(row("w", he_normal)), 7)


def test_canonical_order_of_a_kernel_whose_axes_go_around():
    layout = Layout.conv("out kernel in")
    other = row("w", Normal(1.0), shape=(2, 3, 4), layout=layout, order="canonical")
    drawn = apply((lambda p, x: x, {"w": jnp.ones((2, 3, 4))}), Plan((other,)), 7)[1]["w"]
    assert (drawn.transpose(1, 2, 0) == Normal(1.0)((3, 4, 2), key=Key(7).child("w"))).all()


# materialize


def test_materialized_parameters_are_those_that_apply_gives():
    made, applied = materialize(abstract(), planned(), 7)[1], apply(model(), planned(), 7)[1]
    for path in SHAPES:
        assert np.asarray(made[path]).tobytes() == np.asarray(applied[path]).tobytes()


def test_arrays_and_what_has_no_law_are_left():
    given = (linear, {"b": jnp.ones(3), "w": abstract()[1]["w"]})
    _, params = materialize(given, planned(), 7)
    assert params["b"] is given[1]["b"]
    assert isinstance(params["w"], jax.Array)
    _, params = materialize(abstract(), planned(row("b", None), row("w", he_normal)), 7)
    assert isinstance(params["b"], jax.ShapeDtypeStruct)


def mesh():
    return jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))


@pytest.mark.parametrize("law", [he_normal, orthogonal])
def test_each_lies_where_its_sharding_says(law):
    sharding = jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec("x"))
    plan = planned(row("b", Constant(2.0)), row("w", law))
    asked = []

    def shardings(path, shape):
        asked.append((path, shape))
        return sharding if path == "w" else None

    for where in (shardings, {"w": sharding}):
        _, params = materialize(abstract(), plan, 7, where)
        assert params["w"].sharding == sharding
        assert (params["w"] == apply(model(), plan, 7)[1]["w"]).all()
    assert asked == [("b", (3,)), ("w", (4, 3))]


def test_a_shape_may_name_its_sharding():
    sharding = jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec(None, "x"))
    shapes = {**abstract()[1], "w": jax.ShapeDtypeStruct((4, 3), jnp.float32, sharding=sharding)}
    assert materialize((linear, shapes), planned(), 7)[1]["w"].sharding == sharding


def test_shardings_that_are_none():
    with pytest.raises(TypeError, match="shardings = 3: expected a mapping"):
        materialize(abstract(), planned(), 7, 3)
    with pytest.raises(ValueError, match="shardings names 'v'"):
        materialize(abstract(), planned(), 7, {"v": None})


# Reading


def test_values_are_copies():
    given = (linear, {"w": np.ones((4, 3), np.float32), "b": jnp.ones(3, jnp.bfloat16)})
    values = read(given, "w")
    values[:] = 5
    assert (given[1]["w"] == 1).all()
    assert read(given, "b").dtype == jnp.bfloat16


def test_a_tied_parameter_is_read_by_any_of_its_names():
    w = jnp.full((2, 2), 3.0)
    values = reader((lambda p, x: x, {"a": w, "z": w}))
    assert values("z").tolist() == values("a").tolist() == [[3, 3], [3, 3]]


def test_what_cannot_be_read():
    with pytest.raises(KeyError, match="no parameter 'v': there are b, w"):
        read(model(), "v")
    with pytest.raises(ValueError, match="parameter 'w' is a shape alone"):
        read(abstract(), "w")
    with pytest.raises(ValueError, match="'w' is a shape alone"):
        values_of(jax.ShapeDtypeStruct((2,), jnp.float32), "w")


# Forms and keys


def test_the_form_in_which_a_model_came():
    params, pair = {"w": 1}, (linear, {"w": 2})
    assert in_form_of(pair, params) == (linear, params)
    assert in_form_of(pair, (linear, params)) == (linear, params)
    assert in_form_of((linear, (1, 2)), (3, 4)) == (linear, (3, 4))
    assert in_form_of("module", "tree") == "tree"


def test_keys_of_every_kind():
    assert as_stream(7) == as_stream(np.int64(7)) == Key(7)
    assert as_stream(Key(7, "a")) == Key(7, "a")
    assert as_stream(jax.random.key(7)) == fanwise_key(jax.random.key(7)) != Key(7)
