"""Losses of PyTorch: which go by name, how a batch holds a target, and what a guess gives."""

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fanwise.measure import losses
from fanwise.measure.best_constant import with_constant
from fanwise.measure.loss_names import known_name
from fanwise.measure.losses import (
    NEUTRAL,
    KnownLosses,
    Loss,
    LossLike,
    NamedLoss,
    Target,
    check_kind,
    is_near,
)
from fanwise.measure.observation import ObservedLoss
from fanwise.stream.formats import Array
from fanwise.torch.trace.function_names import bare_name, tensors_in

LOSSES: Mapping[str, Target] = MappingProxyType(
    {
        "cross_entropy": Target.CLASS,
        "nll_loss": Target.CLASS,
        "binary_cross_entropy": Target.TRUTH,
        "binary_cross_entropy_with_logits": Target.TRUTH,
        "mse_loss": Target.NUMBER,
        "l1_loss": Target.NUMBER,
        "smooth_l1_loss": Target.NUMBER,
        "huber_loss": Target.NUMBER,
        "kl_div": Target.NUMBER,
        "poisson_nll_loss": Target.NUMBER,
        "soft_margin_loss": Target.NUMBER,
        "multi_margin_loss": Target.CLASS,
        "multilabel_margin_loss": Target.NUMBER,
        "multilabel_soft_margin_loss": Target.NUMBER,
    }
)
"""Losses of torch.nn.functional that take an output and a target."""
MODULES: Mapping[str, Target] = MappingProxyType(
    {
        "CrossEntropyLoss": Target.CLASS,
        "NLLLoss": Target.CLASS,
        "BCELoss": Target.TRUTH,
        "BCEWithLogitsLoss": Target.TRUTH,
        "MSELoss": Target.NUMBER,
        "L1Loss": Target.NUMBER,
        "SmoothL1Loss": Target.NUMBER,
        "HuberLoss": Target.NUMBER,
    }
)
"""Losses of torch.nn that do the same."""
JUDGED = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss")
"""Losses of torch.nn.functional of which it is known what a guess gives."""
WEIGHTS = ("weight", "pos_weight")
"""Options of a loss that change what a guess gives; those that do not are the ignored index and label smoothing."""


ELEMENTWISE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
"""Losses of torch.nn.functional that broadcast an output and a target of other shapes, with a warning."""
_WATCHED = frozenset(JUDGED + ELEMENTWISE)


@dataclass(frozen=True)
class TorchArrays:
    """Tensors, as `fanwise.measure.losses.LossArrays`.

    Args:
        classes_last: whether the last axis of an output counts classes, not the axis behind the examples.
    """

    classes_last: bool = False

    def fields(self, outputs: Any) -> Mapping[Any, Any]:
        """Fields of a mapping or a dataclass."""
        opened_outputs = opened(outputs)
        return opened_outputs if isinstance(opened_outputs, Mapping) else {}

    def floats(self, outputs: Any) -> list[Tensor]:
        """Complex ones too."""
        return [tensor for tensor in tensors_in(opened(outputs)) if tensor.is_floating_point() or tensor.is_complex()]

    def shape(self, value: Any) -> tuple[int, ...] | None:
        """The shape of a tensor."""
        return tuple(value.shape) if isinstance(value, Tensor) else None

    def class_axis(self, shape: tuple[int, ...]) -> int:
        """The axis behind the examples, or the last."""
        return len(shape) - 1 if self.classes_last or len(shape) < 2 else 1

    def learns(self, array: Tensor) -> bool:
        """Whether autograd follows it."""
        return array.requires_grad

    def drawn(self, values: Array, output: Tensor) -> Tensor:
        """On the output's device."""
        target = torch.from_numpy(values)
        return target.to(output.device, output.dtype if target.is_floating_point() else target.dtype)

    def replaced(self, outputs: Any, floats: Sequence[Any]) -> Any:
        """In the same tuples, lists, mappings and dataclasses."""
        return _replaced(outputs, iter(floats))

    def host(self, value: Tensor) -> Array:
        """A copy on the host; 16-bit floats as float32."""
        array: Array = (value.float() if value.is_floating_point() else value).detach().cpu().numpy()
        return array

    def projected(self, output: Tensor, signs: Array) -> Tensor:
        """The mean of an output's values times these signs, in the output's dtype."""
        value = (output * torch.from_numpy(signs).to(output.device)).sum() / max(output.numel(), 1)
        return value.real if value.is_complex() else value

    def number(self, value: Any) -> Any:
        """A tensor, for gradients come through nothing else."""
        return value


def _classes_last(function: Callable[..., Tensor], target: Target) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of classes that are in the last axis, where those of torch are in the second; any other as it is."""
    if target is not Target.CLASS:
        return function

    def moved(output: Tensor, aim: Tensor) -> Tensor:
        aims = aim.movedim(-1, 1) if aim.dim() == output.dim() > 1 else aim
        return function(output.movedim(-1, 1) if output.dim() > 1 else output, aims)

    return moved


ARRAYS = TorchArrays()
KNOWN = KnownLosses(
    {name: _classes_last(vars(functional)[name], target) for name, target in NEUTRAL.items()},
    lambda target: not target.is_floating_point(),
    lambda target: float(target.double().square().mean()),
)


def split(batch: Any, loss: LossLike) -> tuple[Any, Any]:
    """The inputs and the target of a batch; see `fanwise.measure.losses.split`.

    Returns:
        The inputs, as `fanwise.torch.plan` takes them: a mapping that stands alone before a target holds named
        arguments. And the target; None where the batch holds none.
    """
    inputs, target = losses.split(batch, loss)
    alone = target is not None and isinstance(inputs, tuple) and len(inputs) == 1 and isinstance(inputs[0], Mapping)
    return (inputs[0] if alone else inputs), target


def named_loss(loss: LossLike) -> NamedLoss | None:
    """The loss that is meant: of torch.nn.functional, or a function of output and target.

    Raises:
        TypeError: neither a name nor something to call, or a class.
        ValueError: an unknown name.
    """
    check_kind(loss)
    if loss is None:
        return None
    if isinstance(loss, str):
        name = known_name(loss, LOSSES)
        return _named(name, vars(functional)[name], LOSSES[name])
    function = loss if isinstance(loss, (FunctionType, BuiltinFunctionType)) else type(loss)
    name = function.__name__
    known = (LOSSES if vars(functional).get(name) is function else MODULES if _is_torch_module(function) else {}).get(
        name
    )
    return _named(name, loss, known)


def _is_torch_module(kind: Any) -> bool:
    return str(kind.__module__).startswith("torch.nn.modules.")


def _named(name: str, function: Callable[..., Any], target: Target | None) -> NamedLoss:
    return NamedLoss(name, _classes_found(function) if target is Target.CLASS else function, target)


def _classes_found(function: Callable[..., Any]) -> Callable[..., Any]:
    """The loss of logits whose classes are in the last axis, too, where the shape of the classes given shows it."""

    def compute(output: Tensor, target: Tensor) -> Any:
        last = isinstance(target, Tensor) and output.dim() > 2 and target.shape == output.shape[:-1]
        behind = (*output.shape[:1], *output.shape[2:])
        turned = last and not target.is_floating_point() and target.shape != behind
        return function(output.movedim(-1, 1) if turned else output, target)

    return compute


def loss_of(outputs: Any, target: Any, loss: LossLike, arrays: TorchArrays = ARRAYS) -> Loss | None:
    """The loss for outputs like these; see `fanwise.measure.losses.loss_of`."""
    return losses.loss_of(outputs, target, named_loss(loss), arrays, _depends(arrays.floats(outputs)))


def _depends(floats: Sequence[Tensor]) -> Callable[[int, int], bool]:
    """By autograd."""

    def depends(number: int, other: int) -> bool:
        if not (floats[number].requires_grad and floats[other].requires_grad):
            return False
        gradients = torch.autograd.grad(floats[number], floats[other], retain_graph=True, allow_unused=True)
        return gradients[0] is not None

    return depends


@dataclass(frozen=True)
class _Call:
    """A loss of torch that was computed on the way.

    Args:
        chance: what a guess gives.
        classes: C, 0 where there are none.
        value: the number.
        target: what it compares with.
        at: the loss of an output that is equal to a number.
        shapes: those of the output and of the target, where one was repeated along an axis of the other.
    """

    chance: float
    classes: int
    value: Tensor
    target: Target
    at: Callable[[tuple[float, ...]], float]
    shapes: tuple[tuple[int, ...], ...] = ()


class LossCalls(TorchFunctionMode):
    """Watches for the losses of torch that a model, or a loss of the user, computes on the way to its own."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Executes a function, and notes what it gave where it is a loss of one number."""
        name = bare_name(func)
        if name not in _WATCHED:
            return func(*args, **(kwargs or {}))
        named = dict(kwargs or {})
        call = _Arguments(name, func, args, named)
        with _silent_about_shapes() if call.shapes else nullcontext():
            output = func(*args, **named)
        if isinstance(output, Tensor) and output.numel() == 1:
            with torch.no_grad():
                self._calls.append(call.noted(output.detach().reshape(())))
        return output

    def observed(self, loss: Loss, value: Tensor, outputs: Any = None) -> ObservedLoss:
        """The loss with its value; with what a guess gives, where it is a known one, seen or computed anew."""
        number = float(value.detach())
        alike = [call for call in self._calls if is_near(float(call.value), number)]
        if loss.probe or not alike:
            return KNOWN.observed(loss, number, losses.main_output(outputs, ARRAYS), ARRAYS)
        call = alike[-1]
        seen = replace(loss.observed(number, call.chance, call.classes, call.target), broadcast=call.shapes)
        if loss.named is not None or call.target is Target.CLASS:
            return seen
        with torch.no_grad():
            return with_constant(seen, call.at)


def opened(outputs: Any) -> Any:
    """The outputs of a model, a dataclass as a mapping of its fields."""
    if is_dataclass(outputs) and not isinstance(outputs, (type, Mapping)):
        return {field.name: attrgetter(field.name)(outputs) for field in fields(outputs)}
    return outputs


def _replaced(outputs: Any, floats: Iterator[Any]) -> Any:
    """The outputs with these tensors for those of floating point."""
    if isinstance(outputs, Tensor):
        return next(floats) if outputs.is_floating_point() or outputs.is_complex() else outputs
    if isinstance(outputs, Mapping):
        copied: Any = copy.copy(outputs)  # mappings that models return can be written
        for name, value in outputs.items():
            copied[name] = _replaced(value, floats)
        return copied
    if isinstance(outputs, tuple) and type(outputs) is not tuple:  # a named tuple
        return type(outputs)(*(_replaced(value, floats) for value in outputs))
    if isinstance(outputs, (tuple, list)):
        return type(outputs)(_replaced(value, floats) for value in outputs)
    if is_dataclass(outputs) and not isinstance(outputs, type):
        return dataclasses.replace(outputs, **{name: _replaced(v, floats) for name, v in opened(outputs).items()})
    return outputs


@contextmanager
def _silent_about_shapes() -> Iterator[None]:
    """Without torch's warning of shapes that broadcast, which would point into this file: the check reports them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using a target size")
        yield


@dataclass(frozen=True)
class _Arguments:
    """What a loss of torch.nn.functional was called with."""

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def named(self) -> dict[str, Any]:
        """The output and the target by name, and the options that are given by name."""
        return {**self.kwargs, **dict(zip(("input", "target"), self.args, strict=False))}

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the output and the target, where one is repeated along an axis of the other."""
        pair = tuple(ARRAYS.shape(self.named.get(name)) for name in ("input", "target"))
        sizes = [math.prod(shape) for shape in pair if shape is not None]
        differ = self.name in ELEMENTWISE and len(sizes) == 2 and pair[0] != pair[1] and min(sizes) > 1
        return tuple(shape for shape in pair if shape is not None) if differ else ()

    def noted(self, value: Tensor) -> _Call:
        """The call, with what it gave."""
        judged = self.name in JUDGED
        chance, classes = _chance(self.name, self.function, self.named, self.args[2:]) if judged else (math.nan, 0)
        return _Call(chance, classes, value, LOSSES[self.name], self._at, self.shapes)

    def _at(self, numbers: tuple[float, ...]) -> float:
        named = self.named
        output, target = named.pop("input"), named.pop("target")
        return float(self.function(torch.full_like(output, numbers[0]), target, *self.args[2:], **named))


def _chance(
    name: str, function: Callable[..., Any], named: Mapping[str, Any], more: Sequence[Any]
) -> tuple[float, int]:
    """The loss of a model that says nothing, and the number of classes."""
    output, target, kind = named["input"], named["target"], LOSSES[name]
    counted = int(output.shape[ARRAYS.class_axis(tuple(output.shape))]) if kind is Target.CLASS else 0
    classes = 2 if kind is Target.TRUTH else counted
    if more or named.get("reduction", "mean") != "mean" or any(named.get(key) is not None for key in WEIGHTS):
        rest = {key: value for key, value in named.items() if key not in ("input", "target")}
        nothing = 0.5 if name == "binary_cross_entropy" else -math.log(max(classes, 1)) if counted else 0.0
        return float(function(torch.full_like(output, nothing), target, *more, **rest)), classes
    return losses.chance_of(kind, classes, lambda: float(target.double().square().mean())), classes
