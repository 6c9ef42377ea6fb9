"""The numbers of one row in one tensor, and what is refused before anything is drawn."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fanwise.laws.elementwise import Constant, Normal, Uniform  # noqa: E402
from fanwise.laws.layout import Layout  # noqa: E402
from fanwise.laws.structured import Orthogonal  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402
from fanwise.stream.key import Key  # noqa: E402
from fanwise.torch.weights.draw_row import check_numbers, check_row, draw_row_  # noqa: E402

KEY = Key(3)


def row(law=Normal(1.0), shape=(40, 30), **more):  # noqa: B008
    return Row("w", shape, "float32", law, Layout.dense("out in"), "weight", "linear", "By hand.", **more)


def drawn(given, dtype=torch.float32):
    tensor = torch.empty(given.shape, dtype=dtype)
    draw_row_(tensor, given, KEY)
    return tensor


def test_the_stream_is_that_of_the_path_or_the_one_that_is_named():
    expected = Normal(1.0)((40, 30), key=KEY.child("w"))
    assert np.array_equal(drawn(row()).numpy(), expected)
    other = Normal(1.0)((40, 30), key=KEY.child("other"))
    assert np.array_equal(drawn(row(stream="other")).numpy(), other)


def test_a_factor_multiplies_what_is_drawn():
    assert torch.equal(drawn(row(factor=3.0)), drawn(row()) * 3.0)


def test_the_canonical_order_counts_inputs_first():
    canonical = drawn(row(order="canonical"))
    assert np.array_equal(canonical.numpy().T, Normal(1.0)((30, 40), key=KEY.child("w")))


def test_a_view_is_filled_in_its_own_memory():
    base = torch.zeros(40, 60)
    draw_row_(base[:, ::2], row(), KEY)
    assert torch.equal(base[:, ::2], drawn(row()))
    assert not base[:, 1::2].any()


def test_complex_numbers_have_the_size_of_the_law():
    tensor = drawn(row(), torch.complex64)
    assert torch.allclose(tensor.real, drawn(row()) / math.sqrt(2), rtol=1e-6)
    assert tensor.abs().square().mean().item() == pytest.approx(1.0, rel=0.1)
    assert abs((tensor.real * tensor.imag).mean().item()) < 0.06
    imaginary = Normal(1 / math.sqrt(2))((40, 30), key=KEY.child("w").derive("imaginary"))
    assert np.array_equal(tensor.imag.numpy(), imaginary)


def test_constants_are_real():
    tensor = drawn(row(Constant(2.0)), torch.complex64)
    assert tensor.real.eq(2.0).all()
    assert tensor.imag.eq(0.0).all()


def test_complex_uniform_numbers_and_matrices():
    tensor = drawn(row(Uniform(1.0)), torch.complex64)
    assert tensor.abs().square().mean().item() == pytest.approx(1 / 3, rel=0.1)
    with pytest.raises(ValueError, match="for a complex parameter: expected one that draws each element alone"):
        check_numbers(torch.complex64, row(Orthogonal()))


def test_what_a_dtype_cannot_hold():
    with pytest.raises(ValueError, match="parameter 'w'"):
        check_numbers(torch.float16, row(Normal(1e5)))
    with pytest.raises(ValueError, match="all would be stored as 0"):
        check_numbers(torch.float16, row(Uniform(1e-3), factor=1e-6))
    check_numbers(torch.float32, row(Normal(1e5)))
    with pytest.raises(TypeError, match=r"parameter 'w' has dtype torch.int32: expected one of torch.float"):
        check_numbers(torch.int32, row())


def test_tensors_that_cannot_be_written():
    with pytest.raises(ValueError, match="'w' is a conjugate view of other memory"):
        check_row(torch.ones(40, 30, dtype=torch.complex64).conj(), row())
    with pytest.raises(ValueError, match="parameter 'w'"):
        check_row(torch.ones(1, 30).expand(40, 30), row())
    tensor = torch.zeros(40, 30)
    check_row(tensor, row())
    assert not tensor.any()


def test_a_row_without_a_law():
    with pytest.raises(ValueError, match="parameter 'w' has no law"):
        check_row(torch.ones(40, 30), row(None))
