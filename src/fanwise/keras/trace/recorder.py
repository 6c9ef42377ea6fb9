"""Records the ops of a Keras model as they are executed: its layers, and the functions that it applies between them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import wraps
from threading import local
from typing import Any

import keras

from fanwise.graph.kinds import DATA_LAYERS, PROBED, REPLAYABLE, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.module_calls import ModuleCalls
from fanwise.graph.tracking.probes import Probe
from fanwise.graph.tracking.tracker import Read, Source, Tracker, drawn_values
from fanwise.graph.tracking.views import selection_of
from fanwise.graph.tracking.writes import Writes
from fanwise.graph.visitor import Visitor
from fanwise.keras.trace.calls import Call, Part
from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.features import ViewStep, runs_of_features
from fanwise.keras.trace.function_table import BY_PLACE, IGNORED, SELECTIONS, VIEWS, Arguments, describe
from fanwise.keras.trace.layer_table import describe_layer
from fanwise.keras.trace.moments import moments_of, saved, second_moment
from fanwise.keras.trace.replacements import Replacement, replaced
from fanwise.keras.trace.separable import is_separable, separated
from fanwise.keras.trace.tensor_origins import TensorOrigins
from fanwise.keras.trace.transforms import Makes, as_drawn, made_again, transform_of
from fanwise.keras.trace.variables import (
    component_names,
    is_float,
    parameters,
    shape_of,
    tensors_in,
    variables,
)
from fanwise.laws.base import Initializer

FACTORING = frozenset({"matmul", "einsum", "dot", "tensordot", "kron"})
"""Functions that make a weight of factors of other shapes."""
ASIDE = ("mask", "attention_mask", "query_mask", "value_mask", "key_mask", "training")
"""Named arguments of layers that hold no data."""


class Recorder:
    """The record of a run so far.

    Args:
        model: whose variables are looked for.
        visitor: what is shown each op.
        given: the tensors that the model is given.
        see: called with each op and the tensor that it gave.
        tap: gives the tensor with which the model goes on, from an op and what it gave.
    """

    def __init__(
        self,
        model: Any,
        visitor: Visitor,
        given: Sequence[Any],
        see: Callable[[Op, Any], None] | None = None,
        tap: Callable[[Op, Any], Any] | None = None,
    ) -> None:
        self._model = model
        self._see = see or (lambda op, output: None)
        self._tap = tap or (lambda op, output: output)
        self.variables = variables(model)
        self.writes = Writes(saved)
        self._tracker = Tracker({parameter.path: parameter for parameter in parameters(model)}, visitor)
        self._origins = TensorOrigins(self.variables)
        self._names = component_names(model)
        self._calls = ModuleCalls()
        self._parameter_ops: dict[int, Source] = {}
        self._failed = ""
        self.failed_on: tuple[tuple[int, ...], ...] = ()
        """Shapes of the tensors that the layer was given that raised an error."""
        self._busy = False
        self._last: tuple[Call, Execution] | None = None
        for number, tensor in enumerate(given):
            self._origins.follow(tensor, Source(INPUT, None, number))

    @property
    def active(self) -> bool:
        """Whether a call is looked at: not one made by what is recorded already."""
        return not self._busy

    @property
    def location(self) -> str:
        """The layer and the last op of the run so far, in words."""
        last = self._tracker.ops[-1].name if self._tracker.ops else "none"
        return f"in layer {self._failed or self._calls.caller[0] or '(the model itself)'!r}, last op {last}"

    def trace(self, outputs: Sequence[Any]) -> Trace:
        """The trace of the run."""
        return self._tracker.trace([self._origins.source(tensor) for tensor in outputs])

    @property
    def ops(self) -> Sequence[Op]:
        """The ops so far."""
        return self._tracker.ops

    def op_of(self, tensor: Any) -> int | None:
        """The index of the op that gave a tensor; None where none did."""
        source = self._origins.source(tensor)
        return None if source is None else source.op

    def again(self, values: Mapping[str, Any]) -> Any:
        """The result of the last executed op with other values of its parameters.

        Args:
            values: by path.

        Returns:
            Its first tensor; None without values, and where it reads something that is made of a parameter.
        """
        if self._last is None or not values:
            return None
        call, execution = self._last
        if not execution.reads([part.input for part in call.parts]):
            return None
        mapping = [(self.variables[path], _convert(array)) for path, array in values.items()]
        with keras.StatelessScope(state_mapping=mapping):
            return next(tensor for tensor in tensors_in(execution()) if is_float(tensor))

    # Calls of layers

    def layer(self, layer: Any, execute: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Records one call of a layer and executes it."""
        with self._inside(layer, args), self.working():
            entry = describe_layer(layer, named)
            if entry is None and is_separable(layer):
                return self._separable(layer, args)
            if entry is None:
                with self.watching():
                    return execute(*args, **named)
            aside = [value for name, value in named.items() if name not in ASIDE]
            call = entry.of(layer, tuple(tensors_in([*args, *aside])))
            if entry.view:
                return self._pass_on(call, execute(*args, **named))
            if isinstance(layer, keras.layers.BatchNormalization):
                named = {**named, "training": True}
            return self._execute(layer, call, Execution(execute, args, named, layer=True), fused=entry.fused)

    def _execute(self, layer: Any, call: Call, execution: Execution, *, fused: bool) -> Any:
        if not fused or layer.activation in (None, keras.activations.linear):
            return self._operation(call, execution)
        with _without_activation(layer):
            output = self._operation(call, execution)
        return self._activate(layer, output)

    def _separable(self, layer: Any, args: tuple[Any, ...]) -> Any:
        """A depthwise convolution and one over the channels, as the two ops that they are."""
        output = args[0]
        for call, execute in separated(layer):
            output = self._operation(replace(call, data=(output,)), Execution(execute, (output,), layer=True))
        return self._activate(layer, output)

    def _activate(self, layer: Any, output: Any) -> Any:
        if layer.activation in (None, keras.activations.linear):
            return output
        with self.watching():
            return layer.activation(output)

    def _pass_on(self, call: Call, output: Any) -> Any:
        """A layer that moves or repeats values."""
        source = self._origins.source(call.data[0]) if call.data else None
        for tensor in tensors_in(output):
            if source is not None and self._origins.source(tensor) is None:
                self._origins.follow(tensor, replace(source, views=None))
        return output

    # Calls of functions

    def function(self, name: str, execution: Execution) -> Any:
        """Records one call of a function and executes it."""
        with self.working():
            a = Arguments(name, execution.args, execution.named, self._origins.held)
            traced = any(self._origins.source(value) is not None for value in a.values)
            held = a.held
            if (not traced and not held) or name in IGNORED:
                return self._constant(execution())
            if (name in VIEWS or name in SELECTIONS) and not (held and name == "take"):
                return self._view(a, execution)
            call = describe(a)
            if call is None:
                return self._constant(execution())
            joins_one = call.kind == OpKind.CONCAT and len({id(part.input) for part in held}) == 1
            if not traced and (joins_one or call.kind not in (OpKind.EMBEDDING, OpKind.LINEAR, OpKind.CONCAT)):
                return self._derive(a, execution)
            return self._operation(call, execution)

    def _view(self, a: Arguments, execution: Execution) -> Any:
        first = next(value for value in a.values if not self._origins.is_constant(value))
        output = execution()
        if self._origins.source(first) is None:
            return self._held_view(a, first, output, made_again(self._origins, a.values, execution))
        for position, tensor in enumerate(tensors_in(output)):
            if self._origins.source(tensor) is None:
                self._origins.follow(tensor, self._source_of_view(a, first, (position, tensor)))
        return output

    def _source_of_view(self, a: Arguments, first: Any, output: tuple[int, Any]) -> Source:
        """The source of a view's output; a view that leaves features of a weight op out is an op of its own."""
        source, (position, tensor) = self._origins.source(first) or Source(INPUT), output
        if source.views is None:
            return source
        chain = source.views.then(ViewStep(a.name, a.args, a.named, position, shape_of(tensor)))
        source = replace(source, views=chain)
        call = selection_of(chain, runs_of_features(chain)) if a.name in SELECTIONS else None
        if call is None:
            return source
        read = Read(source, shape_of(first))
        op = self._tracker.opened(replace(call, name=a.name), self._calls.caller, [read])
        op = self._tracker.add(op, shape_of(tensor))
        self._see(op, tensor)
        return replace(source, op=op.index)

    def _held_view(self, a: Arguments, first: Any, output: Any, makes: Makes) -> Any:
        part = self._origins.held(first)
        turned = a.name in ("transpose", "swapaxes", "moveaxis") and part is not None and len(part.input.shape) == 2
        for position, tensor in enumerate(tensors_in(output)):
            if part is not None and not self._origins.is_made_of_variables(tensor):
                self._origins.hold(tensor, replace(part, turned=part.turned != turned, make=makes(position)))
        return output

    def _derive(self, a: Arguments, execution: Execution) -> Any:
        """A function of variables alone: its result is followed as the first of them, which the others stand beside."""
        name, held, makes = a.name, a.held, made_again(self._origins, a.values, execution)
        output = execution()
        whole = [replace(part, beside=()) for each in held for part in (each, *each.beside)]
        steps = tuple(dict.fromkeys(step for part in whole for step in part.steps))
        several = {id(part.input): replace(part, steps=(*steps, name)) for part in reversed(whole)}
        for position, tensor in enumerate(tensors_in(output)):
            if held and is_float(tensor):
                first = several.pop(id(held[0].input), None) or held[0]
                beside, make = tuple(several.values())[::-1], makes(position)
                self._origins.hold(tensor, replace(first, beside=beside, make=make))
        return output

    def _constant(self, output: Any) -> Any:
        for tensor in tensors_in(output):
            if self._origins.is_constant(tensor):
                self._origins.constant(tensor)
        return output

    # Ops

    def _operation(self, call: Call, execution: Execution) -> Any:
        """An op of the model, executed on what the visitor puts in the place of its variables."""
        self._explain(call)
        call = replace(call, data=tuple(sorted(call.data, key=self._origins.is_constant)))  # constants come last
        traced = all(self._origins.source(tensor) is not None for tensor in call.data)
        read = self._reads(call)
        alone = call.kind in REPLAYABLE and not call.parts and traced and call.name not in BY_PLACE
        op = replace(self._open(call, read), replay=execution.replay(call.data) if alone else None)
        op = op if op.replay is not None or call.parts else replace(op, probe=self._probe(call, execution))
        laws = self._tracker.before(op, moments_of(call.data))
        self._put(laws, op)
        output, self._last = execution(), (call, execution)
        output = as_drawn(op, laws, output)
        first = next((tensor for tensor in tensors_in(output) if is_float(tensor)), None)
        if first is None:
            return self._pass_on(call, output) if call.data and traced else output
        return self._close(op, read, output, first)

    def _probe(self, call: Call, execution: Execution) -> Probe | None:
        """The op on normal values in place of the data that other ops gave."""
        data = [tensor for tensor in call.data if self._origins.source(tensor) is not None]
        if call.kind not in PROBED or not data or not all(map(is_float, data)):
            return None
        return execution.probe(data)

    def _close(self, op: Op, read: Sequence[Read], output: Any, first: Any) -> Any:
        """Records an op that was carried out; the model goes on with its output scaled, and with a tap."""
        op = self._tracker.add(op, shape_of(first))
        factor = self._tracker.factor_after(op, lambda: second_moment(first))
        new = self._tap(op, first if factor is None else first * factor)
        output = _swap(output, first, new) if new is not first else output
        for tensor in tensors_in(output):
            if is_float(tensor):
                self._origins.follow(tensor, self._follow(op, read) if tensor is new else Source(op.index))
        self._see(op, new)
        return output

    def _follow(self, op: Op, read: Sequence[Read]) -> Source:
        """Features are counted on the last axis alone."""
        counted = op.axis == -1 or op.kind not in WEIGHTED
        return Source(op.index, self._tracker.views_after(op, read, is_sum=False) if counted else None)

    def _explain(self, call: Call) -> None:
        """Records an op that no hook saw, where the first of a call's data has no origin."""
        first = call.data[0] if call.kind in DATA_LAYERS and call.data else None
        if first is None or not self._origins.is_unseen(first) or not is_float(first):
            return
        last = self._tracker.ops[-1].index if self._tracker.ops else INPUT
        op = replace(self._open(Call(OpKind.OTHER, (), name="unseen"), ()), inputs=(last,))
        op = self._tracker.add(op, shape_of(first))
        self._origins.follow(first, Source(op.index))
        self._see(op, first)

    def _reads(self, call: Call) -> list[Read]:
        """The data of a call that are no constants; a variable among them becomes an op."""
        sources = ((value, self._origins.source(value) or self._parameter_op(value)) for value in call.data)
        return [Read(source, shape_of(value)) for value, source in sources if source is not None]

    def _parameter_op(self, value: Any) -> Source | None:
        """A variable that is read as data: a token, learned queries."""
        part = self._origins.held(value)
        if part is None:
            return None
        variable = part.input
        if id(variable) not in self._parameter_ops:
            op = self._open(Call(OpKind.PARAMETER, (), (replace(part, role=UseRole.OPERAND),), name="parameter"), ())
            self._put(self._tracker.before(op, moments_of(())), op)
            tensor = variable.value
            op = self._tracker.add(op, shape_of(tensor))
            self._parameter_ops[id(variable)] = Source(op.index)
            self._tracker.factor_after(op, lambda: second_moment(tensor))
            self._see(op, tensor)
        return self._parameter_ops[id(variable)]

    def _open(self, call: Call, read: Sequence[Read]) -> Op:
        uses = tuple(use for each in call.parts for use in self._uses(each))
        return self._tracker.opened(call, self._calls.caller, read, uses)

    def _uses(self, part: Part) -> Iterator[Use]:
        """Uses of the variables that a part is made of."""
        paths = [(self._origins.path(one), one) for one in (part, *_beside(part))]
        own = {path: one.input for path, one in paths if path is not None and one.role == part.role}
        transform = transform_of(part, own)
        for path, one in paths:
            if path is not None:
                use = Use(path, one.role, one.layout, one.steps)
                yield replace(use, transform=transform) if path in own else use

    def _put(self, laws: Mapping[str, Initializer], op: Op) -> None:
        """Writes values drawn from laws into variables."""
        made = {use.path for use in op.uses if use.transform is not None}
        for path, law in ((path, law) for path, law in laws.items() if path not in made):
            variable, layout = self.variables[path], next((use.layout for use in op.uses if use.path == path), None)
            self.writes.keep(variable)
            variable.assign(drawn_values(self._tracker.parameters[path], law, layout))
            self._origins.hold(variable.value, Part(variable, UseRole.OPERAND))

    # Where the run is

    @contextmanager
    def _inside(self, layer: Any, given: Any = ()) -> Iterator[None]:
        if layer is self._model:
            yield
            return
        name, above = self._names.get(layer.name, layer.name), self._calls.caller[0]
        self._calls.enter(f"{above}/{name}" if above else name)
        try:
            yield
        except BaseException:
            if not self._failed:
                self._failed, self.failed_on = self._calls.caller[0], tuple(map(shape_of, tensors_in(given)))
            raise
        finally:
            self._calls.leave()

    def working(self) -> AbstractContextManager[None]:
        """The context in which nothing is recorded."""
        return self._as_busy(True)

    def watching(self) -> AbstractContextManager[None]:
        """The context in which calls are recorded again."""
        return self._as_busy(False)

    @contextmanager
    def _as_busy(self, busy: bool) -> Iterator[None]:
        before, self._busy = self._busy, busy
        try:
            yield
        finally:
            self._busy = before


class _Thread(local):
    """The layers whose activation a thread leaves out."""

    def __init__(self) -> None:
        self.linear: set[int] = set()


_THREAD = _Thread()


@contextmanager
def _without_activation(layer: Any) -> Iterator[None]:
    """The context in which the layer's activation is the identity, in this thread alone."""
    with replaced((id(layer), "activation"), lambda: [_activation(layer)]):
        _THREAD.linear.add(id(layer))
        try:
            yield
        finally:
            _THREAD.linear.discard(id(layer))


def _activation(layer: Any) -> Replacement:
    """Something in the layer's own dictionary, past what Keras does on assignment."""
    original = layer.activation

    @wraps(original, updated=())
    def activation(x: Any) -> Any:
        return x if id(layer) in _THREAD.linear else original(x)

    return Replacement(vars(layer), "activation", activation)


def _convert(array: Any) -> Any:
    return keras.ops.convert_to_tensor(array, dtype=keras.backend.standardize_dtype(array.dtype))


def _swap(output: Any, old: Any, new: Any) -> Any:
    """Nested tuples and lists with one tensor replaced."""
    if output is old:
        return new
    if isinstance(output, list) or type(output) is tuple:
        return type(output)(_swap(item, old, new) for item in output)
    return {k: _swap(v, old, new) for k, v in output.items()} if isinstance(output, dict) else output


def _beside(part: Part) -> Iterator[Part]:
    """The other parameters of which a weight was made: matrices are weights too, vectors scale or shift it."""
    for other in part.beside:
        rank = len(other.input.shape)
        is_factor = rank > 1 and not FACTORING.isdisjoint(other.steps)
        is_weight = part.role == UseRole.WEIGHT and (rank == len(part.input.shape) or is_factor)
        role = part.role if is_weight else UseRole.SCALE if "multiply" in other.steps else UseRole.OPERAND
        yield replace(other, role=role, layout=part.layout if is_weight and not is_factor else None)
