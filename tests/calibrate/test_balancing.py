"""Factors that make ratios of gradient to weight equal, on traces written by hand."""

import math

import pytest

from fanwise.calibrate.balancing import balanced
from fanwise.calibrate.options import Options
from fanwise.calibrate.tasks import tasks
from fanwise.graph.op import INPUT, Op, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout


def chain(*kinds, outputs=None):
    """Ops one after the other; a linear op has a weight and a bias named by its place."""
    ops, parameters = [], []
    for i, name in enumerate(kinds):
        uses, detail, kind = (), {}, name
        if name == "linear":
            uses = Use(f"w{i}", "weight", Layout.dense("out in")), Use(f"b{i}", "bias")
            parameters += [Parameter(f"w{i}", (4, 4), "float32"), Parameter(f"b{i}", (4,), "float32")]
        elif name in ("relu", "gelu", "leaky_relu"):
            kind, detail = "activation", {"nonlinearity": name}
        ops.append(Op(i, kind, name, str(i), 0, 0, (i - 1,) if i else (INPUT,), uses, (2, 4), detail=detail))
    return Trace(tuple(ops), tuple(parameters), outputs or (len(ops) - 1,))


def factors(trace, **ratios):
    return balanced(trace, tasks(trace, Options()), ratios)


def test_ratios_over_squared_factors_are_their_geometric_mean():
    found = factors(chain("linear", "relu", "linear", "leaky_relu", "pool", "linear"), w0=1.0, w2=8.0, w5=27.0)
    mean = (1 * 8 * 27) ** (1 / 3)
    for path, ratio in (("w0", 1.0), ("w2", 8.0), ("w5", 27.0)):
        assert ratio / found[path] ** 2 == pytest.approx(mean)


def test_the_product_of_the_factors_is_1_and_biases_get_those_up_to_their_own():
    found = factors(chain("linear", "relu", "linear", "relu", "linear"), w0=0.1, w2=5.0, w4=2.0)
    assert found["w0"] * found["w2"] * found["w4"] == pytest.approx(1)
    assert found["b0"] == found["w0"]
    assert found["b2"] == pytest.approx(found["w0"] * found["w2"])
    assert found["b4"] == pytest.approx(1)


@pytest.mark.parametrize("between", ["gelu", "norm", "softmax", "other", "shift"])
def test_chains_end_at_what_is_not_homogeneous(between):
    found = factors(
        chain("linear", "relu", "linear", between, "linear", "relu", "linear"), w0=1.0, w2=4.0, w4=1.0, w6=9.0
    )
    assert found["w0"] * found["w2"] == pytest.approx(1)
    assert found["w4"] * found["w6"] == pytest.approx(1)
    assert found["w2"] == pytest.approx(math.sqrt(2))


def test_an_output_of_the_model_ends_a_chain():
    assert factors(chain("linear", "relu", "linear", outputs=(0, 2)), w0=1.0, w2=4.0) == {}


def test_a_map_without_a_gradient_ends_a_chain():
    for ratio in (0.0, math.nan, math.inf):
        assert factors(chain("linear", "relu", "linear"), w0=1.0, w2=ratio) == {}
