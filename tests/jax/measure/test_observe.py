"""One run forward and backward: signals, gradients and losses in closed form."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.graph.inputs import Inputs  # noqa: E402
from fanwise.graph.visitor import ModelError  # noqa: E402
from fanwise.jax.measure.observe import observe  # noqa: E402

X = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
W = np.array([[1.0], [0.5]], np.float32)  # X W = (2, 1)
TARGET = np.array([[0.0], [3.0]], np.float32)  # errors 2, -2
PARAMS = {"b": jnp.zeros(1), "w": jnp.asarray(W)}


def linear(params, x):
    return x @ params["w"] + params["b"]


def seen(function=linear, loss="mse_loss", target=TARGET, params=None, **options):
    return observe((function, PARAMS if params is None else params), Inputs((X,)), target, loss, **options)


def test_signals_of_ops_and_inputs():
    run = seen()
    (signal,) = run.signals
    assert (signal.mean, signal.second_moment) == (1.5, 2.5)
    assert (run.inputs[0].mean, run.inputs[0].second_moment) == (0.5, 7.5)
    assert (run.outputs.mean, run.outputs.second_moment) == (1.5, 2.5)


def test_gradients_of_a_mean_square():
    """dL/dy = 2 (y - t) / 2 = (2, -2); dL/dw = X^T (2, -2) = (-4, 12); dL/db = 0."""
    run = seen()
    assert run.signals[0].gradient == 4
    assert run.values["w"].gradient == 80
    assert (run.values["b"].gradient, run.values["b"].reached) == (0, True)
    assert (run.loss.value, run.loss.name, run.loss.chance) == (4.0, "mse_loss", 4.5)


def test_the_gradient_at_a_mean_is_one_with_respect_to_the_mean():
    """The mean is carried out as a sum and a division: dL/dmean = 1, dL/dsum = 1/2."""
    run = seen(lambda p, x: jnp.square((x @ p["w"]).mean() + p["b"]), loss=None)
    means = [signal for op, signal in zip(run.trace.ops, run.signals, strict=True) if op.name == "mean"]
    assert [signal.gradient for signal in means] == [9.0]  # 2 * 1.5, squared
    assert (run.loss.name, run.loss.value) == ("the model's own", 2.25)


def test_a_parameter_that_is_cut_off_is_told_from_one_whose_gradient_is_zero():
    run = seen(lambda p, x: x @ lax.stop_gradient(p["w"]) + 0 * p["b"])
    assert not run.values["w"].reached
    assert math.isnan(run.values["w"].gradient)
    assert (run.values["b"].gradient, run.values["b"].reached) == (0, True)


def test_without_a_backward_pass_there_are_no_gradients():
    run = seen(backward=False)
    assert run.loss is None
    assert math.isnan(run.signals[0].gradient)
    assert not any(values.reached for values in run.values.values())
    assert run.signals[0].second_moment == 2.5


def test_outputs_without_gradients_have_no_loss():
    run = seen(lambda p, x: (x @ p["w"]).argmax(), loss=None, target=None)
    assert run.loss is None


def test_half_precision_is_measured_wide():
    params = {path: leaf.astype(jnp.float16) for path, leaf in PARAMS.items()}
    run = observe((lambda p, x: (x * 100).astype(jnp.float16) @ p["w"], params), Inputs((X,)), None, None)
    assert run.signals[-1].second_moment == 25000
    assert run.values["w"].second_moment == 0.625


def test_the_model_stays_as_it_is():
    seen()
    assert (PARAMS["w"] == W).all()


# Refusals


def test_shapes_have_no_values():
    with pytest.raises(ModelError, match="shapes alone"):
        seen(params=jax.eval_shape(lambda: PARAMS))


def test_a_loss_that_fails():
    with pytest.raises(ModelError, match="mse_loss"):
        seen(target=np.ones((5, 7), np.float32))


def test_a_loss_that_is_no_number():
    with pytest.raises(ModelError, match="expected one number"):
        seen(loss=lambda output, target: output)


def test_an_unknown_loss():
    with pytest.raises(ValueError, match="expected one of"):
        seen(loss="nothing")
