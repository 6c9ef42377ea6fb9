"""Loops and branches of a program: scans are unrolled, a loop over time after its first steps on numbers alone.

A scan over stacked parameters is a stack of layers: every step is traced, and layer i of a parameter is known as its
i-th matrix. A scan whose parameters are the same at every step is a loop over time, and so is a while loop: what the
first steps do stands for the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from fanwise.graph.op import INPUT, OpKind
from fanwise.jax.trace.calls import Call, Form, Step, forms_of
from fanwise.jax.trace.provenance import slice_at
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.traced_value import Value, of_form

LOOPS = ("scan", "while", "cond")
RECORDED = 2
"""Steps of a loop over time that are traced: in the second one, the state is data."""


class Interpreter(Protocol):
    """An interpreter of the programs inside a loop or a branch."""

    recorder: Recorder

    def interpret(self, program: ClosedJaxpr | Jaxpr, values: Sequence[Value]) -> list[Value]:
        """Interprets a program."""
        ...

    def resolve(self, value: Value) -> Value:
        """A value that is no product that was postponed."""
        ...


def enter(interpreter: Interpreter, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    """Interprets a loop or a branch."""
    handler = {"scan": _scan, "while": _while, "cond": _branch}[equation.primitive.name]
    with _inside(interpreter.recorder):
        return handler(interpreter, equation, values)


@contextmanager
def _inside(recorder: Recorder) -> Iterator[None]:
    """Enters a loop for as long as the context lasts; what was guessed stays known."""
    loop = recorder.loop
    recorder.loop = replace(loop, depth=loop.depth + 1)
    try:
        yield
    finally:
        recorder.loop = replace(loop, guessed=recorder.loop.guessed)


def _count(recorder: Recorder, number: int) -> None:
    """Ops of the outermost loop are told apart by its steps."""
    if recorder.loop.depth == 1:
        recorder.loop.call = number


# Scans


@dataclass(frozen=True)
class _Scan:
    """A scan, and what it is given.

    Args:
        body: the program of one step: of the fixed inputs, the carry, and one row of each of the others.
        order: indices of the rows, in the order in which they are taken.
        fixed: inputs that every step reads whole.
        carry: the state before the first step.
        rows: inputs of which each step reads one index.
        forms: of the outputs of all steps together, the carry first.
    """

    body: ClosedJaxpr
    order: Sequence[int]
    fixed: Sequence[Value]
    carry: Sequence[Value]
    rows: Sequence[Value]
    forms: Sequence[Form]

    @classmethod
    def of(cls, equation: JaxprEqn, values: Sequence[Value]) -> "_Scan":
        """The scan that an equation is."""
        params: Mapping[str, Any] = equation.params
        length, consts = int(params["length"]), int(params["num_consts"])
        first_row = consts + int(params["num_carry"])
        order = range(length - 1, -1, -1) if params["reverse"] else range(length)
        parts = values[:consts], values[consts:first_row], values[first_row:]
        return cls(params["jaxpr"], order, *parts, forms_of(equation.outvars))

    @property
    def is_over_time(self) -> bool:
        """Whether the scan applies the same parameters to one row of data after the other."""
        return (
            any(value.held for value in self.fixed)
            and not any(value.held for value in self.rows)
            and any(value.is_data for value in self.rows)
        )


def _scan(interpreter: Interpreter, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    scan, recorder = _Scan.of(equation, values), interpreter.recorder
    recorder.loop.over_time |= scan.is_over_time
    recorder.loop.repeating |= scan.is_over_time
    carry, outputs = list(scan.carry), list[Value]()
    rows: dict[int, list[Value]] = {}
    for number, index in enumerate(scan.order):
        _count(recorder, number)
        outputs = _scan_step(interpreter, scan, (number, index, carry), outputs)
        carry = [replace(value, state=False) for value in outputs[: len(carry)]]
        rows[index] = outputs[len(carry) :]
    ordered = [rows[index] for index in sorted(rows)]
    forms = scan.forms[len(scan.carry) :]
    stacked = [_stacked(recorder, [row[i] for row in ordered], form) for i, form in enumerate(forms)]
    return [*(carry or [Value(*form) for form in scan.forms[: len(scan.carry)]]), *stacked]


def _scan_step(
    interpreter: Interpreter, scan: _Scan, at: tuple[int, int, Sequence[Value]], before: Sequence[Value]
) -> list[Value]:
    """The outputs of one step.

    Args:
        interpreter: carries it out.
        scan: whose step.
        at: the number of the step, the index of its rows, and the carry.
        before: the outputs of the step before.
    """
    number, index, carry = at
    over_time = scan.is_over_time
    state = [replace(value, state=True) for value in carry] if over_time else carry
    inputs = [*scan.fixed, *state, *(_row(value, index, whole=over_time) for value in scan.rows)]
    if over_time and number >= RECORDED:
        return _on_numbers(interpreter.recorder, scan.body, inputs, before)
    return [interpreter.resolve(value) for value in interpreter.interpret(scan.body, inputs)]


def _row(value: Value, index: int, *, whole: bool) -> Value:
    """The row of an input that a scan reads at a step; with `whole` it is measured over all steps."""
    step = Step("slice", lambda array: [array[index]], ((value.shape[1:], value.dtype),))
    if value.held is not None:
        return slice_at(value, index, step)
    return replace(
        value,
        shape=value.shape[1:],
        data=None if value.data is None else value.data[index],
        views=value.viewed(lambda numbers: numbers[index]),
        samples={},
        sides=(),
        sequence=value.data if whole and value.is_float else None,
    )


def _on_numbers(recorder: Recorder, body: ClosedJaxpr, values: Sequence[Value], before: Sequence[Value]) -> list[Value]:
    """A step of which only the numbers are wanted: what they come from is as in the step before."""
    arrays = [recorder.numbers(value) for value in values]
    if any(array is None for array in arrays):
        return list(before)
    outputs = eval_jaxpr(body.jaxpr, body.consts, *arrays)
    return [replace(value, data=data, held=None) for value, data in zip(before, outputs, strict=True)]


def _stacked(recorder: Recorder, rows: Sequence[Value], form: Form) -> Value:
    """The outputs of all steps, one after the other."""
    if not rows:
        return Value(*form)
    arrays = [recorder.numbers(value) for value in rows]
    data = None if any(array is None for array in arrays) else jnp.stack(arrays)
    sources = [value for value in rows if value.is_data]
    if not sources or not sources[0].is_float:
        first = sources[0] if sources else rows[0]
        return of_form(form, data=data, op=first.op if first.op == INPUT else None, given=first.given)
    distinct: dict[int | None, Value] = {}
    for value in sources:
        distinct.setdefault(value.op, value)
    step, call = Step("concatenate", lambda *_: [data], (form,)), Call(OpKind.CONCAT, tuple(range(len(distinct))))
    return recorder.operation(step, list(distinct.values()), call)[0]


# Other loops, and branches


def _while(interpreter: Interpreter, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    params, recorder = equation.params, interpreter.recorder
    tests, steps = int(params["cond_nconsts"]), int(params["body_nconsts"])
    of_test, of_body = values[:tests], values[tests : tests + steps]
    state = list(values[tests + steps :])
    recorder.loop.repeating = True
    number, start = 0, len(recorder.ops)
    while _goes_on(recorder, params["cond_jaxpr"], [*of_test, *state], number):
        if number < RECORDED:
            _count(recorder, number)
            start = len(recorder.ops)
            outputs = interpreter.interpret(params["body_jaxpr"], [*of_body, *state])
            state = [interpreter.resolve(value) for value in outputs]
        else:
            state = _on_numbers(recorder, params["body_jaxpr"], [*of_body, *state], state)
        number += 1
    recorder.stand_for_rounds(start, number - RECORDED + 1)
    return state


def _goes_on(recorder: Recorder, test: ClosedJaxpr, values: Sequence[Value], number: int) -> bool:
    """Whether a while loop takes one step more; without numbers it takes one."""
    arrays = [recorder.numbers(value) for value in values]
    if any(array is None for array in arrays):
        recorder.loop.guessed = True
        if number == 0:
            recorder.unseen.append("while: traced once, without numbers it is not known how often it runs")
        return number == 0
    return bool(eval_jaxpr(test.jaxpr, test.consts, *arrays)[0])


def _branch(interpreter: Interpreter, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    recorder, branches = interpreter.recorder, equation.params["branches"]
    index = recorder.numbers(values[0])
    recorder.loop.guessed |= index is None
    number = 0 if index is None else int(np.clip(int(index), 0, len(branches) - 1))
    why = "the one that is taken" if index is not None else "without numbers it is not known which is taken"
    recorder.unseen.append(f"cond: branch {number} of {len(branches)} was traced, {why}")
    return interpreter.interpret(branches[number], values[1:])
