"""Records the ops of a Keras model as they are executed: its layers, and the functions that it applies between them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any

import keras
import numpy as np

from fanwise.graph.kinds import DATA_LAYERS, FOLLOWED, REPLAYABLE, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Visitor
from fanwise.keras.trace.calls import Call, Part
from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.features import applied, runs_of
from fanwise.keras.trace.function_table import IGNORED, SELECTIONS, VIEWS, Arguments, describe
from fanwise.keras.trace.layer_table import described
from fanwise.keras.trace.moments import Measured, Writes, second_moment
from fanwise.keras.trace.separable import is_separable, separated
from fanwise.keras.trace.variables import (
    component_names,
    is_float,
    parameters,
    shape_of,
    tensors_in,
    variables,
)
from fanwise.laws.base import Initializer
from fanwise.stream.key import Key

ASIDE = ("mask", "attention_mask", "query_mask", "value_mask", "key_mask", "training")
"""Named arguments of layers that hold no data."""


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from.

    Args:
        op: the op that gave it, `INPUT` for one of the model's inputs.
        given: which of the inputs.
        root: the weight op whose features its last axes hold, None where they were mixed since.
        labels: for each value, which feature of that op it is; None where they are still in their order.
    """

    op: int
    given: int = 0
    root: int | None = None
    labels: Any = None


class Recorder:
    """What a run has seen so far.

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
        self._visitor = visitor
        self._see = see or (lambda op, output: None)
        self._tap = tap
        self.variables = variables(model)
        self._paths = {id(variable): path for path, variable in self.variables.items()}
        self._names = component_names(model)
        self._sources: dict[int, tuple[Any, Source]] = {}  # by identity; the tensors are kept, so that none is reused
        self._held: dict[int, tuple[Any, Part]] = {}
        self._constants: dict[int, Any] = {}
        self._read: dict[int, int] = {}
        self._ops: list[Op] = []
        self._modules: list[str] = []
        self._calls: dict[str, int] = {}
        self._current: list[int] = []
        self._ordinals: dict[tuple[str, int], int] = {}
        self._thread = get_ident()
        self._busy = False
        self.writes = Writes()
        self._last: tuple[Call, Execution] | None = None
        for variable in self.variables.values():
            self._hold(variable.value, Part(variable, UseRole.OPERAND))
        for number, tensor in enumerate(given):
            self._sources[id(tensor)] = (tensor, Source(INPUT, number))

    @property
    def active(self) -> bool:
        """Whether a call is looked at: not one made by what is recorded already, nor in another thread."""
        return not self._busy and get_ident() == self._thread

    @property
    def place(self) -> str:
        """In words, where the run is."""
        last = self._ops[-1].name if self._ops else "none"
        return f"in layer {self._modules[-1] if self._modules else '(the model itself)'!r}, last op {last}"

    def trace(self, outputs: Sequence[Any]) -> Trace:
        """What was seen."""
        found = [source.op for tensor in outputs if (source := self._source(tensor)) is not None]
        ends = tuple(op for op in dict.fromkeys(found) if op >= 0)
        return Trace(tuple(self._ops), parameters(self._model), ends)

    def again(self, values: Mapping[str, Any]) -> Any:
        """What the op that was executed last gives with other values of its parameters.

        Args:
            values: by path.

        Returns:
            Its first tensor; None without values, and where it reads something that is made of a parameter.
        """
        if self._last is None or not values:
            return None
        call, execution = self._last
        if not execution.reads([part.variable for part in call.parts]):
            return None
        mapping = [(self.variables[path], _converted(array)) for path, array in values.items()]
        with keras.StatelessScope(state_mapping=mapping):
            return next(tensor for tensor in tensors_in(execution()) if is_float(tensor))

    # Calls of layers

    def layer(self, layer: Any, execute: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Records one call of a layer and executes it."""
        with self._inside(layer), self.working():
            found = described(layer, named)
            if found is None and not is_separable(layer):
                with self.watching():
                    return execute(*args, **named)
            if found is None:
                return self._separable(layer, args)
            aside = [value for name, value in named.items() if name not in ASIDE]
            call = found.of(layer, tuple(tensors_in([*args, *aside])))
            if found.view:
                return self._passed(call, execute(*args, **named))
            if isinstance(layer, keras.layers.BatchNormalization):
                named = {**named, "training": True}
            return self._executed(layer, call, Execution(execute, args, named, layer=True), fused=found.fused)

    def _executed(self, layer: Any, call: Call, execution: Execution, *, fused: bool) -> Any:
        activation = layer.activation if fused else None
        if activation is None or activation is keras.activations.linear:
            return self._operation(call, execution)
        with _without_activation(layer):
            output = self._operation(call, execution)
        with self.watching():
            return activation(output)

    def _separable(self, layer: Any, args: tuple[Any, ...]) -> Any:
        """A depthwise convolution and one over the channels, as the two ops that they are."""
        output = args[0]
        for call, execute in separated(layer):
            output = self._operation(replace(call, data=(output,)), Execution(execute, (output,), layer=True))
        activation = layer.activation
        if activation is None or activation is keras.activations.linear:
            return output
        with self.watching():
            return activation(output)

    def _passed(self, call: Call, output: Any) -> Any:
        """A layer that moves or repeats values."""
        source = self._source(call.data[0]) if call.data else None
        for tensor in tensors_in(output):
            if source is not None:
                self._sources.setdefault(id(tensor), (tensor, replace(source, root=None, labels=None)))
        return output

    # Calls of functions

    def function(self, name: str, execution: Execution) -> Any:
        """Records one call of a function and executes it."""
        with self.working():
            a = Arguments(name, execution.args, execution.named, self._holds)
            traced = any(self._source(value) is not None for value in a.values)
            held = a.held
            if (not traced and not held) or name in IGNORED:
                return self._constant(execution())
            if (name in VIEWS or name in SELECTIONS) and not (held and name == "take"):
                return self._view(a, execution)
            call = describe(a)
            if call is None:
                return self._constant(execution())
            if not traced and call.kind not in (OpKind.EMBEDDING, OpKind.LINEAR, OpKind.CONCAT):
                return self._derived(name, held, execution())
            return self._operation(call, execution)

    def _view(self, a: Arguments, execution: Execution) -> Any:
        first = next(value for value in a.values if self._source(value) is not None or self._holds(value) is not None)
        source = self._source(first)
        output = execution()
        if source is None:
            return self._held_view(a, first, output)
        labels = None if source.root is None else self._labels(source, first)
        moved = applied(a.name, a.args, a.named, labels) if labels is not None else None
        for place, tensor in enumerate(tensors_in(output)):
            if id(tensor) not in self._sources:
                own = moved[place] if isinstance(moved, list) and place < len(moved) else moved
                self._see_through(a.name, source, first, tensor, own)
        return output

    def _labels(self, source: Source, tensor: Any) -> Any:
        if source.labels is not None:
            return source.labels
        shape = shape_of(tensor)
        return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)

    def _see_through(self, name: str, source: Source, first: Any, tensor: Any, labels: Any) -> None:
        """A view of data: a slice of a weight op's features is an op of its own, anything else the same values."""
        if labels is None or not _describes(labels, tensor):
            self._sources[id(tensor)] = (tensor, replace(source, root=None, labels=None))
            return
        here = replace(source, labels=labels)
        runs = runs_of(labels)
        root = source.root if source.root is not None else source.op
        whole = self._ops[root].shape[-1]
        if name in SELECTIONS and runs is not None and runs != ((0, whole),):
            op = self._opened(
                Call(OpKind.SLICE, name, (), (), -1, {"root": root, "runs": runs, "peers": ()}), (source.op,)
            )
            op = self._added(replace(op, reads=(shape_of(first),)), tensor)
            here = replace(here, op=op.index)
            self._see(op, tensor)
        self._sources[id(tensor)] = (tensor, here)

    def _held_view(self, a: Arguments, first: Any, output: Any) -> Any:
        part = self._holds(first)
        turned = a.name in ("transpose", "swapaxes", "moveaxis") and part is not None and len(part.variable.shape) == 2
        for tensor in tensors_in(output):
            if part is not None and id(tensor) not in self._held:
                self._hold(tensor, replace(part, turned=part.turned != turned))
        return output

    def _derived(self, name: str, held: Sequence[Part], output: Any) -> Any:
        """A function of variables alone: its result is followed as the first of them."""
        for tensor in tensors_in(output):
            if held and is_float(tensor):
                self._hold(tensor, replace(held[0], steps=(*held[0].steps, name)))
        return output

    def _constant(self, output: Any) -> Any:
        for tensor in tensors_in(output):
            if self._source(tensor) is None and self._holds(tensor) is None:
                self._constants[id(tensor)] = tensor
        return output

    # Ops

    def _operation(self, call: Call, execution: Execution) -> Any:
        call = replace(call, data=self._ordered(self._explained(call)))
        sources = [self._source(tensor) for tensor in call.data]
        numbers = tuple(source.given for source in sources if source is not None and source.op == INPUT)
        if numbers:
            call = replace(call, detail={**call.detail, "given": numbers})
        inputs = self._inputs(call)
        alone = call.kind in REPLAYABLE and not call.parts and None not in sources
        op = replace(self._opened(call, inputs), reads=self._reads(call))
        op = replace(op, replay=execution.replay(call.data) if alone else None)
        for path, law in self._visitor.before(op, Measured(call.data)).items():
            self._put(path, law, op)
        output, self._last = execution(), (call, execution)
        first = next((tensor for tensor in tensors_in(output) if is_float(tensor)), None)
        if first is None:
            return self._passed(call, output) if sources and all(s is not None for s in sources) else output
        return self._closed(op, call, output, first)

    def _closed(self, op: Op, call: Call, output: Any, first: Any) -> Any:
        op = self._added(op, first)
        factor = self._visitor.after(op, lambda: second_moment(first))
        new = first if factor in (None, 1) else first * factor
        new = new if self._tap is None else self._tap(op, new)
        output = _swapped(output, first, new) if new is not first else output
        for tensor in tensors_in(output):
            if is_float(tensor):
                source = self._follow(op, call, tensor) if tensor is new else Source(op.index)
                self._sources[id(tensor)] = (tensor, source)
        self._see(op, new)
        return output

    def _follow(self, op: Op, call: Call, tensor: Any) -> Source:
        """Features are counted from each weight op, through what keeps its shape."""
        if op.kind in WEIGHTED and op.axis == -1 and op.shape:
            return Source(op.index, 0, op.index)
        source = self._source(call.data[0]) if call.data else None
        if op.kind in FOLLOWED and source is not None and shape_of(call.data[0]) == op.shape:
            return Source(op.index, 0, source.root, source.labels)
        return Source(op.index)

    def _explained(self, call: Call) -> tuple[Any, ...]:
        """The data of a call; where the first of them comes from nowhere, an op that no hook saw has made it."""
        if call.kind in DATA_LAYERS and call.data:
            first = call.data[0]
            unknown = self._source(first) is None and self._holds(first) is None and id(first) not in self._constants
            if unknown and is_float(first):
                last = (self._ops[-1].index,) if self._ops else (INPUT,)
                op = self._added(self._opened(Call(OpKind.OTHER, "unseen", ()), last), first)
                self._sources[id(first)] = (first, Source(op.index))
                self._see(op, first)
        return call.data

    def _ordered(self, data: Sequence[Any]) -> tuple[Any, ...]:
        """Data in their order, constants last, so that the moments of the op's inputs come first."""
        return tuple(sorted(data, key=lambda tensor: self._source(tensor) is None and self._holds(tensor) is None))

    def _inputs(self, call: Call) -> tuple[int, ...]:
        found = []
        for value in call.data:
            source = self._source(value)
            if source is not None:
                found.append(source.op)
            elif self._holds(value) is not None:
                found.append(self._parameter_op(value))
        return tuple(found)

    def _reads(self, call: Call) -> tuple[tuple[int, ...], ...]:
        known = (v for v in call.data if self._source(v) is not None or self._holds(v) is not None)
        return tuple(shape_of(value) for value in known)

    def _parameter_op(self, value: Any) -> int:
        """A variable that is read as data: a token, learned queries."""
        part = self._holds(value)
        if part is None:
            return INPUT
        if id(part.variable) not in self._read:
            call = Call(OpKind.PARAMETER, "parameter", (), (replace(part, role=UseRole.OPERAND),))
            op = self._opened(call, ())
            for path, law in self._visitor.before(op, Measured(())).items():
                self._put(path, law, op)
            tensor = part.variable.value
            self._read[id(part.variable)] = self._added(op, tensor).index
            self._visitor.after(op, lambda: second_moment(tensor))
            self._see(self._ops[-1], tensor)
        return self._read[id(part.variable)]

    def _opened(self, call: Call, inputs: tuple[int, ...]) -> Op:
        module = self._modules[-1] if self._modules else ""
        number = self._current[-1] if self._current else 0
        ordinal = self._ordinals.get((module, number), 0)
        uses = tuple(self._use(part) for part in call.parts if id(part.variable) in self._paths)
        detail = dict(call.detail)
        return Op(len(self._ops), call.kind, call.name, module, number, ordinal, inputs, uses, (), call.axis, detail)

    def _added(self, op: Op, output: Any) -> Op:
        """An op in its place, once what it gave is there; other ops may have been opened since."""
        op = replace(op, index=len(self._ops), shape=shape_of(output), ordinal=self._ordinals.get(op.key[:2], 0))
        self._ordinals[op.key[:2]] = op.ordinal + 1
        self._ops.append(op)
        return op

    def _use(self, part: Part) -> Use:
        return Use(self._paths[id(part.variable)], part.role, part.layout, part.steps)

    def _put(self, path: str, law: Initializer, op: Op) -> None:
        """Values drawn from a law in place of the variable's own."""
        variable = self.variables[path]
        layout = next((use.layout for use in op.uses if use.path == path), None)
        self.writes.put(variable, law(shape_of(variable), key=Key(0).child(path), layout=layout))
        self._hold(variable.value, Part(variable, UseRole.OPERAND))

    # What is known

    def _source(self, value: Any) -> Source | None:
        found = self._sources.get(id(value))
        return None if found is None else found[1]

    def _holds(self, value: Any) -> Part | None:
        if isinstance(value, keras.Variable):
            return Part(value, UseRole.OPERAND) if id(value) in self._paths else None
        found = self._held.get(id(value))
        return None if found is None or id(value) in self._sources else found[1]

    def _hold(self, tensor: Any, part: Part) -> None:
        self._held[id(tensor)] = (tensor, part)

    # Where the run is

    @contextmanager
    def _inside(self, layer: Any) -> Iterator[None]:
        if layer is self._model:
            yield
            return
        name = self._names.get(layer.name, layer.name)
        path = f"{self._modules[-1]}/{name}" if self._modules else name
        self._modules.append(path)
        self._current.append(self._calls.get(path, 0))
        self._calls[path] = self._current[-1] + 1
        try:
            yield
        finally:
            self._modules.pop()
            self._current.pop()

    @contextmanager
    def working(self) -> Iterator[None]:
        """The context in which nothing is recorded."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The context in which calls are recorded again."""
        before, self._busy = self._busy, False
        try:
            yield
        finally:
            self._busy = before


@contextmanager
def _without_activation(layer: Any) -> Iterator[None]:
    """The layer's activation replaced by the identity; in its own dictionary, past what Keras does on assignment."""
    own, missing = vars(layer), object()
    before = own.get("activation", missing)
    own["activation"] = keras.activations.linear
    try:
        yield
    finally:
        if before is missing:
            del own["activation"]
        else:
            own["activation"] = before


def _converted(array: Any) -> Any:
    return keras.ops.convert_to_tensor(array, dtype=keras.backend.standardize_dtype(array.dtype))


def _swapped(output: Any, old: Any, new: Any) -> Any:
    """Nested tuples and lists with one tensor replaced."""
    if output is old:
        return new
    if isinstance(output, list) or type(output) is tuple:
        return type(output)(_swapped(item, old, new) for item in output)
    return {k: _swapped(v, old, new) for k, v in output.items()} if isinstance(output, dict) else output


def _describes(labels: Any, tensor: Any) -> bool:
    """Whether labels still describe a tensor."""
    return isinstance(labels, np.ndarray) and labels.shape == shape_of(tensor)
