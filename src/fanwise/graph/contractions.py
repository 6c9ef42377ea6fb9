"""Products with a parameter that are maps in fact: summed over an axis, or used as the weights of another map."""

from fanwise.graph.kinds import MOVING
from fanwise.graph.op import Op, OpKind, Parameter
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape

SUMS = frozenset({"sum", "reduce_sum"})
"""Reductions that add up; a mean divides by their number."""
WEIGHT_STEPS = frozenset({OpKind.NORM, OpKind.ELEMENTWISE, OpKind.SLICE})
"""What may stand between modulated weights and the map that they make."""


def layout_of_product(trace: Trace, op: Op, parameter: Parameter) -> Layout | None:
    """The layout of a parameter whose product with data is a linear map of these data; None where it is none.

    In sum_j a_j x_j, as in the attention vectors of a graph layer, what is summed over is the input of a map. In
    w_oik s_i, as in a modulated convolution, the product is the weight of one, and what s runs over is its input.

    Args:
        trace: of the model.
        op: the product.
        parameter: what takes part in it.
    """
    if op.kind != OpKind.SCALE or not op.reads or len(op.reads[0]) > len(op.shape):
        return None
    own, data = (_aligned(shape, len(op.shape)) for shape in (parameter.shape, op.reads[0]))
    if len(parameter.shape) > len(op.shape):
        return None
    summed = _summed_axes(trace, op)
    roles = _of_sum(own, data, summed) if summed else _of_weights(own, data) if _makes_weights(trace, op) else None
    return None if roles is None else Layout(tuple(roles[len(op.shape) - len(parameter.shape) :]))


def _aligned(shape: Shape, axes: int) -> Shape:
    return (1,) * (axes - len(shape)) + tuple(shape)


def _summed_axes(trace: Trace, op: Op) -> tuple[int, ...]:
    """The axes that a sum right after an op takes away; () where none follows alone."""
    reader = trace.after(op, {OpKind.REDUCE}, MOVING)
    if reader is None or reader.name not in SUMS or len(trace.follows(op)) != 1:
        return ()
    if len(reader.shape) == len(op.shape):
        return tuple(i for i, (a, b) in enumerate(zip(op.shape, reader.shape, strict=True)) if a > 1 and b == 1)
    gone = len(op.shape) - len(reader.shape)
    for first in reversed(range(len(reader.shape) + 1)):
        if (*op.shape[:first], *op.shape[first + gone :]) == tuple(reader.shape):
            return tuple(range(first, first + gone))
    return ()


def _of_sum(own: Shape, data: Shape, summed: tuple[int, ...]) -> list[str] | None:
    roles = ["stack" if extent > 1 and given > 1 else "out" for extent, given in zip(own, data, strict=True)]
    inner = [axis for axis in summed if own[axis] > 1]
    for axis in inner:
        roles[axis] = "in"
    return roles if inner else None


def _makes_weights(trace: Trace, op: Op) -> bool:
    """Whether nothing reads a product as data: it is the weight of a map, whose data are another operand."""
    queue, seen = [op], {op.index}
    while queue:
        here = queue.pop()
        if here.index in trace.outputs:
            return False
        for reader in trace.follows(here):
            if reader.kind in (OpKind.CONV, OpKind.CONV_TRANSPOSE, OpKind.MATMUL) and reader.inputs[0] != here.index:
                continue
            if reader.kind == OpKind.REDUCE:
                continue  # of the norm that it is divided by
            if reader.kind not in WEIGHT_STEPS:
                return False
            if reader.index not in seen:
                seen.add(reader.index)
                queue.append(reader)
    return True


def _of_weights(own: Shape, data: Shape) -> list[str] | None:
    """The axis that the data run along is the input, the larger one beside it the output, others are the window."""
    inner = [axis for axis, (extent, given) in enumerate(zip(own, data, strict=True)) if extent > 1 and given == extent]
    if len(inner) != 1 or sum(extent > 1 for extent in own) < 2:
        return None
    axis = inner[0]
    beside = [near for near in (axis - 1, axis + 1) if 0 <= near < len(own)]
    outer = max(beside, key=lambda near: own[near])
    roles = ["kernel" if extent > 1 else "out" for extent in own]
    roles[axis], roles[outer] = "in", "out"
    return roles
