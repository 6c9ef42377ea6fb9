"""The inputs of a run, from a batch, words, or what a functional model declares."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.keras.trace.inputs import BATCH, as_inputs, inputs_text  # noqa: E402
from fanwise.keras.trace.run import Inputs, given_tensors  # noqa: E402
from fanwise.keras.trace.variables import as_array, is_tensor, shape_of  # noqa: E402
from fanwise.stream import fill  # noqa: E402
from fanwise.stream.key import Key  # noqa: E402


def single(dtype="float32", shape=(4,)):
    declared = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(declared, layers.Identity()(declared), name="single")


def several(kind):
    a, b = keras.Input((4,), name="a"), keras.Input((None, 3), name="b")
    return keras.Model({"a": a, "b": b} if kind is dict else [a, b], [layers.Identity()(a), layers.Identity()(b)])


def test_a_functional_model_of_floats_gets_drawn_numbers_of_the_stream():
    inputs = as_inputs(single())
    (value,) = inputs.args
    assert np.array_equal(as_array(value), fill.normal(Key(0, "inputs/x"), (BATCH, 4)))
    assert not inputs.kwargs


def test_an_unknown_length_is_16_and_several_inputs_are_a_list():
    (values,) = as_inputs(several(list)).args
    assert isinstance(values, list)
    assert [shape_of(value) for value in values] == [(32, 4), (32, 16, 3)]
    assert not np.array_equal(as_array(values[0])[:, :3], as_array(values[1])[:, 0])


def test_a_model_of_a_mapping_gets_one():
    (values,) = as_inputs(several(dict)).args
    assert {name: shape_of(value) for name, value in values.items()} == {"a": (32, 4), "b": (32, 16, 3)}


def test_integers_and_undeclared_inputs_need_a_batch():
    with pytest.raises(ValueError, match="'single' takes integers, whose range no model says: give a batch"):
        as_inputs(single("int32"))
    with pytest.raises(ValueError, match="'alone' does not say what it takes: give a batch"):
        as_inputs(layers.Dense(2, name="alone"))


def test_a_mapping_of_one_serves_a_model_of_one_input():
    (value,) = as_inputs(single(), {"anything": np.ones((2, 4))}).args
    assert is_tensor(value)
    assert shape_of(value) == (2, 4)


def test_a_mapping_stays_where_the_model_declares_several_or_none():
    (value,) = as_inputs(several(list), {"a": np.ones((2, 4))}).args
    assert list(value) == ["a"]
    (value,) = as_inputs(layers.Dense(2), {"a": np.ones((2, 4))}).args
    assert list(value) == ["a"]


def test_words_make_an_array_a_list_or_a_mapping():
    model = single()
    (value,) = as_inputs(model, "2,4").args
    assert shape_of(value) == (2, 4)
    assert float(np.square(as_array(value), dtype=np.float64).mean()) == pytest.approx(1.0, abs=1e-6)
    (values,) = as_inputs(model, "2,4; 3:int32[5,6)").args
    assert isinstance(values, list)
    assert as_array(values[1]).tolist() == [5, 5, 5]
    (named,) = as_inputs(several(dict), "a=2,4; b=2,5,3").args
    assert {name: shape_of(value) for name, value in named.items()} == {"a": (2, 4), "b": (2, 5, 3)}


def test_words_name_all_or_none():
    with pytest.raises(ValueError, match="name all of them, for a mapping, or none"):
        as_inputs(single(), "a=2,4; 3")


def test_inputs_of_several_arguments_are_taken_as_they_are():
    inputs = as_inputs(single(), Inputs((np.ones((2, 4)), np.ones(3)), {"training": False}))
    assert [shape_of(value) for value in given_tensors(inputs)] == [(2, 4), (3,)]
    assert inputs.kwargs == {"training": False}


@pytest.mark.parametrize("nothing", [3.5, [], {}, object()])
def test_what_holds_no_tensors_is_refused(nothing):
    with pytest.raises(TypeError, match=f"inputs = {type(nothing).__name__}: expected arrays"):
        as_inputs(several(list), nothing)


def test_the_text_is_the_words_or_the_shapes():
    inputs = as_inputs(single(), np.ones((2, 4)))
    assert inputs_text("2,4", inputs) == "2,4"
    assert inputs_text(None, inputs) == "2,4:float32"
    more = Inputs((inputs.args[0],), {"training": False})
    assert inputs_text(np.ones((2, 4)), more) == "2,4:float32; training=False"
