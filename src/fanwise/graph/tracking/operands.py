"""Operands of a product of data: which of them is a weight that the model has made."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import MadeWeight
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.graph.tracking.views import ViewChain, runs_of
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape


@dataclass(frozen=True)
class Operand:
    """One factor of a product.

    Args:
        shape: of it.
        roles: of its axes: "in" and "kernel" are summed over, "out" is its own, "stack" is shared with the output.
        views: since the op that gave it; None where that is not known.
        fan_in: how many products an output value sums; None for those of the axes that are summed over.
    """

    shape: Shape
    roles: tuple[str, ...]
    views: ViewChain | None
    fan_in: float | None = None

    def extent(self, *roles: str) -> int:
        """How many values stand on the axes of some roles."""
        return math.prod(size for size, role in zip(self.shape, self.roles, strict=True) if role in roles)


def tied_fan(seen: tuple[Layout | None, Shape], stored: tuple[Layout | None, Shape]) -> float | None:
    """The fan_in of a weight whose values stand several times in what an op sees, or whose axes cannot be told apart.

    None where the layout of the parameter tells it.

    Args:
        seen: layout and shape of what the op sees.
        stored: of the parameter.
    """
    (layout, shape), (own, whole) = seen, stored
    if layout is None or len(layout.axes) != len(shape) or not {"in", "kernel"} & set(layout.axes):
        return None
    if own is not None and math.prod(shape) <= math.prod(whole):
        return None
    fan_in = float(layout.fans(shape).fan_in)
    return None if own is not None and own.block_fans(whole)[0].fan_in == fan_in else fan_in


def made_weight(
    operands: Sequence[Operand | None], ops: Sequence[Op], numbers: Callable[[ViewChain], NDArray[np.int32] | None]
) -> MadeWeight | None:
    """The operand that is a weight: features of one map stand on axes that are summed over and on axes that are made.

    A lookup by constant indices gives a weight whatever its axes: its table is tied by the indices.

    Args:
        operands: of a product, None for those that have no part in it.
        ops: so far.
        numbers: the number of the feature at each value that a chain of views shows; None where that cannot be told.
    """
    for position, operand in enumerate(operands):
        if operand is None or operand.views is None or len(operand.roles) != len(operand.shape):
            continue
        root, chain = ops[operand.views.root], _flat(operand.views, ops[operand.views.root])
        is_lookup = root.kind == OpKind.EMBEDDING
        if (is_lookup and root.inputs) or not (is_lookup or _may_hold(operand, chain)):
            continue
        shown = numbers(chain)
        if shown is None or shown.shape != operand.shape or not (is_lookup or _is_spread(shown, operand.roles)):
            continue
        runs = ((0, chain.extent),) if is_lookup else runs_of(shown, chain.extent)
        if runs is not None:
            fan_in = operand.fan_in or float(operand.extent("in", "kernel"))
            return MadeWeight(position, chain.root, runs, fan_in)
    return None


def _flat(chain: ViewChain, root: Op) -> ViewChain:
    """The chain with the features of a map that makes several axes of them, as a mixture of kernels, on one axis."""
    layouts = [use.layout for use in root.used(UseRole.WEIGHT) if use.layout is not None]
    made = layouts[0].axes.count("out") if layouts else 1
    if made < 2 or len(root.shape) < made or root.axis != -1:
        return chain
    shape = (*root.shape[:-made], math.prod(root.shape[-made:]))
    return replace(chain, shape=shape, axis=-1, steps=(partial(_reshaped, root.shape), *chain.steps))


def _reshaped(shape: Shape, numbers: Any) -> Any:
    return numbers.reshape(shape)


def _may_hold(operand: Operand, chain: ViewChain) -> bool:
    """Whether a map has features enough for a matrix of this size."""
    joined = chain.shape[0] if "kernel" in operand.roles else 1  # one grouped convolution for a whole batch
    return operand.extent("in", "kernel") > 1 and operand.extent("in", "kernel", "out") <= chain.extent * joined


def _is_spread(numbers: NDArray[np.int32], roles: Sequence[str]) -> bool:
    """Whether features differ along what is summed over, and along what is made, where that is more than one value."""
    summed = [axis for axis, role in enumerate(roles) if role in ("in", "kernel")]
    made = [axis for axis, role in enumerate(roles) if role == "out"]
    alone = all(numbers.shape[axis] == 1 for axis in made)
    return any(_differs(numbers, axis) for axis in summed) and (alone or any(_differs(numbers, axis) for axis in made))


def _differs(numbers: NDArray[np.int32], axis: int) -> bool:
    if numbers.strides[axis] == 0 or numbers.shape[axis] < 2:
        return False
    return bool((numbers != numbers.take([0], axis)).any())
