"""Runs a model once, op by op, shows a visitor each op, and returns the trace.

The mechanism is a `TorchFunctionMode`: it sees every public function of torch that the model calls. Arguments are
matched to parameters by their storage, so views, slices and parametrized weights are followed; the data flow is
followed by the identity of the tensors that the functions return.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from torch.nn.modules import module as module_hooks
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

import torch
from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout
from fanwise.patterns import recognised
from fanwise.stream.box import Shape
from fanwise.stream.key import Key
from fanwise.torch import operations
from fanwise.torch.held import Held, Holdings, check_model, layout_in_storage, parameters
from fanwise.torch.operations import Call, Part, bare_name, tensors_in
from fanwise.torch.shadow import Chain, runs_of_features
from fanwise.trace import INPUT, WEIGHT_KINDS, Op, Trace, Use
from torch import Tensor, nn


class ModelError(RuntimeError):
    """The model could not be run; the message names the module and the op."""


class Visitor(Protocol):
    """What is shown each op as the model runs."""

    def before(self, op: Op, moment: Callable[[int], float]) -> Mapping[str, Initializer]:
        """Before an op is executed.

        Args:
            op: without its shape.
            moment: second moment of the op's n-th data input, computed when it is called.

        Returns:
            Laws for parameters, by path: the op then sees values drawn from them instead of the model's own.
        """

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """After it; `moment` computes the second moment of its output.

        Returns:
            A factor by which the output is scaled before the model goes on, None for 1.
        """


class Watcher:
    """A visitor that only looks: the trace alone is wanted."""

    def before(self, op: Op, moment: Callable[[int], float]) -> Mapping[str, Initializer]:
        """Nothing is replaced."""
        return {}

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """Nothing is measured."""
        return None


@dataclass(frozen=True)
class Inputs:
    """Arguments of a model's forward.

    Args:
        args: positional ones.
        kwargs: named ones.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None


def run(model: nn.Module, inputs: Inputs, visitor: Visitor | None = None) -> Trace:
    """Executes a model once and traces what it does.

    Nothing is left behind: parameters, buffers, `.grad`, hooks, random states and the training flags are as before.
    The model runs in evaluation mode, so that no dropout or layer drop hides a parameter, but batch norms take the
    batch's own statistics.

    Args:
        model: any `torch.nn.Module`, on any device; on the meta device nothing is computed.
        inputs: what its forward takes.
        visitor: what is shown each op.

    Raises:
        TypeError: no module, TorchScript, or lazy parameters.
        ModelError: the forward raised an error; the message names the module and the op.
    """
    check_model(model)
    recorder = _Recorder(model, visitor or Watcher())
    with ExitStack() as stack:
        stack.enter_context(_unchanged(model))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(recorder.modules())
        recorder.mark_inputs(inputs)
        stack.enter_context(recorder)
        outputs = _forward(model, inputs, recorder)
    return recorder.trace(parameters(model), outputs)


def _forward(model: nn.Module, inputs: Inputs, recorder: "_Recorder") -> Any:
    try:
        return model(*inputs.args, **dict(inputs.kwargs or {}))
    except ModelError:
        raise
    except Exception as error:
        place = f"in module {recorder.module!r}, after op {recorder.last or 'none'}"
        raise ModelError(
            f"the model could not be run on these inputs: {type(error).__name__} {place}: {error}"
        ) from error


@dataclass(frozen=True)
class _Source:
    """Where a tensor's values come from: an op, and the views since the op whose features are counted."""

    op: int
    chain: Chain | None = None


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module, visitor: Visitor) -> None:
        super().__init__()
        self._model = model
        self._visitor = visitor
        self._names = {id(module): path for path, module in model.named_modules()}
        self._shapes = {parameter.path: parameter for parameter in parameters(model)}
        self._holdings = Holdings(model)
        self._sources: Any = WeakIdKeyDictionary()
        self._ops: list[Op] = []
        self._stack: list[tuple[str, int]] = [("", 0)]
        self._calls: dict[str, int] = {}
        self._ordinals: dict[tuple[str, int], int] = {}
        self._quiet = 0
        self.last = ""

    @property
    def module(self) -> str:
        """Path of the module whose forward runs."""
        return self._stack[-1][0]

    def mark_inputs(self, inputs: Inputs) -> None:
        """Marks the tensors that the model is given."""
        for tensor in tensors_in([*inputs.args, dict(inputs.kwargs or {})]):
            self._sources[tensor] = _Source(INPUT)

    def trace(self, held: Sequence[Any], outputs: Any) -> Trace:
        """What was seen."""
        first = _main_outputs(outputs)
        found = [self._sources[tensor].op for tensor in first if tensor in self._sources]
        return recognised(Trace(tuple(self._ops), tuple(held), tuple(op for op in dict.fromkeys(found) if op >= 0)))

    # Modules

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Follows which module runs, for as long as the context lasts."""
        entered = module_hooks.register_module_forward_pre_hook(self._enter)
        left = module_hooks.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            entered.remove()
            left.remove()

    def _enter(self, module: nn.Module, _: Any) -> None:
        path = self._names.get(id(module), self.module)
        call = self._calls.get(path, -1) + (id(module) in self._names)
        self._calls[path] = call
        self._stack.append((path, max(call, 0)))
        self._quiet += isinstance(module, ParametrizationList)

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        self._stack.pop()
        if isinstance(module, ParametrizationList):
            self._quiet -= 1
            self._name_parametrized(module, output)

    def _name_parametrized(self, module: nn.Module, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        prefix = self._names[id(module)]
        held = {f"{prefix}.{name}": tensor for name, tensor in module.named_parameters()}
        own = {path: tensor for path, tensor in held.items() if path in self._shapes}
        if own:
            with torch._C.DisableTorchFunction():
                shapes = [tensor.shape for tensor in own.values()]
                self._holdings.name(output, own, shapes, "parametrization")

    # Functions

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if self._quiet:
            return func(*args, **named)
        name = bare_name(func)
        data, held = self._sorted(args, named)
        if not data and not held:
            return func(*args, **named)
        if name in operations.VIEWS:
            return self._view(func, args, named)
        if name in operations.SELECTIONS and not self._is_lookup(args, named):
            return self._view(func, args, named)
        if name in ("setitem", "copy", "index_put", "index_copy", "masked_scatter"):
            return self._written(func, name, args, named)
        return self._operation(func, name, args, named, alone=not data)

    def _sorted(self, args: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        tensors = list(tensors_in([args, named]))
        held = [tensor for tensor in tensors if self._is_held(tensor)]
        return [tensor for tensor in tensors if tensor in self._sources], held

    def _is_held(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value not in self._sources and self._find(value) is not None

    def _find(self, tensor: Tensor) -> Held | None:
        found = self._holdings.find(tensor)
        return found if found is not None else self._attribute(tensor)

    def _attribute(self, tensor: Tensor) -> Held | None:
        """A tensor that a hook made of a module's own parameters and set on it, as the old weight_norm does."""
        module = self._model.get_submodule(self.module) if self.module else self._model
        for name, value in vars(module).items():
            if value is tensor:
                own = {
                    f"{self.module}.{key}".lstrip("."): p
                    for key, p in module._parameters.items()
                    if p is not None and key.startswith(f"{name}_")
                }
                if own:
                    self._holdings.name(tensor, own, [p.shape for p in own.values()], "hook")
                    return self._holdings.find(tensor)
        return None

    def _is_lookup(self, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
        """Whether rows of a parameter are looked up by an index tensor."""
        if not args or not self._is_held(args[0]):
            return False
        indices = [t for t in tensors_in([args[1:], named]) if not t.is_floating_point()]
        return any(index.dim() > 0 and index.dtype != torch.bool for index in indices)

    def _view(self, func: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        first = next(iter(tensors_in([args, named])))
        output = func(*args, **named)
        source = self._sources.get(first)
        for place, tensor in enumerate(tensors_in(output)):
            if source is not None:
                self._sources[tensor] = self._seen_through(source, first, (func, args, named, place), tensor)
            elif self._is_held(first) and self._holdings.find(tensor) is None:
                self._derive(tensor, [first], bare_name(func))
        return output

    def _seen_through(self, source: _Source, first: Tensor, step: tuple[Any, ...], output: Tensor) -> _Source:
        if source.chain is None:
            return source
        func, args, named, place = step
        chain = source.chain.then(func, (first, args, named), place)
        if bare_name(func) not in operations.SELECTIONS:
            return _Source(source.op, chain)
        runs = runs_of_features(chain)
        if runs is None or runs == ((0, chain.extent),):
            return _Source(source.op, chain)
        detail = {"root": chain.root, "runs": runs}
        op = self._open(Call("slice", (), (), -1, detail), bare_name(func), (source.op,), ())
        self._ops.append(replace(op, shape=tuple(output.shape)))
        return _Source(op.index, chain)

    def _written(self, func: Callable[..., Any], name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """A write into a tensor: it then holds both."""
        target = args[0]
        output = func(*args, **named)
        if self._is_held(target):
            return output
        call = operations.unknown(name, args, named, self._is_held)
        op = self._open(replace(call, kind="elementwise"), name, self._inputs(call), self._uses(call))
        self._close(op, target, None)
        if isinstance(output, Tensor):
            self._sources[output] = self._sources[target]
        return output

    def _operation(
        self, func: Callable[..., Any], name: str, args: Sequence[Any], named: dict[str, Any], *, alone: bool
    ) -> Any:
        if name in operations.SELECTIONS:
            call: Call | None = _lookup(args)
        else:
            call = operations.describe(name, args, named, self._is_held)
        if alone and not self._acts_alone(call):
            return self._derived(func, args, named)
        call = call or operations.unknown(name, args, named, self._is_held)
        op = self._open(call, name, self._inputs(call), self._uses(call))
        self.last = f"{op.name} ({op.kind})"
        moments = _Moments(call.data)
        laws = self._visitor.before(op, moments)
        new_args, new_named = self._replaced(call, laws, args, named) if laws else (args, named)
        output = self._execute(func, name, new_args, new_named)
        first = next(iter(tensors_in(output)), None)
        if first is None or not (first.is_floating_point() or first.is_complex()):
            return output
        self._close(op, output, call, Bound(func, args, named))
        return output

    @staticmethod
    def _acts_alone(call: Call | None) -> bool:
        """Whether a function of parameters alone is an op of the model: a table's rows, learned queries projected."""
        if call is None or not call.parts:
            return False
        return call.kind == "embedding" or (
            call.kind in WEIGHT_KINDS
            and call.parts[0].role == "weight"
            and any(part.role == "bias" for part in call.parts)
        )

    def _derived(self, func: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        output = func(*args, **named)
        sources = [t for t in tensors_in([args, named]) if self._is_held(t)]
        for tensor in tensors_in(output):
            if self._holdings.find(tensor) is None and (tensor.is_floating_point() or tensor.is_complex()):
                self._derive(tensor, sources, bare_name(func))
        return output

    def _derive(self, tensor: Tensor, sources: Sequence[Tensor], step: str) -> None:
        pairs = [(source, held) for source in sources if (held := self._find(source)) is not None]
        self._holdings.derive(tensor, pairs, step)

    @staticmethod
    def _execute(func: Callable[..., Any], name: str, args: Sequence[Any], named: dict[str, Any]) -> Any:
        if name != "batch_norm":
            return func(*args, **named)
        bound = dict(
            zip(("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"), args)
        )
        bound |= named
        own = bound | {"running_mean": None, "running_var": None, "training": True}
        try:
            return func(**own)
        except ValueError:  # one value a channel has no variance
            return func(*args, **named)

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

    def _parameter_op(self, tensor: Tensor) -> int:
        """A parameter that is read as data: a token, learned queries, an initial state."""
        call = Call("parameter", (), (Part(tensor, "operand"),))
        op = self._open(call, "parameter", (), self._uses(call))
        self._ops.append(replace(op, shape=tuple(tensor.shape)))
        return op.index

    def _uses(self, call: Call) -> tuple[Use, ...]:
        uses = []
        for part in call.parts:
            held = self._find(part.tensor)
            if held is not None and part.tensor not in self._sources:
                uses += [self._use(part, held, path) for path in held.paths]
        return tuple(uses)

    def _use(self, part: Part, held: Held, path: str) -> Use:
        shape = self._shapes[path].shape
        layout = None if part.layout is None else _told_in_storage(part.layout, held, part.tensor, shape)
        return Use(path, part.role, layout, held.steps)

    def _open(self, call: Call, name: str, inputs: tuple[int, ...], uses: tuple[Use, ...]) -> Op:
        place = self._stack[-1]
        ordinal = self._ordinals.get(place, 0)
        self._ordinals[place] = ordinal + 1
        return Op(len(self._ops), call.kind, name, *place, ordinal, inputs, uses, (), call.axis, dict(call.detail))

    def _close(self, op: Op, output: Any, call: Call | None, func: "Bound | None" = None) -> None:
        tensors = [t for t in tensors_in(output) if t.is_floating_point() or t.is_complex()]
        first = tensors[0]
        op = replace(op, shape=tuple(first.shape), replay=None if func is None else self._replay(func, call))
        self._ops.append(op)
        for tensor in tensors:
            self._sources[tensor] = _Source(op.index, self._chain(op, first, call) if tensor is first else None)
        factor = self._visitor.after(op, lambda: second_moment(first))
        if factor is not None and factor != 1:
            first.mul_(factor)

    @staticmethod
    def _replay(bound: "Bound", call: Call | None) -> Callable[..., Any] | None:
        """The function on other data: what it does to each value, for ops that work on each value alone."""
        if call is None or call.parts or call.kind not in ("activation", "elementwise", "add", "mul"):
            return None
        return bound.on(call.data)

    def _chain(self, op: Op, output: Tensor, call: Call | None) -> Chain | None:
        """Features are counted from each weight op, through what keeps its shape."""
        if op.kind in WEIGHT_KINDS and output.dim():
            return Chain(op.index, tuple(output.shape), op.axis)
        if call is None or op.kind not in ("activation", "shift", "scale", "elementwise", "dropout") or not call.data:
            return None
        source = self._sources.get(call.data[0])
        return source.chain if source is not None and call.data[0].shape == output.shape else None

    # Substitutes

    def _replaced(
        self, call: Call, laws: Mapping[str, Initializer], args: Sequence[Any], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        new: dict[int, Tensor] = {}
        for part in call.parts:
            held = self._find(part.tensor)
            if held is not None and held.paths[0] in laws:
                new[id(part.tensor)] = self._draw(part, held, laws[held.paths[0]])
        swapped = _swapped(list(args), new)
        return swapped, _swapped(named, new)

    def _draw(self, part: Part, held: Held, law: Initializer) -> Tensor:
        path, tensor = held.paths[0], part.tensor
        shape = self._shapes[path].shape
        layout = None if part.layout is None else _told_in_storage(part.layout, held, tensor, shape)
        key = Key(0).child(path)
        if not held.steps and tuple(tensor.shape) == shape and not tensor.is_complex():
            values = torch.from_numpy(law(shape, key=key, layout=layout))
            return values.to(device=tensor.device, dtype=tensor.dtype)
        moments = law.moments(shape, layout=layout)
        generator = torch.Generator().manual_seed(key.philox().key[0])
        values = torch.randn(tuple(tensor.shape), generator=generator) * moments.std + moments.mean
        return values.to(device=tensor.device, dtype=tensor.dtype)


@dataclass(frozen=True)
class Bound:
    """A function with its arguments."""

    func: Callable[..., Any]
    args: Sequence[Any]
    named: Mapping[str, Any]

    def on(self, data: Sequence[Tensor]) -> Callable[..., Any] | None:
        """The same function of NumPy arrays in place of `data`; None where other tensors have a say."""
        others = [t for t in tensors_in([self.args, dict(self.named)]) if all(t is not d for d in data)]
        if others:
            return None
        places = {id(tensor): place for place, tensor in enumerate(data)}
        args, named = _placed(list(self.args), places), _placed(dict(self.named), places)
        func = self.func

        def replay(*arrays: Any) -> Any:
            tensors = [torch.tensor(array) for array in arrays]
            with torch.no_grad():
                return func(*_refilled(args, tensors), **_refilled(named, tensors)).numpy()

        return replay


@dataclass(frozen=True)
class _Slot:
    place: int


def _placed(value: Any, places: Mapping[int, int]) -> Any:
    if isinstance(value, Tensor):
        return _Slot(places[id(value)])
    if isinstance(value, (tuple, list)):
        return [_placed(item, places) for item in value]
    if isinstance(value, dict):
        return {name: _placed(item, places) for name, item in value.items()}
    return value


def _refilled(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, _Slot):
        return tensors[value.place]
    if isinstance(value, list):
        return [_refilled(item, tensors) for item in value]
    if isinstance(value, dict):
        return {name: _refilled(item, tensors) for name, item in value.items()}
    return value


@dataclass(frozen=True)
class _Moments:
    data: tuple[Tensor, ...]

    def __call__(self, place: int) -> float:
        return second_moment(self.data[place])


def second_moment(tensor: Tensor) -> float:
    """E x^2 over a tensor, in float32 or better; NaN where it holds no numbers or is on the meta device."""
    if tensor.is_meta or tensor.numel() == 0:
        return float("nan")
    values = tensor.abs() if tensor.is_complex() else tensor
    return float(values.to(torch.promote_types(values.dtype, torch.float32)).square().mean())


def _told_in_storage(layout: Layout, held: Held, tensor: Tensor, shape: Shape) -> Layout | None:
    found = layout_in_storage(layout, held, tensor, shape)
    if found is None:
        return None
    try:
        found.checked(shape)
    except ValueError:
        return None
    return found


def _lookup(args: Sequence[Any]) -> Call:
    table = args[0]
    indices = tuple(t for t in tensors_in(args[1:]) if not t.is_floating_point())
    layout = Layout(("lookup", *("out",) * (table.dim() - 1)))
    return Call("embedding", indices[:1], (Part(table, "table", layout),))


def _swapped(values: Any, new: Mapping[int, Tensor]) -> Any:
    if isinstance(values, Tensor):
        return new.get(id(values), values)
    if isinstance(values, tuple):
        return tuple(_swapped(value, new) for value in values)
    if isinstance(values, list):
        return [_swapped(value, new) for value in values]
    if isinstance(values, dict):
        return {name: _swapped(value, new) for name, value in values.items()}
    return values


def _main_outputs(outputs: Any) -> list[Tensor]:
    """The tensors that a model returns, its logits first where it names them."""
    if isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), Tensor):
        return [outputs["logits"], *(t for t in tensors_in(outputs) if t is not outputs["logits"])]
    return list(tensors_in(outputs))


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode and everything that a run could change back afterwards."""
    flags = {module: module.training for module in model.modules()}
    buffers = [
        (module, name, tensor, None if tensor is None or tensor.is_meta else tensor.clone())
        for module in model.modules()
        for name, tensor in module._buffers.items()
    ]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), _cuda_states()  # noqa: NPY002
    model.eval()
    torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if states[3]:
            torch.cuda.set_rng_state_all(states[3])
        for module, flag in flags.items():
            module.training = flag
        with torch.no_grad():
            _restore(buffers)


def _restore(buffers: Sequence[tuple[nn.Module, str, Tensor | None, Tensor | None]]) -> None:
    for module, name, tensor, values in buffers:
        module._buffers[name] = tensor
        if tensor is not None and values is not None and not torch.equal(tensor, values):
            tensor.copy_(values)


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
