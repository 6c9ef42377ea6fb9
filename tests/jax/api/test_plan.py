"""Plans for models of JAX: every parameter has a law, and the numbers are right."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")
pytest.importorskip("flax", reason="flax is not installed")
pytest.importorskip("equinox", reason="equinox is not installed")

import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

import fanwise  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.jax import Inputs, apply, manifest, materialize, parameters, plan, read, run, verify  # noqa: E402
from zoo.jax.tiny import normal  # noqa: E402
from zoo.registry import models  # noqa: E402

ZOO = models("jax", "structure")

every = pytest.mark.parametrize("name", ZOO)
pytestmark = pytest.mark.slow
MAPS = ("weight", "head", "branch_end", "recurrent")


def shapes_of(model):
    """The model without values."""
    if isinstance(model, tuple):
        return model[0], jax.tree.map(_shape_of, model[1])
    return nnx.eval_shape(lambda: type(model)(nnx.Rngs(0)))


def _shape_of(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array) else leaf


@every
def test_every_parameter_of_the_zoo_has_a_role_and_a_law(name):
    model, inputs = ZOO[name].build(), ZOO[name].batch().args
    made = plan(model, inputs)
    assert [row.path for row in made] == [found.path for found in parameters(model)]
    assert all(row.role not in ("unused", "other") and row.law is not None for row in made)
    assert all(row.layout is not None for row in made if row.role in MAPS)


@every
def test_planned_weights_have_the_std_of_their_fans(name):
    model, inputs = ZOO[name].build(), ZOO[name].batch().args
    made = plan(model, inputs)
    model = apply(model, made, key=0)
    for row in made:
        values = read(model, row.path)
        if row.role in MAPS and values.size >= 500:
            sizes = math.sqrt(2 * values.size)
            assert values.std() == pytest.approx(row.std, rel=max(5 / sizes, 0.01)), row.path
            assert values.std() != pytest.approx(1.3 * row.std, rel=max(5 / sizes, 0.01)), row.path


class SecondMoments(Watcher):
    """What each map gives."""

    def __init__(self):
        self.found = {}

    def after(self, op, moment):
        for use in op.used("weight"):
            self.found.setdefault(use.path, moment())


@pytest.mark.parametrize("name", ["linen mlp", "linen depthwise and transposed", "linen transformer", "equinox net"])
def test_planned_maps_give_the_second_moment_that_the_plan_says(name):
    model, inputs = ZOO[name].build(), ZOO[name].batch().args
    made = plan(model, inputs)
    look = SecondMoments()
    run(apply(model, made, key=0), Inputs(inputs), look)
    for row in made:
        if row.role in MAPS and row.gives is not None and row.path in look.found:
            assert 0.4 < look.found[row.path] / row.gives < 2.5, row.path


@every
def test_shapes_alone_give_the_same_roles_and_fans(name):
    model, inputs = ZOO[name].build(), ZOO[name].batch().args
    real, abstract = plan(model, inputs), plan(shapes_of(model), inputs)
    assert [(row.path, row.role, row.fans) for row in real] == [(row.path, row.role, row.fans) for row in abstract]


@every
def test_materialized_models_have_the_bits_of_applied_ones(name):
    model, inputs = ZOO[name].build(), ZOO[name].batch().args
    made = plan(model, inputs)
    applied, fresh = apply(model, made, key=7), materialize(shapes_of(model), made, key=7)
    for row in made:
        assert np.array_equal(read(applied, row.path), read(fresh, row.path)), row.path
    assert verify(fresh, manifest(applied, made, 7)) == ()


def test_a_key_of_jax_is_a_key_of_the_model():
    model, inputs = ZOO["linen mlp"].build(), ZOO["linen mlp"].batch().args
    made = plan(model, inputs)
    key = jax.random.key(9)
    pair = [apply(model, made, key=one) for one in (key, fanwise.Key(9, "", "jax key of 2 words"))]
    assert all(np.array_equal(read(pair[0], row.path), read(pair[1], row.path)) for row in made)


def test_the_model_that_is_given_stays_as_it_is():
    for name in ("linen mlp", "nnx net", "equinox net"):
        model, inputs = ZOO[name].build(), ZOO[name].batch().args
        before = {found.path: read(model, found.path) for found in parameters(model)}
        made = apply(model, plan(model, inputs), key=0)
        assert all(np.array_equal(read(model, path), values) for path, values in before.items())
        assert type(made) is type(model)
        after = {found.path: read(made, found.path) for found in parameters(made)}
        assert any(not np.array_equal(after[path], values) for path, values in before.items())


def test_applied_models_run():
    model, inputs = ZOO["linen scanned transformer"].build(), ZOO["linen scanned transformer"].batch().args
    module, variables = apply(model, plan(model, inputs), key=0)
    assert bool(jnp.isfinite(module.apply(variables, *inputs)).all())
    network, inputs = ZOO["nnx vision transformer"].build(), ZOO["nnx vision transformer"].batch().args
    made = apply(network, plan(network, inputs), key=0)
    assert made(*inputs).shape == (8, 10)


def test_tied_parameters_are_drawn_once():
    table = normal(20, 8)
    params = {"table": table, "head": table}
    model = (lambda p, i: p["table"][i] @ p["head"].T, params)
    made = plan(model, "4:int32[0,20)")
    assert [(row.role, row.aliases) for row in made] == [("tied_embedding", ("head",))] or made.rows[0].aliases
    _, drawn = apply(model, made, key=0)
    assert drawn["table"] is drawn["head"]


def test_other_dtypes_hold_the_same_numbers_rounded():
    model, inputs = ZOO["linen mlp"].build(), ZOO["linen mlp"].batch().args
    made = plan(model, inputs)
    half = model[0], jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model[1])
    wide, narrow = apply(model, made, 0), apply(half, made, 0)
    assert np.array_equal(read(wide, "Dense_0.kernel").astype(jnp.bfloat16), read(narrow, "Dense_0.kernel"))


def test_numbers_that_a_dtype_cannot_hold_are_refused_before_any_is_drawn():
    model = (lambda p, x: x @ p["w"], {"w": jnp.zeros((8, 4), jnp.float16)})
    made = plan(model, "2,8").edit("w", law=fanwise.Normal(1e-9), reason="tiny")
    with pytest.raises(ValueError, match=r"parameter 'w'.*float16"):
        apply(model, made, key=0)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (3, TypeError, "expected an array"),
        ("3,x", ValueError, "cannot be read"),
        ("3:int32", ValueError, "integers need a range"),
        ("3:float32[0,1)", ValueError, "a range is for integers"),
        ("3:uint8[0,300)", ValueError, "<= 256"),
        ("a=3;a=3", ValueError, "a name comes twice"),
        ("3:int7", ValueError, "expected one of"),
    ],
)
def test_inputs_that_cannot_be_read(inputs, error, message):
    model = ZOO["linen mlp"].build()
    with pytest.raises(error, match=message):
        plan(model, inputs)


def test_an_unknown_recipe_and_an_unknown_path():
    model, inputs = ZOO["linen mlp"].build(), ZOO["linen mlp"].batch().args
    with pytest.raises(ValueError, match="nonsense"):
        plan(model, inputs, "nonsense")
    with pytest.raises(KeyError, match="no parameter 'x'"):
        read(model, "x")
    with pytest.raises(ValueError, match="no parameter of the model"):
        materialize(
            shapes_of(model), plan(model, inputs), 0, {"x": jax.sharding.SingleDeviceSharding(jax.devices()[0])}
        )
    with pytest.raises(ValueError, match="shape alone"):
        read(shapes_of(model), "Dense_0.kernel")
