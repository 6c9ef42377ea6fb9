"""Weights seen as stacks of matrices, one for each group, expert or gate, and back."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanwise.laws.layout import Layout
from fanwise.laws.orthogonalize import Real, orthonormal_columns
from fanwise.stream.box import Shape
from fanwise.stream.formats import Array

F64 = NDArray[np.float64]

_RANK = {"stack": 0, "kernel": 1, "in": 2, "lookup": 2, "out": 3}


@dataclass(frozen=True)
class Canonical:
    """How a weight's axes are cut and ordered to become (stack, kernel, in, out).

    Args:
        shape: storage shape of the weight.
        expanded: the same with the grouped axis cut into (groups, channels of one group).
        order: storage axes of `expanded` in canonical order.
        matrices: the canonical shape; channel groups count as stack.
        window: extents of the kernel axes.
    """

    shape: Shape
    expanded: Shape
    order: tuple[int, ...]
    matrices: tuple[int, int, int, int]
    window: Shape

    @classmethod
    def of(cls, shape: Shape, layout: Layout) -> "Canonical":
        """The canonical order of a weight whose maps are not fused."""
        cut = layout.grouped if layout.groups != 1 else None
        axes: list[tuple[str, int]] = []
        for role, size in zip(layout.axes, shape, strict=True):
            groups = layout.group_count(shape)
            axes += [("stack", groups), (role, size // max(groups, 1))] if role == cut else [(role, size)]
        order = tuple(sorted(range(len(axes)), key=lambda axis: _RANK[axes[axis][0]]))
        extents = (math.prod(size for role, size in axes if _RANK[role] == rank) for rank in range(4))
        stack, kernel, inputs, outputs = extents
        window = tuple(size for role, size in axes if role == "kernel")
        return cls(shape, tuple(size for _, size in axes), order, (stack, kernel, inputs, outputs), window)

    def centre(self) -> int:
        """Index of the window's centre among the kernel positions; the later one of two."""
        return int(np.ravel_multi_index([size // 2 for size in self.window], self.window)) if self.window else 0

    def gather(self, weight: Array) -> Array:
        """The matrices of a weight of the storage shape."""
        return weight.reshape(self.expanded).transpose(self.order).reshape(self.matrices)

    def scatter(self, matrices: Array) -> Array:
        """The weight of these matrices, in the storage shape."""
        ordered = matrices.reshape([self.expanded[axis] for axis in self.order])
        return ordered.transpose(np.argsort(self.order)).reshape(self.shape)


def haar(gaussian: NDArray[Real]) -> NDArray[Real]:
    """Orthonormal matrices, uniform over all of them, from Gaussian ones.

    A product of random reflections, in the precision of the input and of the taller orientation; see
    `fanwise.laws.orthogonalize` for the method and for the law.

    Args:
        gaussian: shape (..., rows, columns), independent standard normal entries, float32 or float64.

    Returns:
        The same shape and dtype; the columns are orthonormal where rows >= columns, else the rows are. Entries
        are within 8 sqrt(max(rows, columns)) eps of the exact ones, those of Q^T Q within twice that, eps the dtype's.

    References:
        Stewart, "The efficient generation of random orthogonal matrices with an application to condition estimators",
        1980, section 3.
    """
    if gaussian.shape[-2] >= gaussian.shape[-1]:
        return orthonormal_columns(gaussian)
    return np.swapaxes(orthonormal_columns(np.swapaxes(gaussian, -2, -1)), -2, -1)
