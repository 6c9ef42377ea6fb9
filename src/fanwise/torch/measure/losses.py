"""A batch split into what a model is given and what its loss compares with; and the loss itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fanwise.measure.observation import NAN, Loss
from fanwise.stream.key import Key
from fanwise.torch.trace.function_names import bare_name, tensors_in
from fanwise.torch.trace.run import ModelError

LossLike: TypeAlias = "str | Callable[..., Any] | None"

TARGETS = ("target", "targets", "label", "labels", "y")
"""Names under which a mapping holds what a given loss compares with."""
LOSSES = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "kl_div",
    "poisson_nll_loss",
    "soft_margin_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
)
"""Losses of torch.nn.functional that take an output and a target."""
_CLASSES = (
    "CrossEntropyLoss",
    "NLLLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "MSELoss",
    "L1Loss",
    "SmoothL1Loss",
    "HuberLoss",
)
_KNOWN = frozenset((*LOSSES, *_CLASSES))
SAME = 0.02
"""By what share a loss may exceed the one that it is made of: auxiliary losses are small."""
SQUARED = ("mse_loss",)
CHOICES = ("cross_entropy", "CrossEntropyLoss", "nll_loss", "NLLLoss")
YES_OR_NO = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "BCELoss", "BCEWithLogitsLoss")
WEIGHTS = ("weight", "pos_weight")
"""Options of a loss that change what a guess gives; those that do not are the ignored index and label smoothing."""
JUDGED = frozenset(
    ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss")
)
"""Losses of torch.nn.functional of which it is known what a guess gives."""


@dataclass(frozen=True)
class Scored:
    """A loss that was computed.

    Args:
        value: of one element, with its graph.
        told: what the rules see.
    """

    value: Tensor
    told: Loss


def split(batch: Any, loss: LossLike) -> tuple[Any, Any]:
    """What the model is given, and what a loss compares its output with.

    Where a loss is given, the last element of a tuple, or what a mapping holds under one of `TARGETS`, is the target.

    Returns:
        The inputs, as `fanwise.torch.plan` takes them, and the target; None where the batch has none.
    """
    if loss is None or batch is None or isinstance(batch, (str, Tensor)):
        return batch, None
    if isinstance(batch, Mapping):
        name = next((name for name in TARGETS if name in batch), None)
        rest = {key: value for key, value in batch.items() if key != name}
        return rest, None if name is None else batch[name]
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        inputs = tuple(batch[:-1])
        only = inputs[0] if len(inputs) == 1 else None
        return (only if isinstance(only, Mapping) else inputs), batch[-1]
    return batch, None


def checked_loss(loss: LossLike) -> Callable[..., Any] | None:
    """The function that is meant.

    Raises:
        TypeError: neither a name nor something to call, or a class.
        ValueError: an unknown name.
    """
    if isinstance(loss, type):
        raise TypeError(f"loss = {loss.__name__}, a class: expected an instance, as in {loss.__name__}()")
    if loss is None or (callable(loss) and not isinstance(loss, str)):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss = {loss!r}: expected the name of a loss, a function of output and target, or None")
    if loss not in LOSSES:
        raise ValueError(f"loss = {loss!r}: expected one of {', '.join(LOSSES)}, or a function of output and target")
    made: Callable[..., Any] = vars(functional)[loss]
    return made


def score(outputs: Any, target: Any, loss: LossLike) -> Scored | None:
    """The loss of what a model returned; None where nothing in it has a gradient.

    Args:
        outputs: what the model returned.
        target: what the batch holds for the loss, None where it has none.
        loss: name, function, or None: then the model's own loss, an output of one number, or a random projection of
            the outputs, whose gradients have the size of those of a mean over the batch.

    Raises:
        ModelError: the loss raised an error, or is not one number.
    """
    function = checked_loss(loss)
    if function is None:
        return _own(outputs)
    name = loss if isinstance(loss, str) else _name_of(function)
    known = name in _KNOWN
    output = _logits(outputs) if known else outputs
    drawn = known and target is None
    made = _drawn_target(name, output) if drawn else target
    value = _guarded(name, function, (output,) if made is None else (output, made))
    return Scored(_one_number(name, value), Loss(NAN, name, drawn=drawn))


@dataclass(frozen=True)
class _Seen:
    """A loss of torch that was computed on the way: what a guess gives, the classes, and the number."""

    chance: float
    classes: int
    value: Tensor


class LossCalls(TorchFunctionMode):
    """Watches for the losses of torch that a model, or a loss of the user, computes on the way to its own."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[_Seen] = []

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
                found = _chance(name, func, {**named, **places}, args[2:])
            self._seen.append(_Seen(*found, output.detach().reshape(())))
        return output

    def told(self, scored: Scored) -> Loss:
        """The loss with its value; with what a guess gives, where it is one of those that were seen, but for 2 %."""
        value = float(scored.value.detach())
        alike = [one for one in self._seen if abs(float(one.value) - value) <= SAME * abs(value)]
        if scored.told.probe or not alike:
            return replace(scored.told, value=value)
        return replace(scored.told, value=value, chance=alike[-1].chance, classes=alike[-1].classes)


def opened(outputs: Any) -> Any:
    """What a model returned, with a dataclass read as a mapping of its fields."""
    if is_dataclass(outputs) and not isinstance(outputs, (type, Mapping)):
        return {field.name: attrgetter(field.name)(outputs) for field in fields(outputs)}
    return outputs


def _own(outputs: Any) -> Scored | None:
    """The loss that the model computed itself, or a probe."""
    outputs = opened(outputs)
    named = outputs if isinstance(outputs, Mapping) else {}
    floats = [tensor for tensor in tensors_in(outputs) if tensor.is_floating_point() or tensor.is_complex()]
    value = named.get("loss")
    if value is None and floats and floats[0].numel() == 1 and (len(floats) == 1 or not floats[0].dim()):
        value = floats[0]
    if not isinstance(value, Tensor):
        return _probe([tensor for tensor in floats if tensor.requires_grad])
    return Scored(_one_number("the model's own", value), Loss(NAN, "the model's own"))


def _probe(floats: Sequence[Tensor]) -> Scored | None:
    """A mean of the outputs under random signs: a gradient of the size of that of a mean over the batch."""
    if not floats:
        return None
    output = floats[0]
    generator = torch.Generator("cpu").manual_seed(Key(0, "check.probe").philox().key[0])
    signs = torch.randint(0, 2, tuple(output.shape), generator=generator, device="cpu") * 2 - 1
    value = (output * signs.to(output.device)).sum() / max(output.numel(), 1)
    return Scored(value.real if value.is_complex() else value, Loss(NAN, "random projection", probe=True))


def _logits(outputs: Any) -> Any:
    """What a loss compares with a target: the logits where they are named, else the first tensor of floats."""
    outputs = opened(outputs)
    if isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), Tensor):
        return outputs["logits"]
    return next((tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()), outputs)


def _name_of(function: Callable[..., Any]) -> str:
    """The name by which a loss is known: of a function of torch, or of the loss module it stands for."""
    named = function if isinstance(function, (FunctionType, BuiltinFunctionType)) else type(function)
    return named.__name__


def _drawn_target(name: str, output: Any) -> Tensor:
    """A target for a batch that has none, the same at every call."""
    if not isinstance(output, Tensor):
        raise ModelError(f"loss {name!r} needs a target, and the model returned {type(output).__name__}: give both")
    generator = torch.Generator("cpu").manual_seed(Key(0, "check.target").philox().key[0])
    if name in CHOICES or name in ("multi_margin_loss", "MultiMarginLoss"):
        shape = (output.shape[0], *output.shape[2:]) if output.dim() > 1 else ()
        classes = output.shape[1] if output.dim() > 1 else output.shape[0]
        return torch.randint(0, classes, shape, generator=generator, device="cpu").to(output.device)
    made = torch.rand(tuple(output.shape), generator=generator, device="cpu")
    made = made.round() if name in YES_OR_NO else made * math.sqrt(12) - math.sqrt(3)
    return made.to(output.device, output.dtype)


def _chance(
    name: str, function: Callable[..., Any], named: Mapping[str, Any], more: Sequence[Any]
) -> tuple[float, int]:
    """The loss of a model that says nothing, and the number of classes."""
    output, target = named["input"], named["target"]
    classes = 0 if name in SQUARED else 2 if name in YES_OR_NO else int(output.shape[1 if output.dim() > 1 else 0])
    if more or named.get("reduction", "mean") != "mean" or any(named.get(key) is not None for key in WEIGHTS):
        rest = {key: value for key, value in named.items() if key not in ("input", "target")}
        nothing = 0.5 if name == "binary_cross_entropy" else -math.log(max(classes, 1)) if name in CHOICES else 0.0
        return float(function(torch.full_like(output, nothing), target, *more, **rest)), classes
    return (math.log(classes), classes) if classes else (float(target.double().square().mean()), 0)


def _guarded(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        shapes = ", ".join(_told_shape(argument) for argument in arguments)
        raise ModelError(f"loss {name!r} of {shapes} could not be computed: {type(error).__name__}: {error}") from error


def _told_shape(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def _one_number(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ModelError(f"loss {name!r} gave {shape}: expected one number, such as a mean over the batch")
    return value.reshape(())
