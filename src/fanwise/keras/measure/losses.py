"""Losses of Keras: which go by name, how a batch holds a target, and what a guess gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from fanwise.keras.trace.run import Inputs, ModelError, on_backend
from fanwise.keras.trace.variables import as_array, is_float, is_tensor, shape_of, tensors_in
from fanwise.measure import losses
from fanwise.measure.best_constant import judged
from fanwise.measure.loss_names import known_name
from fanwise.measure.losses import NEUTRAL, Loss, LossLike, NamedLoss, Target, check_kind
from fanwise.measure.observation import ObservedLoss
from fanwise.stream.formats import Array

JUDGED: Mapping[str, Target] = MappingProxyType(
    {
        **NEUTRAL,
        "sparse_categorical_crossentropy": Target.CLASS,
        "categorical_crossentropy": Target.SHARES,
        "categorical_focal_crossentropy": Target.SHARES,
        "binary_crossentropy": Target.TRUTH,
        "binary_focal_crossentropy": Target.TRUTH,
        "mean_squared_error": Target.NUMBER,
        "mse": Target.NUMBER,
    }
)
"""Losses of which it is known what a guess gives."""
DRAWN: Mapping[str, Target] = MappingProxyType(
    {**JUDGED, "mean_absolute_error": Target.NUMBER, "mae": Target.NUMBER, "huber": Target.NUMBER}
)
"""Losses for which targets are drawn."""


OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {"l1_loss": "mean_absolute_error", "huber_loss": "huber", "kl_div": "kl_divergence"}
)
"""Losses of keras.losses by the names that other frameworks have for them."""
CHOICES = (*NEUTRAL, *OTHER_NAMES, "mse", "mae", "huber", "binary_crossentropy", "sparse_categorical_crossentropy")
"""Names that an unknown one is likely to mean."""


@dataclass(frozen=True)
class KerasArrays:
    """Tensors of what Keras computes with, as `fanwise.measure.losses.LossArrays`."""

    def fields(self, outputs: Any) -> Mapping[Any, Any]:
        """Fields of a mapping."""
        return outputs if isinstance(outputs, Mapping) else {}

    def floats(self, outputs: Any) -> list[Any]:
        """Floating-point tensors in nested lists and mappings."""
        return [tensor for tensor in tensors_in(outputs) if is_float(tensor)]

    def shape(self, value: Any) -> tuple[int, ...] | None:
        """The shape of a tensor."""
        return shape_of(value) if is_tensor(value) else None

    def class_axis(self, shape: tuple[int, ...]) -> int:
        """The last axis."""
        return len(shape) - 1

    def learns(self, array: Any) -> bool:
        """Whether a tensor is of floating point."""
        return True

    def drawn(self, values: Array, output: Any) -> Any:
        """Floats in Keras' own dtype."""
        return _on_backend(values if values.dtype.kind == "i" else values.astype(keras.config.floatx()))

    def replaced(self, outputs: Any, floats: Sequence[Any]) -> Any:
        """In the same lists and mappings."""
        rest = iter(floats)
        return keras.tree.map_structure(
            lambda leaf: next(rest) if is_tensor(leaf) and is_float(leaf) else leaf, outputs
        )

    def host(self, value: Any) -> Array:
        """A copy on the host."""
        array: Array = as_array(value)
        return array

    def projected(self, output: Any, signs: Array) -> Any:
        """The mean of an output's values times these signs, in the output's dtype."""
        return keras.ops.mean(output * keras.ops.cast(signs, output.dtype))

    def number(self, value: Any) -> Any:
        """The mean of what a loss gives for each example."""
        return keras.ops.mean(keras.ops.cast(value, "float32"))


ARRAYS = KerasArrays()


def split(batch: Any, loss: LossLike) -> tuple[Any, Any]:
    """The inputs and the target of a batch.

    Args:
        batch: where a loss is given, a tuple (inputs, target), as `keras.Model.fit` takes them; a list whose last is
            the target; or a mapping with a target (`fanwise.measure.losses.split`).
        loss: None: the whole batch goes to the model.

    Raises:
        ValueError: a tuple of more than two.
    """
    if loss is not None and isinstance(batch, tuple) and len(batch) != 2:
        raise ValueError(f"batch = a tuple of {len(batch)} with a loss: expected a tuple (inputs, target)")
    inputs, target = losses.split(batch, loss)
    if target is None or isinstance(batch, Mapping):
        return inputs, target
    return (inputs[0] if len(inputs) == 1 else list(inputs)), target


def named_loss(loss: LossLike, target: Any = None) -> NamedLoss | None:
    """The loss that is meant: of keras.losses, or one that goes by the same name in every framework.

    Args:
        loss: as the user gave it; a function takes a target and an output, as Keras' own do.
        target: what the batch holds; where it holds several, a function sees all that the model returns.

    Raises:
        TypeError: neither a name nor something to call, or a class.
        ValueError: an unknown name.
    """
    check_kind(loss, "target and output")
    if loss is None:
        return None
    name, function = _by_name(loss) if isinstance(loss, str) else (_name_of(loss), loss)
    several = isinstance(target, (list, tuple, Mapping))

    def turned(output: Any, *targets: Any) -> Any:
        if not targets:
            raise ModelError(f"loss {name!r} needs a target, and none can be drawn for it: give (inputs, target)")
        return function(targets[0], output if several else losses.main_output(output, ARRAYS))

    return NamedLoss(name, turned, None if several else DRAWN.get(name))


def loss_of(
    outputs: Any, target: Any, loss: LossLike, depends: losses.Depends = lambda one, other: True
) -> Loss | None:
    """The loss for outputs like these; see `fanwise.measure.losses.loss_of`."""
    aim = None if target is None else _on_backend(target)
    return losses.loss_of(outputs, aim, named_loss(loss, aim), ARRAYS, depends)


def observed(loss: Loss, outputs: Any, value: float, given: Sequence[Any] = ()) -> ObservedLoss:
    """The loss with its value, and with what a guess gives where that is known.

    Args:
        loss: that was computed.
        outputs: what the model returned.
        value: of the loss.
        given: tensors among the model's inputs; its own loss may compare with one of them.
    """
    output, kind = losses.main_output(outputs, ARRAYS), JUDGED.get(loss.name)
    shape = ARRAYS.shape(output)
    if kind is None or not shape or not is_tensor(loss.target):
        seen = _KNOWN.of_inputs(loss, value, output, given, ARRAYS)
    else:
        seen = _KNOWN.judged(loss, value, kind, shape[-1])
    return judged(seen, loss, outputs, ARRAYS)


def _by_name(loss: str) -> tuple[str, Callable[[Any, Any], Any]]:
    """The name that a loss is known by, and the loss: of keras.losses, or one that every framework has."""
    if loss in NEUTRAL:
        return loss, _NEUTRAL[loss]
    try:
        function = keras.losses.get(loss)
    except ValueError:
        name = known_name(loss, CHOICES, more="a loss of keras.losses, ")
        return name, _NEUTRAL[name] if name in NEUTRAL else keras.losses.get(OTHER_NAMES.get(name, name))
    return (loss if loss in DRAWN else _name_of(function)), function


def _cross_entropy(target: Any, logits: Any) -> Any:
    """Cross-entropy of logits; integer labels, or shares of each class."""
    function = (
        keras.losses.categorical_crossentropy if is_float(target) else keras.losses.sparse_categorical_crossentropy
    )
    return function(target, logits, from_logits=True)


def _binary_cross_entropy(target: Any, logits: Any) -> Any:
    return keras.losses.binary_crossentropy(target, logits, from_logits=True)


def _output_first(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], float]:
    """A loss of Keras as a number, of an output and a target."""
    return lambda output, target: float(as_array(ARRAYS.number(function(target, output))))


_NEUTRAL: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "cross_entropy": _cross_entropy,
        "binary_cross_entropy_with_logits": _binary_cross_entropy,
        "mse_loss": keras.losses.mean_squared_error,
    }
)


_KNOWN = losses.KnownLosses(
    {name: _output_first(function) for name, function in _NEUTRAL.items()},
    lambda target: not is_float(target),
    lambda target: float(np.square(as_array(target), dtype=np.float64).mean()),
)


def _name_of(loss: Any) -> str:
    if isinstance(loss, keras.losses.Loss):
        return str(loss.name)
    return loss.__name__ if "__name__" in dir(loss) else type(loss).__name__


def _on_backend(target: Any) -> Any:
    return on_backend(Inputs((target,))).args[0]
