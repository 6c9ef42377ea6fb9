"""Losses of JAX: their values in closed form, their names, drawn targets, and what a guess gives."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax.measure.losses import ARRAYS, LOSSES, loss_of, named_loss, numbers, observed  # noqa: E402
from fanwise.measure.losses import Target  # noqa: E402

LOGITS = jnp.log(jnp.array([[[1.0, 1.0, 2.0]], [[6.0, 1.0, 1.0]]]))

VALUES = {
    "classes": ("cross_entropy", LOGITS, jnp.array([[2], [1]]), (math.log(2) + math.log(8)) / 2),
    "shares": ("cross_entropy", LOGITS[0], jnp.array([[0.5, 0.0, 0.5]]), (math.log(4) + math.log(2)) / 2),
    "truth": (
        "binary_cross_entropy_with_logits",
        jnp.log(jnp.array([3.0, 3.0])),
        jnp.array([1.0, 0.0]),
        (math.log(4 / 3) + math.log(4)) / 2,
    ),
    "large logits": ("binary_cross_entropy_with_logits", jnp.array([200.0]), jnp.array([0.0]), 200.0),
    "squares": ("mse_loss", jnp.array([[1.0, 2.0]]), jnp.array([[4.0, 2.0]]), 4.5),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    loss, output, target, value = VALUES[name]
    assert float(LOSSES[loss](output, target)) == pytest.approx(value, rel=1e-6)


# Names


def test_a_name_is_one_of_the_losses():
    kinds = (Target.CLASS, Target.TRUTH, *[Target.NUMBER] * 3, Target.CLASS)
    for name, target in zip(LOSSES, kinds, strict=True):
        loss = named_loss(name)
        assert (loss.name, loss.function, loss.target) == (name, LOSSES[name], target)


def test_a_function_of_the_losses_is_known_by_its_name():
    assert named_loss(LOSSES["mse_loss"]) == named_loss("mse_loss")


class Distance:
    """A loss as an object."""

    def __call__(self, output, target):
        return jnp.abs(output - target).mean()


def test_functions_of_a_user_have_no_target_of_their_own():
    def hinge(output, target):
        return output

    distance = Distance()
    assert (named_loss(hinge).name, named_loss(hinge).target) == ("hinge", None)
    assert (named_loss(distance).name, named_loss(distance).function) == ("Distance", distance)
    assert named_loss(None) is None


def test_what_is_no_loss():
    with pytest.raises(ValueError, match=r"loss = 'nothing': expected one of cross_entropy, .*mse_loss"):
        named_loss("nothing")
    with pytest.raises(TypeError, match="loss = Distance, a class"):
        named_loss(Distance)
    with pytest.raises(TypeError, match="loss = 3"):
        named_loss(3)


# Arrays


def test_outputs():
    outputs = {"ids": jnp.arange(3), "y": jnp.ones(2, jnp.bfloat16), "z": jnp.ones(1, jnp.complex64)}
    assert [array.dtype.name for array in ARRAYS.floats(outputs)] == ["bfloat16", "complex64"]
    assert ARRAYS.fields(outputs) is outputs
    assert ARRAYS.fields((1, 2)) == {}


def test_shapes_are_of_arrays_alone():
    assert ARRAYS.shape(jnp.ones((2, 3))) == (2, 3)
    assert ARRAYS.shape(3.0) is None
    assert ARRAYS.class_axis((5, 7, 3)) == 2


def test_drawn_targets_have_the_dtype_of_the_output_or_are_integers():
    output = jnp.ones(3, jnp.bfloat16)
    assert ARRAYS.drawn(np.ones(3), output).dtype == jnp.bfloat16
    assert ARRAYS.drawn(np.arange(3), output).dtype == jnp.int32


def test_a_projection_is_a_mean_of_signed_values():
    signs = np.array([[1.0, -1.0], [1.0, 1.0]])
    assert float(ARRAYS.projected(jnp.array([[1.0, 2.0], [3.0, 4.0]]), signs)) == 1.5
    projected = ARRAYS.projected(jnp.full((2, 2), 2 + 3j), signs)
    assert (float(projected), projected.dtype) == (1.0, jnp.float32)
    assert float(ARRAYS.projected(jnp.zeros((0, 2)), np.zeros((0, 2)))) == 0


# Losses of outputs


def test_a_named_loss_is_of_the_logits_and_the_target():
    outputs = {"aux": jnp.zeros((2, 3)), "logits": LOGITS[:, 0]}
    loss = loss_of(outputs, np.array([2, 0]), "cross_entropy")
    assert float(loss(outputs)) == pytest.approx((math.log(2) + math.log(8 / 6)) / 2)
    assert (loss.drawn, loss.probe) == (False, False)
    assert isinstance(loss.target, jax.Array)


def test_a_target_is_drawn_where_there_is_none():
    loss = loss_of(jnp.zeros((64, 3)), None, "cross_entropy")
    assert loss.drawn
    assert (loss.target.shape, set(np.asarray(loss.target).tolist())) == ((64,), {0, 1, 2})
    assert (loss.target == loss_of(jnp.zeros((64, 3)), None, "cross_entropy").target).all()


def test_without_a_loss_one_number_is_the_model_s_own():
    outputs = {"loss": jnp.float32(3.0), "logits": jnp.ones((2, 3))}
    loss = loss_of(outputs, None, None)
    assert (loss.name, float(loss(outputs)), loss.probe) == ("the model's own", 3.0, False)


def test_without_any_loss_the_output_is_projected():
    loss = loss_of(jnp.ones((2, 3)), None, None)
    assert loss.probe
    assert float(loss(jnp.zeros((2, 3)))) == 0
    assert loss_of(jnp.arange(3), None, None) is None


# What a guess gives


def own_cross_entropy(output, target):
    return LOSSES["cross_entropy"](output, target)


GUESSES = {
    "by name": ("cross_entropy", jnp.zeros((4, 3)), jnp.array([0, 1, 2, 0]), math.log(3), 3),
    "by value": (own_cross_entropy, jnp.zeros((4, 3)), jnp.array([0, 1, 2, 0]), math.log(3), 3),
    "truth": ("binary_cross_entropy_with_logits", jnp.zeros(4), jnp.ones(4), math.log(2), 2),
    "squares": ("mse_loss", jnp.zeros(2), jnp.array([1.0, 3.0]), 5.0, 0),
}


@pytest.mark.parametrize("name", GUESSES)
def test_what_a_guess_gives(name):
    given, output, target, chance, classes = GUESSES[name]
    loss = loss_of(output, target, given)
    seen = observed(loss, output, float(loss(output)))
    assert seen.chance == pytest.approx(chance, rel=1e-6)
    assert seen.classes == classes


def test_of_another_loss_nothing_is_known():
    output, target = jnp.full((4, 3), 2.0), jnp.zeros((4, 3))
    seen = observed(loss_of(output, target, Distance()), output, 2.0)
    assert (seen.value, seen.name) == (2.0, "Distance")
    assert math.isnan(seen.chance)


def test_numbers_on_the_host_are_at_least_float32():
    half, single, small = numbers([jnp.ones(2, jnp.bfloat16), jnp.ones(2), jnp.ones(2, jnp.float8_e5m2)])
    assert {array.dtype.name for array in (half, single, small)} == {"float32"}
    assert type(half) is np.ndarray
