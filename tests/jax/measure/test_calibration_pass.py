"""A calibrating run: factors in closed form, slices of stacks, biases, what does otherwise, the model's form."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.calibrate.calibrator import Change  # noqa: E402
from fanwise.calibrate.options import Options  # noqa: E402
from fanwise.calibrate.session import NumberSource  # noqa: E402
from fanwise.graph.inputs import Inputs  # noqa: E402
from fanwise.jax.api.plan import plan  # noqa: E402
from fanwise.jax.measure.calibration_pass import JaxCalibration  # noqa: E402
from fanwise.jax.weights.apply import apply  # noqa: E402

X = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]], np.float32)  # every feature: mean 0, variance 2
PARAMS = {"b": jnp.full(2, 0.5), "w": 3 * jnp.eye(2)}
OPTIONS = Options(head="target")


def linear(params, x):
    return x @ params["w"] + params["b"]


def calibration(function=linear, params=None, options=OPTIONS, source=None):
    return JaxCalibration(
        (function, PARAMS if params is None else params), Inputs((X,)), source or NumberSource(), options
    )


def calibrated(run):
    """The changes of a pass over the run's own structure."""
    return run.passed(run.structure()).changes


def test_the_factor_makes_the_deviation_1():
    """The output has the variance 9 * 2: the factor is 1 / sqrt(18) for the weight and its bias."""
    changes = calibrated(calibration())
    assert set(changes) == {"w", "b"}
    for change in changes.values():
        assert float(change.scale) == pytest.approx(18**-0.5, rel=1e-6)
        assert (change.shift == 0).all()


def test_what_follows_reads_what_was_scaled():
    """The second map sees deviation 1: its own factor does not repeat the first's."""
    params = {"v": 5 * jnp.eye(2), "w": 3 * jnp.eye(2)}
    changes = calibrated(calibration(lambda p, x: x @ p["w"] @ p["v"], params))
    assert float(changes["w"].scale) == pytest.approx(18**-0.5, rel=1e-6)
    assert float(changes["v"].scale) == pytest.approx(1 / 5, rel=1e-5)


def test_unit_by_unit_the_outputs_have_mean_0_and_deviation_1():
    run = calibration(
        options=Options(mode="channel", head="target"), params={**PARAMS, "w": jnp.diag(jnp.array([3.0, 5.0]))}
    )
    decided = run.passed(run.structure())
    np.testing.assert_allclose(decided.changes["w"].scale.ravel(), [18**-0.5, 50**-0.5], rtol=1e-6)


def test_each_slice_of_a_stack_has_a_factor_of_its_own():
    params = {"w": jnp.stack([3 * jnp.eye(2), 7 * jnp.eye(2)])}
    run = calibration(lambda p, x: lax.scan(lambda y, w: (y @ w, None), x, p["w"])[0], params)
    changes = calibrated(run)
    assert float(changes["w[0]"].scale) == pytest.approx(18**-0.5, rel=1e-6)
    assert float(changes["w[1]"].scale) == pytest.approx(1 / 7, rel=1e-5)
    _, written = run.changed(changes, {})
    np.testing.assert_allclose(written["w"][1], jnp.eye(2), rtol=1e-5)
    np.testing.assert_allclose(written["w"][0], jnp.eye(2) / 2**0.5, rtol=1e-5)
    _, written = run.changed({"w[1]": changes["w[1]"]}, {})
    assert (written["w"][0] == params["w"][0]).all()


def test_a_parameter_that_a_loop_repeats_is_left():
    run = calibration(
        lambda p, x: lax.scan(lambda h, row: (jnp.tanh(h + row @ p["w"]), None), jnp.zeros(2), x)[0],
        {"w": 3 * jnp.eye(2)},
    )
    decided = run.passed(run.structure())
    assert all(change.identity for change in decided.changes.values())
    assert any("over and over" in line.left for line in decided.lines)


def test_a_structure_of_another_program_is_noticed():
    other = calibration(lambda p, x: jnp.tanh(x @ p["w"]) + p["b"]).structure()
    assert calibration().passed(other) is None
    longer = calibration(lambda p, x: jnp.tanh(linear(p, x))).structure()
    assert calibration().passed(longer) is None


def test_a_model_that_depends_on_values_has_a_structure_from_a_run():
    run = calibration(lambda p, x: lax.cond(x.sum() >= 0, lambda y: y @ p["w"], lambda y: y, x) + p["b"])
    assert run.structure() is None
    assert "w" in run.passed(run.seen()).changes


# Models


def change(scale, shift=0.0):
    return Change(np.asarray(scale, np.float64), np.asarray(shift, np.float64))


def test_changed_is_a_new_model_of_the_same_form():
    function, params = calibration().changed({"b": change(2.0, 1.0)}, {})
    assert function is linear
    assert params["b"].tolist() == [2, 2]
    assert params["w"] is PARAMS["w"]
    assert PARAMS["b"].tolist() == [0.5, 0.5]


def test_a_parameter_stays_on_its_device_and_in_its_dtype():
    params = {"b": jnp.ones(2, jnp.bfloat16), "w": np.eye(2, dtype=np.float32)}
    _, written = calibration(params=params).changed({"b": change(0.5), "w": change(2.0)}, {})
    assert (written["b"].dtype, written["b"].sharding) == (jnp.bfloat16, params["b"].sharding)
    assert type(written["w"]) is np.ndarray


def test_a_factor_that_a_dtype_cannot_hold():
    run = calibration(params={"b": jnp.ones(2, jnp.float16), "w": jnp.eye(2)})
    with pytest.raises(ValueError, match="b"):
        run.changed({"b": change(1e6)}, {})


def test_drawn_numbers_are_what_runs():
    model = (linear, PARAMS)
    planned = plan(model, Inputs((X,)))
    run = calibration(source=NumberSource(planned, 3))
    drawn = run.draw(planned)
    assert (drawn[1]["w"] == apply(model, planned, 3)[1]["w"]).all()
    assert (run.program.model.leaves["w"] == drawn[1]["w"]).all()


def test_shapes_alone_cannot_be_calibrated():
    with pytest.raises(ValueError, match=r"linear or its inputs are shapes alone"):
        calibration(params=jax.eval_shape(lambda: PARAMS)).structure()


def test_nothing_needs_to_be_put_back():
    run = calibration()
    with run.kept(early=True), run.undone(("w",)):
        pass
    assert run.program.model.leaves["w"] is PARAMS["w"]
