"""Weights seen as stacks of matrices, one for each group, expert or gate, and back."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape

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

    def gather(self, weight: F64) -> F64:
        """The matrices of a weight of the storage shape."""
        return weight.reshape(self.expanded).transpose(self.order).reshape(self.matrices)

    def scatter(self, matrices: F64) -> F64:
        """The weight of these matrices, in the storage shape."""
        ordered = matrices.reshape([self.expanded[axis] for axis in self.order])
        return ordered.transpose(np.argsort(self.order)).reshape(self.shape)


def haar(gaussian: F64) -> F64:
    """Orthonormal matrices, uniform over all of them, from Gaussian ones.

    QR of the taller orientation with the signs of R's diagonal moved into Q; without that the law is not uniform.

    Args:
        gaussian: shape (..., rows, columns), independent standard normal entries.

    Returns:
        The same shape; the columns are orthonormal where rows >= columns, else the rows are.

    References:
        Mezzadri, "How to generate random matrices from the classical compact groups", 2007, section 5.
    """
    wide = gaussian.shape[-2] < gaussian.shape[-1]
    q, r = np.linalg.qr(np.swapaxes(gaussian, -2, -1) if wide else gaussian)
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    q = q * signs[..., None, :]
    return np.swapaxes(q, -2, -1) if wide else q
