"""Losses of PyTorch: which go by name, how a batch holds a target, and what a guess gives."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fanwise.measure import losses
from fanwise.measure.losses import Loss, LossLike, NamedLoss, Target, check_kind, is_near, unknown_name
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


@dataclass(frozen=True)
class TorchArrays:
    """Tensors, as `fanwise.measure.losses.LossArrays`."""

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
        """The axis behind the examples."""
        return 1 if len(shape) > 1 else 0

    def learns(self, array: Tensor) -> bool:
        """Whether autograd follows it."""
        return array.requires_grad

    def drawn(self, values: Array, output: Tensor) -> Tensor:
        """On the output's device."""
        target = torch.from_numpy(values)
        return target.to(output.device, output.dtype if target.is_floating_point() else target.dtype)

    def projected(self, output: Tensor, signs: Array) -> Tensor:
        """The mean of an output's values times these signs, in the output's dtype."""
        value = (output * torch.from_numpy(signs).to(output.device)).sum() / max(output.numel(), 1)
        return value.real if value.is_complex() else value

    def number(self, value: Any) -> Any:
        """A tensor, for gradients come through nothing else."""
        return value


ARRAYS = TorchArrays()


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
        if loss not in LOSSES:
            raise unknown_name(loss, LOSSES)
        return NamedLoss(loss, vars(functional)[loss], LOSSES[loss])
    function = loss if isinstance(loss, (FunctionType, BuiltinFunctionType)) else type(loss)
    name = function.__name__
    return NamedLoss(name, loss, {**LOSSES, **MODULES}.get(name))


def loss_of(outputs: Any, target: Any, loss: LossLike) -> Loss | None:
    """The loss for outputs like these; see `fanwise.measure.losses.loss_of`."""
    return losses.loss_of(outputs, target, named_loss(loss), ARRAYS)


@dataclass(frozen=True)
class _Call:
    """A loss of torch that was computed on the way: what a guess gives, the classes, and the number."""

    chance: float
    classes: int
    value: Tensor


class LossCalls(TorchFunctionMode):
    """Watches for the losses of torch that a model, or a loss of the user, computes on the way to its own."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Executes a function, and notes what it gave where it is a loss of one number."""
        named = dict(kwargs or {})
        output = func(*args, **named)
        name = bare_name(func)
        if name in JUDGED and isinstance(output, Tensor) and output.numel() == 1:
            places = dict(zip(("input", "target"), args, strict=False))
            with torch.no_grad():
                chance = _chance(name, func, {**named, **places}, args[2:])
            self._calls.append(_Call(*chance, output.detach().reshape(())))
        return output

    def observed(self, loss: Loss, value: Tensor) -> ObservedLoss:
        """The loss with its value; with what a guess gives, where it is one of those that were seen, but for 2 %."""
        number = float(value.detach())
        alike = [call for call in self._calls if is_near(float(call.value), number)]
        if loss.probe or not alike:
            return loss.observed(number)
        return loss.observed(number, alike[-1].chance, alike[-1].classes)


def opened(outputs: Any) -> Any:
    """The outputs of a model, a dataclass as a mapping of its fields."""
    if is_dataclass(outputs) and not isinstance(outputs, (type, Mapping)):
        return {field.name: attrgetter(field.name)(outputs) for field in fields(outputs)}
    return outputs


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
