"""Initializers that draw nothing, against their formulas."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.init.constants import STFT, Constant, Identity, Ones, Zeros, constant_values  # noqa: E402
from fanwise.keras.trace.variables import as_array  # noqa: E402
from fanwise.stream.box import Box  # noqa: E402

BOX = Box((1, 0), (2, 3))


def test_a_box_has_its_own_shape():
    assert constant_values(2.0, "float32", BOX).tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int8", -128, 127), ("uint8", 0, 255), ("bool", 0, 1), ("int32", -(1 << 31), (1 << 31) - 1)],
)
def test_whole_numbers_have_bounds(dtype, low, high):
    for value in (low, high):
        assert constant_values(value, dtype, BOX)[0, 0] == value
        assert constant_values(value, dtype, BOX).dtype == dtype
    for value in (low - 1, high + 1, 0.5):
        with pytest.raises(ValueError, match=f"{dtype} holds whole numbers from {low} to {high}"):
            constant_values(value, dtype, BOX)


@pytest.mark.parametrize(("initializer", "value"), [(Zeros(), 0), (Ones(), 1), (Constant(3), 3)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "float32"])
def test_one_value_everywhere(initializer, value, dtype):
    tensor = initializer((2, 3), dtype)
    assert keras.backend.standardize_dtype(tensor.dtype) == dtype
    assert as_array(tensor).astype("float64").tolist() == [[value] * 3] * 2


def test_the_default_is_the_float_type_of_keras():
    assert keras.backend.standardize_dtype(Constant(0.5)((2,)).dtype) == keras.config.floatx()


def test_what_is_no_number():
    with pytest.raises(ValueError, match="value = nan: expected numbers, no NaN"):
        Constant(math.nan)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="gain"):
            Identity(value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_masks_are_infinite(dtype):
    assert as_array(Constant(-math.inf)((2,), dtype)).astype("float32").tolist() == [-math.inf] * 2
    with pytest.raises(ValueError, match="value = -inf: int32 holds whole numbers"):
        Constant(-math.inf)((2,), "int32")


TABLE = np.array([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]], "float32")
FORMS = {
    "array": TABLE,
    "tensor": keras.ops.convert_to_tensor(TABLE),
    "lists": TABLE.tolist(),
    "tuples": tuple(map(tuple, TABLE.tolist())),
    "float64": TABLE.astype("float64"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pretrained_table(form):
    layer = keras.layers.Embedding(3, 2, embeddings_initializer=Constant(FORMS[form]))
    layer.build()
    assert np.array_equal(layer.get_weights()[0], TABLE)
    again = Constant.from_config(Constant(FORMS[form]).get_config())
    assert np.array_equal(as_array(again((3, 2))), TABLE)


def test_a_table_survives_a_file(tmp_path):
    model = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(3, 2, Constant(TABLE))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(as_array(loaded.layers[0].embeddings_initializer((3, 2))), TABLE)


def test_a_configuration_of_keras_own_class():
    config = keras.initializers.Constant(TABLE).get_config()
    assert np.array_equal(as_array(Constant.from_config(config)((3, 2))), TABLE)


def test_an_array_broadcasts_or_is_refused():
    assert as_array(Constant([1, 2])((3, 2), "int32")).tolist() == [[1, 2]] * 3
    with pytest.raises(ValueError, match=r"value has shape \(3, 2\), which does not broadcast .* \(2, 3\)"):
        Constant(TABLE)((2, 3))


def test_a_constant_is_a_number_or_a_tensor_of_one():
    assert Constant(keras.ops.convert_to_tensor(np.float32(1.5))).get_config()["value"] == 1.5
    assert Constant(True).get_config()["value"] is True
    with pytest.raises(TypeError, match="value"):
        Constant("1")


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 2)])
def test_the_identity_times_a_gain(shape):
    assert np.array_equal(as_array(Identity(2.5)(shape)), 2.5 * np.eye(*shape))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), ()])
def test_the_identity_has_two_axes(shape):
    with pytest.raises(ValueError, match="expected two axes for an identity matrix"):
        Identity()(shape)


def waves(side, frame, frequencies):
    angles = np.pi * np.outer(np.arange(frame), np.arange(frequencies)) / (frequencies - 1)
    return np.cos(angles) if side == "real" else -np.sin(angles)


@pytest.mark.parametrize("side", ["real", "imag"])
def test_a_transform_without_a_window_is_cosines_or_sines(side):
    kernel = as_array(STFT(side, None, None)((8, 1, 5)))
    assert kernel.shape == (8, 1, 5)
    assert np.allclose(kernel[:, 0], waves(side, 8, 5), atol=1e-6)


@pytest.mark.parametrize(("scaling", "scale"), [("density", math.sqrt(30)), ("spectrum", 10.0), (None, 1.0)])
def test_a_window_is_scaled(scaling, scale):
    kernel = as_array(STFT("real", np.array([1.0, 2.0, 3.0, 4.0]), scaling)((4, 1, 3)))
    expected = waves("real", 4, 3) * np.array([[1.0], [2.0], [3.0], [4.0]]) / scale
    assert np.allclose(kernel[:, 0], expected, atol=1e-6)


def test_a_transform_by_frequencies_is_the_transform():
    signal = np.random.default_rng(0).normal(size=8)
    real, imag = (as_array(STFT(side, None, None)((8, 1, 5)))[:, 0] for side in ("real", "imag"))
    assert np.allclose(signal @ real + 1j * (signal @ imag), np.fft.rfft(signal), atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 5), (8, 2, 5), (8, 1, 1)])
def test_a_transform_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(frame, 1, frequencies\), two frequencies or more"):
        STFT("real", None)(shape)


def test_a_window_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"window has shape \(3,\): expected \(4,\), the frame of the shape"):
        STFT("real", np.ones(3))((4, 1, 3))


@pytest.mark.parametrize(("arguments", "name"), [({"side": "left"}, "side"), ({"scaling": "power"}, "scaling")])
def test_unknown_words_are_refused(arguments, name):
    with pytest.raises(ValueError, match=name):
        STFT(**arguments)


@pytest.mark.parametrize("example", [Zeros(), Constant(2.5), Identity(2.0), STFT("imag", np.ones(4), None)])
def test_a_configuration_makes_the_same(example):
    config = example.get_config()
    shape = (4, 1, 3) if isinstance(example, STFT) else (4, 3)
    assert np.array_equal(as_array(type(example).from_config(config)(shape)), as_array(example(shape)))
    assert config["stream"] == 1
    with pytest.raises(TypeError, match="has no parameter 'other'"):
        type(example).from_config({**config, "other": 1})
    with pytest.raises(ValueError, match="version 2"):
        type(example).from_config({**config, "stream": 2})


def test_as_text():
    assert repr(Constant(2)) == "Constant(value=2)"
    assert repr(Zeros()) == "Zeros()"
