"""Targets as users give them, and the loss that they mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from fanwise.measure.loss_names import ALIASES, AMBIGUOUS, known_name
from fanwise.measure.losses import LossLike
from fanwise.numpy.losses import FUNCTIONS
from fanwise.numpy.windows import Array
from fanwise.stream.arguments import near_names
from fanwise.stream.box import Shape

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "softmax": "cross_entropy",
        "sigmoid": "binary_cross_entropy_with_logits",
        "mse": "mse_loss",
    }
)
"""The losses by what stands at the end of a network, and what all frameworks call them."""
OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(AMBIGUOUS, "sigmoid"),
        "logistic": "sigmoid",
        "quadratic": "mse",
        "nll": "softmax",
        "negative_log_likelihood": "softmax",
    }
)
"""Names that mean one of them here, where the sigmoid or softmax belongs to the loss."""


@dataclass(frozen=True, eq=False)
class Aim:
    """What the network is compared with.

    Args:
        loss: its name, as all frameworks call it, or a function; None for none.
        target: None where there is none.
        note: how the loss was chosen, for the report; "" where it was given.
    """

    loss: LossLike
    target: Array | None
    note: str = ""

    @property
    def ends_in(self) -> str:
        """The function that belongs to the loss: "softmax", "sigmoid" or ""."""
        names = {name: short for short, name in NAMES.items() if short != "mse"}
        return names.get(self.loss, "") if isinstance(self.loss, str) else ""


def read_loss(loss: Any) -> LossLike:
    """The name that all frameworks share; a function as it is.

    Raises:
        TypeError: neither text nor a function.
        ValueError: an unknown name; the message says what may have been meant.
    """
    if loss is None or (callable(loss) and not isinstance(loss, type)):
        return loss
    choices = ", ".join(map(repr, NAMES))
    if not isinstance(loss, str):
        raise TypeError(
            f"loss = {loss!r}: expected one of {choices}, a function of outputs and y, or None to choose by y"
        )
    plain = loss.strip().lower().replace("-", "_").replace(" ", "_")
    short = OTHER_NAMES.get(plain.removesuffix("_loss"), plain.removesuffix("_loss"))
    if short in NAMES:
        return NAMES[short]
    try:
        return known_name(loss.strip(), FUNCTIONS)
    except ValueError:
        near = near_names(short, [*NAMES, *OTHER_NAMES, *ALIASES], 1)
        meant = _short(near[0]) if near else ""
        hint = f": did you mean {meant!r}?" if meant else ":"
        raise ValueError(f"loss = {loss!r}{hint} expected one of {choices}") from None


def _short(name: str) -> str:
    """One of `NAMES` that a name means; "" for a loss that there is not."""
    full = ALIASES.get(name, "")
    return OTHER_NAMES.get(name, name if name in NAMES else next((s for s, n in NAMES.items() if n == full), ""))


def read_targets(target: Array | None, output: Shape, loss: LossLike, last: str = "") -> Aim:
    """The targets, in the form that the loss takes, and the loss.

    Args:
        target: as the user gave it; None for none.
        output: shape of what the network gives, examples first.
        loss: its shared name, or a function, which sees the targets as they are; None to choose by the targets.
        last: the name of the nonlinearity behind the last layer; "" for none.

    Raises:
        ValueError: targets that do not fit the output or the loss.
    """
    if target is None:
        return Aim(loss or (NAMES["softmax"] if last == "softmax" else None), None)
    if len(target) != output[0]:
        raise ValueError(f"y has shape {target.shape}, and x holds {output[0]} examples")
    if loss is not None and not isinstance(loss, str):
        return Aim(loss, target)
    chosen, why = (loss, "") if loss is not None else _chosen(target, output, last)
    made = {
        "cross_entropy": _classes,
        "binary_cross_entropy_with_logits": _alike,
        "mse_loss": _alike,
    }[chosen](target, output)
    return Aim(chosen, made, why)


def as_targets(y: Any) -> Array | None:
    """Targets as an array; None for none.

    Raises:
        TypeError: no array of numbers.
        ValueError: one number, or numbers that are not finite.
    """
    if y is None:
        return None
    try:
        target = np.asarray(y)
    except ValueError as error:
        raise ValueError(f"y is no array, its rows differ in length: {error}") from None
    if target.dtype.kind not in "buif":
        raise TypeError(f"y holds {target.dtype}: expected numbers: classes counted from 0, one-hot rows, or values")
    if not target.ndim:
        raise ValueError(f"y = {y!r} is one number: expected one target for each example")
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(target))[0])
        raise ValueError(f"y holds numbers that are not finite, the first at {place}: {target[place]}")
    return target


def _chosen(target: Array, output: Shape, last: str) -> tuple[str, str]:
    """The loss that targets mean, and why."""
    width, whole = output[-1], target.dtype.kind in "bui" or bool((target == np.round(target)).all())
    truths = whole and bool(np.isin(target, (0, 1)).all())
    if last:
        name = "softmax" if last == "softmax" else "sigmoid" if last == "sigmoid" and truths else "mse"
        return NAMES[name], f"Loss: {name}, as {last} stands behind the last layer; loss= says otherwise."
    one_hot = _is_one_hot(target, output)
    if truths and (width == 1 or not one_hot) and target.size == math.prod(output):
        return NAMES["sigmoid"], "Loss: sigmoid and its cross-entropy, as y holds truth values; loss= says otherwise."
    if one_hot or (whole and width > 1 and _is_classes(target, output)):
        kind = "is one-hot" if one_hot else "holds classes"
        return NAMES["softmax"], f"Loss: softmax over {width} classes, as y {kind}; loss= says otherwise."
    return NAMES["mse"], "Loss: mse, as y holds values; loss= says otherwise."


def _is_classes(target: Array, output: Shape) -> bool:
    return target.size == math.prod(output[:-1])


def _is_one_hot(target: Array, output: Shape) -> bool:
    """Whether every row holds one 1 and zeros."""
    if target.shape != output or output[-1] < 2:
        return False
    return bool(np.isin(target, (0, 1)).all() and (target.sum(-1) == 1).all())


def _classes(target: Array, output: Shape) -> Array:
    """Integers from 0, or a share of each class."""
    width = output[-1]
    if target.shape == output and width > 1:
        if _is_one_hot(target, output):
            return np.asarray(target.argmax(-1))
        if (target < 0).any() or not np.allclose(target.sum(-1), 1, atol=1e-3):
            raise ValueError("y has a row for each example that is no share of classes: its rows do not add up to 1")
        return target.astype(np.float64)
    if not _is_classes(target, output):
        raise ValueError(f"y has shape {target.shape}: expected classes {output[:-1]} or one-hot rows {output}")
    low, high = target.min(), target.max()
    if (target != np.round(target)).any():
        raise ValueError(f"y holds values such as {target.reshape(-1)[0]}, and softmax takes classes: loss='mse'?")
    if low < 0 or high >= width:
        start = "; classes count from 0" if low >= 1 and high == width else ""
        raise ValueError(f"y reaches from {low:g} to {high:g}, and the last layer gives {width} values{start}")
    return target.reshape(output[:-1]).astype(np.int64)


def _alike(target: Array, output: Shape) -> Array:
    """As floats; of another shape as it is, where NumPy repeats it."""
    try:
        np.broadcast_shapes(target.shape, output)
    except ValueError:
        hint = "; classes are for loss='softmax'" if _is_classes(target, output) else ""
        raise ValueError(f"y has shape {target.shape}, and the network gives {output}{hint}") from None
    return target.astype(np.float64)
