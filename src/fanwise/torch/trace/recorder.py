"""Writes down what a model does as it runs.

The mechanism is a `TorchFunctionMode`: it sees every public function of torch that the model calls. Arguments are
matched to parameters by their storage, so views, slices and parametrized weights are followed; the data flow is
followed by the identity of the tensors that the functions return.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fanwise.graph.details import Activation, Halves, MadeWeight, Product
from fanwise.graph.kinds import ACTING_ALONE, BALANCED_MAPS, PROBED, REPLAYABLE
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.operands import Operand, made_weight
from fanwise.graph.tracking.tracker import Read, Source, Tracker
from fanwise.graph.tracking.views import selection_of
from fanwise.graph.tracking.writes import Writes
from fanwise.graph.visitor import Visitor
from fanwise.laws.nonlinearities import nonlinearity
from fanwise.torch.trace import function_names as names
from fanwise.torch.trace import op_table
from fanwise.torch.trace.answers import Answers
from fanwise.torch.trace.calls import Call, Part
from fanwise.torch.trace.features import feature_numbers, runs_of_features, viewed
from fanwise.torch.trace.function_names import BY_PLACE, tensors_in
from fanwise.torch.trace.gradient_flow import GRADIENT_MODE
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.module_stack import ModuleStack
from fanwise.torch.trace.operand_roles import operand_roles
from fanwise.torch.trace.parameter_uses import UseReader
from fanwise.torch.trace.provenance import ParameterProvenance, checked_parameters, parametrized
from fanwise.torch.trace.rectifiers import Rectifiers
from fanwise.torch.trace.recurrent_layers import RecurrentLayers
from fanwise.torch.trace.restore import saved
from fanwise.torch.trace.steps import as_step, is_nothing, output_of
from fanwise.torch.trace.storage import is_inside_transform, is_wrapped, storage_of, unwrapped
from fanwise.torch.trace.substitute import BATCH_NORM_ARGUMENTS, moments_of, probing, replayable, second_moment
from fanwise.torch.trace.tensor_map import TensorMap


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
        self._see = see or (lambda op, output: None)
        self.provenance = ParameterProvenance(model)
        """Which parameters stand behind the tensors that it meets."""
        self._tracker = Tracker({parameter.path: parameter for parameter in checked_parameters(model)}, visitor)
        self._use_reader = UseReader(self._tracker.parameters, dict(model.named_parameters()), self.provenance)
        self._modules = ModuleStack(model, self._name_parametrized)
        self.sources = TensorMap[Source]()
        """Where the values of the tensors that it meets come from; those of constants and parameters are not there."""
        self._parameter_ops = TensorMap[Source]()  # of parameters read as data
        self._stand_ins = TensorMap[Tensor]()  # what the model reads in their place
        self._written = TensorMap[list[Read]]()  # tensors into parts of which something was written, not yet an op
        self._transformed: dict[int | None, tuple[Source, Tensor]] = {}  # what was made inside function transforms
        self._answers = Answers()
        self._rectifiers = Rectifiers()
        self._last = ""
        self.again: Callable[[Mapping[int, Tensor]], Any] = lambda new: None
        """Executes the function that was seen last once more, with other tensors in place of arguments, by their `id`;
        None where one of them is no argument."""
        self.writes = Writes(saved)
        for number, tensor in enumerate(given):
            self.sources[tensor] = Source(INPUT, None, number)

    @property
    def location(self) -> str:
        """The module and the last op of the run so far, in words."""
        module = self._modules.failed or self._modules.caller[0]
        return f"in module {module or '(the model itself)'!r}, last op {self._last or 'none'}"

    @property
    def asks_for_gradients(self) -> bool:
        """Whether what the model did last was to ask for gradients."""
        return self._last.rpartition(".")[2] in ("grad", "backward")

    def followed(self) -> AbstractContextManager[None]:
        """The context in which modules are followed."""
        return self._modules.followed()

    def trace(self, outputs: Sequence[Tensor]) -> Trace:
        """The trace of the run."""
        unseen = [f"module {path!r} ran in a thread of its own" for path in self._modules.elsewhere]
        return self._tracker.trace([self.sources.get(tensor) for tensor in outputs], unseen)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Records one call and executes it."""
        if self._modules.quiet:
            return func(*args, **(kwargs or {}))
        call = Invocation(func, names.bare_name(func), args, dict(kwargs or {}))
        if call.name == GRADIENT_MODE:
            self.provenance.gradients.see_mode(call)
        if call.name in names.QUESTIONS or names.is_attribute(func, call.name):
            answer = self._answers.answer(call)
            self._rectifiers.see(call, answer)
            return answer
        tensors = call.tensors
        for tensor in tensors if self._written else ():
            self._settle(tensor)
        for tensor in tensors:
            if is_wrapped(tensor) or self._transformed:
                self._find_outside(tensor)
        traced = any(tensor in self.sources for tensor in tensors)
        held = any(self._holds_parameter(tensor) for tensor in tensors)
        if (not traced and not held) or call.name in names.CONSTANTS:
            output = self._step(call) if not held else call()
            self._rectifiers.see(call, output)
            return output
        if not names.writes_in_place(func) or not isinstance(args[0], Tensor):
            return self._execute(call, alone=not traced)
        if held:
            self._keep(args[0])
        output = self._execute(call, alone=not traced)
        self._spread(args[0])
        return output

    def _step(self, function: Invocation) -> Any:
        """A function of constants; a cast of a comparison of data to numbers is an op."""
        step = self._rectifiers.step(function)
        data = [] if step is None else [tensor for tensor in step.tensors if tensor in self.sources]
        if step is None or not any(_is_inexact(tensor) and self.sources[tensor].op >= 0 for tensor in data):
            return function()
        return self._operation(step, Call(OpKind.ELEMENTWISE, tuple(data)))

    def _execute(self, function: Invocation, *, alone: bool) -> Any:
        """Executes a function of data, of parameters, or of both."""
        name = function.name
        if name in names.WRITES and names.writes_in_place(function.function) and not alone:
            return self._write(function)
        layers = None if alone else RecurrentLayers.of(function)
        if layers is not None:
            return self._layer_by_layer(layers)
        call = (None if alone else self._rectifiers.describe(function)) or self._describe(function)
        if call is None and (name in names.VIEWS or name in names.SELECTIONS):
            return self._view(function)
        if alone and not _acts_alone(name, call):
            return self._derive(function)
        if call is not None and call.kind == OpKind.MATMUL and any(map(self._is_empty_state, function.tensors)):
            return function()
        return self._operation(function, self._with_tokens(name, call or self._unknown(function)))

    def _is_empty_state(self, tensor: Tensor) -> bool:
        """Whether a tensor is a constant of zeros: what it is multiplied with gives zeros, which are one, too."""
        return tensor not in self.sources and not self._holds_parameter(tensor) and is_nothing(tensor)

    def _describe(self, function: Invocation) -> Call | None:
        name, args, named = function.name, function.args, function.named
        if name in names.SELECTIONS:
            return op_table.lookup(name, args, named, self._holds_parameter)
        return op_table.describe(
            name, args, named, self._acts_as_parameter if name in names.SUMS else self._holds_parameter
        )

    def _unknown(self, function: Invocation) -> Call:
        return op_table.unknown(function.name, function.args, function.named, self._holds_parameter)

    def _with_tokens(self, name: str, call: Call) -> Call:
        """The call of a function that puts values among others: a parameter's are data there, such as mask tokens."""
        tokens = [part.input for part in call.parts if part.input.numel() > 1] if name in names.PLACED else []
        rest = tuple(part for part in call.parts if all(part.input is not token for token in tokens))
        return replace(call, data=(*call.data, *tokens), parts=rest)

    # Function transforms: inside torch.vmap and its kin, tensors stand for others

    def _find_outside(self, tensor: Tensor) -> None:
        """The source of a tensor that enters a transform, or leaves one, is that of its values."""
        inner = unwrapped(tensor)[0]
        source = self.sources.get(inner)
        if source is None and self._transformed:
            source = self._transformed.get(storage_of(inner), (None,))[0]
        if source is not None and tensor not in self.sources:
            self.sources[tensor] = replace(source, views=None)

    def _keep_inside(self, tensor: Tensor) -> None:
        inner = unwrapped(tensor)[0]
        self._transformed[storage_of(inner)] = replace(self.sources[tensor], views=None), inner

    # Parameters

    def _holds_parameter(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value not in self.sources and self.provenance.find(value) is not None

    def _acts_as_parameter(self, value: Any) -> bool:
        """Whether a value acts as a parameter: one that was read as data before is data where it is added again."""
        return self._holds_parameter(value) and value not in self._parameter_ops

    def _keep(self, target: Any) -> None:
        if isinstance(target, Tensor) and self._holds_parameter(target):
            self.writes.keep(target)

    def _name_parametrized(self, path: str, module: nn.Module, output: Tensor) -> None:
        named = {f"{path}.{name}": tensor for name, tensor in module.named_parameters()}
        own = {name: tensor for name, tensor in named.items() if name in self._tracker.parameters}
        if own:
            with torch._C.DisableTorchFunction():
                kinds = tuple(type(part).__name__ for part in module.children())
                self.provenance.name(output, own, kinds, parametrized(module, own))

    def _derive(self, function: Invocation) -> Any:
        """A function of parameters alone: its result is followed as one."""
        sources = [tensor for tensor in function.tensors if self._holds_parameter(tensor)]
        in_place = names.writes_in_place(function.function)
        step = as_step(function, self._holds_parameter)
        makes = self.provenance.makers(function) if sources else None
        output = function()
        outputs = list(tensors_in(function.args[0] if in_place else output)) if sources else []
        for position, tensor in enumerate(outputs):
            held = self.provenance.find(tensor)  # a constant that data select from has none
            if _is_inexact(tensor) and (held is None or (in_place and held.steps)):
                make = None if makes is None else makes(position)
                self.provenance.derive(tensor, sources, output_of(step, position), make)
        self.provenance.gradients.follow(function, sources, () if in_place else outputs)
        return output

    # Writes

    def _write(self, function: Invocation) -> Any:
        """A write into a tensor: it then holds both."""
        target = function.args[0]
        if self._is_parameter(target):
            return function()
        call = self._with_tokens(function.name, self._unknown(function))
        data = tuple(tensor for tensor in call.data if tensor is not target or not self._is_replaced(function))
        call = replace(call, kind=OpKind.ELEMENTWISE, name=function.name, data=data or call.data)
        op = self._open(call, self._reads(call))
        output = self._in_place(function, self._values_of(call))()
        if _is_inexact(target):
            self._close(op, target, ())
            if isinstance(output, Tensor):
                self.sources[output] = self.sources[target]
        return output

    def _is_parameter(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or a view of it, so that a write changes the parameter."""
        held = self.provenance.find(tensor) if self._holds_parameter(tensor) else None
        return held is not None and not held.steps

    def _is_replaced(self, function: Invocation) -> bool:
        """Whether nothing is left of what was written to."""
        return function.name == "copy" and len(function.args) > 1 and function.args[1] in self.sources

    def _values_of(self, call: Call) -> dict[int, Tensor]:
        """What the model reads in place of parameters that are data."""
        return {id(tensor): self._stand_ins[tensor] for tensor in call.data if tensor in self._stand_ins}

    def _in_place(self, function: Invocation, new: dict[int, Tensor]) -> Invocation:
        """A function on other tensors; one that it writes to takes their values, for the model goes on with it."""
        target = function.args[0] if function.args else None
        if id(target) in new and names.writes_in_place(function.function) and isinstance(target, Tensor):
            target.detach().copy_(new.pop(id(target)))
            self._stand_ins.discard(target)
        return function.with_tensors(new)

    def _spread(self, target: Tensor) -> None:
        """A write to a view is one to what is viewed."""
        base = target._base
        if base is None or self._is_parameter(base):
            return
        if target not in self.sources:
            held = self.provenance.find(target)
            if held is not None and held.steps and base not in self.sources:
                step = "cat" if base.dim() == target.dim() else "setitem"
                self.provenance.derive(base, [target], Invocation(torch.cat, step, (target,), {}))
        elif target.numel() == base.numel():
            self.sources[base] = replace(self.sources[target], views=None)
        else:
            self._written[base] = [*self._written.get(base, []), Read(self.sources[target], tuple(target.shape))]

    def _settle(self, tensor: Tensor) -> None:
        """Makes what was written to parts of a tensor an op, once the whole is read."""
        if tensor not in self._written:
            return
        parts, before = self._written.pop(tensor), self._source(tensor)
        whole = [] if before is None else [Read(before, tuple(tensor.shape))]
        op = self._open(Call(OpKind.ELEMENTWISE, (), name="setitem"), [*whole, *parts])
        self._close(op, tensor, ())

    # Views of data

    def _view(self, function: Invocation) -> Any:
        first = function.tensors[0]
        source = self.sources.get(first)
        if source is None:
            return self._derive(function)
        output = function()
        for position, tensor in enumerate(tensors_in(output)):
            self.sources[tensor] = self._source_of_view(function, first, (position, tensor))
        return output

    def _source_of_view(self, function: Invocation, first: Tensor, output: tuple[int, Tensor]) -> Source:
        """The source of a view's output; a view that leaves features of a weight op out is an op of its own."""
        source, (position, tensor) = self.sources[first], output
        if source.views is None:
            return source
        source = Source(source.op, viewed(source.views, function, first, position))
        chain = source.views
        call = selection_of(chain, runs_of_features(chain)) if chain and function.name in names.SELECTIONS else None
        if call is None:
            return source
        read = Read(source, tuple(first.shape))
        op = self._tracker.opened(replace(call, name=function.name), self._modules.caller, [read])
        op = self._tracker.add(op, tuple(tensor.shape))
        self._see(op, tensor)
        return replace(source, op=op.index)

    # Ops

    def _operation(self, function: Invocation, call: Call) -> Any:
        """An op of the model, executed on what the visitor puts in the place of its parameters."""
        call = self._with_made_weights(replace(call, name=function.name))
        call = replace(call, data=self._order(call.data))
        self._last = names.full_name(function.function)
        read = self._reads(call)
        op = self._with_gates(self._open(call, read), call)
        op = replace(op, made=self._made_weight(function, call, read)) if op.kind == OpKind.MATMUL else op
        laws = self._tracker.before(op, moments_of([self._stand_ins.get(tensor, tensor) for tensor in call.data]))
        new = self._use_reader.drawn(call, laws)
        executed = self._in_place(function, new | self._values_of(call))
        output = executed.without_state(call.data)
        if not any(_is_inexact(tensor) for tensor in list(tensors_in(output))[:1]):
            self._pass_on(call, output)
            return output
        self.again = executed.again
        self._close(self._replayable(op, function, call), output, read)
        return output

    def _layer_by_layer(self, network: RecurrentLayers) -> tuple[Tensor, ...]:
        """A recurrent network, one op a layer: what a layer reads is measured as for any other op."""
        read, outputs, directions = network.call.args[0], list[Sequence[Tensor]](), network.directions
        for number in range(network.count):
            if number and network.dropout:
                read = self.__torch_function__(torch.dropout, (), (read, network.dropout, True))
            at = number * directions, directions
            states = [self.__torch_function__(torch.narrow, (), (state, 0, *at)) for state in network.states]
            outputs.append(self.__torch_function__(network.call.function, (), network.layer(number, read, states).args))
            read = outputs[-1][0]
        states = [torch.cat(states) for states in network.joined(outputs)]
        for state in states:
            self.sources[state] = self.sources[read]
        return read, *states

    def _with_made_weights(self, call: Call) -> Call:
        """A map whose weight is data is a product of data."""
        weight = next((part for part in call.parts if part.role == UseRole.WEIGHT and part.input in self.sources), None)
        if weight is None or weight.layout is None or call.kind not in BALANCED_MAPS:
            return call
        width = round(weight.layout.fans(tuple(weight.input.shape)).fan_in)
        parts = tuple(part for part in call.parts if part is not weight and part.input not in self.sources)
        added = tuple(part.input for part in call.parts if part is not weight and part.input in self.sources)
        data = (*call.data, weight.input, *added)
        return Call(OpKind.MATMUL, data, parts, call.axis, Product(max(width, 1)), call.name)

    def _made_weight(self, function: Invocation, call: Call, read: Sequence[Read]) -> MadeWeight | None:
        """The operand of a product that the model makes and uses as a weight."""
        roles = operand_roles(function)
        described = self._describe(function) if not roles else None
        weights = {} if described is None else {id(part.input): part.layout for part in described.parts}
        operands = []
        for tensor, tensor_read in zip(self._data_read(call), read, strict=True):
            layout = weights.get(id(tensor))
            axes = layout.axes if layout is not None else roles.get(id(tensor), ())
            fan_in = None if layout is None else float(layout.fans(tensor_read.shape).fan_in)
            operands.append(Operand(tensor_read.shape, axes, tensor_read.source.views, fan_in) if axes else None)
        return made_weight(operands, self._tracker.ops, feature_numbers)

    def _data_read(self, call: Call) -> list[Tensor]:
        return [tensor for tensor in call.data if tensor in self.sources or tensor in self._parameter_ops]

    def _order(self, data: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Data in their order, constants last, so that the moments of the op's inputs come first."""
        return tuple(sorted(data, key=lambda tensor: tensor not in self.sources and not self._holds_parameter(tensor)))

    def _reads(self, call: Call) -> list[Read]:
        """The data of a call that are no constants; a parameter among them becomes an op."""
        sources = ((tensor, self._source(tensor)) for tensor in call.data)
        return [Read(source, tuple(tensor.shape)) for tensor, source in sources if source is not None]

    def _source(self, tensor: Tensor) -> Source | None:
        if tensor in self.sources:
            return self.sources[tensor]
        return self._parameter_op(tensor) if self._holds_parameter(tensor) else None

    def _parameter_op(self, tensor: Tensor) -> Source:
        """A parameter that is read as data: a token, learned queries, an initial state."""
        if tensor not in self._parameter_ops:
            call = Call(OpKind.PARAMETER, (), (Part(tensor, UseRole.OPERAND),), name="parameter")
            op = self._open(call, ())
            laws = self._tracker.before(op, moments_of(()))
            values = self._use_reader.drawn(call, laws).get(id(tensor), tensor)
            op = self._tracker.add(op, tuple(tensor.shape))
            self._parameter_ops[tensor], self._stand_ins[tensor] = Source(op.index), values
            self._tracker.factor_after(op, lambda: second_moment(values))
            self._see(op, values)
        return self._parameter_ops[tensor]

    def _open(self, call: Call, read: Sequence[Read]) -> Op:
        uses: list[Use] = []
        for part in call.parts:
            held = None if part.input in self.sources else self.provenance.find(part.input)
            if held is not None:
                self._tracker.weight_parts.see(held.paths[0], held.parts)
                uses.extend(self.provenance.gradients.marked(part.input, self._use_reader.uses(part, held)))
        return self._tracker.opened(call, self._modules.caller, read, tuple(uses))

    def _with_gates(self, op: Op, call: Call) -> Op:
        """Marks the features of a weight op that a gated linear unit multiplies, and those that gate it."""
        source = self.sources.get(call.data[0]) if op.name == "glu" else None
        if source is None or source.views is None or not isinstance(op.detail, Activation):
            return op
        chain, tensor = source.views, call.data[0]
        view = Invocation(torch.chunk, "chunk", (tensor, 2, op.axis), {})
        halves = tuple(runs_of_features(viewed(chain, view, tensor, half)) for half in (0, 1))
        return replace(op, detail=replace(op.detail, halves=Halves(chain.root, halves)))

    def _replayable(self, op: Op, function: Invocation, call: Call) -> Op:
        """The op with its function, for theory to run it on values of its own."""
        if call.parts:
            return op
        if op.kind == OpKind.ACTIVATION and op.name not in names.NONLINEARITY_NAMES:
            return replace(op, replay=nonlinearity("relu").function)  # written out
        given = function.args, function.named
        by_value = op.kind in REPLAYABLE and op.name not in BY_PLACE
        alone = by_value and all(tensor in self.sources for tensor in call.data)
        replay = replayable(function.function, given, call.data) if alone else None
        probed = replay is None and op.kind in PROBED
        probe = probing(function.function, given, call.data[: len(op.inputs)]) if probed else None
        return replace(op, replay=replay, probe=probe)

    def _pass_on(self, call: Call, output: Any) -> None:
        """Integers that are made of the model's integer inputs alone count as its inputs."""
        sources = [self.sources[tensor] for tensor in call.data if tensor in self.sources]
        if sources and len(sources) == len(call.data) and all(source.op == INPUT for source in sources):
            for tensor in tensors_in(output):
                if tensor.dtype != torch.bool:
                    self.sources[tensor] = sources[0]

    def _close(self, op: Op, output: Any, read: Sequence[Read]) -> None:
        """Records an op that was carried out, and scales what it gave in place."""
        tensors = [tensor for tensor in tensors_in(output) if _is_inexact(tensor)]
        first = tensors[0]
        op = self._tracker.add(op, tuple(first.shape))
        views = self._tracker.views_after(op, read, is_sum=op.kind == OpKind.ADD)
        for tensor in tensors:
            self.sources[tensor] = Source(op.index, views if tensor is first else None)
            if is_inside_transform():
                self._keep_inside(tensor)
        factor = self._tracker.factor_after(op, lambda: second_moment(first))
        if factor is not None:
            first.mul_(factor)
        self._see(op, unwrapped(first)[0])


def _is_inexact(tensor: Tensor) -> bool:
    """Whether a tensor holds floating-point or complex numbers."""
    return tensor.is_floating_point() or tensor.is_complex()


def _acts_alone(name: str, call: Call | None) -> bool:
    """Whether a function of parameters alone is an op of the model: a table's rows, learned queries projected."""
    if call is None or not call.parts or name in BATCH_NORM_ARGUMENTS:  # a batch norm of weights standardises them
        return False
    if call.kind == OpKind.EMBEDDING or (
        call.kind in ACTING_ALONE and (call.kind != OpKind.LINEAR or name == "linear")
    ):
        return True
    return call.kind == OpKind.LINEAR and any(part.role == UseRole.BIAS for part in call.parts)
