"""Which parameter stands behind a tensor: views are followed by their storage, derived tensors by a record.

Every axis of a view is traced back to an axis of the parameter, so that a layout told by an op (in the axes of the
tensor that it was given) can be told in the axes in which the parameter is stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from fanwise.laws.layout import Fused, Layout
from fanwise.trace import Parameter
from torch import Tensor, nn

Axes = tuple[int | None, ...]


@dataclass(frozen=True)
class Held:
    """What a tensor holds of parameters.

    Args:
        paths: the parameters that it is made of, at least one.
        axes: for each axis of the tensor, the axis of the first parameter on which it lies; None where there is none.
        steps: functions between the parameter and the tensor, none for a view.
    """

    paths: tuple[str, ...]
    axes: Axes
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Base:
    held: Held
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def covers(self, tensor: Tensor) -> bool:
        reach = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) if 0 not in self.shape else 0
        return self.offset <= tensor.storage_offset() <= self.offset + reach

    def axis_of(self, stride: int, size: int) -> int | None:
        """The base's axis on which a view's axis lies: the one whose steps its stride is made of."""
        if size == 1 or stride == 0:
            return None
        for axis, (extent, step) in enumerate(zip(self.shape, self.strides, strict=True)):
            if extent > 1 and step <= stride < step * extent and stride % step == 0:
                return axis
        return None

    def view(self, tensor: Tensor) -> Held:
        if tuple(tensor.shape) == self.shape and tensor.stride() == self.strides:
            return self.held
        places = [self.axis_of(stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True)]
        axes = tuple(None if place is None else self.held.axes[place] for place in places)
        return Held(self.held.paths, axes, self.held.steps)


class Holdings:
    """The parameters of a model and the tensors derived from them during one run."""

    def __init__(self, model: nn.Module) -> None:
        self._bases: dict[int, list[_Base]] = {}
        self._kept: list[Tensor] = []  # storages that live as long as their record
        for path, tensor in _distinct(model):
            self._add(tensor, Held((path,), tuple(range(tensor.dim()))))

    def find(self, tensor: Tensor) -> Held | None:
        """What a tensor holds, None where it holds no parameter."""
        storage = _storage(tensor)
        found = [] if storage is None else [base for base in self._bases.get(storage, ()) if base.covers(tensor)]
        return found[-1].view(tensor) if found else None

    def derive(self, tensor: Tensor, sources: Sequence[tuple[Tensor, Held]], step: str) -> None:
        """Records a tensor that a function made of parameters alone."""
        paths = tuple(dict.fromkeys(path for _, held in sources for path in held.paths))
        axes = _derived_axes(tensor, sources)
        self._add(tensor, Held(paths, axes, (*sources[0][1].steps, step)))

    def name(self, tensor: Tensor, paths: Iterable[str], shapes: Sequence[torch.Size], step: str) -> None:
        """Records a tensor that a parametrization made of parameters, axes matched where the shapes agree."""
        same = next((tuple(range(len(shape))) for shape in shapes if shape == tensor.shape), None)
        self._add(tensor, Held(tuple(paths), same or (None,) * tensor.dim(), (step,)))

    def _add(self, tensor: Tensor, held: Held) -> None:
        storage = _storage(tensor)
        if storage is None:
            return
        base = _Base(held, tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        self._bases.setdefault(storage, []).append(base)
        self._kept.append(tensor)


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
    aliases: dict[int, list[str]] = {}
    for path, tensor in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(_identity(tensor), []).append(path)
    return tuple(_parameter(path, tensor, aliases[_identity(tensor)]) for path, tensor in _distinct(model))


def check_model(model: nn.Module) -> None:
    """Raises where a model cannot be read.

    Raises:
        TypeError: not a module, TorchScript, or lazy parameters.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model = {type(model).__name__}: expected a torch.nn.Module")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"module {path or '(the model)'!r} is TorchScript: its operations cannot be seen, give the "
                "nn.Module that it was made from"
            )
    lazy = [path for path, tensor in model.named_parameters() if nn.parameter.is_lazy(tensor)]
    if lazy:
        raise TypeError(f"parameter {lazy[0]!r} has no shape yet (a lazy module): run the model once on a batch first")


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a dtype without torch's prefix: "float32", "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def layout_in_storage(layout: Layout, held: Held, view: Tensor, shape: Sequence[int]) -> Layout | None:
    """A layout told in a view's axes, told in the axes of the parameter of this shape."""
    if len(layout.axes) != len(held.axes) or not shape:
        return None
    roles, fused = [], None
    for axis, extent in enumerate(shape):
        here = [i for i, place in enumerate(held.axes) if place == axis]
        found = [layout.axes[i] for i in here]
        if not found:
            roles.append(_role_of_hidden(layout, held, extent))
            continue
        if len(set(found)) > 1 and "stack" in found and len(found) == 2:
            fused = Fused(axis, (), view.shape[here[found.index("stack")]])
        roles.append(next((role for role in found if role != "stack"), "stack"))
    kernel = roles.count("kernel") == layout.axes.count("kernel")
    plain = layout.groups == 1 or (roles.count("in"), roles.count("out")) == (1, 1)
    if not kernel or not plain:
        return None
    return Layout(tuple(roles), layout.groups, layout.grouped, layout.stride, layout.transposed, fused)


def _role_of_hidden(layout: Layout, held: Held, extent: int) -> str:
    """The role of a parameter's axis that a view does not show: of size 1 it may be any axis of size 1 in the view."""
    if extent == 1:
        shown = [layout.axes[i] for i, place in enumerate(held.axes) if place is None]
        if shown:
            return shown[0]
    return "stack"


def _parameter(path: str, tensor: Tensor, names: Sequence[str]) -> Parameter:
    others = tuple(name for name in names if name != path)
    return Parameter(path, tuple(tensor.shape), dtype_name(tensor.dtype), others, tensor.requires_grad)


def _distinct(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    seen: set[int] = set()
    for path, tensor in model.named_parameters():
        if _identity(tensor) not in seen:
            seen.add(_identity(tensor))
            yield path, tensor


def _identity(tensor: Tensor) -> int | tuple[object, ...]:
    """Equal for parameters that are the same numbers: one tensor, or two over the same memory."""
    storage = _storage(tensor)
    if storage is None or tensor.numel() == 0:
        return id(tensor)
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _storage(tensor: Tensor) -> int | None:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and opaque tensors have none
        return None


def _derived_axes(tensor: Tensor, sources: Sequence[tuple[Tensor, Held]]) -> Axes:
    for source, held in sources:
        if source.shape == tensor.shape:
            return held.axes
    first, held = sources[0]
    if tensor.dim() == first.dim():  # a concatenation, a sum that keeps its axes
        return held.axes
    if tensor.dim() == first.dim() + 1 and tensor.shape[1:] == first.shape:  # a stack
        return (None, *held.axes)
    return (None,) * tensor.dim()
