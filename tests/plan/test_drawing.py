"""The numbers of a row, in storage order and counted canonically, whole and part by part."""

import numpy as np
import pytest

from fanwise import Box, Constant, Key, Layout, Normal, Orthogonal, he_normal
from fanwise.plan.row import Row
from fanwise.plan.row_values import check_row, row_values

CONV = Layout.conv("out in kernel kernel")


def row(law=he_normal, layout=CONV, shape=(8, 4, 3, 3), **options):
    return Row("net.w", shape, "float32", law, layout, "weight", "conv", "why", **options)


def test_a_row_is_its_law_on_the_stream_of_its_path():
    assert np.array_equal(
        row_values(row(), Key(3), "float32"), he_normal((8, 4, 3, 3), key=Key(3, "net.w"), layout=CONV)
    )
    named = row_values(row(stream="other"), Key(3), "float32")
    assert np.array_equal(named, he_normal((8, 4, 3, 3), key=Key(3, "other"), layout=CONV))


def test_canonical_order_is_the_same_for_every_storage():
    kernel_last = row_values(row(order="canonical"), Key(3), "float32")
    other = row(layout=Layout.conv("kernel kernel in out"), shape=(3, 3, 4, 8), order="canonical")
    assert np.array_equal(kernel_last.transpose(2, 3, 1, 0), row_values(other, Key(3), "float32"))


@pytest.mark.parametrize("order", ["storage", "canonical"])
@pytest.mark.parametrize("law", [he_normal, Orthogonal(1.0)])
def test_a_part_is_a_part_of_the_whole(law, order):
    whole, box = row_values(row(law, order=order), Key(1), "float32"), Box((2, 1, 0, 1), (4, 2, 3, 2))
    assert np.array_equal(row_values(row(law, order=order), Key(1), "float32", box), whole[box.slices()])


def test_a_factor_multiplies_before_the_dtype_rounds():
    values = row_values(row(factor=1.5), Key(1), "float16")
    exact = he_normal((8, 4, 3, 3), key=Key(1, "net.w"), layout=CONV) * np.float32(1.5)
    assert np.array_equal(values, exact.astype(np.float16))


def test_what_a_dtype_cannot_hold_is_refused_before_it_is_drawn():
    with pytest.raises(ValueError, match=r"parameter 'net\.w': .* more than float16 can hold"):
        check_row(row(Normal(70000.0)), "float16")
    with pytest.raises(ValueError, match=r"parameter 'net\.w': values reach 9e\+04, more than float16"):
        check_row(row(Constant(3e4), factor=3.0), "float16")
    with pytest.raises(TypeError, match=r"parameter 'net\.w': .* expected one of float64"):
        check_row(row(), "int32")
    check_row(row(), "bfloat16")
    with pytest.raises(ValueError, match="has no law"):
        row_values(row(None), Key(0), "float32")
