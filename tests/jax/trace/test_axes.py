"""Axes followed through views: every claim against an array that holds the number of each of its own elements."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

from fanwise import Layout
from fanwise.jax.trace.axes import Axes, layout_in_storage, stacked_layout

VIEWS = {
    "transposed": ((4, 6), [("transpose", (1, 0))]),
    "turned around": ((2, 3, 4, 5), [("transpose", (3, 1, 0, 2))]),
    "split": ((12, 5), [("reshape", (3, 4, 5))]),
    "merged": ((3, 4, 5), [("reshape", (12, 5))]),
    "split and turned": ((12, 5), [("reshape", (3, 4, 5)), ("transpose", (1, 2, 0))]),
    "split and merged again": ((12, 5), [("reshape", (3, 4, 5)), ("reshape", (12, 5))]),
    "turned and merged": ((3, 4, 5), [("transpose", (1, 0, 2)), ("reshape", (12, 5))]),
    "with ones": ((4, 6), [("reshape", (1, 4, 1, 6))]),
    "ones squeezed out": ((4, 1, 6), [("squeeze", 1)]),
    "merged across": ((4, 6), [("reshape", (24,))]),
    "split across": ((4, 6), [("reshape", (2, 12))]),
    "repeated": ((4, 6), [("broadcast", ((3, 4, 6), (1, 2)))]),
    "repeated along a one": ((4, 1), [("broadcast", ((4, 5), (0, 1)))]),
    "cut": ((4, 6), [("cut", (0, 2))]),
    "split and cut": ((12, 5), [("reshape", (3, 4, 5)), ("cut", (1, 2))]),
}


def viewed(shape, steps):
    """What is claimed, and the array of the elements' numbers."""
    axes, array = Axes.of(shape), np.arange(np.prod(shape)).reshape(shape)
    for name, argument in steps:
        if name == "transpose":
            axes, array = axes.permuted(argument), array.transpose(argument)
        elif name == "reshape":
            axes, array = axes.reshaped(argument), array.reshape(argument)
        elif name == "squeeze":
            axes, array = axes.without([argument]), array.squeeze(argument)
        elif name == "broadcast":
            axes, array = axes.broadcast(*argument), _broadcast(array, *argument)
        else:
            axes, array = axes.cut(*argument), array.take(range(argument[1]), argument[0])
    return axes, array


def _broadcast(array, shape, places):
    wide = [1] * len(shape)
    for size, place in zip(array.shape, places, strict=True):
        wide[place] = size
    return np.broadcast_to(array.reshape(wide), shape)


def storage_axis(array, shape, axis):
    """The axis of storage that one of the array runs along, from its first to its last element, alone."""
    lines = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    moved = [i for i, places in enumerate(np.unravel_index(lines, shape)) if (places != places[:1]).any()]
    if len(moved) != 1 or array.shape[axis] != shape[moved[0]]:
        return None
    return moved[0] if (np.arange(shape[moved[0]]) == np.unravel_index(lines, shape)[moved[0]].T).all() else None


@pytest.mark.parametrize("name", VIEWS)
def test_extents_and_whole_axes(name):
    shape, steps = VIEWS[name]
    axes, array = viewed(shape, steps)
    assert tuple(axes.extent(axis) for axis in range(array.ndim)) == array.shape
    if "cut" in dict(steps):
        return  # what is left of an axis is told as the whole of a smaller one
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            assert axes.storage_axis(axis) == storage_axis(array, shape, axis), axis


def test_a_reshape_that_splits_no_axis_evenly_is_not_followed():
    assert Axes.of((6, 4)).reshaped((4, 6)) is None
    assert Axes.of((6, 4)).reshaped((24,)).reshaped((8, 3)) is None
    assert Axes.of((6, 4)).reshaped((2, 3, 4)) is not None


def test_two_views_of_one_array_are_equal_where_they_show_the_same():
    there = Axes.of((4, 6)).permuted((1, 0)).permuted((1, 0))
    assert there == Axes.of((4, 6))
    assert Axes.of((4, 6)).permuted((1, 0)) != there


STORED = {
    "as it is stored": ((8, 6), [], Layout.dense("in out"), "in out", (6,), 8),
    "transposed": ((6, 8), [("transpose", (1, 0))], Layout.dense("in out"), "out in", (6,), 8),
    "heads merged": ((32, 4, 8), [("reshape", (32, 32))], Layout.dense("in out"), "in out out", (32,), 32),
    "heads merged before": ((4, 8, 32), [("reshape", (32, 32))], Layout.dense("in out"), "in in out", (32,), 32),
}


@pytest.mark.parametrize("name", STORED)
def test_a_layout_told_in_storage(name):
    shape, steps, layout, roles, _, fan_in = STORED[name]
    found = layout_in_storage(layout, viewed(shape, steps)[0], shape)
    assert found.axes == tuple(roles.split())
    assert found.fans(shape).fan_in == fan_in


def test_three_maps_in_one_matrix():
    """(in, 3 out) seen as (in, 3, out), one map at a time: fans of one map, a third of the columns each."""
    axes = Axes.of((32, 48)).reshaped((32, 3, 16))
    found = layout_in_storage(Layout(("in", "stack", "out")), axes, (32, 48))
    assert found.axes == ("in", "out")
    assert [(fans.fan_in, fans.fan_out) for fans in found.block_fans((32, 48))] == [(32, 16)] * 3


def test_one_of_a_stack():
    axes = Axes.of((6, 32, 16)).without([0])
    found = layout_in_storage(Layout.dense("in out"), axes, (6, 32, 16))
    assert found.axes == ("stack", "in", "out")
    assert found.fans((6, 32, 16)).fan_in == 32


def test_inputs_and_outputs_in_one_axis_cannot_be_told():
    axes = Axes.of((48,)).reshaped((8, 6))
    assert layout_in_storage(Layout.dense("in out"), axes, (48,)) is None
    assert layout_in_storage(Layout.dense("in out"), None, (8, 6)) is None
    assert layout_in_storage(Layout.dense("in out"), Axes.of((8, 6, 2)), (8, 6, 2)) is None


def test_vectors_of_a_stack():
    assert stacked_layout(Axes.of((6, 16)).without([0]), (6, 16)) == Layout(("stack", "out"))
    assert stacked_layout(Axes.of((16,)), (16,)) is None
    assert stacked_layout(None, (6, 16)) is None
