"""A batch split into what a model is given and what its loss compares with; and the loss itself."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from fanwise.keras.trace.run import ModelError
from fanwise.keras.trace.variables import as_array, is_float, is_tensor, shape_of, tensors_in
from fanwise.measure.observation import NAN, Loss
from fanwise.stream import fill
from fanwise.stream.key import Key

LossLike: TypeAlias = "str | Callable[..., Any] | None"

CHOICES = ("sparse_categorical_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy")
YES_OR_NO = ("binary_crossentropy", "binary_focal_crossentropy")
SQUARED = ("mean_squared_error", "mse")


@dataclass(frozen=True)
class Judge:
    """A loss that is ready to be computed, in the backend's own numbers.

    Args:
        loss: function of the target and the output.
        name: of the loss.
        target: what the output is compared with; None for a random projection.
    """

    loss: Callable[..., Any] | None
    name: str
    target: Any

    def value(self, outputs: Any) -> Any:
        """The loss of what a model returned, one number.

        Raises:
            ModelError: it raised an error.
        """
        output = main_output(outputs)
        if self.loss is None:
            return keras.ops.mean(output * keras.ops.cast(_signs(shape_of(output)), output.dtype))
        try:
            given = outputs if isinstance(self.target, (list, tuple, Mapping)) else output
            return keras.ops.mean(keras.ops.cast(self.loss(self.target, given), "float32"))
        except Exception as error:
            shapes = f"{shape_of(output)} and {told_shape(self.target)}"
            raise ModelError(f"loss {self.name!r} of {shapes} could not be computed: {error}") from error

    def told(self, value: float, outputs: Any) -> Loss:
        """What the rules see."""
        if self.loss is None:
            return Loss(value, self.name, probe=True)
        classes = int(shape_of(main_output(outputs))[-1])
        if self.name in CHOICES:
            return Loss(value, self.name, math.log(classes) if classes > 1 else NAN, classes)
        if self.name in YES_OR_NO:
            return Loss(value, self.name, math.log(2), 2)
        if self.name in SQUARED and is_tensor(self.target):
            return Loss(value, self.name, float(np.square(as_array(self.target), dtype=np.float64).mean()))
        return Loss(value, self.name)


def told_shape(target: Any) -> str:
    """The shape of a target in words."""
    return str(shape_of(target)) if is_tensor(target) else type(target).__name__


def split(batch: Any, loss: LossLike) -> tuple[Any, Any]:
    """What the model is given, and what a loss compares its output with.

    Args:
        batch: where a loss is given, a tuple (inputs, target), as `keras.Model.fit` takes them.
        loss: name, function, or None: then the whole batch is given to the model.

    Raises:
        ValueError: a loss, and no target to compare with.
    """
    if loss is None:
        return batch, None
    if not isinstance(batch, tuple) or len(batch) != 2:
        raise ValueError(f"batch = {type(batch).__name__} with a loss: expected a tuple (inputs, target)")
    return batch


def checked_loss(loss: LossLike) -> tuple[Callable[..., Any] | None, str]:
    """The function that is meant, of a target and an output, and its name.

    Raises:
        TypeError: neither a name nor something to call, or a class.
        ValueError: an unknown name.
    """
    if loss is None:
        return None, "random projection"
    if isinstance(loss, type):
        raise TypeError(f"loss = {loss.__name__}, a class: expected an instance, as in {loss.__name__}()")
    if isinstance(loss, str):
        try:
            return keras.losses.get(loss), loss
        except ValueError as error:
            raise ValueError(f"loss = {loss!r}: expected a loss of keras.losses, such as 'mse'") from error
    if not callable(loss):
        raise TypeError(f"loss = {loss!r}: expected the name of a loss, a function of target and output, or None")
    return loss, _name_of(loss)


def _name_of(loss: Any) -> str:
    if isinstance(loss, keras.losses.Loss):
        return str(loss.name)
    return loss.__name__ if "__name__" in dir(loss) else type(loss).__name__


def main_output(outputs: Any) -> Any:
    """The first tensor of floating point that a model returned.

    Raises:
        ModelError: there is none.
    """
    if isinstance(outputs, Mapping) and is_tensor(outputs.get("logits")):
        return outputs["logits"]
    found = next((tensor for tensor in tensors_in(outputs) if is_float(tensor)), None)
    if found is None:
        raise ModelError(f"the model returned {type(outputs).__name__}, no tensor of floating point")
    return found


def _signs(shape: tuple[int, ...]) -> Any:
    """Random signs, the same at every call: the gradient has the size of that of a mean over the batch."""
    return np.sign(fill.uniform(Key(0, "check.probe"), shape, bound=1.0)).astype(np.float32)
