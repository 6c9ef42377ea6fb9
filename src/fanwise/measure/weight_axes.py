"""Which axes of a weight count its units, and where the maps lie that it holds: from its shape and layout alone."""

import math
from collections.abc import Mapping

from fanwise.graph.op import UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Fused, Layout


def unit_layout(trace: Trace, path: str) -> Layout | None:
    """The layout of a parameter's axes as a map, or of the gates of a bias; None where it has neither."""
    layout = next((use.layout for _, use in trace.uses[path] if use.layout is not None), None)
    gated = (op.gates for op, use in trace.uses[path] if use.role in (UseRole.BIAS, UseRole.STATE_BIAS))
    gates = next((count for count in gated if count > 1), 1)
    if layout is not None or gates == 1:
        return layout
    rest = len(trace.by_path[path].shape) - 1  # Keras' GRU has two biases in one
    return Layout((*("stack",) * rest, "out"), fused=Fused(rest, (), gates))


def unit_order(shape: tuple[int, ...], layout: Layout | None) -> tuple[list[int], list[int]] | None:
    """The axes that count the units of a map, and those of a unit's incoming weights.

    Args:
        shape: of the weight.
        layout: roles of its axes; without it the units of a matrix lie along the first axis.

    Returns:
        None for what is no map: vectors, tables, and a grouped map stored by its inputs.
    """
    out = _unit_axes(shape, layout)
    rest = [axis for axis in range(len(shape)) if axis not in out]
    return (out, rest) if out and len(shape) > 1 else None


def _unit_axes(shape: tuple[int, ...], layout: Layout | None) -> list[int]:
    if layout is None:
        return [0]
    turned = layout.grouped == "in" and layout.group_count(shape) > 1
    if turned or "lookup" in layout.axes or len(shape) != len(layout.axes):
        return []
    return [axis for axis, role in enumerate(layout.axes) if role in ("stack", "out")]


def row_order(shape: tuple[int, ...], layout: Layout | None) -> tuple[list[int], list[int]] | None:
    """The axes that count the rows of a table, and those of a row; None for what is no table."""
    if layout is None or "lookup" not in layout.axes or len(shape) != len(layout.axes):
        return None
    rows = [axis for axis, role in enumerate(layout.axes) if role == "lookup"]
    rest = [axis for axis in range(len(shape)) if axis not in rows]
    return (rows, rest) if rest else None


MOST_ROWS = 1024
"""Rows of a table that are compared with each other."""
LARGEST_STACK = 1 << 24
"""Values of a stack beyond which its maps are not compared each with its own size."""


def axes_of_a_map(shape: tuple[int, ...], layout: Layout | None) -> tuple[int, ...]:
    """The axes of one map of a stack, whose maps may be drawn with stds of their own; () where there is no stack."""
    if layout is None or len(layout.axes) != len(shape) or math.prod(shape) > LARGEST_STACK:
        return ()
    own = tuple(axis for axis, role in enumerate(layout.axes) if role != "stack")
    return own if len(own) < len(shape) else ()


def first_map(shape: tuple[int, ...], layout: Layout | None) -> Mapping[int, int]:
    """The extents, by axis, that cut one map out of a stack, of the maps of a fused weight, of a convolution's groups.

    Axes that are left out stay whole.
    """
    if layout is None or len(shape) != len(layout.axes):
        return {}
    sizes = {axis: 1 for axis, role in enumerate(layout.axes) if role == "stack"}
    if layout.groups > 1 and layout.grouped == "out":
        axis = layout.axes.index("out")
        sizes[axis] = shape[axis] // layout.groups
    blocks = block_extents(shape, layout)
    if layout.fused is not None and blocks:
        sizes[layout.fused.axis] = max(blocks[0], 1)
    return {axis: min(size, shape[axis]) for axis, size in sizes.items()}


def block_extents(shape: tuple[int, ...], layout: Layout | None) -> list[int]:
    """How many units each map of a fused weight has along the fused axis; [] where they do not fill it."""
    if layout is None or layout.fused is None or layout.fused.axis >= len(shape):
        return []
    try:
        return list(layout.fused.extents(shape[layout.fused.axis]))
    except ValueError:
        return []
