"""A layout that an op tells in the axes of the tensor that it was given, in the axes of the parameter behind it."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from fanwise.laws.layout import Fused, Layout
from fanwise.torch.trace.provenance import Axes, Provenance


def layout_in_storage(
    layout: Layout, held: Provenance, which: int, shapes: tuple[Sequence[int], Tensor]
) -> Layout | None:
    """A layout in a view's axes, told in the axes of one of the parameters that the view holds.

    Args:
        layout: in the axes of the view.
        held: what the view holds.
        which: the parameter, an index into `held.paths`.
        shapes: the shape of the parameter, and the view.

    Returns:
        None where it cannot be told.
    """
    (shape, view), axes = shapes, held.axes[which]
    if len(layout.axes) != len(axes) or not shape:
        return None
    if layout.groups == 1 and view.shape == shape and axes == tuple(range(len(shape))):
        return _checked(layout, shape)  # the parameter itself
    cover = _covered(axes, view.shape, shape)
    roles = tuple(_role(layout, cover[axis], extent, axes) for axis, extent in enumerate(shape))
    if not _fits(layout, roles):
        return None
    fused = layout.fused if roles == layout.axes and held.axes[which] == tuple(range(len(shape))) else None
    fused = fused or _stacked(layout, cover, view.shape)
    fused = None if layout.groups != 1 else fused
    return _checked(replace(layout, axes=roles, fused=fused), shape)


def _covered(axes: Axes, view: Sequence[int], shape: Sequence[int]) -> list[list[int]]:
    """The axes of the view that lie on each axis of the parameter, or that it is merged into."""
    cover: list[list[int]] = [[i for i, stored in enumerate(axes) if stored == axis] for axis in range(len(shape))]
    for i, stored in enumerate(axes):
        if stored is None:
            continue
        extent, before = shape[stored], stored - 1
        while extent < view[i] and before >= 0 and not cover[before]:
            cover[before] = [i]
            extent, before = extent * shape[before], before - 1
    return cover


def _role(layout: Layout, shown: Sequence[int], extent: int, axes: Axes) -> str:
    """The role of an axis that the view shows; of one that it does not: a stack, or any axis of size 1."""
    roles = [layout.axes[i] for i in shown]
    if roles:
        return next((role for role in roles if role != "stack"), "stack")
    hidden = [layout.axes[i] for i, stored in enumerate(axes) if stored is None]
    return hidden[0] if extent == 1 and hidden else "stack"


def _fits(layout: Layout, roles: Sequence[str]) -> bool:
    """Whether nothing is lost: all of the window, and what counts the groups."""
    if roles.count("kernel") != layout.axes.count("kernel"):
        return False
    return layout.groups == 1 or (roles.count("in"), roles.count("out")) == (1, 1)


def _stacked(layout: Layout, cover: Sequence[Sequence[int]], view: Sequence[int]) -> Fused | None:
    """An axis that a view cuts into a stack of maps: they follow each other along it."""
    for axis, shown in enumerate(cover):
        stacks = [i for i in shown if layout.axes[i] == "stack"]
        if len(stacks) == 1 and len(shown) > 1 and stacks[0] == shown[0]:
            return Fused(axis, (), view[stacks[0]])
    return None


def _checked(layout: Layout, shape: Sequence[int]) -> Layout | None:
    try:
        layout.checked(tuple(shape))
    except ValueError:
        return None
    return layout
