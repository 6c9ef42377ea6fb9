"""Uses of parameters: their role, the layout in storage, the steps on the way, and the size that constants give."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Layout  # noqa: E402
from fanwise.graph.op import Parameter, UseRole  # noqa: E402
from fanwise.jax.trace.calls import Part, Step  # noqa: E402
from fanwise.jax.trace.parameter_uses import UseReader  # noqa: E402
from fanwise.jax.trace.provenance import derive, parameter_value  # noqa: E402
from fanwise.jax.trace.traced_value import constant  # noqa: E402

FLOAT = np.dtype(np.float32)
LEAVES = {"w": np.array([[3.0, 4.0], [6.0, 8.0]], np.float32), "g": np.array([2.0, 2.0], np.float32)}
PARAMETERS = {path: Parameter(path, leaf.shape, "float32") for path, leaf in LEAVES.items()}
W, G = (parameter_value(path, leaf, leaf) for path, leaf in LEAVES.items())
WEIGHT = Part(1, UseRole.WEIGHT, Layout(("in", "out")))


def derived(name, function, *values, shape=(2, 2), **params):
    return derive(Step(name, lambda *arrays: [function(*arrays)], ((shape, FLOAT),), params), values, 0)


def uses(value, part=WEIGHT, *, measured=True):
    return list(UseReader(PARAMETERS, LEAVES, measured).uses(value, part))


def test_a_parameter_that_is_used_as_it_is():
    (use,) = uses(W)
    assert (use.path, use.role, use.layout, use.steps, use.ratio) == ("w", UseRole.WEIGHT, WEIGHT.layout, (), 1.0)


def test_what_shows_no_parameter_has_no_use():
    assert uses(constant(LEAVES["w"])) == []


def test_the_layout_is_that_of_storage():
    (use,) = uses(derived("transpose", jnp.transpose, W, permutation=(1, 0)))
    assert use.layout == Layout(("out", "in"))


def test_a_scale_has_a_layout_only_in_a_stack():
    (use,) = uses(G, Part(1, UseRole.SCALE))
    assert (use.role, use.layout) == (UseRole.SCALE, None)
    row = derived(
        "squeeze",
        jnp.squeeze,
        derived("slice", lambda w: w[:1], W, shape=(1, 2), start_indices=(0, 0)),
        shape=(2,),
        dimensions=(0,),
    )
    assert uses(row, Part(1, UseRole.SHIFT))[0].layout == Layout(("stack", "out"))
    assert uses(row, Part(1, UseRole.OPERAND))[0].layout is None


def test_what_scales_another_parameter_has_that_role():
    scaled = derived("mul", lambda w, g: w * g, W, G)
    weight, scale = uses(scaled)
    assert (weight.path, weight.role, weight.layout) == ("w", UseRole.WEIGHT, WEIGHT.layout)
    assert (scale.path, scale.role, scale.layout) == ("g", UseRole.SCALE, None)
    assert (weight.steps, weight.ratio) == (("mul",), 1.0)


def test_constant_factors_change_the_size_of_a_weight():
    half = derived("mul", lambda w, n: w * n, W, constant(np.float32(0.5)))
    assert uses(half)[0].ratio == pytest.approx(0.5)
    assert uses(half, measured=False)[0].ratio == 1.0


def test_other_functions_have_no_ratio():
    assert uses(derived("tanh", jnp.tanh, W))[0].ratio == 1.0


def over_norm():
    """The weight over the root of the sum of its squares."""
    square = derived("mul", lambda w: w * w, W)
    total = derived("reduce_sum", lambda s: jnp.sqrt(s.sum()), square, shape=())
    return derived("div", lambda w, n: w / n, W, total)


def test_a_weight_whose_size_has_no_effect_is_normalised():
    assert uses(over_norm())[0].steps[-1] == "normalize"
    assert "normalize" not in uses(over_norm(), measured=False)[0].steps


def test_a_weight_that_is_centred_is_not_normalised():
    total = derived("reduce_sum", lambda w: w.sum(), W, shape=())
    centred = derived("sub", lambda w, n: w - n / 4, W, total)
    assert "normalize" not in uses(centred)[0].steps


def test_weights_of_shapes_alone_are_not_measured():
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in LEAVES.items()}
    value = derived("reduce_sum", lambda w: w.sum(), parameter_value("w", None, LEAVES["w"]), shape=())
    (use,) = UseReader(PARAMETERS, shapes, True).uses(value, Part(0, UseRole.OPERAND))
    assert use.steps == ("reduce_sum",)
