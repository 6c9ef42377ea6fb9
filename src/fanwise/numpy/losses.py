"""Losses of NumPy arrays: three by name, with their gradients, and what a batch of targets means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from fanwise.graph.visitor import ModelError
from fanwise.measure import losses
from fanwise.measure.best_constant import judged
from fanwise.measure.losses import NEUTRAL, KnownLosses, Loss, LossLike, NamedLoss, Target, check_kind, probe_signs
from fanwise.measure.observation import ObservedLoss
from fanwise.numpy.windows import Array

Valued: TypeAlias = tuple[float, Array]
"""A loss, and its gradient at the output."""


def softmax_loss(output: Array, target: Array) -> Valued:
    """Mean of -log softmax(output)[class], classes in the last axis; target: integers, or a share of each class."""
    wide = output.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    logs = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    shares = np.eye(output.shape[-1])[target] if target.dtype.kind in "iu" else target.astype(np.float64)
    rows = max(logs[..., 0].size, 1)
    gradient = (np.exp(logs) * shares.sum(-1, keepdims=True) - shares) / rows
    return float(-np.where(shares == 0, 0.0, shares * logs).sum() / rows), gradient.astype(output.dtype)


def sigmoid_loss(output: Array, target: Array) -> Valued:
    """Mean of log(1 + exp(z)) - z t over outputs z and truth values t: the binary cross-entropy of sigmoid(z)."""
    wide, aims = output.astype(np.float64), target.astype(np.float64)
    value = np.logaddexp(0.0, wide) - wide * aims
    return float(value.mean()), _summed((0.5 + 0.5 * np.tanh(wide / 2) - aims) / max(value.size, 1), output)


def mse_loss(output: Array, target: Array) -> Valued:
    """Mean squared difference."""
    error = output.astype(np.float64) - target
    return float(np.square(error).mean()), _summed(2 * error / max(error.size, 1), output)


def _summed(gradient: Array, output: Array) -> Array:
    """A gradient summed over the axes along which NumPy repeated the output."""
    extra = tuple(range(gradient.ndim - output.ndim))
    repeated = tuple(i for i, size in enumerate(output.shape) if size == 1 and gradient.shape[len(extra) + i] > 1)
    summed = gradient.sum(extra).sum(repeated, keepdims=True)
    return np.asarray(summed.reshape(output.shape), output.dtype)


FUNCTIONS: Mapping[str, Callable[[Array, Array], Valued]] = MappingProxyType(
    {
        "cross_entropy": softmax_loss,
        "binary_cross_entropy_with_logits": sigmoid_loss,
        "mse_loss": mse_loss,
    }
)
"""The losses, by the names that all frameworks share."""


@dataclass(frozen=True)
class NumpyArrays:
    """Arrays of NumPy, as `fanwise.measure.losses.LossArrays`."""

    def fields(self, outputs: Any) -> Mapping[Any, Any]:
        """A chain returns one array."""
        return {}

    def floats(self, outputs: Any) -> list[Any]:
        """The output itself."""
        return [outputs]

    def shape(self, value: Any) -> tuple[int, ...] | None:
        """The shape of an array."""
        return value.shape if isinstance(value, np.ndarray) else None

    def class_axis(self, shape: tuple[int, ...]) -> int:
        """The last axis."""
        return len(shape) - 1

    def learns(self, array: Any) -> bool:
        """Every output."""
        return True

    def drawn(self, values: Array, output: Any) -> Array:
        """Floats in the output's dtype."""
        return values if values.dtype.kind in "iu" else values.astype(output.dtype)

    def replaced(self, outputs: Any, floats: Sequence[Any]) -> Any:
        """The one array."""
        return floats[0]

    def host(self, value: Any) -> Array:
        """The array itself."""
        return np.asarray(value)

    def projected(self, output: Any, signs: Array) -> Any:
        """The mean of an output's values times these signs."""
        return np.asarray((output * signs).sum() / max(signs.size, 1))

    def number(self, value: Any) -> Any:
        """As an array."""
        return np.asarray(value)


ARRAYS = NumpyArrays()


def _value_of(name: str) -> Callable[[Array, Array], Any]:
    """A loss without its gradient."""
    return lambda output, target: FUNCTIONS[name](output, target)[0]


KNOWN = KnownLosses(
    {name: _value_of(name) for name in FUNCTIONS},
    lambda target: target.dtype.kind in "iu",
    lambda target: float(np.square(target, dtype=np.float64).mean()),
)


def named_loss(loss: LossLike) -> NamedLoss | None:
    """The loss of a name that all frameworks share, or a user's function; None for None.

    Raises:
        TypeError, ValueError: anything else.
    """
    check_kind(loss)
    if loss is None:
        return None
    if callable(loss):
        return NamedLoss(getattr(loss, "__name__", type(loss).__name__), _number_of(loss))
    if not isinstance(loss, str) or loss not in FUNCTIONS:
        raise ValueError(f"loss = {loss!r}: expected one of {', '.join(FUNCTIONS)}")
    return NamedLoss(loss, KNOWN.functions[loss], NEUTRAL[loss])


def observed(output: Array, target: Array | None, name: LossLike) -> tuple[ObservedLoss, Array]:
    """The loss of an output with what a guess gives, and its gradient.

    Args:
        output: what the network gave.
        target: None where there is none: it is drawn, or without a loss the gradient is that of a random projection.
        name: of the loss; None for none.

    Raises:
        ModelError: a target that does not fit the output.
    """
    named = named_loss(name)
    if named is None:
        signs = probe_signs(output.shape)
        value = float(ARRAYS.projected(output, signs))
        gradient = np.asarray(signs / max(output.size, 1), output.dtype)
        return ObservedLoss(value, "random projection", probe=True), gradient
    ready = losses.loss_of(output, target, named, ARRAYS)
    if ready is None:
        raise ModelError("the network gives no numbers")
    value = float(ready(output))
    if callable(name):
        return judged(KNOWN.observed(ready, value, output, ARRAYS), ready, output, ARRAYS), _own(name, output, ready)
    seen = KNOWN.judged(ready, value, named.target or Target.NUMBER, output.shape[-1] if output.ndim else 0)
    return judged(seen, ready, output, ARRAYS), FUNCTIONS[named.name](output, ready.target)[1]


# A function of the user's


def _number_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The loss of a function that may give its gradient beside it; it sees copies."""

    def number(*arguments: Array) -> Any:
        given = function(*(np.array(argument) for argument in arguments))
        return given[0] if isinstance(given, tuple) and len(given) == 2 else given

    return number


def _own(function: Callable[..., Any], output: Array, loss: Loss) -> Array:
    """The gradient at an output: what the function gives beside the loss, else central differences.

    Raises:
        ModelError: a gradient of another shape, or too many outputs for differences.
    """
    more = () if loss.target is None else (np.array(loss.target),)
    given = function(np.array(output), *more)
    if not (isinstance(given, tuple) and len(given) == 2):
        return _differences(loss, output)
    gradient = np.asarray(given[1])
    if gradient.shape != output.shape:
        raise ModelError(
            f"loss {loss.name!r} gave a gradient of shape {gradient.shape} for outputs {output.shape}: expected that "
            "at the outputs"
        )
    return gradient.astype(output.dtype)


def _differences(loss: Loss, output: Array) -> Array:
    if output.size > MOST_DIFFERENCES:
        raise ModelError(
            f"loss {loss.name!r} of outputs {output.shape}: its gradient is found by a difference for each of up to "
            f"{MOST_DIFFERENCES} outputs; return (loss, gradient at the outputs), or give fewer examples"
        )
    wide = output.astype(np.float64)
    gradient = np.zeros_like(wide)
    for place in np.ndindex(wide.shape):
        here, step = float(wide[place]), STEP * max(abs(float(wide[place])), 1.0)
        ends = []
        for moved in (here + step, here - step):
            wide[place] = moved
            ends.append(float(loss(wide)))
        wide[place], gradient[place] = here, (ends[0] - ends[1]) / (2 * step)
    return gradient.astype(output.dtype)


STEP = np.finfo(np.float64).eps ** (1 / 3)
"""Step of a central difference, in units of the value or of 1."""
MOST_DIFFERENCES = 20_000
"""Outputs up to which a gradient is found so: the loss is computed twice for each."""
