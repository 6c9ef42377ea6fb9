"""Which parameter stands behind a tensor: views are followed by their storage, derived tensors by a record.

Every axis of a view is traced back to an axis of the parameter, so that a layout told by an op (in the axes of the
tensor that it was given) can be told in the axes in which the parameter is stored.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from fanwise.graph.op import Parameter, UseRole
from fanwise.graph.tracking.homogeneity import degree_after
from fanwise.torch.trace.function_names import DIVISIONS, ELEMENTWISE, FACTORS, NORMS, PRODUCTS, SUMS, tensors_in
from fanwise.torch.trace.gradient_flow import GradientFlow
from fanwise.torch.trace.invocation import Invocation, copies_of_targets
from fanwise.torch.trace.storage import is_abstract, is_strided, is_wrapped, storage_of, unwrapped

Axes = tuple[int | None, ...]
"""Axes of a parameter on which the axes of a tensor lie; None for an axis that lies on none."""


@dataclass(frozen=True)
class StandIns:
    """Values in place of parameters, and what was made of them so far.

    Args:
        values: by path.
        made: by the `id` of what makes it, so that nothing is made twice.
    """

    values: Mapping[str, Tensor]
    made: dict[int, Tensor] = field(default_factory=dict)


Make = Callable[[StandIns], Tensor]
"""What makes a tensor of parameters, from values in their place."""

REFLECTED = frozenset({"rsub", "rdiv", "rtruediv", "rpow"})
"""Functions of two operands in the other order."""
BINARY = SUMS | PRODUCTS | DIVISIONS | {"pow", "rpow"}
"""Functions of two operands, either of which may be a number."""
BROADCAST = SUMS | PRODUCTS | DIVISIONS | ELEMENTWISE | {"weight_norm", "weight_norm_interface", "parametrization"}
"""Functions of several parameters among which a small one acts on a large one."""


Parts: TypeAlias = tuple[tuple[int, int, int], ...]
"""(axis, first, count) for each axis of a parameter of which a tensor shows a part."""


@dataclass(frozen=True)
class Provenance:
    """The parameters behind a tensor.

    Args:
        paths: the parameters that it is made of, at least one.
        axes: of each of them.
        steps: functions between the parameter and the tensor, none for a view.
        sides: for each of them, None where the tensor is made of its numbers; its role where it changes those of
            another.
        parts: (axis, first, count) for each axis of the first parameter of which the tensor shows a part.
        degrees: for each of them, how the tensor grows with it; None where that is not known.
        factor: by what numbers alone have multiplied it.
        make: the tensor, from values in place of parameters by path; None where it cannot be made again.
    """

    paths: tuple[str, ...]
    axes: tuple[Axes, ...]
    steps: tuple[str, ...] = ()
    sides: tuple[UseRole | None, ...] = (None,)
    parts: tuple[tuple[int, int, int], ...] = ()
    degrees: tuple[float | None, ...] = (1.0,)
    factor: float = 1.0
    make: Make | None = field(default=None, repr=False, compare=False)

    def degree(self, path: str) -> float | None:
        """How the tensor grows with a parameter; 0 for one that it is not made of."""
        return self.degrees[self.paths.index(path)] if path in self.paths else 0.0

    def role(self, which: int, role: UseRole) -> UseRole:
        """The role of one of the parameters, where the tensor has this one."""
        return self.sides[which] or role


@dataclass(frozen=True)
class _Base:
    held: Provenance
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    owner: int

    def covers(self, tensor: Tensor) -> bool:
        return self.offset <= tensor.storage_offset() <= self.offset + _reach(self.shape, self.strides)

    def closeness(self, tensor: Tensor) -> tuple[bool, ...]:
        """How sure it is that a tensor is a view of this one and not of another over the same memory.

        First by identity, then by what torch knows of views, then by where its elements lie.
        """
        last = tensor.storage_offset() + _reach(tensor.shape, tensor.stride())
        return (
            self.owner == id(tensor),
            tensor._base is not None and self.owner == id(tensor._base),
            (self.offset, self.shape, self.strides) == (tensor.storage_offset(), tuple(tensor.shape), tensor.stride()),
            last <= self.offset + _reach(self.shape, self.strides),
        )

    def axis_of(self, stride: int, size: int) -> int | None:
        """The base's axis on which a view's axis lies: the one whose steps its stride is made of."""
        if size == 1 or stride == 0:
            return None
        for axis, (extent, step) in enumerate(zip(self.shape, self.strides, strict=True)):
            if extent > 1 and step <= stride < step * extent and stride % step == 0:
                return axis
        return None

    def view(self, tensor: Tensor) -> Provenance:
        if tuple(tensor.shape) == self.shape and tensor.stride() == self.strides:
            return self.held
        places = [self.axis_of(stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True)]
        axes = tuple(tuple(None if axis is None else own[axis] for axis in places) for own in self.held.axes)
        parts = (*self.held.parts, *self.shown(tensor, places))
        return replace(self.held, axes=axes, parts=parts, make=self._view_maker(tensor))

    def _view_maker(self, tensor: Tensor) -> Make | None:
        """What makes a view of this tensor: the tensor is made, laid out as it was, and viewed alike."""
        make = self.held.make
        if make is None:
            return None
        own, shown = (self.shape, self.strides), (tuple(tensor.shape), tensor.stride())
        is_complex, start = tensor.is_complex(), int(tensor.storage_offset())

        def view(given: StandIns) -> Tensor:
            whole = make(given)
            laid_out = torch.empty_strided(*own, dtype=whole.dtype, device=whole.device).copy_(whole)
            if is_complex and not whole.is_complex():  # pairs of numbers, and offsets in them
                return torch.view_as_complex(laid_out).as_strided(*shown, start - self.offset // 2)
            return laid_out.as_strided(*shown, start - self.offset)

        return view

    def shown(self, tensor: Tensor, places: Sequence[int | None]) -> Iterable[tuple[int, int, int]]:
        """The axes of which a view with the base's own steps shows a part."""
        for axis, size, stride in zip(places, tensor.shape, tensor.stride(), strict=True):
            if axis is None or stride != self.strides[axis] or size >= self.shape[axis] or places.count(axis) > 1:
                continue
            own = self.held.axes[0][axis]
            if own is not None:
                first = (tensor.storage_offset() - self.offset) // stride % self.shape[axis]
                yield own, first, size
        yield from self._selected(tensor, places)

    def _selected(self, tensor: Tensor, places: Sequence[int | None]) -> Iterable[tuple[int, int, int]]:
        """The axes of which a view shows one index alone: layer i of a stack."""
        steps = zip(places, tensor.shape, tensor.stride(), strict=True)
        whole = all(self._is_along(axis, size, stride) for axis, size, stride in steps if size > 1 and stride)
        for axis, size in enumerate(self.shape if whole else ()):
            own = self.held.axes[0][axis]
            if size > 1 and self.strides[axis] and axis not in places and own is not None:
                yield own, (tensor.storage_offset() - self.offset) // self.strides[axis] % size, 1

    def _is_along(self, axis: int | None, size: int, stride: int) -> bool:
        """Whether a view's axis runs along one axis of the base, not over several."""
        return axis is not None and stride == self.strides[axis] and size <= self.shape[axis]


class ParameterProvenance:
    """The parameters of a model and the tensors derived from them during one run."""

    def __init__(self, model: nn.Module) -> None:
        self.gradients = GradientFlow()
        """Where the model lets none back."""
        self._bases: dict[int, list[_Base]] = {}
        self._opaque: dict[int, Provenance] = {}  # sparse tensors and others without a storage, by their id
        self._kept: list[tuple[Tensor, _Base | None]] = []  # storages that live as long as their record
        self._shapes: dict[str, torch.Size] = {}
        for tensor, (path, *_) in _distinct(model):
            self._shapes[path] = tensor.shape
            self.record(path, tensor)

    def record(self, path: str, tensor: Tensor) -> None:
        """Records a tensor that holds a parameter's values: its own, or one that stands for it for a time."""
        own = tensor.detach()
        self._add(
            tensor, Provenance((path,), (tuple(range(tensor.dim())),), make=lambda given: given.values.get(path, own))
        )

    def forget(self, path: str) -> None:
        """Forgets what was lent for a parameter, and what was made of it: their memory may hold something else next."""
        gone = [base for _, base in self._kept if base is not None and path in base.held.paths]
        self._kept = [(tensor, base) for tensor, base in self._kept if base is None or path not in base.held.paths]
        for bases in self._bases.values():
            bases[:] = [base for base in bases if all(base is not other for other in gone)]

    def find(self, tensor: Tensor) -> Provenance | None:
        """The parameters behind a tensor, None for a tensor that holds none."""
        if is_wrapped(tensor):
            return self._find_wrapped(tensor)
        storage = storage_of(tensor)
        if storage is None:
            return self._opaque.get(id(tensor))
        covering = [base for base in self._bases.get(storage, ()) if base.covers(tensor)]
        if len(covering) > 1:  # of those that fit alike the latest: a tensor may have been written to
            covering = sorted(covering, key=lambda base: base.closeness(tensor))
        return self._with_own_axes(covering[-1].view(tensor), tensor) if covering else None

    def _find_wrapped(self, tensor: Tensor) -> Provenance | None:
        inner, shown = unwrapped(tensor)
        held = self.find(inner)
        if held is None:
            return None
        return replace(held, axes=tuple(tuple(axes[i] for i in shown) for axes in held.axes), make=None)

    def _with_own_axes(self, held: Provenance, tensor: Tensor) -> Provenance:
        """Gives a tensor with the shape of its parameter the parameter's axes, whatever shape it had between."""
        whole = tuple(range(tensor.dim()))
        if (
            not held.steps
            or self._shapes[held.paths[0]] != tensor.shape
            or sorted(set(held.axes[0]), key=str) == list(whole)
        ):
            return held
        return replace(held, axes=(whole, *held.axes[1:]))

    def makers(self, function: Invocation) -> Callable[[int], Make] | None:
        """What makes each output of a function of parameters; None where something in it cannot be made again."""
        held = {id(tensor): one for tensor in function.tensors if (one := self.find(tensor)) is not None}
        makes = {name: one.make for name, one in held.items() if one.make is not None}
        if len(makes) < len(held) or not held or any(map(is_wrapped, function.tensors)):
            return None
        kept = function.with_tensors(copies_of_targets(function))
        named = {id(new): id(old) for new, old in zip(kept.tensors, function.tensors, strict=True)}

        def maker(output: int) -> Make:
            def make(given: StandIns) -> Tensor:
                if id(make) not in given.made:
                    new = {copy: makes[own](given) for copy, own in named.items() if own in makes}
                    given.made[id(make)] = list(tensors_in(kept.with_tensors(new).in_a_copy()))[output]
                return given.made[id(make)]

            return make

        return maker

    def derive(self, tensor: Tensor, sources: Sequence[Tensor], function: Invocation, make: Make | None = None) -> None:
        """Records a tensor that a function made of parameters alone.

        Args:
            tensor: what the function gave.
            sources: the tensors that hold parameters.
            function: under the name by which the planner knows it.
            make: what makes the tensor again.
        """
        step = function.name
        pairs = [(source, held) for source in sources if (held := self.find(source)) is not None]
        entries: dict[str, tuple[Axes, UseRole | None]] = {}
        for source, held in pairs:
            side = _side(source.shape, tensor.shape, step)
            for path, axes, own in zip(held.paths, held.axes, held.sides, strict=True):
                entries.setdefault(path, (_derived_axes(tensor, source, axes), own or side))
        growth = {path: self._degree(path, function) for path in entries}
        number = pairs[0][1].factor * number_in(function)
        steps = (*pairs[0][1].steps, *self.gradients.step_of(sources), step)
        self._record(tensor, entries, steps, (growth, number), make, layers_of([held for _, held in pairs]))

    def _degree(self, path: str, function: Invocation) -> float | None:
        """How what a function gives grows with a parameter."""
        if function.name not in BINARY:
            held = [self.find(tensor) for tensor in function.tensors]
            degrees = {one.degree(path) for one in held if one is not None}
            return degree_after(function.name, (degrees.pop(),)) if len(degrees) == 1 else None
        operands = [value for value in function.args[:2] if isinstance(value, Tensor | int | float)]
        ordered = operands[::-1] if function.name in REFLECTED else operands
        held = [self.find(value) if isinstance(value, Tensor) else None for value in ordered]
        degrees_in_order = tuple(0.0 if one is None else one.degree(path) for one in held)
        exponent = next((float(value) for value in operands[1:] if not isinstance(value, Tensor)), None)
        return degree_after(function.name.removeprefix("r" * (function.name in REFLECTED)), degrees_in_order, exponent)

    def name(
        self, tensor: Tensor, sources: Mapping[str, Tensor], kinds: tuple[str, ...] = (), make: Make | None = None
    ) -> None:
        """Records a tensor that parametrizations of these kinds made of parameters, axes matched where they agree."""
        entries = {
            path: (
                tuple(range(tensor.dim())) if source.dim() == tensor.dim() else (None,) * tensor.dim(),
                _side(source.shape, tensor.shape, "parametrization"),
            )
            for path, source in sources.items()
        }
        self._record(tensor, entries, ("parametrization", *kinds), make=make)

    def _record(
        self,
        tensor: Tensor,
        entries: Mapping[str, tuple[Axes, UseRole | None]],
        steps: tuple[str, ...],
        growth: tuple[Mapping[str, float | None], float] = (MappingProxyType({}), 1.0),
        make: Make | None = None,
        layers: Mapping[str, Parts] = MappingProxyType({}),
    ) -> None:
        """The parameters that the tensor is made of come first; where all seem to be sides, none is."""
        order = sorted(entries, key=lambda path: entries[path][1] is not None)
        plain = all(side for _, side in entries.values())
        sides = tuple(None if plain else entries[path][1] for path in order)
        axes, degrees = tuple(entries[path][0] for path in order), tuple(growth[0].get(path) for path in order)
        parts = layers.get(order[0], ())
        self._add(tensor, Provenance(tuple(order), axes, steps, sides, parts, degrees, growth[1], make))

    def _add(self, tensor: Tensor, held: Provenance) -> None:
        if is_wrapped(tensor):
            tensor, shown = unwrapped(tensor)
            own = [dict(zip(shown, axes, strict=True)) for axes in held.axes]
            held = replace(held, axes=tuple(tuple(axes.get(i) for i in range(tensor.dim())) for axes in own))
        storage = storage_of(tensor)
        if storage is None:
            self._kept.append((tensor, None))
            self._opaque[id(tensor)] = held
            return
        base = _Base(held, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), id(tensor))
        self._kept.append((tensor, base))
        self._bases.setdefault(storage, []).append(base)


def layers_of(sources: Sequence[Provenance]) -> Mapping[str, Parts]:
    """The one index of each stack that is read alone, by path: what is made of several layers is made of the whole."""
    shown: dict[str, set[Parts]] = {}
    for held in sources:
        for path in held.paths:
            shown.setdefault(path, set()).add(held.parts if path == held.paths[0] else ())
    each = {path: next(iter(parts)) for path, parts in shown.items() if len(parts) == 1}
    return {path: parts for path, parts in each.items() if len(parts) == 1 and parts[0][2] == 1}


def parametrized(module: nn.Module, own: Mapping[str, Tensor]) -> Make:
    """What makes a parametrized weight again; what its module remembers stays as it is."""
    paths = {id(tensor): path for path, tensor in own.items()}

    def make(given: StandIns) -> Tensor:
        new = {
            name: given.values.get(paths.get(id(tensor), ""), tensor.detach())
            for name, tensor in module.named_parameters()
        }
        buffers = {name: tensor.clone() for name, tensor in module.named_buffers()}
        return torch.func.functional_call(module, {**new, **buffers}, ())  # type: ignore[no-any-return]

    return make


def parameters(model: nn.Module) -> tuple[Parameter, ...]:
    """Every parameter of a model, tied ones once.

    Args:
        model: any module, on any device, meta too.

    Returns:
        In the order of ``model.named_parameters()``.

    Raises:
        TypeError: not a module, or a parameter that has no shape yet (a lazy module before its first forward).
    """
    check_model(model)
    return checked_parameters(model)


def checked_parameters(model: nn.Module) -> tuple[Parameter, ...]:
    """The same of a model that `check_model` let pass."""
    return tuple(_parameter(tensor, paths) for tensor, paths in _distinct(model))


def check_model(model: nn.Module) -> None:
    """Raises where a model cannot be read.

    Raises:
        TypeError: not a module, TorchScript, or lazy parameters.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model = {type(model).__name__}: expected a torch.nn.Module")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        scripted = [path for path, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)]
        raise TypeError(
            f"module {scripted[0] or '(the model)'!r} is TorchScript: its operations cannot be seen, give the "
            "nn.Module that it was made from"
        )
    if any(nn.parameter.is_lazy(tensor) for tensor in model.parameters()):
        lazy = [path for path, tensor in model.named_parameters() if nn.parameter.is_lazy(tensor)]
        raise TypeError(f"parameter {lazy[0]!r} has no shape yet (a lazy module): run the model once on a batch first")


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a dtype without torch's prefix: "float32", "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def _parameter(tensor: Tensor, paths: Sequence[str]) -> Parameter:
    path, *others = paths
    return Parameter(path, tuple(tensor.shape), dtype_name(tensor.dtype), tuple(others), tensor.requires_grad)


def _distinct(model: nn.Module) -> Iterable[tuple[Tensor, list[str]]]:
    """Each parameter once, with its path and then its aliases."""
    groups: dict[object, tuple[Tensor, list[str]]] = {}
    for path, tensor in model.named_parameters(remove_duplicate=False):
        groups.setdefault(_identity(tensor), (tensor, []))[1].append(path)
    return groups.values()


def _identity(tensor: Tensor) -> object:
    """Equal for parameters that are the same numbers: one tensor, or two over the same memory."""
    storage = storage_of(tensor)
    if storage is None or tensor.numel() == 0 or not is_strided(tensor):
        return id(tensor)
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def number_in(function: Invocation) -> float:
    """The number by which a product or quotient multiplies its other operand; 1 for any other function."""
    if function.name not in FACTORS:
        return 1.0
    numbers = [number for value in function.args[:2] if (number := as_number(value)) is not None]
    if len(numbers) != 1 or not numbers[0]:
        return 1.0
    return abs(numbers[0]) if function.name in PRODUCTS else 1 / abs(numbers[0])


def as_number(value: Any) -> float | None:
    """A number, or the one that a constant tensor holds; None for anything else, and where there is no value."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    readable = isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point() and not is_abstract(value)
    return float(value.detach()) if readable and not value.requires_grad else None


def _reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How far the last element of a tensor lies behind its first."""
    return sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else 0


def _side(shape: Sequence[int], whole: Sequence[int], step: str) -> UseRole | None:
    """The role that a parameter of this shape has in the tensor of another that is made with it."""
    if step in NORMS and math.prod(shape) < math.prod(whole):
        return UseRole.SCALE
    if step not in BROADCAST or math.prod(shape) >= math.prod(whole) or len(shape) > len(whole):
        return None
    offset = len(whole) - len(shape)
    if any(size not in (1, whole[offset + axis]) for axis, size in enumerate(shape)):
        return None
    return UseRole.OPERAND if step in SUMS else UseRole.SCALE


def _derived_axes(tensor: Tensor, source: Tensor, axes: Axes) -> Axes:
    if tensor.dim() == source.dim():  # elementwise, a concatenation, a product of matrices
        return axes
    if tensor.dim() == source.dim() + 1 and tensor.shape[1:] == source.shape:  # a stack
        return (None, *axes)
    if source.dim() > 2 and tensor.shape[1 - source.dim() :] == source.shape[1:]:  # some of a stack, chosen by indices
        return (None,) * (tensor.dim() - source.dim() + 1) + axes[1:]
    return (None,) * tensor.dim()
