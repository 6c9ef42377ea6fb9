"""The parts of a run: which tensors go in and out, what a context puts back, and where an error is located."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.keras.trace.recorder import Recorder  # noqa: E402
from fanwise.keras.trace.run import (  # noqa: E402
    Inputs,
    ModelError,
    check_backend,
    forward,
    given_tensors,
    main_outputs,
    on_backend,
    prepared,
    run,
    without_gradients,
)
from fanwise.keras.trace.variables import as_array, is_tensor  # noqa: E402


def tensor(*values):
    return keras.ops.convert_to_tensor(np.array(values, "float32"))


def test_given_tensors_are_the_positional_ones_and_then_the_named_ones_in_order():
    a, b, c, d = (tensor(i) for i in range(4))
    given = given_tensors(Inputs(({"x": a, "flag": True}, [b, 3]), {"mask": (c, None), "more": d}))
    assert [id(value) for value in given] == [id(value) for value in (a, b, c, d)]


def test_what_holds_no_tensors_gives_none():
    assert given_tensors(Inputs((1, "x", None), {"training": False})) == []
    assert given_tensors(Inputs((), None)) == []


def test_the_logits_come_first_and_once():
    first, logits, last = tensor(1), tensor(2), tensor(3)
    outputs = main_outputs({"hidden": first, "logits": logits, "more": [last]})
    assert [id(value) for value in outputs] == [id(value) for value in (logits, first, last)]


def test_outputs_without_logits_keep_their_order():
    a, b = tensor(1), tensor(2)
    assert [id(value) for value in main_outputs({"b": b, "a": a})] == [id(b), id(a)]
    assert [id(value) for value in main_outputs({"logits": None, "a": a})] == [id(a)]
    assert [id(value) for value in main_outputs([a, (b, 7)])] == [id(a), id(b)]
    assert main_outputs("text") == []


def test_only_float64_becomes_the_float_type_of_keras():
    values = on_backend(
        Inputs(
            (np.ones(2), [np.ones(2, "float16")]), {"ids": np.ones(2, "int32"), "number": np.float64(3), "flag": "x"}
        )
    )
    dtypes = [keras.backend.standardize_dtype(value.dtype) for value in given_tensors(values)]
    assert dtypes == ["float32", "float16", "int32", "float32"]
    assert values.kwargs["flag"] == "x"
    assert isinstance(values.args[1], list)


def test_tensors_go_to_the_backend_with_their_values():
    values = on_backend(Inputs(((np.arange(3), 5),), {"named": {"deep": np.arange(2.0)}}))
    assert isinstance(values.args[0], tuple)
    assert values.args[0][1] == 5
    assert as_array(values.args[0][0]).tolist() == [0, 1, 2]
    assert as_array(values.kwargs["named"]["deep"]).tolist() == [0.0, 1.0]
    assert all(is_tensor(value) for value in given_tensors(values))


class Counting(keras.Model):
    """A model whose call moves on a counter, which is no parameter."""

    def __init__(self):
        super().__init__(name="counting")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.weight = self.add_weight(shape=(2,), initializer="ones", name="weight")
        self.built = True

    def call(self, x):
        self.count.assign_add(1.0)
        return x * self.weight


def recorded(model, inputs):
    return Recorder(model, Watcher(), given_tensors(inputs))


def test_prepared_puts_back_every_variable_and_the_functions():
    model, inputs, add = Counting(), Inputs((tensor(1, 1),)), keras.ops.add
    recorder = recorded(model, inputs)
    call = type(model).__call__
    with prepared(model, recorder):
        forward(model, inputs, recorder)
        assert float(as_array(model.count.value)) == 1.0
    assert float(as_array(model.count.value)) == 0.0
    assert keras.ops.add is add
    assert type(model).__call__ is call


def test_prepared_puts_everything_back_after_an_error():
    model, inputs = Counting(), Inputs((tensor(1, 1),))
    recorder = recorded(model, inputs)

    def interrupted():
        with prepared(model, recorder):
            forward(model, inputs, recorder)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        interrupted()
    assert float(as_array(model.count.value)) == 0.0


def test_a_run_tells_its_ops_while_it_is_prepared_and_none_afterwards():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a")], name="m")
    inputs = Inputs((tensor([1, 2, 3]),))
    recorder = recorded(model, inputs)
    with prepared(model, recorder):
        outputs = forward(model, inputs, recorder)
    model(*inputs.args)
    assert [op.module for op in recorder.trace(main_outputs(outputs)).ops] == ["a"]


class Failing(keras.layers.Layer):
    """A layer that raises an error from some moment on."""

    broken = False

    def call(self, x):
        if self.broken:
            raise ZeroDivisionError("by design")
        return x


def test_an_error_of_the_model_tells_its_kind_and_the_last_op():
    failing = Failing()
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a"), failing], name="m")
    failing.broken = True
    with pytest.raises(ModelError, match=r"(?s)ZeroDivisionError in layer .*, last op Dense: .*by design") as raised:
        run(model, Inputs((tensor([1, 2]),)))
    assert raised.value.__cause__ is not None


def test_gradients_are_off_where_the_backend_remembers_them():
    weight = keras.Variable(np.ones(2, "float32"))
    with without_gradients():
        product = weight * 2.0
    assert getattr(product, "requires_grad", False) is False


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_backends_that_can_be_followed(monkeypatch, name):
    monkeypatch.setattr(keras.config, "backend", lambda: name)
    check_backend()


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="computes with numpy: expected one of tensorflow, jax, torch"):
        check_backend()
