"""Which features of a weight op a view of its output holds: the views are replayed on the features' numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Runs, Slicing
from fanwise.graph.op import OpKind
from fanwise.graph.tracking.call import Call
from fanwise.stream.box import Shape


@dataclass(frozen=True)
class ViewChain:
    """The views since an op whose features are counted.

    Args:
        root: index of the op.
        shape: of its output.
        axis: of its features.
        steps: the views, each a function of an array that gives None where it cannot be followed.
        peers: ops whose outputs were added to that of the root before any view, feature by feature.
    """

    root: int
    shape: Shape
    axis: int
    steps: tuple[Callable[[Any], Any], ...] = ()
    peers: tuple[int, ...] = ()

    @property
    def extent(self) -> int:
        """How many features the op has."""
        return self.shape[self.axis]

    def then(self, step: Callable[[Any], Any]) -> "ViewChain":
        """The chain with one view more."""
        return replace(self, steps=(*self.steps, step))

    def numbers(self) -> NDArray[np.int32]:
        """The number of the feature at each value of the op's output."""
        sizes = [1] * len(self.shape)
        sizes[self.axis] = self.extent
        return np.broadcast_to(np.arange(self.extent, dtype=np.int32).reshape(sizes), self.shape)

    def replayed(self, numbers: Any) -> Any:
        """The views applied to an array in place of the op's output; None where one of them cannot be followed."""
        for step in self.steps:
            if numbers is None:
                return None
            numbers = step(numbers)
        return numbers


def runs_of(numbers: NDArray[Any], extent: int) -> Runs | None:
    """The features whose numbers stand in an array, of so many; None where it is empty."""
    if numbers.size == 0:
        return None
    present = np.zeros(extent + 2, np.int8)
    present[np.unique(numbers) + 1] = 1
    edges = np.flatnonzero(present[1:] != present[:-1]).tolist()
    return tuple((first, last - first) for first, last in zip(edges[::2], edges[1::2], strict=True))


def selection_of(chain: ViewChain, runs: Runs | None) -> Call[Any] | None:
    """The op that a view is which leaves features out; None where all are left, or where that is not known.

    Args:
        chain: with the view.
        runs: the features that are left.
    """
    if runs is None or runs == ((0, chain.extent),):
        return None
    return Call(OpKind.SLICE, (), (), -1, Slicing(chain.root, runs, chain.peers))
