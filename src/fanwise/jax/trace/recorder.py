"""Carries out the ops of a model one by one, and writes down what each is, what it reads and what it gives."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from fanwise.graph.details import Product
from fanwise.graph.kinds import KEEPS_SIDES, PROPORTIONAL
from fanwise.graph.op import Op, OpKind, Parameter, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.operands import Operand, made_weight
from fanwise.graph.tracking.source_lines import Line
from fanwise.graph.tracking.tracker import Read, Tracker
from fanwise.graph.tracking.views import ViewChain
from fanwise.graph.visitor import Visitor
from fanwise.jax.trace import activations, op_roles
from fanwise.jax.trace.calls import Call, Form, Part, Step
from fanwise.jax.trace.executed_op import ExecutedOp
from fanwise.jax.trace.op_table import COMBINING, OperandRoles, operand_roles
from fanwise.jax.trace.parameter_uses import UseReader
from fanwise.jax.trace.pruning import kept_ops, pruned, with_whole_sums
from fanwise.jax.trace.stand_ins import StandIns
from fanwise.jax.trace.traced_value import Value, feature_numbers, measured, moments_of, of_form

SUMS = ("add", "add_any")
"""Primitives that add two arrays."""


@dataclass
class LoopState:
    """The position of a run in the loops of a program.

    Args:
        depth: how many loops it is in, one inside the other.
        call: which step of the outermost one.
        over_time: whether one of them applies the same parameters to one row of data after the other.
        repeating: whether parameters are used over and over.
        guessed: whether numbers were missing that a loop or a branch depends on.
    """

    depth: int = 0
    call: int = 0
    over_time: bool = False
    repeating: bool = False
    guessed: bool = False


@dataclass(frozen=True)
class _Inputs:
    """The inputs of an op.

    Args:
        values: every input of its step.
        read: those among them that are data, in the op's order, constants last.
    """

    values: Sequence[Value]
    read: Sequence[Value]

    @property
    def sources(self) -> tuple[Value, ...]:
        """The data that come from ops or from the model's inputs."""
        return tuple(value for value in self.read if value.is_data)

    def as_read(self) -> list[Read]:
        """The same, for the tracker."""
        return [Read(value.source, value.shape) for value in self.read if value.source is not None]


class Recorder:
    """Records the ops of a program as they are carried out.

    Args:
        parameters: of the model, by path.
        leaves: their arrays.
        visitor: what is shown each op.
        tap: is given the index and the output of each op where gradients are taken, and returns what the model goes on
            with.
        see: is shown each op as it was carried out, and says what its output is when the model goes on.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        leaves: Mapping[str, Any],
        visitor: Visitor,
        tap: Callable[[int, Any], Any] | None = None,
        *,
        see: Callable[[ExecutedOp], Any] | None = None,
    ) -> None:
        self.tracker = Tracker(parameters, visitor, lambda: self.line)
        self.line: Line | None = None
        self.loop = LoopState()
        self.outputs: list[Value] = []
        self.unseen: list[str] = []
        self.kept: tuple[int, ...] = ()
        self.shares: dict[int, float] = {}
        self.repeated: set[str] = set()
        self.parts: dict[tuple[int, str], tuple[tuple[int, int, int], ...]] = {}
        self._use_reader = UseReader(parameters, leaves, tap is None)
        self._stand_ins = StandIns(parameters)
        self._tap, self._see = tap, see
        self._parameter_ops: dict[str, Value] = {}
        self._absorbed: set[int] = set()

    @property
    def ops(self) -> list[Op]:
        """The ops so far, also those that the trace will leave out."""
        return self.tracker.ops

    def trace(self, outputs: Sequence[Value]) -> Trace:
        """The trace of the run."""
        whole, inner = with_whole_sums(self.tracker.trace([value.source for value in outputs], self.unseen))
        self.kept = kept_ops(whole, inner | self._absorbed)
        return pruned(whole, self.kept)

    @property
    def is_followed(self) -> bool:
        """Whether gradients are taken through what the ops give."""
        return self._tap is not None

    def numbers(self, value: Value) -> Any:
        """The numbers of a value: of parameters, those that stand in for them."""
        return self._stand_ins.numbers(value)

    def operation(
        self, step: Step, values: Sequence[Value], call: Call, *, reads: tuple[tuple[int, ...], ...] | None = None
    ) -> list[Value]:
        """Carries out one op of the model, shows it to the visitor, and returns its outputs.

        Args:
            step: computes it.
            values: what the step reads.
            call: what it is.
            reads: shapes of what the op reads, where they are not those of `values`.
        """
        self._look_inside(step, values)
        call = self._in_context(call, step, values)
        order = sorted(call.data, key=lambda operand: values[operand].is_constant)
        data = {operand: self._as_data(values[operand]) for operand in order}
        inputs = _Inputs(values, tuple(data.values()))
        op = replace(self._open(call, inputs), replay=op_roles.replay_of_call(step, call, values))
        op = self._with_made_weight(op, step, values, data)
        op = op if reads is None else replace(op, reads=reads)
        numbered = [replace(value, data=self.numbers(value)) for value in inputs.read]
        laws = self.tracker.before(op, moments_of(numbered))
        arrays = [self.numbers(data.get(operand, value)) for operand, value in enumerate(values)]
        if op.replay is None:
            slots = [operand for operand in order if data[operand].is_data]
            op = replace(op, probe=op_roles.probe_of_call(step, call, slots, arrays))
        return self._close(op, step, inputs, step(*self._stand_ins.replaced(laws, op, values, arrays)))

    def merge_mean(self, source: Value, number: float, output: Value) -> None:
        """Makes a sum that was divided by a number one op, a mean.

        Args:
            source: the sum.
            number: what it was divided by.
            output: the mean.
        """
        index = -1 if source.op is None else source.op
        self.ops[index] = replace(self.ops[index], name="mean")
        self.shares[index] = number
        self.outputs[index] = _form_of(output)

    def stand_for_rounds(self, start: int, rounds: int) -> None:
        """Makes the ops since an index stand for so many rounds of a loop; for one alone where there are no more."""
        for index in range(start, len(self.ops) if rounds > 1 else start):
            self.ops[index] = replace(self.ops[index], rounds=self.ops[index].rounds * rounds)

    # Before an op

    def _look_inside(self, step: Step, values: Sequence[Value]) -> None:
        """Records what an operation says of those before it, and what cannot be seen."""
        if op_roles.holds_program(step.params) and not step.name.startswith(COMBINING):
            self.unseen.append(f"{step.name}: the program inside it was not entered")
        turned = op_roles.with_keys_on_the_right(self.ops, step, values)
        if turned is not None:
            self.ops[turned.index] = turned

    def _in_context(self, call: Call, step: Step, values: Sequence[Value]) -> Call:
        """The call as its inputs and the loops around it make it."""
        call = op_roles.in_order(self.ops, op_roles.with_roles(call, values), values)
        call = replace(call, name=call.name or step.name)
        return op_roles.within_a_cell(call) if self.loop.over_time else call

    def _as_data(self, value: Value) -> Value:
        """A parameter that is read as data: a token, learned queries, an initial state."""
        held = value.held
        if held is None:
            return value
        name = f"{held.paths}{value.shape}"
        if name not in self._parameter_ops:
            step = Step("parameter", lambda array: [array], ((value.shape, value.dtype),))
            self._parameter_ops[name] = self.operation(
                step, [value], Call(OpKind.PARAMETER, (), (Part(0, UseRole.OPERAND),))
            )[0]
        return self._parameter_ops[name]

    def _open(self, call: Call, inputs: _Inputs) -> Op:
        used = [(inputs.values[part.input], part) for part in call.parts]
        uses = tuple(use for value, part in used for use in self._use_reader.uses(value, part))
        for value, _ in used:
            self._remember_parts(value)
        module = uses[0].path.rpartition(".")[0] if uses else ""
        return self.tracker.opened(call, (module, self.loop.call), inputs.as_read(), uses)

    def _remember_parts(self, value: Value) -> None:
        """The parts of its parameters that an op uses, and whether a loop will use them again."""
        for which, shown in enumerate(value.held.shown if value.held is not None else ()):
            if which == 0:
                self.tracker.weight_parts.see(shown.path, shown.parts)
            self.parts[len(self.ops), shown.path] = shown.parts
            if self.loop.repeating:
                self.repeated.add(shown.path)

    def _with_made_weight(self, op: Op, step: Step, values: Sequence[Value], data: Mapping[int, Value]) -> Op:
        """The op with the operand that the model makes and uses as a weight, where it is a product with one."""
        if op.kind != OpKind.MATMUL:
            return op
        roles = operand_roles(step, values)
        operands = [_operand(value, roles.get(place)) for place, value in data.items() if value.source is not None]
        return replace(op, made=made_weight(operands, self.ops, feature_numbers))

    # After it

    def _close(self, op: Op, step: Step, inputs: _Inputs, arrays: Sequence[Any]) -> list[Value]:
        first = next(position for position, form in enumerate(step.outs) if is_float(form[1]))
        samples = activations.sampled(step, inputs.values)
        op, absorbed = op_roles.named(self.ops, replace(op, shape=step.outs[first][0]), step, samples)
        op = self.tracker.add(op, op.shape)
        data = list(arrays)
        data[first] = self._pass_on(op, step, inputs.values, (first, data[first]))
        outputs = [
            self._output(op, form, array, inputs if position == first else _Inputs((), ()))
            for position, (form, array) in enumerate(zip(step.outs, data, strict=True))
        ]
        followed = {root: replace(sample, ops=(*sample.ops, op.index)) for root, sample in samples.items()}
        outputs[first] = replace(outputs[first], samples=followed)
        self.outputs.append(_form_of(outputs[first]))
        self._absorbed.update(absorbed)
        return outputs

    def _pass_on(self, op: Op, step: Step, values: Sequence[Value], output: tuple[int, Any]) -> Any:
        """The output with which the model goes on: scaled by the visitor, looked at, and with a tap."""
        position, array = output
        factor = self.tracker.factor_after(op, lambda: measured(array))
        scaled = array if factor is None else array * np.asarray(factor, step.outs[position][1])
        if self._see is not None:
            scaled = self._see(ExecutedOp(op, step, tuple(values), position, scaled))
        return scaled if self._tap is None else self._tap(op.index, scaled)

    def _output(self, op: Op, form: Form, data: Any, inputs: _Inputs) -> Value:
        """An output of an op."""
        shape, dtype = form
        if not is_float(dtype):
            return of_form(form, data=data, op=op.index if is_index(dtype) else None)
        moving = inputs.sources
        proportional = op.kind in PROPORTIONAL and bool(moving) and all(value.reduced for value in moving)
        return of_form(
            form,
            data=data,
            op=op.index,
            views=self._views(replace(op, shape=shape), inputs),
            sides=_sides(op, shape, moving),
            extent=math.prod(shape),
            reduced=op.kind == OpKind.REDUCE or proportional,
            state=bool(moving) and all(value.state for value in inputs.read),
        )

    def _views(self, op: Op, inputs: _Inputs) -> ViewChain | None:
        return self.tracker.views_after(op, inputs.as_read(), is_sum=op.name in SUMS and len(op.inputs) == 2)


def _form_of(value: Value) -> Value:
    """What is known of an output; its numbers may go."""
    return replace(value, data=None, samples={})


def _operand(value: Value, role: OperandRoles | None) -> Operand | None:
    return None if role is None else Operand(value.shape, role.axes, value.views, role.fan_in)


def _sides(op: Op, shape: tuple[int, ...], moving: Sequence[Value]) -> tuple[str, ...]:
    """Which factor of a product of data each axis comes from, through what keeps the axes."""
    if op.kind not in KEEPS_SIDES:
        return ()
    kept = (value.sides for value in moving if value.sides and value.shape == shape)
    return (op.detail.sides if isinstance(op.detail, Product) else ()) or next(kept, ())


def is_float(dtype: Any) -> bool:
    """Whether a dtype is one of floating-point or complex numbers."""
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def is_index(dtype: Any) -> bool:
    """Whether a dtype is one of integers, such as the places that a sort gives."""
    return bool(jnp.issubdtype(dtype, jnp.integer))
