"""The trace from shapes alone: equal to that of a run, and nothing is computed or written."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.keras.trace.abstract_run import structure  # noqa: E402
from fanwise.keras.trace.run import Inputs, on_backend, run  # noqa: E402
from fanwise.keras.trace.variables import as_array  # noqa: E402


def batch(*shape):
    return on_backend(Inputs((np.ones(shape, "float32"),)))


def network():
    body = [layers.Dense(4, "relu", name="a"), layers.BatchNormalization(name="n"), layers.Dense(2, name="b")]
    return keras.Sequential([keras.Input((3,)), *body], name="m")


def told(trace):
    return [(str(op.kind), op.module, op.inputs, tuple(use.path for use in op.uses)) for op in trace.ops]


def test_the_trace_is_that_of_a_run():
    model, inputs = network(), batch(5, 3)
    trace = structure(model, inputs)
    assert told(trace) == told(run(model, inputs))
    assert [(str(op.kind), op.module) for op in trace.ops] == [
        *(("linear", "a"), ("activation", "a"), ("norm", "n"), ("linear", "b")),
    ]


def test_nothing_is_written():
    model = network()
    before = [np.array(as_array(variable.value)).tobytes() for variable in model.variables]
    structure(model, batch(5, 3))
    assert [np.array(as_array(variable.value)).tobytes() for variable in model.variables] == before


class Branching(keras.layers.Layer):
    """A layer that asks its input for a number."""

    def __init__(self):
        super().__init__(name="branching")
        self.built = True

    def call(self, x):
        return x * 2.0 if float(as_array(x).sum()) > 0 else x


def test_a_model_that_asks_for_values_has_no_structure():
    assert structure(Branching(), batch(2, 3)) is None
    assert len(run(Branching(), batch(2, 3)).ops) == 1


def test_shapes_that_do_not_fit_have_no_structure():
    assert structure(network(), batch(5, 7)) is None


class Named(keras.layers.Layer):
    """A layer of a named argument, a mapping and a flag."""

    def __init__(self):
        super().__init__(name="named")
        self.inner = layers.Dense(3, name="inner")
        self.built = True

    def build(self, shape):
        self.inner.build((None, 3))

    def call(self, values, *, shift=None, double=False):
        result = self.inner(values["x"]) + shift
        return result * 2.0 if double else result


@pytest.mark.parametrize("double", [True, False])
def test_named_arguments_mappings_and_flags_arrive(double):
    layer, ones = Named(), np.ones((2, 3), "float32")
    layer.inner.build((None, 3))
    inputs = on_backend(Inputs(({"x": ones},), {"shift": ones, "double": double}))
    trace = structure(layer, inputs)
    assert told(trace) == told(run(layer, inputs))
    assert trace.ops[0].uses[0].path.endswith("inner/kernel")
    assert [str(op.kind) for op in trace.ops].count("linear") == 1
    assert len(trace.ops) == 2 + double
