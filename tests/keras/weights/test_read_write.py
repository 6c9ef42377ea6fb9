"""One parameter's values: copies, what is rounded, and what is refused without a trace."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.keras.trace.variables import as_array  # noqa: E402
from fanwise.keras.weights.read_write import held_variable, read, reader, values_of, write  # noqa: E402


def network(dtype="float32"):
    return keras.Sequential([keras.Input((2,)), layers.Dense(3, name="a", dtype=dtype)], name="m")


def test_the_variable_of_a_path_is_the_layer_s_own():
    model = network()
    assert held_variable(model, "m/a/kernel") is model.layers[0].kernel
    with pytest.raises(KeyError, match=r"no parameter 'm/a/kernle'.*m/a/kernel"):
        held_variable(model, "m/a/kernle")


def test_a_model_without_parameters_has_none_to_suggest():
    with pytest.raises(KeyError, match="no parameter 'x': there is none"):
        read(keras.Sequential([keras.Input((2,)), layers.Flatten()]), "x")


@pytest.mark.parametrize("get", [read, lambda model, path: reader(model)(path)])
def test_what_is_read_is_a_copy(get):
    model = network()
    get(model, "m/a/bias")[:] = 7.0
    assert get(model, "m/a/bias").tolist() == [0.0, 0.0, 0.0]
    values = values_of(model.layers[0].bias)
    values[:] = 7.0
    assert as_array(model.layers[0].bias.value).tolist() == [0.0, 0.0, 0.0]


def test_a_reader_sees_what_was_written_later():
    model = network()
    get = reader(model)
    write(model, "m/a/bias", np.array([1, 2, 3]))
    assert get("m/a/bias").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_values_are_rounded_to_the_dtype_of_the_parameter(dtype):
    model = network(dtype)
    values = np.array([1 / 3, -2 / 3, 1e-3])
    write(model, "m/a/bias", values)
    stored = read(model, "m/a/bias")
    assert stored.dtype.name == dtype
    assert np.array_equal(stored, values.astype(stored.dtype))


@pytest.mark.parametrize("values", [[True, False, True], np.array([1, 0, 1], "uint8"), (1, 0, 1)])
def test_bools_and_whole_numbers_are_numbers(values):
    model = network()
    write(model, "m/a/bias", values)
    assert read(model, "m/a/bias").tolist() == [1.0, 0.0, 1.0]


def test_infinity_and_nan_are_written_as_they_are():
    model = network("float16")
    write(model, "m/a/bias", np.array([math.inf, -math.inf, math.nan]))
    assert np.array_equal(read(model, "m/a/bias"), [math.inf, -math.inf, math.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (np.zeros(4), ValueError, r"values of shape \(4,\) for 'm/a/bias', which has \(3,\)"),
        (np.zeros((3, 1)), ValueError, r"values of shape \(3, 1\)"),
        (np.zeros(3, "complex64"), TypeError, "expected real numbers"),
        (["a", "b", "c"], TypeError, "expected real numbers"),
        (np.zeros(3, [("x", "f4")]), TypeError, "expected real numbers"),
        (np.array([0.0, -65521.0, math.inf]), ValueError, r"reach 6.552e\+04, more than float16 can hold"),
    ],
)
def test_what_is_refused_changes_nothing(values, error, words):
    model = network("float16")
    write(model, "m/a/bias", np.array([1.0, 2.0, 3.0]))
    with pytest.raises(error, match=words):
        write(model, "m/a/bias", values)
    assert read(model, "m/a/bias").tolist() == [1.0, 2.0, 3.0]


def test_the_largest_number_of_a_dtype_can_be_written():
    model = network("float16")
    write(model, "m/a/bias", np.full(3, 65504.0))
    assert read(model, "m/a/bias").tolist() == [65504.0] * 3
