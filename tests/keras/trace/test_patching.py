"""What a run replaces and puts back: layers' calls, the backend's functions, the operators of tensors."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402
from keras.src import backend  # noqa: E402
from keras.src import ops as inner_ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
OPERATORS = (
    "__add__",
    "__radd__",
    "__sub__",
    "__mul__",
    "__truediv__",
    "__matmul__",
    "__pow__",
    "__neg__",
    "__getitem__",
)


def held():
    """Every function under every name that Keras keeps for it, and the operators of the backend's tensors."""
    homes = (backend, backend.numpy, backend.nn, backend.math, backend.linalg, backend.core, inner_ops, keras.ops)
    names = {(home.__name__, name): value for home in homes for name, value in vars(home).items() if callable(value)}
    kind = type(keras.ops.zeros((1,)))
    return names | {(kind.__name__, name): getattr(kind, name) for name in OPERATORS}


def same(before, after):
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


class Own(keras.Model):
    """A model of functions and operators."""

    def __init__(self):
        super().__init__(name="own")
        self.first, self.last = layers.Dense(4, name="a"), layers.Dense(2, name="b")
        self.fails = False

    def call(self, x):
        x = self.first(x)
        x = keras.ops.relu(x) * 2 + 1
        if self.fails:
            raise KeyError("lost")
        return self.last(x[:, :4] / 3)


def built():
    model = Own()
    model(X)
    return model


def test_everything_is_back_after_a_run():
    model, before = built(), held()
    fwk.run(model, fwk.Inputs((X,)))
    assert same(before, held())
    assert not [layer for layer in (model, model.first, model.last) if "call" in vars(layer)]


def test_everything_is_back_after_a_model_that_fails():
    model, before = built(), held()
    model.fails = True
    with pytest.raises(fwk.ModelError, match="KeyError"):
        fwk.run(model, fwk.Inputs((X,)))
    assert same(before, held())
    assert not [layer for layer in (model, model.first, model.last) if "call" in vars(layer)]


def test_a_layer_s_own_call_comes_back():
    model = built()
    original = model.first.call
    vars(model.first)["call"] = replaced = lambda x: original(x)
    fwk.run(model, fwk.Inputs((X,)))
    assert vars(model.first)["call"] is replaced


def test_within_a_run_functions_and_operators_are_seen_as_ops():
    model = built()
    trace = fwk.run(model, fwk.Inputs((X,)))
    kinds = [str(op.kind) for op in trace.ops]
    assert kinds[:4] == ["linear", "activation", "elementwise", "elementwise"]
    assert kinds[-1] == "linear"
    constants = [op.constant for op in trace.ops if op.constant is not None]
    assert constants == [2.0, 1.0, 3.0]


def test_a_run_computes_what_the_model_computes():
    """What is replaced gives the values of what it stands for."""
    model = built()
    expected = keras.ops.convert_to_numpy(model(X)).astype(np.float64)
    report = fwk.check(model, X, backward=False)
    assert report.observations[0].outputs.second_moment == pytest.approx(np.square(expected).mean(), rel=1e-5)


def test_what_runs_outside_is_not_recorded():
    """A function called after a run, and a layer called alone, go past the recorder that is gone."""
    model = built()
    trace = fwk.run(model, fwk.Inputs((X,)))
    count = len(trace.ops)
    keras.ops.relu(keras.ops.convert_to_tensor(X)) + 1
    model.first(X)
    assert len(trace.ops) == count
    again = fwk.run(model, fwk.Inputs((X,)))
    assert [op.key for op in again.ops] == [op.key for op in trace.ops]
