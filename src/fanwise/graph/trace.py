"""What a model does: its operations in order, the parameters that each uses, and what feeds and follows it."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar, cast

from fanwise.graph.kinds import AT_ONCE, KEEPS_FEATURES, TO_NONLINEARITY, TRANSPARENT, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use
from fanwise.graph.paths import Targets, ancestors, nearest_after, nearest_before
from fanwise.graph.residual import Join, joins_of
from fanwise.graph.states import State, states_of, sums_filled
from fanwise.stream.box import Shape

Result = TypeVar("Result")


@dataclass(frozen=True)
class Trace:
    """A model's run.

    Args:
        ops: in order of execution.
        parameters: every parameter, used or not, in the model's order.
        outputs: the ops whose results the model returns.
        unseen: in words, what an adapter could not look into, or did not.
    """

    ops: tuple[Op, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[int, ...] = ()
    unseen: tuple[str, ...] = ()

    @cached_property
    def by_path(self) -> Mapping[str, Parameter]:
        """Parameters by path and by alias."""
        names = {parameter.path: parameter for parameter in self.parameters}
        names |= {alias: parameter for parameter in self.parameters for alias in parameter.aliases}
        return MappingProxyType(names)

    @cached_property
    def uses(self) -> Mapping[str, tuple[tuple[Op, Use], ...]]:
        """Every use of every parameter, in order."""
        uses_by_path: dict[str, list[tuple[Op, Use]]] = {parameter.path: [] for parameter in self.parameters}
        for op in self.ops:
            for use in op.uses:
                uses_by_path[use.path].append((op, use))
        return MappingProxyType({path: tuple(uses) for path, uses in uses_by_path.items()})

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Parameters that no op used."""
        return tuple(path for path, uses in self.uses.items() if not uses)

    @cached_property
    def followers(self) -> tuple[tuple[int, ...], ...]:
        """For each op, the ops that read it."""
        readers: list[list[int]] = [[] for _ in self.ops]
        for op in self.ops:
            for source in dict.fromkeys(op.inputs):
                if source >= 0:
                    readers[source].append(op.index)
        return tuple(tuple(indices) for indices in readers)

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """For each op, the axis of its features: after a convolution that of its channels, until a map comes."""
        forms: list[tuple[Shape, int]] = []
        for op in self.ops:
            before = forms[op.inputs[0]] if op.inputs and op.inputs[0] >= 0 else None
            forms.append((op.shape, feature_axis(op, op.shape, before)))
        return tuple(axis for _, axis in forms)

    @cached_property
    def joins(self) -> tuple[Join, ...]:
        """Residual connections, in order."""
        return joins_of(self.ops)

    @cached_property
    def states(self) -> tuple[State, ...]:
        """Sums over time among them."""
        return states_of(self.ops, self.joins)

    @cached_property
    def filled(self) -> Mapping[int, State]:
        """The states that begin at zero, by the adds of each."""
        return MappingProxyType(sums_filled(self.states))

    @cached_property
    def of_data(self) -> frozenset[int]:
        """The ops that depend on the model's inputs."""
        return self._fed_by(lambda op: INPUT in op.inputs)

    @cached_property
    def of_maps(self) -> frozenset[int]:
        """The ops that weights lead to, their own ops among them."""
        return self._fed_by(lambda op: op.kind in WEIGHTED)

    def _fed_by(self, begins: Callable[[Op], bool]) -> frozenset[int]:
        """Ops at which something begins, and all that depend on them."""
        fed: set[int] = set()
        for op in self.ops:
            if begins(op) or not fed.isdisjoint(op.inputs):
                fed.add(op.index)
        return frozenset(fed)

    def once(self, work: Callable[["Trace"], Result]) -> Result:
        """What a function says of the whole trace, worked out when it is asked for the first time."""
        if work not in self._answers:
            self._answers[work] = work(self)
        return cast(Result, self._answers[work])

    @cached_property
    def _answers(self) -> dict[Callable[["Trace"], object], object]:
        return {}

    def feeds(self, op: Op) -> tuple[Op, ...]:
        """The ops that an op reads."""
        return tuple(self.ops[source] for source in op.inputs if source >= 0)

    def follows(self, op: Op) -> tuple[Op, ...]:
        """The ops that read an op."""
        return tuple(self.ops[reader] for reader in self.followers[op.index])

    def before(self, op: Op, kinds: AbstractSet[OpKind], through: AbstractSet[OpKind]) -> Op | None:
        """The nearest op of these kinds that feeds an op, by way of `through` only, along first inputs."""
        wanted = frozenset(kinds), frozenset(through)
        if wanted not in self._before:
            self._before[wanted] = nearest_before(self.ops, *wanted)
        source = next((source for source in op.inputs if source >= 0), None)
        return None if source is None else self._before[wanted][source]

    def after(self, op: Op, kinds: AbstractSet[OpKind], through: AbstractSet[OpKind]) -> Op | None:
        """The nearest op of these kinds that follows an op, by way of `through` only."""
        wanted = frozenset(kinds), frozenset(through)
        if wanted not in self._after:
            self._after[wanted] = nearest_after(self.ops, self.followers, *wanted)
        return self._after[wanted][op.index]

    @cached_property
    def _before(self) -> dict[tuple[frozenset[OpKind], frozenset[OpKind]], Targets]:
        """What was asked of `before`, for all ops: asked of each op of a stream, ways would be walked many times."""
        return {}

    @cached_property
    def _after(self) -> dict[tuple[frozenset[OpKind], frozenset[OpKind]], Targets]:
        return {}

    def nonlinearity_before(self, op: Op) -> str | None:
        """Name of the nonlinearity that feeds an op, None where there is none."""
        activation = self.before(op, {OpKind.ACTIVATION}, TRANSPARENT)
        return None if activation is None else str(activation.nonlinearity)

    def nonlinearity_after(self, op: Op) -> str | None:
        """Name of the nonlinearity that an op feeds, None where there is none."""
        activation = self.after(op, {OpKind.ACTIVATION}, TO_NONLINEARITY)
        return None if activation is None else str(activation.nonlinearity)

    def norm_after(self, op: Op) -> Op | None:
        """The normalisation that an op feeds before anything else mixes or adds to it, None where there is none."""
        return self.after(op, {OpKind.NORM}, AT_ONCE)

    def ancestors(self, index: int, stop: int = INPUT) -> set[int]:
        """Every op that an op depends on, itself too, down to `stop` (not beyond it)."""
        return ancestors(self.ops, index, stop)


def feature_axis(op: Op, shape: Shape, before: tuple[Shape, int] | None) -> int:
    """The axis of an op's features: after a convolution that of its channels, until a map comes or a view turns it.

    Args:
        op: the op.
        shape: of what it gave.
        before: shape and axis of what it reads first; None for the model's inputs.
    """
    if op.axis != -1 or op.kind not in KEEPS_FEATURES or before is None:
        return op.axis
    read, axis = before
    kept = len(read) == len(shape) > 0 and (op.kind == OpKind.CONCAT or read[axis] == shape[axis])
    return axis if kept else op.axis
