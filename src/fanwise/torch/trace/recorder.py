"""Writes down what a model does as it runs.

The mechanism is a `TorchFunctionMode`: it sees every public function of torch that the model calls. Arguments are
matched to parameters by their storage, so views, slices and parametrized weights are followed; the data flow is
followed by the identity of the tensors that the functions return.
"""

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from fanwise.graph.blocks import Cuts
from fanwise.graph.details import Activation, Halves, Slicing
from fanwise.graph.kinds import ACTING_ALONE, FOLLOWED, PROBED, REPLAYABLE, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Visitor
from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape
from fanwise.torch.trace import function_names as names
from fanwise.torch.trace import op_table as operations
from fanwise.torch.trace.calls import Call, Part
from fanwise.torch.trace.features import Chain, runs_of_features
from fanwise.torch.trace.function_names import bare_name, tensors_in
from fanwise.torch.trace.module_stack import Places
from fanwise.torch.trace.provenance import Held, Holdings, parameters
from fanwise.torch.trace.restore import Writes
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.trace.stored_layout import layout_in_storage
from fanwise.torch.trace.substitute import (
    BATCH_NORM_ARGUMENTS,
    Measured,
    drawn,
    probing,
    replayable,
    second_moment,
    swapped,
    with_batch_statistics,
    without_values,
)


@dataclass(frozen=True)
class _Source:
    """Where a tensor's values come from: an op, and the views since the op whose features are counted."""

    op: int
    chain: Chain | None = None
    given: int = 0


class Recorder(TorchFunctionMode):
    """Records the ops of a model as they are executed.

    Args:
        model: whose parameters are looked for.
        visitor: what is shown each op.
        given: the tensors that the model is given.
        see: called with each op and the tensor that it gave, the one in which its gradient can be followed.
    """

    def __init__(
        self,
        model: nn.Module,
        visitor: Visitor,
        given: Sequence[Tensor],
        see: Callable[[Op, Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self._visitor = visitor
        self._see = see or (lambda op, output: None)
        self._parameters = {parameter.path: parameter for parameter in parameters(model)}
        self._tensors = dict(model.named_parameters())
        self.holdings = Holdings(model)
        """Which parameters stand behind the tensors that it meets."""
        self._places = Places(model, self._name_parametrized)
        self._sources: MutableMapping[Tensor, _Source] = WeakIdKeyDictionary()
        self._answers: MutableMapping[Tensor, bool] = WeakIdKeyDictionary()
        self._read: MutableMapping[Tensor, int] = WeakIdKeyDictionary()  # parameters read as data
        self._values: MutableMapping[Tensor, Tensor] = WeakIdKeyDictionary()  # and what the model reads in their place
        self._ops: list[Op] = []
        self._last = ""
        self._cuts = Cuts(self._parameters)
        self.again: Callable[[Mapping[int, Tensor]], Any] = lambda new: None
        """Executes the function that was seen last once more, with other tensors in place of arguments, by their `id`;
        None where one of them is no argument."""
        self.writes = Writes()
        for number, tensor in enumerate(given):
            self._sources[tensor] = _Source(INPUT, None, number)

    @property
    def place(self) -> str:
        """In words, where the run is: the module and the last op."""
        module = self._places.failed or self._places.module
        return f"in module {module or '(the model itself)'!r}, last op {self._last or 'none'}"

    def followed(self) -> AbstractContextManager[None]:
        """The context in which modules are followed."""
        return self._places.followed()

    def trace(self, outputs: Sequence[Tensor]) -> Trace:
        """What was seen."""
        found = [self._sources[tensor].op for tensor in outputs if tensor in self._sources]
        ends = tuple(op for op in dict.fromkeys(found) if op >= 0)
        return Trace(tuple(self._cuts.told(op) for op in self._ops), tuple(self._parameters.values()), ends)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Records one call and executes it."""
        named = dict(kwargs or {})
        if self._places.quiet:
            return func(*args, **named)
        name = bare_name(func)
        if name in names.QUESTIONS or names.is_attribute(func, name):
            return self._asked(func, name, args, named)
        tensors = list(tensors_in([args, named]))
        traced = any(tensor in self._sources for tensor in tensors)
        held = any(self._is_held(tensor) for tensor in tensors)
        if (not traced and not held) or name in names.CONSTANTS:
            return func(*args, **named)
        if held and names.writes_in_place(func):
            self._keep(args[0])
        return self._seen(func, name, (args, named), alone=not traced)

    def _seen(self, func: Callable[..., Any], name: str, given: tuple[Any, dict[str, Any]], *, alone: bool) -> Any:
        """Executes a function of data, of parameters, or of both."""
        args, named = given
        if name in names.WRITES:
            return self._written(func, name, args, named)
        call = self._described(name, args, named)
        if call is None and (name in names.VIEWS or name in names.SELECTIONS):
            return self._view(func, next(iter(tensors_in([args, named]))), args, named)
        if alone and not _acts_alone(name, call):
            return self._derived(func, args, named)
        return self._operation(func, name, given, call or self._unknown(name, args, named))

    def _asked(self, func: Callable[..., Any], name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """A question; where a tensor has no values, those that a model branches on get the usual answer."""
        first = next(iter(tensors_in(args)), None)
        if first is None or not is_abstract(first):
            return func(*args, **named)
        if name == "contains":
            return names.ANSWERS[name]
        if name in ("bool", "item") and first in self._answers:
            return self._answers[first]
        output = first.new_empty((), dtype=torch.bool) if name.startswith("is_a") else func(*args, **named)
        if name in names.ANSWERS and isinstance(output, Tensor):
            self._answers[output] = names.ANSWERS[name]
        return output

    def _described(self, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Call | None:
        if name in names.SELECTIONS:
            return operations.lookup(name, args, named, self._is_held)
        acts = self._acts if name in names.SUMS else self._is_held
        return operations.describe(name, args, named, acts)

    def _acts(self, value: Any) -> bool:
        """Whether a value acts as a parameter: one that was read as data before is data where it is added again."""
        return self._is_held(value) and value not in self._read

    def _unknown(self, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Call:
        return operations.unknown(name, args, named, self._is_held)

    # Parameters

    def _is_held(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value not in self._sources and self.holdings.find(value) is not None

    def _keep(self, target: Any) -> None:
        if isinstance(target, Tensor) and self._is_held(target):
            self.writes.before(target)

    def _name_parametrized(self, path: str, module: nn.Module, made: Tensor) -> None:
        own = {f"{path}.{name}": tensor for name, tensor in module.named_parameters()}
        own = {name: tensor for name, tensor in own.items() if name in self._parameters}
        if own:
            with torch._C.DisableTorchFunction():
                self.holdings.name(made, own, tuple(type(part).__name__ for part in module.children()))

    def _derived(self, func: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """A function of parameters alone: its result is followed as one."""
        sources = [tensor for tensor in tensors_in([args, named]) if self._is_held(tensor)]
        output = func(*args, **named)
        for tensor in tensors_in(output) if sources else ():  # a constant that data select from has none
            if self.holdings.find(tensor) is None and (tensor.is_floating_point() or tensor.is_complex()):
                self.holdings.derive(tensor, sources, bare_name(func))
        return output

    # Data

    def _view(self, func: Callable[..., Any], first: Tensor, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        source = self._sources.get(first)
        if source is None:
            return self._derived(func, args, named)
        output = func(*args, **named)
        for place, tensor in enumerate(tensors_in(output)):
            self._sources[tensor] = self._seen_through(source, first, (func, args, named, place), tensor)
        return output

    def _seen_through(self, source: _Source, first: Tensor, step: tuple[Any, ...], output: Tensor) -> _Source:
        if source.chain is None:
            return source
        func, args, named, place = step
        chain = source.chain.then(func, (first, args, named), place)
        if bare_name(func) not in names.SELECTIONS:
            return _Source(source.op, chain)
        runs = runs_of_features(chain)
        if runs is None or runs == ((0, chain.extent),):
            return _Source(source.op, chain)
        call = Call(OpKind.SLICE, (), (), -1, Slicing(chain.root, runs, chain.peers))
        op = replace(self._open(call, bare_name(func), (source.op,)), reads=(tuple(first.shape),))
        op = self._add(op, output)
        self._see(op, output)
        return _Source(op.index, chain)

    def _written(self, func: Callable[..., Any], name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """A write into a tensor: it then holds both."""
        target = args[0]
        if self._is_held(target):
            return func(*args, **named)
        call = replace(self._unknown(name, args, named), kind=OpKind.ELEMENTWISE)
        op = self._open(call, name, self._inputs(call), self._uses(call))
        op = replace(op, reads=self._reads(call))
        output = func(*args, **named)
        if target.is_floating_point() or target.is_complex():
            self._close(op, target, None)
            if isinstance(output, Tensor):
                self._sources[output] = self._sources[target]
        return output

    def _operation(self, func: Callable[..., Any], name: str, given: tuple[Any, dict[str, Any]], call: Call) -> Any:
        call = replace(call, data=self._ordered(call.data))
        sources = [self._sources.get(tensor) for tensor in call.data]
        numbers = tuple(source.given for source in sources if source is not None and source.op == INPUT)
        self._last = names.full_name(func)
        op = self._open(call, name, self._inputs(call), self._uses(call))
        op = replace(op, reads=self._reads(call), given=numbers)
        if isinstance(op.detail, Activation) and name == "glu":
            op = replace(op, detail=replace(op.detail, halves=self._halves(call.data[0], op.axis)))
        read = tuple(self._values.get(tensor, tensor) for tensor in call.data)
        laws = self._visitor.before(op, Measured(read))
        args, named = self._replaced(call, laws, given)
        if name in BATCH_NORM_ARGUMENTS:
            output = with_batch_statistics(func, name, args, named)
        elif call.data and is_abstract(call.data[0]):
            output = without_values(func, name, args, named)
        else:
            output = func(*args, **named)
        first = next(iter(tensors_in(output)), None)
        if first is None or not (first.is_floating_point() or first.is_complex()):
            self._pass_on(call, output)
            return output
        alone = call.kind in REPLAYABLE and not call.parts and None not in sources
        replay = replayable(func, given, call.data) if alone else None
        unruled = replay is None and call.kind in PROBED and not call.parts
        probe = probing(func, given, call.data[: len(op.inputs)]) if unruled else None
        self.again = lambda new: _again(func, (args, named), new)
        self._close(replace(op, replay=replay, probe=probe), output, call)
        return output

    def _ordered(self, data: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Data in their order, constants last, so that the moments of the op's inputs come first."""
        return tuple(sorted(data, key=lambda tensor: tensor not in self._sources and not self._is_held(tensor)))

    def _pass_on(self, call: Call, output: Any) -> None:
        """Integers that are made of the model's integer inputs alone count as its inputs."""
        sources = [source for tensor in call.data if (source := self._sources.get(tensor)) is not None]
        if sources and len(sources) == len(call.data) and all(source.op == INPUT for source in sources):
            for tensor in tensors_in(output):
                if tensor.dtype != torch.bool:
                    self._sources[tensor] = sources[0]

    # Ops

    def _inputs(self, call: Call) -> tuple[int, ...]:
        found = []
        for tensor in call.data:
            source = self._sources.get(tensor)
            if source is not None:
                found.append(source.op)
            elif self._is_held(tensor):
                found.append(self._parameter_op(tensor))
        return tuple(found)

    def _reads(self, call: Call) -> tuple[Shape, ...]:
        """Shapes of the tensors that `_inputs` names."""
        return tuple(tuple(tensor.shape) for tensor in call.data if tensor in self._sources or self._is_held(tensor))

    def _parameter_op(self, tensor: Tensor) -> int:
        """A parameter that is read as data: a token, learned queries, an initial state."""
        if tensor not in self._read:
            call = Call(OpKind.PARAMETER, (), (Part(tensor, UseRole.OPERAND),))
            op = self._open(call, "parameter", (), self._uses(call))
            values = self._in_place_of(call, self._visitor.before(op, Measured(()))).get(id(tensor), tensor)
            self._read[tensor] = self._add(op, tensor).index
            self._values[tensor] = values
            self._visitor.after(op, lambda: second_moment(values))
            self._see(self._ops[-1], values)
        return self._read[tensor]

    def _uses(self, call: Call) -> tuple[Use, ...]:
        uses: list[Use] = []
        for part in call.parts:
            held = self.holdings.find(part.tensor)
            if held is not None and part.tensor not in self._sources:
                uses.extend(self._use(part, held, which) for which in range(len(held.paths)))
        return tuple(uses)

    def _use(self, part: Part, held: Held, which: int) -> Use:
        path, role = held.paths[which], held.role(which, part.role)
        layout = self._layout(part, held, which) if role == part.role else None
        if which == 0:
            self._cuts.see(path, held.parts)
        return Use(path, role, layout, held.steps, self._ratio(part.tensor, held, path), _seen(part.tensor, held))

    def _ratio(self, made: Tensor, held: Held, path: str) -> float:
        """By what the std of a weight exceeds that of the parameter which alone it is made of, by constant factors."""
        if len(held.paths) > 1 or not set(held.steps) & names.FACTORS or is_abstract(made):
            return 1.0
        before, after = second_moment(self._tensors[path]), second_moment(made)
        return math.sqrt(after / before) if before > 0 and after > 0 else 1.0

    def _layout(self, part: Part, held: Held, which: int) -> Layout | None:
        if part.layout is None:
            return None
        shapes = self._parameters[held.paths[which]].shape, part.tensor
        return layout_in_storage(part.layout, held, which, shapes)

    def _open(self, call: Call, name: str, inputs: tuple[int, ...], uses: tuple[Use, ...] = ()) -> Op:
        at, told = self._places.next(), call.detail
        return Op(len(self._ops), call.kind, name, *at, inputs, uses, (), call.axis, told, blocks=call.blocks)

    def _add(self, op: Op, output: Tensor) -> Op:
        self._places.count(op.key)
        self._ops.append(replace(op, shape=tuple(output.shape)))
        return self._ops[-1]

    def _close(self, op: Op, output: Any, call: Call | None) -> None:
        tensors = [tensor for tensor in tensors_in(output) if tensor.is_floating_point() or tensor.is_complex()]
        first = tensors[0]
        op = self._add(op, first)
        for tensor in tensors:
            self._sources[tensor] = _Source(op.index, self._chain(op, first, call) if tensor is first else None)
        factor = self._visitor.after(op, lambda: second_moment(first))
        if factor is not None and factor != 1:
            first.mul_(factor)
        self._see(op, first)

    def _chain(self, op: Op, output: Tensor, call: Call | None) -> Chain | None:
        """Features are counted from each weight op, through what keeps its shape."""
        if op.kind in WEIGHTED and output.dim():
            return Chain(op.index, tuple(output.shape), op.axis)
        if call is None or not call.data:
            return None
        if op.kind == OpKind.ADD:
            return self._chain_of_sum(call)
        if op.kind not in FOLLOWED:
            return None
        source = self._sources.get(call.data[0])
        return source.chain if source is not None and call.data[0].shape == output.shape else None

    def _chain_of_sum(self, call: Call) -> Chain | None:
        """Two maps added feature by feature, as the gates of a recurrent cell written by hand."""
        sources = [self._sources.get(tensor) for tensor in call.data]
        chains = [source.chain for source in sources if source is not None and source.chain is not None]
        if len(chains) != 2 or any(chain.steps or chain.peers for chain in chains):
            return None
        first, second = chains
        maps = all(self._ops[chain.root].kind != OpKind.EMBEDDING for chain in chains)
        same = (first.shape, first.axis) == (second.shape, second.axis)
        return replace(first, peers=(second.root,)) if maps and same else None

    def _halves(self, tensor: Tensor, axis: int) -> Halves | None:
        """What of a weight op's features a gated linear unit multiplies, and what gates it."""
        source = self._sources.get(tensor)
        if source is None or source.chain is None:
            return None
        args = (tensor, 2, axis)
        halves = [source.chain.then(torch.chunk, (tensor, args, {}), place) for place in (0, 1)]
        return Halves(source.chain.root, tuple(runs_of_features(half) for half in halves))

    def _replaced(self, call: Call, laws: Mapping[str, Initializer], given: tuple[Any, Any]) -> tuple[Any, Any]:
        """The arguments, with values drawn from the visitor's laws in place of parameters."""
        new = self._in_place_of(call, laws)
        new |= {id(tensor): self._values[tensor] for tensor in call.data if tensor in self._values}
        return (swapped(list(given[0]), new), swapped(given[1], new)) if new else given

    def _in_place_of(self, call: Call, laws: Mapping[str, Initializer]) -> dict[int, Tensor]:
        """Values for the tensors of a call that stand for parameters, by their identity."""
        new: dict[int, Tensor] = {}
        for part in call.parts:
            held = self.holdings.find(part.tensor)
            if held is not None and held.paths[0] in laws:
                path = held.paths[0]
                target = self._parameters[path].shape, self._layout(part, held, 0), not held.steps
                new[id(part.tensor)] = drawn(path, laws[path], part.tensor, target)
        return new


def _seen(made: Tensor, held: Held) -> tuple[float, float] | None:
    """Mean and std of a tensor that is made of parameters; None where it is one, or has no values."""
    if not held.steps or is_abstract(made) or made.is_complex() or not made.numel():
        return None
    values = made.detach().to(torch.promote_types(made.dtype, torch.float32))
    mean = float(values.mean())
    return mean, math.sqrt(max(second_moment(values) - mean**2, 0.0))


def _again(func: Callable[..., Any], given: tuple[Any, Any], new: Mapping[int, Tensor]) -> Any:
    args, named = given
    if not set(new) <= {id(tensor) for tensor in tensors_in([args, named])}:
        return None
    return func(*swapped(list(args), new), **swapped(named, new))


def _acts_alone(name: str, call: Call | None) -> bool:
    """Whether a function of parameters alone is an op of the model: a table's rows, learned queries projected."""
    if call is None or not call.parts:
        return False
    if call.kind == OpKind.EMBEDDING or (
        call.kind in ACTING_ALONE and (call.kind != OpKind.LINEAR or name == "linear")
    ):
        return True
    return call.kind == OpKind.LINEAR and any(part.role == UseRole.BIAS for part in call.parts)
