"""A batch split into what a model is given and what its loss compares with; and the loss itself."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanwise.jax.trace.run import ModelError
from fanwise.measure.observation import NAN, Loss
from fanwise.stream.key import Key

LossLike: TypeAlias = str | Callable[..., Any] | None

TARGETS = ("target", "targets", "label", "labels", "y")
"""Names under which a mapping holds what a given loss compares with."""
SAME = 0.02
"""By what share a loss may differ from a known one on the same output and target, and still be taken for it."""


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


LOSSES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "cross_entropy": cross_entropy,
        "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
        "mse_loss": mse_loss,
    }
)
"""Losses that go by name: functions of an output and a target."""


@dataclass(frozen=True)
class Scorer:
    """What makes one number of what a model returns.

    Args:
        function: from the outputs to the number.
        told: what the rules see; its value is not known yet.
        target: what the batch holds for the loss, None where it has none.
    """

    function: Callable[[Any], Array]
    told: Loss
    target: Any = None


def split(batch: Any, loss: LossLike) -> tuple[Any, Any]:
    """What the model is given, and what a loss compares its output with.

    Where a loss is given, the last element of a tuple, or what a mapping holds under one of `TARGETS`, is the target.
    """
    if loss is None or not isinstance(batch, Mapping | tuple | list):
        return batch, None
    if isinstance(batch, Mapping):
        name = next((name for name in TARGETS if name in batch), None)
        rest = {key: value for key, value in batch.items() if key != name}
        return rest, None if name is None else batch[name]
    return (tuple(batch[:-1]), batch[-1]) if len(batch) > 1 else (batch, None)


def checked_loss(loss: LossLike) -> Callable[..., Any] | None:
    """The function that is meant.

    Raises:
        TypeError: neither a name nor something to call.
        ValueError: an unknown name.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(
                f"loss = {loss!r}: expected one of {', '.join(LOSSES)}, or a function of output and target"
            )
        return LOSSES[loss]
    if loss is not None and not callable(loss):
        raise TypeError(f"loss = {loss!r}: expected the name of a loss, a function of output and target, or None")
    return loss


def scorer(outputs: Any, target: Any, loss: LossLike) -> Scorer | None:
    """What scores outputs like these; None where nothing in them is in floating point.

    Args:
        outputs: what the model returned.
        target: what the batch holds for the loss, None where it has none.
        loss: name, function, or None: then the model's own loss, an output of one number, or a random projection of
            the outputs, whose gradients have the size of those of a mean over the batch.

    Raises:
        ModelError: a loss that needs a target, of outputs for which none can be drawn.
    """
    function = checked_loss(loss)
    if function is None:
        return _own(outputs)
    name = loss if isinstance(loss, str) else _name_of(function)
    known = function in LOSSES.values()
    drawn = known and target is None
    aim = _drawn_target(name, _logits(outputs)) if drawn else None if target is None else jnp.asarray(target)

    def score(made: Any) -> Array:
        output = _logits(made) if known else made
        return _one_number(name, function(output) if aim is None else function(output, aim))

    return Scorer(score, Loss(NAN, name, drawn=drawn), aim)


def told(scored: Scorer, outputs: Any, value: float) -> Loss:
    """The loss with its value, and with what a guess gives where it is one of the known ones."""
    base = scored.told
    plain = Loss(value, base.name, drawn=base.drawn, probe=base.probe)
    output = _logits(outputs)
    if base.probe or scored.target is None or not isinstance(output, jax.Array):
        return plain
    for name, function in LOSSES.items():
        if _fits(name, output, scored.target) and _near(float(function(output, scored.target)), value):
            classes = {"cross_entropy": output.shape[-1], "mse_loss": 0}.get(name, 2)
            chance = math.log(classes) if classes else float(jnp.square(scored.target).mean())
            return Loss(value, base.name, chance, classes, base.drawn)
    return plain


def _fits(name: str, output: Array, target: Array) -> bool:
    """Whether a known loss is one of an output and a target of these shapes and dtypes."""
    integers = bool(jnp.issubdtype(target.dtype, jnp.integer))
    if name == "cross_entropy":
        return output.ndim > 0 and target.shape == (output.shape[:-1] if integers else output.shape)
    return target.shape == output.shape and (name == "mse_loss" or not integers)


def _near(one: float, other: float) -> bool:
    return math.isfinite(one) and abs(one - other) <= SAME * abs(other)


def _own(outputs: Any) -> Scorer | None:
    """The loss that the model computed itself, or a probe."""
    floats = _floats(outputs)
    named = outputs.get("loss") if isinstance(outputs, Mapping) else None
    if named is not None or (floats and floats[0].size == 1):
        return Scorer(lambda made: _one_number("the model's own", _own_value(made)), Loss(NAN, "the model's own"))
    if not floats:
        return None
    shape = floats[0].shape
    generator = np.random.default_rng(Key(0, "check.probe").philox().key[0])
    signs = jnp.asarray(generator.integers(0, 2, shape) * 2.0 - 1.0, jnp.float32)

    def probe(made: Any) -> Array:
        value = (_floats(made)[0] * signs).sum() / max(signs.size, 1)
        return jnp.real(value)

    return Scorer(probe, Loss(NAN, "random projection", probe=True))


def _own_value(outputs: Any) -> Any:
    named = outputs.get("loss") if isinstance(outputs, Mapping) else None
    return _floats(outputs)[0] if named is None else named


def _floats(outputs: Any) -> list[Any]:
    return [leaf for leaf in jax.tree_util.tree_leaves(outputs) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _logits(outputs: Any) -> Any:
    """What a loss compares with a target: the logits where they are named, else the first array of floats."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    return next(iter(_floats(outputs)), outputs)


def _name_of(function: Callable[..., Any]) -> str:
    return function.__name__ if inspect.isfunction(function) else type(function).__name__


def _drawn_target(name: str, output: Any) -> Array:
    """A target for a batch that has none, the same at every call."""
    if not isinstance(output, jax.Array) or not output.ndim:
        raise ModelError(f"loss {name!r} needs a target, and none can be drawn for this output: give both")
    generator = np.random.default_rng(Key(0, "check.target").philox().key[0])
    if name == "cross_entropy":
        return jnp.asarray(generator.integers(0, output.shape[-1], output.shape[:-1]), jnp.int32)
    if name == "mse_loss":
        return jnp.asarray(generator.standard_normal(output.shape), output.dtype)
    return jnp.asarray(generator.integers(0, 2, output.shape), output.dtype)


def _one_number(name: str, value: Any) -> Array:
    array = jnp.asarray(value)
    if array.size != 1:
        raise ModelError(f"loss {name!r} gave {array.shape}: expected one number, such as a mean over the batch")
    return array.reshape(())


def numbers(arrays: Sequence[Any]) -> list[Any]:
    """Arrays on the host, in a dtype that NumPy computes in."""
    return [np.asarray(array, np.float32) if array.dtype.itemsize < 4 else np.asarray(array) for array in arrays]
