"""Writes down what a program does as it is interpreted, operation by operation.

A program is a jaxpr: every function of JAX that a model calls becomes one. Its equations are carried out one by one on
the model's own numbers, or on shapes alone; each array is followed with the op that it comes from and the parameters
that it shows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from fanwise.graph.blocks import Cuts
from fanwise.graph.kinds import AFTER_SOFTMAX, FOLLOWED, KEEPS_SIDES, PROPORTIONAL, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Visitor
from fanwise.jax.trace import activations as shapes
from fanwise.jax.trace import op_roles as naming
from fanwise.jax.trace.axes import layout_in_storage, stacked_layout
from fanwise.jax.trace.calls import Call, Part, Step, literal, plain_step, step_of
from fanwise.jax.trace.control_flow import LOOPS, entered
from fanwise.jax.trace.executed_op import Carried
from fanwise.jax.trace.op_table import CALLS, COMBINING, PASSED, PRODUCTS, SELECTIONS, VIEWS, describe
from fanwise.jax.trace.provenance import FACTORS, derived
from fanwise.jax.trace.pruning import kept_ops, pruned, with_whole_sums
from fanwise.jax.trace.traced_value import (
    Chain,
    Held,
    Measured,
    Value,
    constant,
    followed,
    given_numbers,
    measured,
    of_form,
)
from fanwise.laws.base import Initializer
from fanwise.stream.key import Key


class Recorder:
    """Records the ops of a program as it is interpreted.

    Args:
        parameters: of the model, by path.
        leaves: their arrays.
        visitor: what is shown each op.
        taps: added to the outputs of the ops, one for each, so that gradients can be taken with respect to them.
        see: is shown each op as it was carried out, and says what its output is when the model goes on.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        leaves: Mapping[str, Any],
        visitor: Visitor,
        taps: Sequence[Any] | None = None,
        *,
        see: Callable[[Carried], Any] | None = None,
    ) -> None:
        self.ops: list[Op] = []
        self.outputs: list[Value] = []
        self.unseen: list[str] = []
        self.kept: tuple[int, ...] = ()
        self.shares: dict[int, float] = {}
        self.call = 0
        self.loops = 0
        self.over_time = False
        self.repeating = False
        self.repeated: set[str] = set()
        self.parts: dict[tuple[int, str], tuple[tuple[int, int, int], ...]] = {}
        self.guessed = False
        self.last = "none"
        self._parameters, self._leaves = parameters, leaves
        self._visitor, self._taps, self._see = visitor, taps, see
        self._drawn: dict[str, Any] = {}
        self._places: dict[tuple[str, int], int] = {}
        self._read: dict[str, Value] = {}
        self._absorbed: set[int] = set()
        self._cuts = Cuts(parameters)

    def trace(self, outputs: Sequence[Value]) -> Trace:
        """What was seen."""
        ends = tuple(dict.fromkeys(value.op for value in outputs if value.op is not None and value.op >= 0))
        ops = tuple(self._cuts.told(op) for op in self.ops)
        whole = Trace(ops, tuple(self._parameters.values()), ends, tuple(dict.fromkeys(self.unseen)))
        whole, inner = with_whole_sums(whole)
        self.kept = kept_ops(whole, inner | self._absorbed)
        return pruned(whole, self.kept)

    # Programs

    def program(self, jaxpr: Jaxpr, constants: Sequence[Value], values: Sequence[Value]) -> list[Value]:
        """Interprets a jaxpr."""
        known: dict[Any, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *values], strict=True))

        def read(atom: Any) -> Value:
            return constant(literal(atom)) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            made = self.equation(equation, [read(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, made, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def closed(self, program: ClosedJaxpr | Jaxpr, values: Sequence[Value]) -> list[Value]:
        """Interprets a jaxpr with its own constants."""
        if isinstance(program, Jaxpr):
            return self.program(program, [], values)
        return self.program(program.jaxpr, [constant(value) for value in program.consts], values)

    def equation(self, equation: JaxprEqn, values: Sequence[Value]) -> list[Value]:
        """Interprets one equation."""
        name = equation.primitive.name
        if name in CALLS:
            return self.closed(equation.params[CALLS[name]], values)
        if name in LOOPS:
            return entered(self, equation, [self.settled(value) for value in values])
        self.last = name
        return list(values) if name in PASSED else self._stepped(step_of(equation), values)

    def _stepped(self, step: Step, values: Sequence[Value]) -> list[Value]:
        if all(value.is_constant for value in values):
            return self._constants(step, values)
        pending = [value for value in values if value.pending is not None]
        if pending and step.name in VIEWS:
            return [self._viewed_pending(step, values)]
        if pending and step.name == "mul" and any(value.is_data for value in values):
            return [self._normalised(values)]
        settled = [self.settled(value) for value in values]
        if step.name == "mul" and naming.is_statistic_times_parameter(settled):
            return [self._postponed(step, settled)]
        return self._settled_equation(step, settled)

    def _settled_equation(self, step: Step, values: Sequence[Value]) -> list[Value]:
        if not any(value.is_data for value in values) and not self._acts_alone(step, values):
            return [derived(step, values, place) for place in range(len(step.outs))]
        if values[0].is_data and step.name in VIEWS:
            return [self._view(step, values, 0)]
        if values[0].is_data and step.name in SELECTIONS:
            return [self._selected(step, values, place) for place in range(len(step.outs))]
        if step.name == "gather" and values[0].held is not None and describe(step, values).kind != OpKind.EMBEDDING:
            return [derived(step, values, 0)]
        if not any(_is_float(form[1]) for form in step.outs):
            return self._answers(step, values)
        return self._arithmetic(step, values)

    def _arithmetic(self, step: Step, values: Sequence[Value]) -> list[Value]:
        """What gives new numbers: an op, unless it belongs to the one before or the one after."""
        mean = self._mean(step, values)
        if mean is not None:
            return [mean]
        return self.operation(step, values, describe(step, values))

    def _mean(self, step: Step, values: Sequence[Value]) -> Value | None:
        """A sum that is divided by a number is a mean: one op, not two."""
        if step.name not in ("div", "mul") or len(values) != 2 or values[0].op is None or values[0].op < 0:
            return None
        op, number = self.ops[values[0].op], values[1].number
        if op.name not in naming.SUMMED or number is None or values[0].size != op.size:
            return None
        self.ops[op.index] = replace(op, name="mean")
        self.shares[op.index] = number if step.name == "div" else 1 / number if number else 1.0
        made = replace(values[0], data=step.first(values[0].data, values[1].data), samples={})
        self.outputs[op.index] = made
        return made

    def _acts_alone(self, step: Step, values: Sequence[Value]) -> bool:
        """Whether a function of parameters and constants is an op of the model: a table's rows, a map of a constant."""
        held = [value for value in values if value.held is not None]
        if step.name in PRODUCTS:
            return len(held) == 1
        return step.name == "gather" and values[0].held is not None and describe(step, values).kind == OpKind.EMBEDDING

    def numbers(self, value: Value) -> Any:
        """The numbers of a value: of parameters, those that stand in for them."""
        return value.data if value.held is None else value.held.make(self._drawn)

    def _constants(self, step: Step, values: Sequence[Value]) -> list[Value]:
        made = step(*(value.data for value in values))
        state = any(value.state for value in values)
        inverse = step.name == "rsqrt" or (step.name in VIEWS and values[0].inverse)
        return [
            of_form(form, data=data, state=state, inverse=inverse) for form, data in zip(step.outs, made, strict=True)
        ]

    def _answers(self, step: Step, values: Sequence[Value]) -> list[Value]:
        """Integers and truth values: made of the model's inputs alone they count as those."""
        made = step(*(self.numbers(value) for value in values))
        sources = [value for value in values if not value.is_constant]
        given = all(value.op == INPUT for value in sources)
        samples = shapes.sampled(step, values)
        return [
            of_form(form, data=data, op=INPUT if given else None, given=sources[0].given, samples=samples)
            for form, data in zip(step.outs, made, strict=True)
        ]

    # Views of data

    def _view(self, step: Step, values: Sequence[Value], place: int) -> Value:
        value, rest = values[0], [self.numbers(one) for one in values[1:]]
        shape, dtype = step.outs[place]
        data = step(self.numbers(value), *rest)[place]

        def again(shadow: Any) -> Any:
            return step(jax.numpy.asarray(shadow), *(_like(one, shadow) for one in rest))[place]

        kept = step.name in ("convert_element_type", "copy", "stop_gradient", "name", "reduce_precision")
        chain = value.chain if kept else followed(value, again, shape)
        sides = naming.moved_sides(value.sides, step, shape)
        samples = shapes.sampled(step, values) if kept else {}
        return replace(
            value, shape=shape, dtype=dtype, data=data, chain=chain, sides=sides, samples=samples, pending=None
        )

    def _selected(self, step: Step, values: Sequence[Value], place: int) -> Value:
        """A view that may leave features out: if it does, it is an op."""
        if any(value.is_data and value.is_float for value in values[1:]) or not values[0].is_float:
            return self._answers(step, values)[place]
        view = self._view(step, values, place)
        known = all(value.data is not None for value in values[1:])
        runs = view.chain.runs() if view.chain is not None and known else None
        if view.chain is None or runs is None or runs == ((0, view.chain.extent),):
            return view
        call = Call(OpKind.SLICE, (0,), (), -1, {"root": view.chain.root, "runs": runs, "peers": view.chain.peers})
        passed = Step(step.name, lambda array: [array], (step.outs[place],))
        made = self.operation(passed, [replace(view, op=values[0].op)], call, reads=(values[0].shape,))
        return replace(made[0], chain=view.chain)

    # Products of a statistic and a parameter

    def _postponed(self, step: Step, values: Sequence[Value]) -> Value:
        statistic, parameter = sorted(values, key=lambda value: value.held is not None)
        return of_form(step.outs[0], pending=(statistic, parameter))

    def _viewed_pending(self, step: Step, values: Sequence[Value]) -> Value:
        pair = values[0].pending
        if pair is None:
            return self._view(step, [self.settled(value) for value in values], 0)
        parameter = derived(step, [pair[1]], 0)
        statistic = self._view(step, [pair[0]], 0) if pair[0].is_data else self._constants(step, [pair[0]])[0]
        return of_form(step.outs[0], pending=(statistic, parameter))

    def settled(self, value: Value) -> Value:
        """The value, once a product that was postponed is an op."""
        if value.pending is None:
            return value
        statistic, parameter = value.pending
        if statistic.is_data:
            return self._times(statistic, parameter)
        return derived(plain_step("mul", lambda a, b: a * b, value), [statistic, parameter], 0)

    def _normalised(self, values: Sequence[Value]) -> Value:
        """Y (s w), as (y s) w: the statistic normalises, the parameter scales."""
        source, product = sorted(values, key=lambda value: value.pending is not None)
        if product.pending is None or source.pending is not None:
            return self._times(*(self.settled(value) for value in values))
        statistic, parameter = product.pending
        return self._times(self._divided(source, statistic), parameter)

    def _divided(self, source: Value, statistic: Value) -> Value:
        """A batch norm by running statistics divides by constants."""
        if statistic.is_data:
            return self._times(source, statistic)
        step = plain_step("mul", lambda a, b: a * b, source)
        return self.operation(step, [source, statistic], Call(OpKind.NORM, (0,), (), -1, {"norm": "batch_norm"}))[0]

    def _times(self, left: Value, right: Value) -> Value:
        step = plain_step("mul", lambda a, b: a * b, left)
        return self.operation(step, [left, right], describe(step, [left, right]))[0]

    # Ops

    def operation(
        self, step: Step, values: Sequence[Value], call: Call, *, reads: tuple[tuple[int, ...], ...] | None = None
    ) -> list[Value]:
        """Carries out one op of the model, shows it to the visitor, and returns its outputs."""
        if naming.holds_program(step.params) and not step.name.startswith(COMBINING):
            self.unseen.append(f"{step.name}: the program inside it was not entered")
        call = self._in_order(naming.with_roles(call, values), values)
        if self.over_time:
            call = naming.within_a_cell(call)
        self._tell_keys(step, values)
        places = sorted(call.data, key=lambda place: values[place].is_constant)
        read = [self._as_data(values[place]) for place in places]
        sources = [value for value in read if value.is_data]
        op = self._opened(step, call, values, sources)
        shown = tuple(value.shape for value in sources) if reads is None else reads
        op = replace(op, reads=shown, replay=naming.replay_of_call(step, call, values))
        laws = self._visitor.before(op, Measured(tuple(replace(value, data=self.numbers(value)) for value in read)))
        arrays = [self.numbers(value) for value in values]
        for place, value in zip(places, read, strict=True):
            arrays[place] = self.numbers(value)
        self._stand_in(laws, op, values, arrays)
        made = step(*arrays)
        return self._closed(op, step, (values, read), made)

    def _in_order(self, call: Call, values: Sequence[Value]) -> Call:
        """A product with the weights of a softmax on its left, whichever side the program has them on."""
        if call.kind != OpKind.MATMUL or len(call.data) != 2 or not self._from_softmax(values[call.data[1]]):
            return call
        if self._from_softmax(values[call.data[0]]):
            return call
        turned = {"l": "r", "r": "l"}
        sides = tuple(turned.get(side, side) for side in call.detail["sides"])
        return replace(call, data=call.data[::-1], detail={**call.detail, "sides": sides})

    def _from_softmax(self, value: Value) -> bool:
        index = -1 if value.op is None else value.op
        while index >= 0 and self.ops[index].kind in AFTER_SOFTMAX and self.ops[index].inputs:
            index = self.ops[index].inputs[0]
        return index >= 0 and self.ops[index].kind == OpKind.SOFTMAX

    def _tell_keys(self, step: Step, values: Sequence[Value]) -> None:
        """A softmax over scores is over the keys: they are the right operand of the product that the scores are."""
        if step.name != "reduce_max" or not values[0].sides or values[0].op is None:
            return
        over = {values[0].sides[axis] for axis in step.params["axes"]}
        index = values[0].op
        while index >= 0 and self.ops[index].kind != OpKind.MATMUL and self.ops[index].inputs:
            index = self.ops[index].inputs[0]
        if over == {"l"} and index >= 0 and self.ops[index].kind == OpKind.MATMUL:
            op = self.ops[index]
            self.ops[index] = replace(op, inputs=op.inputs[::-1], reads=op.reads[::-1])

    def _opened(self, step: Step, call: Call, values: Sequence[Value], sources: Sequence[Value]) -> Op:
        uses = tuple(use for part in call.parts for use in self._uses(values[part.place], part))
        detail = dict(call.detail)
        given = given_numbers(sources)
        if given:
            detail["given"] = given
        module = uses[0].path.rpartition(".")[0] if uses else ""
        ordinal = self._places.get((module, self.call), 0)
        self._places[module, self.call] = ordinal + 1
        inputs = tuple(value.op for value in sources if value.op is not None)
        name = call.name or step.name
        return Op(len(self.ops), call.kind, name, module, self.call, ordinal, inputs, uses, (), call.axis, detail)

    def _uses(self, value: Value, part: Part) -> list[Use]:
        held = value.held
        return [] if held is None else [self._use(held, which, part, value) for which in range(len(held.shown))]

    def _use(self, held: Held, which: int, part: Part, value: Value) -> Use:
        shown = held.shown[which]
        role, layout = shown.side or part.role, None
        shape = self._parameters[shown.path].shape
        if part.layout is not None and not shown.side:
            layout = layout_in_storage(part.layout, shown.axes, shape)
        elif part.role in (UseRole.SHIFT, UseRole.SCALE):
            layout = stacked_layout(shown.axes, shape)
        if which == 0:
            self._cuts.see(shown.path, shown.parts)
        self.parts[len(self.ops), shown.path] = shown.parts
        if self.repeating:
            self.repeated.add(shown.path)
        steps = (*held.steps, "normalize") if self._is_normalised(held, shown.path) else held.steps
        return Use(shown.path, role, layout, steps, self._ratio(held, shown.path))

    def _is_normalised(self, held: Held, path: str) -> bool:
        """Whether the size of a parameter has no effect on what is made of it: twice as large, it gives the same."""
        leaf = _numbers_of(self._leaves[path])
        if not set(held.steps) & set(naming.SUMMED) or leaf is None or self._taps is not None:
            return False
        once, twice = (np.asarray(held.make({path: factor * leaf}), np.float64) for factor in (1, 2))
        return bool(np.abs(once).max() > 0 and np.abs(twice - once).max() <= 0.01 * np.abs(once).max())

    def _ratio(self, held: Held, path: str) -> float:
        """By what the std of a weight exceeds that of the parameter which alone it is made of, by constant factors."""
        if len(held.shown) > 1 or not set(held.steps) & FACTORS or self._taps is not None:
            return 1.0
        before, after = measured(_numbers_of(self._leaves[path])), measured(held.make({}))
        return math.sqrt(after / before) if before > 0 and after > 0 else 1.0

    def _as_data(self, value: Value) -> Value:
        """A parameter that is read as data: a token, learned queries, an initial state."""
        held = value.held
        if held is None:
            return value
        name = f"{held.paths}{value.shape}"
        if name not in self._read:
            step = Step("parameter", lambda array: [array], ((value.shape, value.dtype),))
            self._read[name] = self.operation(step, [value], Call(OpKind.PARAMETER, (), (Part(0, UseRole.OPERAND),)))[0]
        return self._read[name]

    def _stand_in(self, laws: Mapping[str, Initializer], op: Op, values: Sequence[Value], arrays: list[Any]) -> None:
        """Puts values drawn from the visitor's laws where parameters stand."""
        for place, value in enumerate(values):
            held = value.held
            if held is None or held.paths[0] not in laws or arrays[place] is None:
                continue
            path = held.paths[0]
            use = next((use for use in op.uses if use.path == path), None)
            if not set(held.steps) - {"cat"}:
                for one in held.paths:
                    if one in laws:
                        layout = next((u.layout for u in op.uses if u.path == one), None)
                        self._drawn[one] = self._drawn_parameter(one, laws[one], layout)
                arrays[place] = held.make(self._drawn)
            else:
                parameter, layout = self._parameters[path], None if use is None else use.layout
                moments = laws[path].moments(parameter.shape, layout=layout)
                generator = np.random.default_rng(Key(0).child(path).philox().key[0])
                normal = generator.standard_normal(value.shape) * moments.std + moments.mean
                arrays[place] = jax.numpy.asarray(normal, value.dtype)

    def _drawn_parameter(self, path: str, law: Initializer, layout: Any) -> Any:
        parameter = self._parameters[path]
        values = law(parameter.shape, key=Key(0).child(path), layout=layout)
        return jax.numpy.asarray(values, parameter.dtype)

    def _closed(
        self, op: Op, step: Step, inputs: tuple[Sequence[Value], Sequence[Value]], made: Sequence[Any]
    ) -> list[Value]:
        values, read = inputs
        first = next(place for place, form in enumerate(step.outs) if _is_float(form[1]))
        samples = shapes.sampled(step, values)
        op, roots = naming.named(self.ops, replace(op, shape=step.outs[first][0]), step, samples)
        self.ops.append(op)
        factor = self._visitor.after(op, lambda: measured(made[first]))
        data = list(made)
        if factor is not None and factor != 1:
            data[first] = data[first] * np.asarray(factor, step.outs[first][1])
        if self._see is not None:
            data[first] = self._see(Carried(op, step, tuple(values), first, data[first]))
        if self._taps is not None:
            data[first] = data[first] + self._taps[op.index].astype(step.outs[first][1])
        outputs = [
            self._output(op, form, array, (values, read) if place == first else ((), ()))
            for place, (form, array) in enumerate(zip(step.outs, data, strict=True))
        ]
        kept = {root: replace(one, ops=(*one.ops, op.index)) for root, one in samples.items()}
        outputs[first] = replace(outputs[first], samples=kept)
        self.outputs.append(outputs[first])
        self._absorbed.update(roots)
        return outputs

    def _output(self, op: Op, form: Any, data: Any, inputs: tuple[Sequence[Value], Sequence[Value]]) -> Value:
        """One output of an op."""
        if not _is_float(form[1]):
            return of_form(form, data=data)
        _, read = inputs
        moving = [value for value in read if value.is_data]
        sides = tuple(op.detail.get("sides", ())) or next(
            (value.sides for value in moving if value.sides and value.shape == form[0]), ()
        )
        elementwise = op.kind in PROPORTIONAL
        return of_form(
            form,
            data=data,
            op=op.index,
            chain=self._chain(op, form[0], read),
            sides=sides if op.kind in KEEPS_SIDES else (),
            extent=math.prod(form[0]),
            reduced=op.kind == OpKind.REDUCE
            or (elementwise and bool(moving) and all(value.reduced for value in moving)),
            state=bool(moving) and all(value.state for value in read),
        )

    def _chain(self, op: Op, shape: tuple[int, ...], read: Sequence[Value]) -> Chain | None:
        """Features are counted from each weight op, through what keeps its shape."""
        if op.kind in WEIGHTED and shape:
            return Chain(op.index, shape, op.axis)
        if op.name in ("add", "add_any") and len(op.inputs) == 2:
            return self._chain_of_sum(read)
        if op.kind not in FOLLOWED or not read or read[0].shape != shape:
            return None
        return read[0].chain

    def _chain_of_sum(self, read: Sequence[Value]) -> Chain | None:
        """Two maps added feature by feature, as the gates of a recurrent cell written by hand."""
        chains = [value.chain for value in read if value.chain is not None]
        if len(chains) != 2 or any(chain.steps or chain.peers for chain in chains):
            return None
        first, second = chains
        maps = all(self.ops[chain.root].kind != OpKind.EMBEDDING for chain in chains)
        same = (first.shape, first.axis) == (second.shape, second.axis)
        return replace(first, peers=(second.root,)) if maps and same else None


def _like(array: Any, shadow: Any) -> Any:
    """What a view takes besides: indices as they are, padding in the dtype of the shadow."""
    if array is not None and jax.numpy.issubdtype(array.dtype, jax.numpy.inexact):
        return jax.numpy.asarray(0, shadow.dtype)
    return array


def _is_float(dtype: Any) -> bool:
    return bool(jax.numpy.issubdtype(dtype, jax.numpy.inexact))


def _numbers_of(leaf: Any) -> Any:
    return None if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
