"""Losses of JAX: which go by name, and what a guess gives."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanwise.measure import losses
from fanwise.measure.best_constant import judged
from fanwise.measure.loss_names import known_name
from fanwise.measure.losses import NEUTRAL, KnownLosses, Loss, LossLike, NamedLoss, Target, check_kind
from fanwise.measure.observation import ObservedLoss


def cross_entropy(logits: Array, target: Array) -> Array:
    """Mean cross-entropy of logits, classes in the last axis; integer labels, or shares of each class."""
    logs = jax.nn.log_softmax(logits)
    if jnp.issubdtype(target.dtype, jnp.integer):
        return -jnp.take_along_axis(logs, target[..., None], -1).mean()
    return -(target * logs).sum(-1).mean()


def binary_cross_entropy_with_logits(logits: Array, target: Array) -> Array:
    """Mean binary cross-entropy of logits and truth values."""
    return (jax.nn.softplus(logits) - logits * target).mean()


def mse_loss(output: Array, target: Array) -> Array:
    """Mean squared difference."""
    return jnp.square(output - target).mean()


def l1_loss(output: Array, target: Array) -> Array:
    """Mean absolute difference."""
    return jnp.abs(output - target).mean()


def huber_loss(output: Array, target: Array) -> Array:
    """Mean of half the squared difference, and of its distance less one half beyond 1."""
    size = jnp.abs(output - target)
    return jnp.where(size < 1, 0.5 * jnp.square(size), size - 0.5).mean()


def nll_loss(logs: Array, target: Array) -> Array:
    """Mean negative logarithm of the shares of classes that are given as logarithms, classes in the last axis."""
    return -jnp.take_along_axis(logs, target[..., None], -1).mean()


LOSSES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "cross_entropy": cross_entropy,
        "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
        "mse_loss": mse_loss,
        "l1_loss": l1_loss,
        "huber_loss": huber_loss,
        "nll_loss": nll_loss,
    }
)
"""Losses that go by name: functions of an output and a target."""
KINDS: Mapping[str, Target] = MappingProxyType(
    {**NEUTRAL, "l1_loss": Target.NUMBER, "huber_loss": Target.NUMBER, "nll_loss": Target.CLASS}
)
"""What each of them compares with."""


@dataclass(frozen=True)
class JaxArrays:
    """Arrays of JAX, as `fanwise.measure.losses.LossArrays`."""

    def fields(self, outputs: Any) -> Mapping[Any, Any]:
        """Fields of a mapping."""
        return outputs if isinstance(outputs, Mapping) else {}

    def floats(self, outputs: Any) -> list[Any]:
        """Complex ones too."""
        return [leaf for leaf in jax.tree_util.tree_leaves(outputs) if jnp.issubdtype(leaf.dtype, jnp.inexact)]

    def shape(self, value: Any) -> tuple[int, ...] | None:
        """The shape of an array or a traced value."""
        return tuple(value.shape) if isinstance(value, jax.Array) else None

    def class_axis(self, shape: tuple[int, ...]) -> int:
        """The last axis."""
        return len(shape) - 1

    def learns(self, array: Any) -> bool:
        """Whether an array is of floating point."""
        return True

    def drawn(self, values: Any, output: Any) -> Array:
        """Integers as JAX keeps them."""
        return jnp.asarray(values, jnp.int32 if values.dtype.kind == "i" else output.dtype)

    def replaced(self, outputs: Any, floats: Sequence[Any]) -> Any:
        """In the same tree."""
        rest = iter(floats)
        leaves, tree = jax.tree_util.tree_flatten(outputs)
        filled = [next(rest) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf for leaf in leaves]
        return jax.tree_util.tree_unflatten(tree, filled)

    def host(self, value: Any) -> Any:
        """In a dtype that NumPy computes in."""
        return numbers([value])[0]

    def projected(self, output: Any, signs: Any) -> Array:
        """The mean of an output's values times these signs, in the output's dtype, or float32."""
        return jnp.real((output * jnp.asarray(signs, jnp.float32)).sum() / max(signs.size, 1))

    def number(self, value: Any) -> Array:
        """A number of Python too."""
        return jnp.asarray(value)


ARRAYS = JaxArrays()
KNOWN = KnownLosses(
    {name: LOSSES[name] for name in NEUTRAL},
    lambda target: bool(jnp.issubdtype(target.dtype, jnp.integer)),
    lambda target: float(jnp.square(target).mean()),
)


def named_loss(loss: LossLike) -> NamedLoss | None:
    """The loss that is meant: one of `LOSSES`, or a function of output and target.

    Raises:
        TypeError: neither a name nor something to call, or a class.
        ValueError: an unknown name.
    """
    check_kind(loss)
    if isinstance(loss, str):
        name = known_name(loss, LOSSES)
        return NamedLoss(name, LOSSES[name], KINDS[name])
    if loss is None:
        return None
    name = loss.__name__ if inspect.isfunction(loss) else type(loss).__name__
    return NamedLoss(name, loss, KINDS[name] if loss in LOSSES.values() else None)


def loss_of(
    outputs: Any, target: Any, loss: LossLike, depends: losses.Depends = lambda one, other: True
) -> Loss | None:
    """The loss for outputs like these; see `fanwise.measure.losses.loss_of`."""
    arrays = jax.tree_util.tree_map(jnp.asarray, target)
    return losses.loss_of(outputs, arrays, named_loss(loss), ARRAYS, depends)


def observed(loss: Loss, outputs: Any, value: float, given: Sequence[Any] = ()) -> ObservedLoss:
    """The loss with its value, and with what a guess gives where one of the known losses has the same value.

    Args:
        loss: that was computed.
        outputs: what the model returned.
        value: of the loss.
        given: arrays among the model's inputs; its own loss may compare with one of them.
    """
    seen = KNOWN.of_inputs(loss, value, losses.main_output(outputs, ARRAYS), given, ARRAYS)
    return judged(seen, loss, outputs, ARRAYS)


def numbers(arrays: Sequence[Any]) -> list[Any]:
    """Arrays on the host, in a dtype that NumPy computes in."""
    return [np.asarray(array, np.float32) if array.dtype.itemsize < 4 else np.asarray(array) for array in arrays]
