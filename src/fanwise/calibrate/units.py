"""How the units of an op lie in its weight."""

import math
from dataclasses import dataclass

from fanwise.calibrate.tasks import Task
from fanwise.graph.kinds import SCALED_USES
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape


@dataclass(frozen=True)
class Spread:
    """How one number for each unit is spread over a parameter.

    Args:
        view: the shape in which the parameter is seen, of as many elements.
        units: the shape in which the numbers are seen: it broadcasts to `view`.
    """

    view: Shape
    units: Shape


def spread(trace: Trace, task: Task) -> Spread | None:
    """How the units of an op lie in the parameter that carries its scale.

    Returns:
        None where they cannot be scaled one by one: several axes of outputs, stacked maps, one parameter used in two
        layouts, a weight put together from several parameters, a bias of another size.
    """
    count = task.op.shape[task.op.axis] if task.op.shape else 0
    if len(task.weights) != 1 or not count or (task.bias and _size(trace, task.bias) != count):
        return None
    path = task.weights[0]
    shape = trace.by_path[path].shape
    uses = [use for _, use in trace.uses[path]]
    if any(use.role not in SCALED_USES for use in uses):  # the length of each row of a weight-normalised map
        return Spread(shape, shape) if len(uses) == 1 and math.prod(shape) == count else None
    layouts = {use.layout for use in uses}
    layout = layouts.pop()
    return None if layouts or layout is None else _of_layout(layout, shape, count)


def _of_layout(layout: Layout, shape: Shape, count: int) -> Spread | None:
    if layout.axes.count("out") != 1 or "stack" in layout.axes or len(layout.axes) != len(shape):
        return None
    axis = layout.axes.index("out")
    if shape[axis] == count:
        return Spread(shape, tuple(count if i == axis else 1 for i in range(len(shape))))
    if layout.groups == 0 and layout.axes[-2:] == ("in", "out") and shape[-2] * shape[-1] == count:
        return Spread(shape, (*(1 for _ in shape[:-2]), *shape[-2:]))
    groups = layout.group_count(shape)
    if layout.grouped != "in" or layout.axes[:2] != ("in", "out") or shape[1] * groups != count:
        return None
    rest = shape[2:]
    return Spread((groups, shape[0] // groups, *shape[1:]), (groups, 1, shape[1], *(1 for _ in rest)))


def _size(trace: Trace, path: str) -> int:
    return math.prod(trace.by_path[path].shape)
