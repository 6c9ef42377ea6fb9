"""Manifests of JAX models: the seed, the dtypes and digests of what a model holds, and what differs."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Constant, Normal  # noqa: E402
from fanwise.jax.weights.apply import apply  # noqa: E402
from fanwise.jax.weights.manifest import manifest, verify  # noqa: E402
from fanwise.plan.manifest import digest_of  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402

PLAN = Plan(
    (
        Row("b", (3,), "float32", Constant(0.5), None, "bias", "linear", "A test."),
        Row("w", (4, 3), "float32", Normal(1.0), None, "weight", "linear", "A test."),
    )
)


def linear(params, x):
    return x @ params["w"] + params["b"]


def model(dtype=jnp.float32):
    return apply((linear, {"b": jnp.zeros(3, dtype), "w": jnp.zeros((4, 3), dtype)}), PLAN, 7)


def test_it_holds_the_seed_and_the_digest_of_every_array():
    expected = manifest(model(), PLAN, 7)
    assert expected.seed == 7
    assert expected.digests == {path: digest_of(np.asarray(array)) for path, array in model()[1].items()}
    assert verify(model(), expected) == ()


def test_its_dtypes_are_those_of_the_model():
    expected = manifest(model(jnp.bfloat16), PLAN, 7)
    assert [row.dtype for row in expected.plan] == ["bfloat16", "bfloat16"]
    assert expected.digests["b"] == digest_of(np.full(3, 0.5, jnp.bfloat16))
    assert len(verify(model(), expected)) == 2


def test_one_bit_that_differs_is_named_by_its_path():
    function, params = model()
    w = np.array(params["w"])
    w.view(np.uint32)[2, 1] ^= 1
    (sentence,) = verify((function, {**params, "w": w}), manifest(model(), PLAN, 7))
    assert sentence.startswith("w: expected ")


def test_seed_is_an_old_name_of_key():
    with pytest.warns(DeprecationWarning, match="write key="):
        assert manifest(model(), PLAN, seed=7) == manifest(model(), PLAN, 7)
    for options in ({}, {"key": 7, "seed": 7}):
        with pytest.raises(TypeError, match="expected key"):
            manifest(model(), PLAN, **options)


def test_what_cannot_be_verified():
    with pytest.raises(TypeError, match="expected = Plan"):
        verify(model(), PLAN)
    shapes = {path: jax.ShapeDtypeStruct(array.shape, array.dtype) for path, array in model()[1].items()}
    with pytest.raises(ValueError, match="shape alone"):
        manifest((linear, shapes), PLAN, 7)
    other = (linear, {"b": jnp.zeros(3), "w": jnp.zeros((4, 4))})
    with pytest.raises(ValueError, match=r"w: shape \(4, 4\) in the model, \(4, 3\) in the plan"):
        verify(other, manifest(model(), PLAN, 7))
