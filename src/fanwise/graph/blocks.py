"""Parameters that a model uses part by part: the parts, seen together, tell the maps of one weight apart."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

from fanwise.graph.op import Op, Parameter, Use
from fanwise.laws.layout import Fused, Layout


class WeightParts:
    """The parts in which parameters are used, each alone: where they are seen together, they tell the maps apart.

    Args:
        parameters: of the model, by path.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        self._edges: dict[tuple[str, int], set[int]] = {}

    def see(self, path: str, parts: Iterable[tuple[int, int, int]]) -> None:
        """Remembers a use of parts of a parameter, each as axis, first and count."""
        for axis, first, count in parts:
            self._edges.setdefault((path, axis), set()).update((first, first + count))

    def with_parts(self, op: Op) -> Op:
        """The op with the parts in the layouts of its uses."""
        if not any(use.path == path for use in op.uses for path, _ in self._edges):
            return op
        return replace(op, uses=tuple(self._divided(use) for use in op.uses))

    def _divided(self, use: Use) -> Use:
        for (path, axis), edges in self._edges.items():
            if path == use.path and use.layout is not None and _is_divisible(use.layout, axis):
                whole = self._parameters[path].shape[axis]
                bounds = sorted({0, whole, *(edge for edge in edges if edge < whole)})
                sizes = tuple(end - start for start, end in pairwise(bounds))
                return replace(use, layout=replace(use.layout, fused=Fused(axis, sizes)))
        return use


def _is_divisible(layout: Layout, axis: int) -> bool:
    return layout.groups == 1 and layout.fused is None and layout.axes[axis] in ("in", "out")
