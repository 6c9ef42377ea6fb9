"""A layout in the axes of a view, in the axes of the parameter behind it."""

import pytest

torch = pytest.importorskip("torch")

from fanwise.laws.layout import Fused, Layout  # noqa: E402
from fanwise.torch.trace.provenance import Provenance  # noqa: E402
from fanwise.torch.trace.stored_layout import layout_in_storage  # noqa: E402

OUT_IN = Layout.dense("out in")


def stored(layout, axes, shape, view):
    held = Provenance(("w",), (axes,))
    return layout_in_storage(layout, held, 0, (shape, torch.empty(view, device="meta")))


def test_the_parameter_itself():
    assert stored(OUT_IN, (0, 1), (5, 3), (5, 3)) == OUT_IN


def test_a_transposed_view():
    assert stored(OUT_IN, (1, 0), (3, 5), (5, 3)) == Layout.dense("in out")


def test_one_map_of_a_stack():
    assert stored(OUT_IN, (1, 2), (4, 5, 3), (5, 3)).axes == ("stack", "out", "in")


def test_a_window_that_was_left_out_has_no_layout():
    assert stored(Layout.conv("out in kernel"), (0, 1, None), (5, 3), (5, 3, 1)) is None


def test_an_axis_of_size_one_takes_the_role_that_the_view_added():
    assert stored(Layout.dense("in out"), (None, 0), (5, 1), (1, 5)).axes == ("out", "in")


def test_merged_axes_share_a_role():
    assert stored(OUT_IN, (1, 2), (2, 4, 3), (8, 3)).axes == ("out", "out", "in")


def test_maps_that_follow_each_other_along_an_axis():
    layout = stored(Layout(("stack", "out", "in")), (0, 0, 1), (6, 5), (3, 2, 5))
    assert layout.axes == ("out", "in")
    assert layout.fused == Fused(0, (), 3)


def test_the_fused_maps_of_a_parameter_stay_in_its_own_axes():
    fused = OUT_IN.fuse(0, 3)
    assert stored(fused, (0, 1), (6, 5), (6, 5)) == fused
    turned = stored(fused, (1, 0), (5, 6), (6, 5))
    assert turned.axes == ("in", "out")
    assert turned.fused is None


def test_groups_need_both_axes():
    grouped = Layout.conv("out in kernel", groups=2)
    assert stored(grouped, (0, 1, 2), (4, 3, 5), (4, 3, 5)).groups == 2
    assert stored(grouped, (1, None, 2), (4, 4, 5), (4, 1, 5)) is None


def test_a_layout_of_other_axes_or_a_number_has_none():
    assert stored(OUT_IN, (0,), (5,), (5,)) is None
    assert stored(OUT_IN, (None, None), (), (1, 1)) is None


def test_the_second_parameter_of_a_view():
    held = Provenance(("a", "b"), ((0, 1), (1, 0)), sides=(None, None))
    layout = layout_in_storage(OUT_IN, held, 1, ((3, 5), torch.empty(5, 3, device="meta")))
    assert layout == Layout.dense("in out")
