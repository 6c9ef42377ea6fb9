"""Interprets a model's program operation by operation.

A program is a jaxpr: every function of JAX that a model calls becomes one. Its equations are carried out one by one on
the model's own numbers, or on shapes alone; each array is followed with the op that it comes from and the parameters
that it shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from fanwise.graph.details import Normalisation
from fanwise.graph.frozen import STOPS_GRADIENT
from fanwise.graph.op import INPUT, OpKind
from fanwise.graph.tracking.views import selection_of
from fanwise.jax.trace import activations, op_roles
from fanwise.jax.trace.calls import Call, Step, line_of, literal, plain_step, step_of
from fanwise.jax.trace.control_flow import LOOPS, enter
from fanwise.jax.trace.op_table import CALLS, PASSED, PRODUCTS, SELECTIONS, VIEWS, describe
from fanwise.jax.trace.provenance import derive
from fanwise.jax.trace.recorder import Recorder, is_float, is_index
from fanwise.jax.trace.traced_value import Value, constant, of_form, runs_of_features

CASTS = ("convert_element_type", "copy", "stop_gradient", "name", "reduce_precision")
"""Views that leave each value where it is."""


class Interpreter:
    """Interprets programs, and has their ops recorded.

    Args:
        recorder: carries out the ops.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.last = "none"
        """Name of the last operation."""
        self._own_gradients = 0
        """How many programs around this place have a derivative of their own: what stops gradients there stops none."""

    # Programs

    def interpret(self, program: ClosedJaxpr | Jaxpr, values: Sequence[Value]) -> list[Value]:
        """Interprets a jaxpr with its own constants."""
        if isinstance(program, Jaxpr):
            return self._program(program, [], values)
        return self._program(program.jaxpr, [constant(value) for value in program.consts], values)

    def _program(self, jaxpr: Jaxpr, constants: Sequence[Value], values: Sequence[Value]) -> list[Value]:
        known: dict[Any, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *values], strict=True))

        def read(atom: Any) -> Value:
            return constant(literal(atom)) if isinstance(atom, Literal) else known[atom]

        call, done = self.recorder.line, _read_last(jaxpr)
        for equation in jaxpr.eqns:
            self.recorder.line = None if self.recorder.is_followed else line_of(equation, call)
            outputs = self._equation(equation, [read(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, outputs, strict=True))
            for variable in done[id(equation)]:
                del known[variable]
        self.recorder.line = call
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
        name = equation.primitive.name
        if name in CALLS:
            return self._call(equation, values)
        if name in LOOPS:
            return enter(self, equation, [self.resolve(value) for value in values])
        self.last = name
        is_passed = name in PASSED or (name in STOPS_GRADIENT and self._own_gradients > 0)
        return list(values) if is_passed else self._step(step_of(equation), values)

    def _call(self, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
        """A program that is called; where it has a derivative of its own, gradients come back through that."""
        program = equation.params[CALLS[equation.primitive.name]]
        if not equation.primitive.name.startswith("custom_"):
            return self.interpret(program, values)
        values = [self.resolve(value) for value in values]
        follow = self.recorder.is_followed and not any(value.held is not None for value in values)
        self._own_gradients += 1
        outputs = self.interpret(program, [_without_gradient(value) for value in values] if follow else values)
        self._own_gradients -= 1
        if _is_step(values, outputs):
            return self._resolved_step(step_of(equation), values)
        if not follow:
            return outputs
        arrays = step_of(equation)(*(self.recorder.numbers(value) for value in values))
        return [_with_gradient(output, array) for output, array in zip(outputs, arrays, strict=True)]

    def _step(self, step: Step, values: Sequence[Value]) -> list[Value]:
        if all(value.is_constant for value in values):
            return self._constants(step, values)
        is_pending = any(value.pending is not None for value in values)
        if is_pending and step.name in VIEWS:
            return [self._view_pending(step, values)]
        if is_pending and step.name == "mul" and any(value.is_data for value in values):
            return [self._normalise(values)]
        resolved = [self.resolve(value) for value in values]
        if step.name == "mul" and op_roles.is_statistic_times_parameter(resolved):
            return [_postpone(step, resolved)]
        return self._resolved_step(step, resolved)

    def _resolved_step(self, step: Step, values: Sequence[Value]) -> list[Value]:
        """A step none of whose inputs is a product that was postponed."""
        outputs = range(len(step.outs))
        if not any(value.is_data for value in values) and not _acts_alone(step, values):
            return [derive(step, values, output) for output in outputs]
        if values[0].is_data and step.name in VIEWS:
            return [self._view(step, values, 0)]
        if values[0].is_data and step.name in SELECTIONS:
            return [self._select(step, values, output) for output in outputs]
        if step.name == "gather" and values[0].held is not None and not _is_lookup(step, values):
            return [derive(step, values, 0)]
        if not any(is_float(dtype) for _, dtype in step.outs):
            return self._answers(step, values)
        return self._arithmetic(step, values)

    def _arithmetic(self, step: Step, values: Sequence[Value]) -> list[Value]:
        """New numbers: an op, unless the step only divides the sum before it."""
        mean = self._mean(step, values)
        return [mean] if mean is not None else self.recorder.operation(step, values, describe(step, values))

    def _mean(self, step: Step, values: Sequence[Value]) -> Value | None:
        """A sum that is divided by a number is a mean: one op, not two."""
        if step.name not in ("div", "mul") or len(values) != 2 or values[0].op is None or values[0].op < 0:
            return None
        op, number = self.recorder.ops[values[0].op], values[1].number
        if op.name not in op_roles.SUMMED or number is None or values[0].size != op.size:
            return None
        mean = replace(values[0], data=step.first(values[0].data, values[1].data), samples={})
        self.recorder.merge_mean(values[0], number if step.name == "div" else 1 / number if number else 1.0, mean)
        return mean

    def _constants(self, step: Step, values: Sequence[Value]) -> list[Value]:
        arrays = step(*(value.data for value in values))
        state = any(value.state for value in values)
        inverse = step.name == "rsqrt" or (step.name in VIEWS and values[0].inverse)
        samples = activations.sampled(step, values) if any(value.samples for value in values) else {}
        known = {"state": state, "inverse": inverse, "samples": samples}  # a mask of data is one of their functions
        return [of_form(form, data=data, **known) for form, data in zip(step.outs, arrays, strict=True)]

    def _answers(self, step: Step, values: Sequence[Value]) -> list[Value]:
        """Integers and truth values: made of the model's inputs alone they count as those; indices come from an op."""
        arrays = step(*(self.recorder.numbers(value) for value in values))
        sources = [value for value in values if not value.is_constant]
        is_given = all(value.op == INPUT for value in sources)
        op = INPUT if is_given else next((value.op for value in sources if value.op != INPUT), None)
        op = op if is_given or all(is_index(dtype) for _, dtype in step.outs) else None
        samples = activations.sampled(step, values)
        return [
            of_form(form, data=data, op=op, given=sources[0].given, samples=samples)
            for form, data in zip(step.outs, arrays, strict=True)
        ]

    # Views of data

    def _view(self, step: Step, values: Sequence[Value], output: int) -> Value:
        value, rest = values[0], [self.recorder.numbers(other) for other in values[1:]]
        shape, dtype = step.outs[output]

        def again(numbers: Any) -> Any:
            return step(jnp.asarray(numbers), *(_like(array, numbers) for array in rest))[output]

        is_cast = step.name in CASTS
        return replace(
            value,
            shape=shape,
            dtype=dtype,
            data=step(self.recorder.numbers(value), *rest)[output],
            views=value.views if is_cast else value.viewed(again),
            sides=op_roles.moved_sides(value.sides, step, shape),
            samples=activations.sampled(step, values) if is_cast else {},
            pending=None,
            sequence=value.sequence if step.name in VIEWS and step.name != "pad" else None,
        )

    def _select(self, step: Step, values: Sequence[Value], output: int) -> Value:
        """A view that may leave features out: if it does, it is an op."""
        if any(value.is_data and value.is_float for value in values[1:]) or not values[0].is_float:
            return self._answers(step, values)[output]
        view = self._view(step, values, output)
        views = view.views
        if views is None or any(value.data is None for value in values[1:]):
            return view
        call = selection_of(views, runs_of_features(views))
        if call is None:
            return view
        passed = Step(step.name, lambda array: [array], (step.outs[output],))
        selected = self.recorder.operation(passed, [view], replace(call, data=(0,)), reads=(values[0].shape,))
        return replace(selected[0], views=views)

    # Products of a statistic and a parameter

    def resolve(self, value: Value) -> Value:
        """The value, once a product that was postponed is an op."""
        if value.pending is None:
            return value
        statistic, parameter = value.pending
        if statistic.is_data:
            return self._multiply(statistic, parameter)
        return derive(plain_step("mul", lambda a, b: a * b, value), [statistic, parameter], 0)

    def _view_pending(self, step: Step, values: Sequence[Value]) -> Value:
        pair = values[0].pending
        if pair is None:
            return self._view(step, [self.resolve(value) for value in values], 0)
        parameter = derive(step, [pair[1]], 0)
        statistic = self._view(step, [pair[0]], 0) if pair[0].is_data else self._constants(step, [pair[0]])[0]
        return of_form(step.outs[0], pending=(statistic, parameter))

    def _normalise(self, values: Sequence[Value]) -> Value:
        """Y (s w), as (y s) w: the statistic normalises, the parameter scales."""
        source, product = sorted(values, key=lambda value: value.pending is not None)
        if product.pending is None or source.pending is not None:
            return self._multiply(*(self.resolve(value) for value in values))
        statistic, parameter = product.pending
        return self._multiply(self._divide(source, statistic), parameter)

    def _divide(self, source: Value, statistic: Value) -> Value:
        """A batch norm by running statistics divides by constants."""
        if statistic.is_data:
            return self._multiply(source, statistic)
        step = plain_step("mul", lambda a, b: a * b, source)
        call = Call(OpKind.NORM, (0,), (), -1, Normalisation("batch_norm"))
        return self.recorder.operation(step, [source, statistic], call)[0]

    def _multiply(self, left: Value, right: Value) -> Value:
        step = plain_step("mul", lambda a, b: a * b, left)
        return self.recorder.operation(step, [left, right], describe(step, [left, right]))[0]


def _read_last(jaxpr: Jaxpr) -> Mapping[int, list[Any]]:
    """The variables that each equation of a program is the last to read, by its `id`: their arrays may go then."""
    kept = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    last: dict[int, list[Any]] = {}
    for equation in reversed(jaxpr.eqns):
        read = {atom for atom in equation.invars if not isinstance(atom, Literal)} - kept
        last[id(equation)] = list(read)
        kept |= read
    return last


def _is_step(values: Sequence[Value], outputs: Sequence[Value]) -> bool:
    """Whether a function of data alone gives numbers that follow from comparisons, as spikes do."""
    of_data = any(value.is_data and value.op != INPUT for value in values) and not any(value.held for value in values)
    return of_data and all(output.is_constant and is_float(output.dtype) for output in outputs)


def _without_gradient(value: Value) -> Value:
    return value if value.data is None else replace(value, data=lax.stop_gradient(value.data))


def _with_gradient(value: Value, array: Any) -> Value:
    """A value whose gradient goes to another array of the same numbers, too."""
    if value.data is None or array is None or not is_float(value.dtype):
        return value
    return replace(value, data=_both(array, value.data))


@jax.custom_vjp
def _both(array: Any, other: Any) -> Any:
    """An array; its gradient goes to another one as well."""
    return array


_both.defvjp(lambda array, other: (array, None), lambda _, gradient: (gradient, gradient))


def _postpone(step: Step, values: Sequence[Value]) -> Value:
    statistic, parameter = sorted(values, key=lambda value: value.held is not None)
    return of_form(step.outs[0], pending=(statistic, parameter))


def _acts_alone(step: Step, values: Sequence[Value]) -> bool:
    """Whether a function of parameters and constants is an op of the model: a table's rows, a map of a constant."""
    if step.name in PRODUCTS:
        return sum(value.held is not None for value in values) == 1
    return step.name == "gather" and values[0].held is not None and _is_lookup(step, values)


def _is_lookup(step: Step, values: Sequence[Value]) -> bool:
    return describe(step, values).kind == OpKind.EMBEDDING


def _like(array: Any, numbers: Any) -> Any:
    """Further inputs of a view: indices as they are, padding in the dtype of the numbers."""
    if array is not None and jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.asarray(0, numbers.dtype)
    return array
