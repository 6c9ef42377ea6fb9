"""Loops and branches of a program: scans are unrolled, a loop over time after its first steps on numbers alone.

A scan over stacked parameters is a stack of layers: every step is traced, and layer i of a parameter is known as its
i-th matrix. A scan whose parameters are the same at every step is a loop over time, and so is a while loop: what the
first steps do stands for the rest.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, JaxprEqn

from fanwise.graph.op import INPUT, OpKind
from fanwise.jax.trace.calls import Call, Step, forms_of
from fanwise.jax.trace.provenance import taken
from fanwise.jax.trace.traced_value import Value, followed, of_form

if TYPE_CHECKING:
    from fanwise.jax.trace.recorder import Recorder

LOOPS = ("scan", "while", "cond")
RECORDED = 2
"""Steps of a loop over time that are traced: in the second one, the state is data."""


def entered(recorder: "Recorder", equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    """Interprets a loop or a branch."""
    handler = {"scan": _scan, "while": _while, "cond": _branch}[equation.primitive.name]
    before = recorder.call, recorder.over_time, recorder.repeating
    recorder.loops += 1
    try:
        return handler(recorder, equation, values)
    finally:
        recorder.call, recorder.over_time, recorder.repeating = before
        recorder.loops -= 1


def _count(recorder: "Recorder", number: int) -> None:
    """Ops of the outermost loop are told apart by its steps."""
    if recorder.loops == 1:
        recorder.call = number


def _scan(recorder: "Recorder", equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    params = equation.params
    body, length, consts = params["jaxpr"], int(params["length"]), int(params["num_consts"])
    carries = int(params["num_carry"])
    fixed, carry, rows = values[:consts], list(values[consts : consts + carries]), values[consts + carries :]
    order = range(length - 1, -1, -1) if params["reverse"] else range(length)
    over_time = _is_over_time(fixed, rows)
    recorder.over_time = recorder.over_time or over_time
    recorder.repeating = recorder.repeating or over_time
    traced = RECORDED if over_time else length
    kept: list[list[Value]] = []
    for number, index in enumerate(order):
        _count(recorder, number)
        given = [_row(value, index) for value in rows]
        state = [replace(value, state=True) for value in carry] if over_time else carry
        if number < traced:
            made = recorder.closed(body, [*fixed, *state, *given])
            made = [recorder.settled(value) for value in made]
        else:
            made = _on_numbers(recorder, body, [*fixed, *state, *given], made)
        carry = [replace(value, state=False) for value in made[:carries]]
        kept.append(made[carries:])
    if params["reverse"]:
        kept.reverse()
    outs = forms_of(equation.outvars)
    stacked = [_stacked(recorder, [row[i] for row in kept], form) for i, form in enumerate(outs[carries:])]
    return [*(carry or [Value(*form) for form in outs[:carries]]), *stacked]


def _is_over_time(fixed: Sequence[Value], rows: Sequence[Value]) -> bool:
    """Whether a scan applies the same parameters to one row of data after the other."""
    return (
        any(value.held for value in fixed)
        and not any(value.held for value in rows)
        and any(value.is_data for value in rows)
    )


def _row(value: Value, index: int) -> Value:
    """What a scan reads at one step."""
    step = Step("slice", lambda array: [array[index]], ((value.shape[1:], value.dtype),))
    if value.held is not None:
        return taken(value, index, step)
    return replace(
        value,
        shape=value.shape[1:],
        data=None if value.data is None else value.data[index],
        chain=followed(value, lambda shadow: shadow[index], value.shape[1:]),
        samples={},
        sides=(),
    )


def _on_numbers(
    recorder: "Recorder", body: ClosedJaxpr, values: Sequence[Value], before: Sequence[Value]
) -> list[Value]:
    """A step of which only the numbers are wanted: what they come from is as in the step before."""
    arrays = [recorder.numbers(value) for value in values]
    if any(array is None for array in arrays):
        return list(before)
    made = eval_jaxpr(body.jaxpr, body.consts, *arrays)
    return [replace(value, data=data, held=None) for value, data in zip(before, made, strict=True)]


def _stacked(recorder: "Recorder", rows: Sequence[Value], form: tuple[tuple[int, ...], Any]) -> Value:
    """The outputs of all steps, one after the other."""
    if not rows:
        return Value(*form)
    arrays = [recorder.numbers(value) for value in rows]
    data = None if any(array is None for array in arrays) else jnp.stack(arrays)
    sources = [value for value in rows if value.is_data]
    if not sources or not sources[0].is_float:
        first = sources[0] if sources else rows[0]
        return of_form(form, data=data, op=first.op if first.op == INPUT else None, given=first.given)
    distinct = [value for place, value in enumerate(sources) if value.op not in {one.op for one in sources[:place]}]
    step = Step("concatenate", lambda *_: [data], (form,))
    call = Call(OpKind.CONCAT, tuple(range(len(distinct))))
    return recorder.operation(step, distinct, call)[0]


def _while(recorder: "Recorder", equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    params = equation.params
    tests, steps = int(params["cond_nconsts"]), int(params["body_nconsts"])
    of_test, of_body = values[:tests], values[tests : tests + steps]
    state = list(values[tests + steps :])
    recorder.repeating = True
    number = 0
    while _goes_on(recorder, params["cond_jaxpr"], [*of_test, *state], number):
        if number < RECORDED:
            _count(recorder, number)
            state = [recorder.settled(value) for value in recorder.closed(params["body_jaxpr"], [*of_body, *state])]
        else:
            state = _on_numbers(recorder, params["body_jaxpr"], [*of_body, *state], state)
        number += 1
    return state


def _goes_on(recorder: "Recorder", test: ClosedJaxpr, values: Sequence[Value], number: int) -> bool:
    """Whether a while loop takes one step more; without numbers it takes one."""
    arrays = [recorder.numbers(value) for value in values]
    if any(array is None for array in arrays):
        recorder.guessed = True
        if number == 0:
            recorder.unseen.append("while: traced once, without numbers it is not known how often it runs")
        return number == 0
    return bool(eval_jaxpr(test.jaxpr, test.consts, *arrays)[0])


def _branch(recorder: "Recorder", equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    branches = equation.params["branches"]
    index = recorder.numbers(values[0])
    recorder.guessed = recorder.guessed or index is None
    taken_one = 0 if index is None else int(np.clip(int(index), 0, len(branches) - 1))
    why = "the one that is taken" if index is not None else "without numbers it is not known which is taken"
    recorder.unseen.append(f"cond: branch {taken_one} of {len(branches)} was traced, {why}")
    return recorder.closed(branches[taken_one], values[1:])
