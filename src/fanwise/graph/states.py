"""Sums over time: what a step adds to what the steps before have left, in recurrences, memories and integrators.

A residual stream begins with a signal. A state begins at zero, or with what one step gives, and fills up: its size
follows from what the steps add and from what is kept, so that it is no growth of where it began.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from fanwise.graph.kinds import MADE_STEPS, STREAM_STEPS
from fanwise.graph.op import Op, OpKind
from fanwise.graph.paths import ancestors
from fanwise.graph.residual import Join
from fanwise.stream.box import Shape

Signature: TypeAlias = tuple[OpKind, str, str, Shape, tuple[str, ...]]
"""What an op has in common with itself in another step: kind, function, module, shape, and the weights that it uses."""


@dataclass(frozen=True)
class State:
    """One sum over time.

    Args:
        sums: its adds, one or more a step, in order.
        drives: what each step adds: ops in order.
        begin: the op that gives the state before the first of the sums.
        filled: whether the sums are a stream of their own, which begins at zero; else each begins with its drive.
        carried: whether what the steps add is a sum over time itself, as the velocity that moves a position.
    """

    sums: tuple[int, ...]
    drives: tuple[int, ...]
    begin: int
    filled: bool
    carried: bool = False

    def growth(self, moment: Callable[[int], float]) -> float:
        """Second moment of the last sum over that of all that was added: above 1 where the steps amplify it.

        What is carried on from step to step is alike, and adds up in size instead: sum of T equal steps is T of them.

        Args:
            moment: second moment of what an op gives, by its index.
        """
        each = [moment(self.begin), *map(moment, self.drives)]
        added = sum(map(math.sqrt, each)) ** 2 if self.carried else sum(each)
        return moment(self.sums[-1]) / added if added else 0.0


def states_of(ops: Sequence[Op], joins: Sequence[Join]) -> tuple[State, ...]:
    """The sums over time among the residual connections of a run."""
    streams: dict[int, list[Join]] = {}
    begun: dict[int, list[Join]] = {}
    for join in joins:
        streams.setdefault(join.number, []).append(join)
        begun.setdefault(join.first, []).append(join)  # an estimate within a step is a stream that ends there
    filled = [_filled(stream) for stream in begun.values() if _begins_empty(ops, stream)]
    known = {index for state in filled for index in state.sums}
    fresh = [
        stream
        for stream in streams.values()
        if stream[0].stream >= 0 and not known.issuperset(join.op for join in stream)
    ]
    states = (*filled, *_driven(ops, fresh))
    return tuple(replace(state, carried=_adds_a_state(ops, state, states)) for state in states)


def _adds_a_state(ops: Sequence[Op], state: State, states: Sequence[State]) -> bool:
    """Whether the steps of a state add what the steps of another one have left, times numbers at most."""
    others = {index for other in states if other is not state for index in other.sums}
    return sum(_carried_by(ops, drive) in others for drive in state.drives) > len(state.drives) / 2


def _carried_by(ops: Sequence[Op], index: int) -> int:
    """The sum that an op gives, times numbers and parameters at most; else the op at which the way back ends."""
    while index >= 0 and ops[index].kind in MADE_STEPS | {OpKind.SCALE} and len(ops[index].inputs) == 1:
        index = ops[index].inputs[0]
    return index


def _filled(stream: Sequence[Join]) -> State:
    sums, drives = (tuple(getattr(join, name) for join in stream) for name in ("op", "branch"))
    return State(sums, drives, stream[0].stream, filled=True)


def _begins_empty(ops: Sequence[Op], stream: Sequence[Join]) -> bool:
    """Whether a stream begins as a constant that was kept, or to which the first step was added."""
    if len(stream) < 2 or stream[0].stream < 0:
        return False
    first, later = ops[stream[0].stream], ops[stream[1].stream]
    if later.index != stream[0].op and signature(first) == signature(later) and len(first.inputs) < len(later.inputs):
        return True  # what a step keeps of the constant
    return any(signature(ops[step]) == signature(ops[stream[0].branch]) for step in _first_step(ops, first))


def _first_step(ops: Sequence[Op], op: Op) -> Iterator[int]:
    """What was added to a constant on the way to an op."""
    while op.inputs and op.inputs[0] >= 0 and op.kind in STREAM_STEPS:
        if op.kind == OpKind.ADD and len(op.inputs) == 1:
            yield op.inputs[0]
            return
        op = ops[op.inputs[0]]


def _driven(ops: Sequence[Op], streams: Sequence[Sequence[Join]]) -> Iterator[State]:
    """Sums that each begin with a drive of their own: the same sum again and again, of what the last one led to."""
    by_signature: dict[tuple[Signature, Signature], list[Sequence[Join]]] = {}
    for stream in streams:
        name = signature(ops[stream[0].stream]), signature(ops[stream[0].op])
        by_signature.setdefault(name, []).append(stream)
    for same in by_signature.values():
        for run in _runs(ops, same):
            if len(run) > 1:
                drives = tuple(stream[0].stream for stream in run)
                yield State(tuple(stream[-1].op for stream in run), drives, run[0][0].branch, filled=False)


def _runs(ops: Sequence[Op], streams: Sequence[Sequence[Join]]) -> Iterator[list[Sequence[Join]]]:
    """Streams in runs in which what the one before ended in leads to the branch of the next."""
    run: list[Sequence[Join]] = []
    for stream in streams:
        before = run[-1][0].op if run else 0
        if run and not _goes_on(ops, before, stream[0], run[-1][0].stream):
            yield run
            run = []
        run.append(stream)
    yield run


def _goes_on(ops: Sequence[Op], before: int, join: Join, drive: int) -> bool:
    """Whether a join adds what an earlier sum led to, to a drive that is another one, and that it did not lead to."""
    is_fresh = join.stream != drive and before not in ancestors(ops, join.stream, before)
    return is_fresh and before in ancestors(ops, join.branch, before)


def signature(op: Op) -> Signature:
    """What an op has in common with itself in another step."""
    return op.kind, op.name, op.module, op.shape, tuple(sorted(use.matrix for use in op.uses))


def sums_filled(states: Sequence[State]) -> Mapping[int, State]:
    """The states that begin at zero, by the adds of each."""
    return {index: state for state in states if state.filled for index in state.sums}
