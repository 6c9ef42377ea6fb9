"""The forward pass of a program on its own numbers: its trace, and what each op gave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jax.tree_util import tree_unflatten

from fanwise.graph.paths import is_before
from fanwise.graph.patterns import recognised
from fanwise.graph.visitor import Watcher
from fanwise.jax.measure.losses import numbers
from fanwise.jax.trace.biases import Joined, with_biases
from fanwise.jax.trace.executed_op import ExecutedOp
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.run import Program, interpret_program
from fanwise.jax.trace.traced_value import Value
from fanwise.measure.observation import Signal
from fanwise.measure.signal_statistics import Signals, signal_of
from fanwise.stream.box import Shape

KEPT = 1 << 26
"""Bytes of what the operations of a program gave that are kept until it is known which op of the model each is: a
second pass measures the rest as it comes by."""


@dataclass(frozen=True)
class ForwardPass:
    """Results of the forward pass; the numbers of the ops themselves are gone before the backward pass.

    Args:
        joined: the trace.
        signals: of its ops.
        shares: factors on the gradients of operations that were made means.
        outputs: of the model.
        output: the signal of the first of them that holds several numbers.
        depends: whether an output of floating point is made of another.
        is_large: whether its operations gave more than a pass should keep.
    """

    joined: Joined
    signals: tuple[Signal, ...]
    shares: Mapping[int, float]
    outputs: Any
    output: Signal | None
    depends: Callable[[int, int], bool]
    is_large: bool

    @property
    def forms(self) -> dict[int, Shape]:
        """The shape of what each op gives, by the number of the operation that it is."""
        pairs = zip(self.joined.numbers, self.joined.trace.ops, strict=True)
        return {number: op.shape for number, op in pairs}

    @classmethod
    def of(cls, program: Program) -> "ForwardPass":
        """The pass of a program on its own numbers."""
        given = _Given()
        recorder = _recorder(program, given.see)
        returned = interpret_program(program, recorder, program.values())
        arrays = [jnp.asarray(recorder.numbers(value)) for value in returned]
        floats = [returned[index] for index in program.outputs]
        joined = with_biases(recognised(recorder.trace(floats)), recorder.outputs, recorder.kept)
        first = next((value for value in floats if value.size > 1), None)
        output = None if first is None else signal_of(numbers([recorder.numbers(first)])[0])
        seen = joined, _signals(program, recorder, joined, given), recorder.shares
        outputs = tree_unflatten(program.structure, arrays)
        return cls(*seen, outputs, output, _depends(recorder, returned), given.size > KEPT)


@dataclass
class _Given:
    """What the first operations of a pass gave, by their number, up to so many bytes in all."""

    arrays: dict[int, Any] = field(default_factory=dict)
    size: int = 0

    def see(self, executed: ExecutedOp) -> Any:
        """Keeps what an operation gave; the model goes on with it."""
        self.size += executed.output.nbytes
        if self.size <= KEPT:
            self.arrays[executed.op.index] = executed.output
        return executed.output


def _recorder(program: Program, see: Callable[[ExecutedOp], Any]) -> Recorder:
    known = {parameter.path: parameter for parameter in program.parameters}
    return Recorder(known, program.model.leaves, Watcher(), see=see)


def _depends(recorder: Recorder, returned: Sequence[Value]) -> Callable[[int, int], bool]:
    """By the ops that were seen on the way."""
    ops, floats = recorder.ops, [value.op for value in returned if jnp.issubdtype(value.dtype, jnp.inexact)]
    return lambda number, other: is_before(ops, floats[other], floats[number])


def _signals(program: Program, recorder: Recorder, joined: Joined, given: _Given) -> tuple[Signal, ...]:
    """Signals of the ops that are kept, in the trace's order; a second pass measures what the first did not keep."""
    ops, measured = dict(zip(joined.numbers, joined.trace.ops, strict=True)), Signals()
    for number, op in ops.items():
        measured.follow(op, recorder.outputs[number].shape)
    signals: dict[int, Signal] = {}

    def see(number: int, array: Any) -> None:
        if number in ops and number not in signals:
            mean = array / recorder.shares[number] if number in recorder.shares else array
            signals[number] = Signal(**measured.of(ops[number], numbers([mean])[0]))

    while given.arrays:
        see(*given.arrays.popitem())
    if set(ops) - set(signals):
        _measure_all(program, see)
    return tuple(signals[number] for number in ops)


def _measure_all(program: Program, measure: Callable[[int, Any], None]) -> None:
    """Carries a program out once more; what each operation gives is measured."""

    def see(executed: ExecutedOp) -> Any:
        measure(executed.op.index, executed.output)
        return executed.output

    interpret_program(program, _recorder(program, see), program.values())
