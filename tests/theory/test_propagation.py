"""Propagation over hand-built traces, against closed forms (shared numbers of Gaussian moments)."""

import math

import numpy as np
import pytest

from fanwise import Layout, Normal, Ones, VarianceScaling, Zeros
from fanwise.graph.op import INPUT, Op, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.theory.propagation import SAMPLES, propagate

WIDTH = 512
SECOND_MOMENTS = {  # E f(z)^2 for standard normal z: closed forms, and Gauss-Hermite quadrature at high order
    "relu": 0.5,
    "gelu": 0.42522148257030,
    "silu": 0.35577551981735,
    "tanh": 0.39429449039784,
    "sigmoid": 0.29337903585809,
    "erf": 2 / math.pi * math.asin(2 / 3),
}


class Laws:
    """A visitor with laws by path, which remembers what it was shown."""

    def __init__(self, laws):
        self.laws, self.fed, self.known = laws, {}, {}

    def before(self, op, moment):
        for place, _ in enumerate(op.inputs[:1]):
            self.fed[op.index], self.known[op.index] = moment(place), moment.known(place)
        return {use.path: self.laws[use.path] for use in op.uses if use.path in self.laws}

    def after(self, op, moment):
        return None


def op(index, kind, inputs, *uses, **detail):
    name = detail.pop("name", kind)
    return Op(index, kind, name, "", 0, index, tuple(inputs), uses, detail.pop("shape", (8, WIDTH)), -1, detail)


def dense(path):
    return Use(path, "weight", Layout.dense("out in"))


def trace_of(ops, **shapes):
    parameters = tuple(Parameter(path, shape, "float32") for path, shape in shapes.items())
    return Trace(tuple(ops), parameters, (len(ops) - 1,))


def error(kurtosis=3.0):
    """Five standard errors of a second moment over the samples."""
    return 5 * math.sqrt((kurtosis - 1) / SAMPLES)


@pytest.mark.parametrize("name", SECOND_MOMENTS)
def test_an_activation_has_its_gaussian_moment(name):
    ops = [op(0, "linear", [INPUT], dense("w")), op(1, "activation", [0], nonlinearity=name)]
    visitor = Laws({"w": VarianceScaling(1.0)})
    found = propagate(trace_of(ops, w=(WIDTH, WIDTH)), visitor).second_moments[1]
    expected = SECOND_MOMENTS[name]
    assert found == pytest.approx(expected, rel=error(6.0))
    assert found != pytest.approx(1.5 * expected, rel=error(6.0))  # the mutant: a gain that is 1.22 times too large


def test_he_keeps_a_deep_relu_network_and_glorot_halves_it():
    def ratio(scale, depth=20):
        ops = []
        for layer in range(depth):
            ops.append(op(2 * layer, "linear", [2 * layer - 1], dense(f"w{layer}")))
            ops.append(op(2 * layer + 1, "activation", [2 * layer], nonlinearity="relu"))
        shapes = {f"w{layer}": (WIDTH, WIDTH) for layer in range(depth)}
        found = propagate(trace_of(ops, **shapes), Laws(dict.fromkeys(shapes, VarianceScaling(scale))))
        return found.second_moments[2 * depth - 2] / found.second_moments[0]

    assert math.log(ratio(2.0)) == pytest.approx(0.0, abs=error() * math.sqrt(20))
    assert math.log2(ratio(1.0)) == pytest.approx(-19, abs=error() * math.sqrt(20) / math.log(2))


def test_what_depends_on_itself_is_not_taken_as_independent():
    """x sigmoid(x) has E = 0.3558 for unit x; independent factors would give 1 x 0.2934."""
    ops = [
        op(0, "linear", [INPUT], dense("w")),
        op(1, "activation", [0], nonlinearity="sigmoid"),
        op(2, "mul", [0, 1]),
    ]
    found = propagate(trace_of(ops, w=(WIDTH, WIDTH)), Laws({"w": VarianceScaling(1.0)})).second_moments[2]
    assert found == pytest.approx(SECOND_MOMENTS["silu"], rel=error(10.0))
    assert found != pytest.approx(SECOND_MOMENTS["sigmoid"], rel=error(10.0) / 2)


def test_a_branch_adds_its_variance_and_a_copy_adds_its_amplitude():
    ops = [op(0, "linear", [INPUT], dense("w")), op(1, "add", [INPUT, 0]), op(2, "add", [INPUT, INPUT])]
    found = propagate(trace_of(ops, w=(WIDTH, WIDTH)), Laws({"w": VarianceScaling(0.5)}), inputs=2.0).second_moments
    assert found[1] == pytest.approx(3.0, rel=error())
    assert found[2] == pytest.approx(8.0, rel=1e-9)


def test_a_norm_brings_everything_to_one():
    norm = Use("g", "scale"), Use("b", "shift")
    ops = [op(0, "linear", [INPUT], dense("w")), op(1, "norm", [0], *norm, name="layer_norm")]
    laws = {"w": Normal(30.0), "g": Ones(), "b": Zeros()}
    found = propagate(trace_of(ops, w=(WIDTH, WIDTH), g=(WIDTH,), b=(WIDTH,)), Laws(laws)).second_moments
    assert found[1] == pytest.approx(1.0, abs=1e-12)


def test_a_table_has_the_moment_of_its_law():
    ops = [op(0, "embedding", [INPUT], Use("t", "table", Layout.embedding()))]
    found = propagate(trace_of(ops, t=(100, WIDTH)), Laws({"t": Normal(0.3)})).second_moments
    assert found[0] == pytest.approx(0.09, rel=1e-9)


def test_an_assumption_is_named_until_a_norm_ends_it():
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "attention", [0, 0, 0], shape=(8, 4, 32, WIDTH)),
        op(2, "linear", [1], dense("o")),
        op(3, "norm", [2], name="layer_norm"),
        op(4, "linear", [3], dense("w")),
    ]
    visitor = Laws(dict.fromkeys(("v", "o", "w"), VarianceScaling(1.0)))
    found = propagate(trace_of(ops, v=(WIDTH, WIDTH), o=(WIDTH, WIDTH), w=(WIDTH, WIDTH)), visitor)
    assert found.assumed == (1,)
    assert (visitor.known[0], visitor.known[2], visitor.known[3], visitor.known[4]) == (True, False, False, True)


def test_an_op_without_a_rule_is_never_silently_passed_through():
    found = propagate(trace_of([op(0, "other", [INPUT], name="fft")]), Laws({}))
    assert found.assumed == (0,)


def test_propagation_is_the_same_every_time():
    ops = [op(0, "linear", [INPUT], dense("w")), op(1, "activation", [0], nonlinearity="tanh")]
    runs = [propagate(trace_of(ops, w=(64, 64)), Laws({"w": VarianceScaling(1.0)})) for _ in range(2)]
    assert runs[0] == runs[1]
    assert np.isfinite(runs[0].second_moments).all()
