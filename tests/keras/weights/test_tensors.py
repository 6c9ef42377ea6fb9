"""NumPy's numbers as tensors of the backend: dtypes, shapes and layouts that are taken."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.trace.backend import backend  # noqa: E402
from fanwise.keras.trace.variables import as_array, is_tensor  # noqa: E402
from fanwise.keras.weights.tensors import any_dtype, float_dtype, placed, plain_number, static_shape  # noqa: E402


def counted(box):
    return np.arange(6, dtype="float32").reshape(2, 3)[box.slices()]


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_float_types_by_name(name):
    assert float_dtype(name) == name
    assert float_dtype(keras.ops.zeros((1,), name).dtype) == name


def test_the_float_type_of_keras_is_the_default(monkeypatch):
    monkeypatch.setattr(keras.config, "floatx", lambda: "float16")
    assert float_dtype(None) == any_dtype(None) == "float16"


@pytest.mark.parametrize("dtype", ["int32", "bool", "float8_e4m3fn", "flaot32", 7])
def test_other_types_hold_no_weights(dtype):
    with pytest.raises(TypeError, match=r"dtype = .*: expected one of "):
        float_dtype(dtype)


def test_float64_is_refused_where_jax_would_store_float32():
    if backend() == "jax":
        with pytest.raises(ValueError, match="JAX stores float32 unless"):
            float_dtype("float64")
        with pytest.raises(ValueError, match="JAX stores float32 unless"):
            any_dtype("float64")
    else:
        assert float_dtype("float64") == any_dtype("float64") == "float64"


@pytest.mark.parametrize("name", ["bool", "int8", "uint8", "int32", "uint32", "int64", "float32"])
def test_constants_may_be_whole(name):
    assert any_dtype(name) == name


@pytest.mark.parametrize("dtype", ["complex64", "string", "nothing"])
def test_constants_of_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match="expected bool, an integer type, or one of"):
        any_dtype(dtype)


class OwnShape:
    """A shape that can be iterated and is no sequence, as TensorFlow's own."""

    def __init__(self, *sizes):
        self.sizes = sizes

    def __iter__(self):
        return iter(self.sizes)


@pytest.mark.parametrize("shape", [(2, 3), [2, 3], OwnShape(2, 3), np.array([2, 3])])
def test_shapes(shape):
    assert static_shape(shape) == (2, 3)
    assert static_shape(()) == ()


def test_shapes_that_are_not_known_are_refused():
    for shape in ((None, 3), OwnShape(None, 3), "23", (2.5, 3)):
        with pytest.raises(TypeError):
            static_shape(shape)
    with pytest.raises(ValueError):
        static_shape(OwnShape(-1, 3))


def test_without_a_layout_the_whole_is_drawn_once():
    boxes = []

    def draw(box):
        boxes.append(box)
        return counted(box)

    tensor = placed(draw, (2, 3), "float16", None)
    assert is_tensor(tensor)
    assert keras.backend.standardize_dtype(tensor.dtype) == "float16"
    assert as_array(tensor).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [(box.start, box.shape) for box in boxes] == [((0, 0), (2, 3))]


def test_a_layout_that_the_backend_does_not_have():
    if backend() == "jax":
        with pytest.raises(TypeError, match=r"layout = 'rows': expected a keras.distribution.TensorLayout"):
            placed(counted, (2, 3), "float32", "rows")
    else:
        with pytest.raises(ValueError, match=rf"layout = 'rows': the {backend()} backend of Keras has no layouts"):
            placed(counted, (2, 3), "float32", "rows")


def test_tensors_and_arrays_of_one_number_become_numbers():
    assert plain_number(keras.ops.convert_to_tensor(np.float32(2.5))) == 2.5
    assert isinstance(plain_number(keras.ops.convert_to_tensor(np.int32(2))), int)
    assert isinstance(plain_number(np.array(2.5)), float)
    assert plain_number("x") == "x"
    several = np.ones(1)
    assert plain_number(several) is several
    tensor = keras.ops.ones((1,))
    assert plain_number(tensor) is tensor
