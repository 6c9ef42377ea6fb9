"""Trains the network by stochastic gradient descent with momentum."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanwise.lab.data import Dataset
from fanwise.lab.layers import Array, Parameters, correct, cross_entropy, overflow_allowed
from fanwise.lab.network import (
    Architecture,
    backward,
    check_examples,
    check_parameters,
    forward,
    initial_running,
    predict,
    updated_running,
)
from fanwise.stream.arguments import checked_count, checked_number
from fanwise.stream.key import Key, KeyLike, as_key

CHUNK = 2048
"""About as many examples as are evaluated at once: large enough to be fast, small enough for memory."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Args:
        epochs: passes over the training set, at least 0.
        batch_size: examples a step, at least 1; the last batch of an epoch may have fewer.
        learning_rate: finite, above 0.
        momentum: in [0, 1): v = momentum * v + gradient, then parameter - learning_rate * v.
        clip: largest norm of the gradient, taken over all parameters together; larger ones are scaled down to it.
            None: no limit.

    Raises:
        TypeError: an argument is not a number of its kind.
        ValueError: a number out of range.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    clip: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", checked_count(self.epochs, name="epochs", low=0))
        object.__setattr__(self, "batch_size", checked_count(self.batch_size, name="batch_size"))
        object.__setattr__(self, "learning_rate", _checked_positive(self.learning_rate, name="learning_rate"))
        object.__setattr__(self, "momentum", checked_number(self.momentum, name="momentum", low=0, high=1))
        if self.momentum == 1:
            raise ValueError("momentum = 1: expected a number below 1, for a velocity that forgets")
        if self.clip is not None:
            object.__setattr__(self, "clip", _checked_positive(self.clip, name="clip"))


@dataclass(frozen=True)
class Epoch:
    """How training stands after one epoch.

    Args:
        number: 0 before the first step, then 1, 2, ...
        loss: of epoch 0, that of the whole training set; of the others, the mean over the epoch's examples, each
            taken before its step. Infinite or NaN where training diverged.
        train_accuracy: share of the training set that is classified right.
        test_accuracy: share of the test set.
    """

    number: int
    loss: float
    train_accuracy: float
    test_accuracy: float

    @property
    def diverged(self) -> bool:
        """Whether the loss is infinite or NaN."""
        return not math.isfinite(self.loss)


@dataclass(frozen=True, eq=False)
class Run:
    """A training.

    Args:
        epochs: epoch 0, which is the start, then each one trained; fewer than asked for where training diverged.
        parameters: those at the end, by name.
        running: moments of the batch norms at the end, by name.
    """

    epochs: tuple[Epoch, ...]
    parameters: Parameters
    running: Parameters

    @property
    def diverged(self) -> bool:
        """Whether training stopped because a loss was infinite or NaN."""
        return self.epochs[-1].diverged


def train(
    architecture: Architecture,
    parameters: Parameters,
    data: Dataset,
    recipe: Recipe,
    *,
    key: KeyLike,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Run:
    """Trains a network from given parameters, which stay as they are.

    Args:
        architecture: the network.
        parameters: where it starts, by name.
        data: what it learns.
        recipe: how.
        key: gives the order of the examples and nothing else, so all starts with one key see the same batches.
        on_epoch: called with each epoch as it ends, epoch 0 first.

    Returns:
        The epochs and the parameters at the end. A loss that is not finite ends training before its step is made.

    Raises:
        ValueError: parameters or data that do not fit the architecture.
    """
    check_parameters(architecture, parameters)
    training = _started(architecture, parameters, recipe, as_key(key))
    epochs: list[Epoch] = []
    for number in range(recipe.epochs + 1):
        loss = _epoch_(training, data, number) if number else None
        epochs.append(_measured(training, data, number, loss))
        if on_epoch:
            on_epoch(epochs[-1])
        if epochs[-1].diverged:
            break
    return Run(tuple(epochs), training.parameters, training.running)


def evaluate(
    architecture: Architecture,
    parameters: Parameters,
    x: Array,
    y: NDArray[np.int64],
    *,
    running: Parameters | None = None,
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy; an example whose logits are not all finite counts as wrong.

    Args:
        architecture: the network.
        parameters: by name.
        x: inputs, shape (n, inputs).
        y: labels, shape (n,).
        running: moments that batch norms use, by name; None: those of each chunk of about `CHUNK` examples.

    Raises:
        ValueError: examples that do not fit the architecture.
    """
    check_examples(architecture, x, y)
    chunks = -(-len(x) // CHUNK)
    loss, right = 0.0, 0
    for part, labels in zip(np.array_split(x, chunks), np.array_split(y, chunks), strict=True):
        logits = predict(architecture, parameters, part, running=running)
        loss += cross_entropy(logits, labels)[0] * len(labels) / len(y)
        right += int(correct(logits, labels).sum())
    return loss, right / len(y)


def batch_order(key: Key, epoch: int, count: int) -> NDArray[np.intp]:
    """A random order of `count` examples, a pure function of its arguments.

    The ranks of raw Philox words: NumPy keeps those for all time (NEP 19), which it does not promise of
    ``Generator.permutation``.
    """
    words = key.derive("batches").child(str(epoch)).philox()
    seed = sum(word << 32 * i for i, word in enumerate((*words.key, *words.stream)))
    return np.argsort(np.random.Philox(key=seed).random_raw(count), kind="stable")


@dataclass(frozen=True, eq=False)
class _Training:
    """A training under way; its arrays are its own and change in place."""

    architecture: Architecture
    recipe: Recipe
    key: Key
    parameters: Parameters
    velocity: Parameters
    running: Parameters


def _started(architecture: Architecture, parameters: Parameters, recipe: Recipe, key: Key) -> _Training:
    copies = {name: parameters[name].astype(np.float32) for name in architecture.shapes()}
    velocity = {name: np.zeros_like(value) for name, value in copies.items()}
    return _Training(architecture, recipe, key, copies, velocity, initial_running(architecture))


def _measured(training: _Training, data: Dataset, number: int, loss: float | None) -> Epoch:
    """An epoch's record; before the first step batch norms have no running moments and use the batch's."""
    model, running = (training.architecture, training.parameters), training.running if number else None
    now, train_accuracy = evaluate(*model, data.train_x, data.train_y, running=running)
    _, test_accuracy = evaluate(*model, data.test_x, data.test_y, running=running)
    if loss is None or not math.isfinite(now):  # the last step of an epoch may be the one that diverges
        loss = now
    return Epoch(number, loss, train_accuracy, test_accuracy)


def _epoch_(training: _Training, data: Dataset, number: int) -> float:
    """One pass over the training set; the mean loss, or the first that is not finite."""
    order = batch_order(training.key, number, len(data.train_y))
    total = 0.0
    for first in range(0, len(order), training.recipe.batch_size):
        batch = order[first : first + training.recipe.batch_size]
        loss = _step_(training, data.train_x[batch], data.train_y[batch])
        if not math.isfinite(loss):
            return loss
        total += loss * len(batch)
    return total / len(order)


def _step_(training: _Training, x: Array, y: NDArray[np.int64]) -> float:
    """One step down the gradient of a batch, unless its loss is not finite."""
    architecture, parameters = training.architecture, training.parameters
    passed = forward(architecture, parameters, x)
    gradients = backward(architecture, parameters, passed, y)
    if math.isfinite(gradients.loss):
        training.running.update(updated_running(architecture, training.running, passed))
        with overflow_allowed():
            _descend_(training, gradients.parameters)
    return gradients.loss


def _descend_(training: _Training, gradients: Parameters) -> None:
    factor = 1.0 if training.recipe.clip is None else _clip_factor(gradients, training.recipe.clip)
    for name, gradient in gradients.items():
        velocity, parameter = training.velocity[name], training.parameters[name]
        velocity *= training.recipe.momentum
        velocity += gradient if factor == 1 else factor * gradient
        parameter -= training.recipe.learning_rate * velocity


def _clip_factor(gradients: Parameters, clip: float) -> float:
    """What brings the norm of all gradients together down to `clip`; 1 where it is below."""
    # float64, as a gradient of 1.8e19 has a square beyond float32
    squares = sum(float(np.square(gradient, dtype=np.float64).sum()) for gradient in gradients.values())
    return min(1.0, clip / math.sqrt(squares)) if squares else 1.0


def _checked_positive(value: object, *, name: str) -> float:
    number = checked_number(value, name=name)
    if number <= 0:
        raise ValueError(f"{name} = {number}: expected a number above 0")
    return number
