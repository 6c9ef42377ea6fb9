"""Which maps of a model are frozen: what it does was settled before this training, and what is trained joins it."""

import math

from fanwise.graph.kinds import LINEAR_MAPS, MAP_USES
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace

STOPS_GRADIENT = frozenset({"detach", "stop_gradient"})
"""Functions that keep the values and let no gradient back."""
MOVES = frozenset({"t", "transpose", "permute", "reshape", "view", "contiguous", "clone", "to", "squeeze", "unsqueeze"})
"""Functions beside them that change no value: a weight that passes others too is trained on another way."""


def stops_gradient(use: Use) -> bool:
    """Whether a parameter is used behind a function that lets no gradient back to it, as it is or in what is made."""
    steps = set(use.steps)
    return use.stopped or (bool(steps & STOPS_GRADIENT) and steps <= STOPS_GRADIENT | MOVES)


class FrozenMaps:
    """Answers about the frozen maps of a trace.

    Args:
        trace: of a run.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.indices = frozenset(op.index for op in trace.ops if self._holds_frozen(op))

    def is_trained(self, use: Use) -> bool:
        """Whether this use of a parameter trains it."""
        return self._trace.by_path[use.path].trained and not stops_gradient(use)

    def feeds(self, index: int) -> bool:
        """Whether a frozen map is among the maps that an op's values come from, by way of no other map."""
        return bool(self.sources(index) & self.indices)

    def sources(self, index: int) -> frozenset[int]:
        """The nearest maps that an op's values come from; the op itself, where it is a map."""
        seen: set[int] = set()
        maps: set[int] = set()
        queue = [index]
        while queue:
            here = queue.pop()
            if here == INPUT or here in seen:
                continue
            seen.add(here)
            if is_map(self._trace.ops[here]) or here in self.indices:
                maps.add(here)
            else:
                queue.extend(self._trace.ops[here].inputs)
        return frozenset(maps)

    def weigh(self) -> tuple[int, int]:
        """Numbers in the frozen maps of the model, and in the trained ones."""
        frozen, trained = 0, 0
        for op in self._trace.ops:
            uses = [use for use in op.uses if use.role in MAP_USES]
            frozen += _extent(op) if op.index in self.indices and not uses else 0
        for path, uses_of in self._trace.uses.items():
            if any(use.role in MAP_USES for _, use in uses_of):
                size = math.prod(self._trace.by_path[path].shape)
                is_trained = any(self.is_trained(use) for _, use in uses_of)
                frozen, trained = frozen + size * (not is_trained), trained + size * is_trained
        return frozen, trained

    def _holds_frozen(self, op: Op) -> bool:
        if op.kind == OpKind.EMBEDDING:  # of data; positions that are counted say nothing of a base
            return bool(op.inputs) and any(not self.is_trained(use) for use in op.used(UseRole.TABLE))
        uses = [use for use in op.uses if use.role in MAP_USES]
        if uses:
            return op.kind in LINEAR_MAPS and any(not self.is_trained(use) for use in uses)
        return is_map(op)  # by a constant: a buffer, an array that the model closes over


def is_map(op: Op) -> bool:
    """Whether an op is a linear map of data, by parameters or by a constant that sums over features."""
    return op.kind in LINEAR_MAPS or (op.kind == OpKind.MATMUL and len(op.inputs) == 1 and _sums_features(op))


def _sums_features(op: Op) -> bool:
    """Whether a product with a constant sums over the last axis of what it reads, as a weight does.

    The adjacency of a graph, a matrix that pools or resamples: these sum over places, and are no weights. Where both
    axes have one size, the product is not taken for a weight.
    """
    read = op.reads[0] if op.reads else ()
    if not read or read[-1] != op.width:
        return False
    sums_places = len(read) > 1 and read[-2] == op.width and op.shape[-1:] == read[-1:]
    return not sums_places


def _extent(op: Op) -> int:
    """About how many numbers a constant map holds."""
    inputs = op.reads[0][op.axis] if op.reads and op.reads[0] else 1
    return int(inputs * (op.shape[op.axis] if op.shape else 1))
