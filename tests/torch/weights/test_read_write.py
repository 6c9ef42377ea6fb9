"""`read` and `write`: a parameter's values as NumPy arrays, and back."""

import re

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

from ..traced import normal  # noqa: E402

DTYPES = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.bfloat16: ml_dtypes.bfloat16,
    torch.float8_e4m3fn: np.float32,
    torch.float8_e5m2: np.float32,
    torch.complex64: np.complex64,
    torch.complex128: np.complex128,
}


def held(tensor):
    model = nn.Module()
    model.register_parameter("w", nn.Parameter(tensor, requires_grad=False))
    return model


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(4, 5), (), (0, 3)])
def test_what_is_read_can_be_written(dtype, shape):
    model, other = held(normal(*shape).to(dtype)), held(torch.zeros(shape).to(dtype))
    values = fwt.read(model, "w")
    assert (values.dtype, values.shape) == (DTYPES[dtype], shape)
    fwt.write(other, "w", values)
    assert np.array_equal(fwt.read(other, "w"), values)
    assert torch.equal(other.w.to(torch.complex128), model.w.to(torch.complex128))


def test_what_is_read_is_a_copy():
    model = held(normal(3))
    fwt.read(model, "w")[:] = 7
    assert not (model.w == 7).any()


def test_memory_formats_do_not_matter():
    tensor = normal(2, 3, 4, 5).to(memory_format=torch.channels_last)
    model = held(tensor)
    assert np.array_equal(fwt.read(model, "w"), tensor.contiguous().numpy())
    values = np.arange(120.0).reshape(2, 3, 4, 5)
    fwt.write(model, "w", values)
    assert np.array_equal(fwt.read(model, "w"), values)
    assert model.w.is_contiguous(memory_format=torch.channels_last)


def test_conjugate_and_negative_views_are_read():
    tensor = torch.view_as_complex(normal(3, 2))
    assert np.array_equal(fwt.read(held(tensor.conj()), "w"), tensor.numpy().conj())
    assert np.array_equal(fwt.read(held(tensor.conj().imag), "w"), -tensor.numpy().imag)


def test_writing_keeps_the_parameter_and_moves_its_version():
    model = nn.Linear(3, 2)
    weight, version = model.weight, model.weight._version
    fwt.write(model, "weight", np.ones((2, 3), np.int64))
    assert model.weight is weight
    assert weight.requires_grad
    assert weight._version == version + 1
    assert bool((weight == 1).all())


@pytest.mark.parametrize("values", [True, 3, np.float64(2), np.float16(2), [[1, 2]], np.array([[np.nan, np.inf]])])
def test_all_kinds_of_real_numbers_are_taken(values):
    model = held(torch.zeros(np.shape(values)))
    fwt.write(model, "w", values)
    assert np.array_equal(fwt.read(model, "w"), np.asarray(values, np.float32), equal_nan=True)


def test_values_are_rounded_to_nearest_even():
    model = held(torch.zeros(3, dtype=torch.bfloat16))
    fwt.write(model, "w", np.array([1 + 2**-8, 1 + 3 * 2**-8, 1.0]))
    assert fwt.read(model, "w").astype(float).tolist() == [1.0, 1 + 2**-6, 1.0]


def test_names_that_do_not_exist():
    model = nn.Linear(3, 2)
    with pytest.raises(KeyError, match="no parameter 'wieght': the nearest are 'weight'"):
        fwt.read(model, "wieght")
    with pytest.raises(KeyError, match="no parameter 'w'"):
        fwt.write(nn.ReLU(), "w", np.zeros(3))


def test_tied_names_mean_one_parameter():
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    model[1].weight = model[0].weight
    fwt.write(model, "1.weight", np.eye(3))
    assert np.array_equal(fwt.read(model, "0.weight"), np.eye(3))


REFUSED = {
    "shape": (torch.zeros(3), np.zeros(4), ValueError, "values of shape (4,) for 'w', which has (3,)"),
    "text": (torch.zeros(3), np.array(["a", "b", "c"]), TypeError, "expected real numbers"),
    "objects": (torch.zeros(3), np.array([None] * 3), TypeError, "expected real numbers"),
    "complex": (torch.zeros(3), np.zeros(3, complex), TypeError, "expected real numbers"),
    "large": (torch.zeros(3).half(), np.array([0, 7e4, 0]), ValueError, "values for 'w' reach 7e+04, more than"),
    "large for float8": (torch.zeros(3).to(torch.float8_e4m3fn), np.full(3, 1e3), ValueError, "can hold (448)"),
    "large complex": (torch.zeros(3, dtype=torch.complex64), np.full(3, 1e40j), ValueError, "reach 1e+40"),
    "integers": (torch.zeros(3, dtype=torch.int8), np.zeros(3), TypeError, "has dtype torch.int8"),
    "meta": (torch.zeros(3, device="meta"), np.zeros(3), ValueError, "parameter 'w' is on the meta device"),
    "expanded": (torch.zeros(1).expand(3), np.zeros(3), ValueError, "share memory"),
    "sparse": (torch.zeros(3).to_sparse(), np.zeros(3), TypeError, "has layout torch.sparse_coo"),
}


@pytest.mark.parametrize(("tensor", "values", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_refused(tensor, values, error, message):
    model = held(tensor)
    version = model.w._version
    with pytest.raises(error, match=re.escape(message)):
        fwt.write(model, "w", values)
    assert model.w._version == version


@pytest.mark.parametrize(
    ("tensor", "error"), [(torch.zeros(3, device="meta"), ValueError), (torch.zeros(3).to_sparse(), TypeError)]
)
def test_what_has_no_values_cannot_be_read(tensor, error):
    with pytest.raises(error, match="parameter 'w'"):
        fwt.read(held(tensor), "w")


def test_fake_tensors_have_no_values():
    with FakeTensorMode():
        model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="or fake: it has no values"):
        fwt.read(model, "weight")


def test_models_that_are_none():
    with pytest.raises(TypeError, match="model = dict"):
        fwt.read({}, "w")
