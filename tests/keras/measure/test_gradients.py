"""Gradients at tensors and variables, against derivatives by hand."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.measure.gradients import Tape, by_taps  # noqa: E402

JAX = keras.config.backend() == "jax"


def variable(*values):
    return keras.Variable(np.array(values, "float32"))


def by_tape(unused):
    """Gradients of the mean of (x w)^2, at x w and at the variables."""
    weight, x = variable(3.0, 4.0), keras.ops.convert_to_tensor(np.array([1.0, 2.0], "float32"))
    others = [variable(1.0)] if unused else []
    tape = Tape()
    with tape.recording():
        product = x * weight
        loss = keras.ops.sum(product**2) / 2
    return tape.gradients(loss, [product], [weight, *others])


def tapped(unused):
    weight, x = variable(3.0, 4.0), keras.ops.convert_to_tensor(np.array([1.0, 2.0], "float32"))
    others = [variable(1.0)] if unused else []

    def forward(tap):
        return keras.ops.sum(tap(5, x * weight) ** 2) / 2

    found, at_variables = by_taps(forward, {5: ((2,), "float32")}, [weight, *others])
    return [found[5], *at_variables]


def measured(*, unused=False):
    return tapped(unused) if JAX else by_tape(unused)


def test_gradients_of_a_product():
    at_product, at_weight = measured()
    assert at_product.tolist() == [3.0, 8.0]  # d/dp p^2 / 2 = p
    assert at_weight.tolist() == [3.0, 16.0]  # p x


def test_a_variable_that_the_loss_does_not_depend_on_has_none():
    at_product, at_weight, at_other = measured(unused=True)
    assert at_other is None
    assert at_weight.tolist() == [3.0, 16.0]
    assert at_product.tolist() == [3.0, 8.0]


def test_an_op_off_the_path_of_the_loss():
    """Zeros on JAX, which differentiates by taps that are there, and None by a tape."""
    weight = variable(2.0)
    if JAX:
        found, _ = by_taps(lambda tap: keras.ops.sum(weight * 1.0), {0: ((1,), "float32")}, [weight])
        assert found[0].tolist() == [0.0]
        return
    tape = Tape()
    with tape.recording():
        aside, loss = weight * 5.0, keras.ops.sum(weight * 1.0)
    assert tape.gradients(loss, [aside], [weight])[0] is None


def test_a_loss_that_depends_on_nothing_has_no_gradient():
    weight = variable(2.0)
    if JAX:
        assert by_taps(lambda tap: keras.ops.sum(keras.ops.ones((2,))), {}, [weight]) == ({}, [None])
        return
    tape = Tape()
    with tape.recording():
        loss = keras.ops.sum(keras.ops.ones((2,)))
    assert tape.gradients(loss, [], [weight]) == [None]


def test_the_values_of_the_variables_stay():
    weight = variable(3.0, 4.0)
    if JAX:
        by_taps(lambda tap: keras.ops.sum(weight**2), {}, [weight])
    else:
        tape = Tape()
        with tape.recording():
            loss = keras.ops.sum(weight**2)
        assert tape.gradients(loss, [], [weight])[0].tolist() == [6.0, 8.0]
    assert keras.ops.convert_to_numpy(weight.value).tolist() == [3.0, 4.0]
