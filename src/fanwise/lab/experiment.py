"""One experiment: a network trained from one start, over several seeds, measured before and after."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanwise.lab.data import Dataset
from fanwise.lab.network import Architecture, initialize
from fanwise.lab.probing import LayerProfile, Profile, probe
from fanwise.lab.starts import Start
from fanwise.lab.training import Epoch, Recipe, train
from fanwise.stream.arguments import checked_count
from fanwise.stream.key import Key

TRAINED = 0.8
"""A start counts as training when it classifies this share of the training set in the epochs it has."""

Nonlinearity = Literal["relu", "tanh", "sigmoid", "gelu"]


@dataclass(frozen=True)
class Setup:
    """What all starts have in common.

    Args:
        data: what is learnt.
        depth: weight layers, the output layer counted.
        width: units of each hidden layer.
        nonlinearity: of the hidden layers.
        recipe: how each is trained.
        seeds: how many times; seed i gives the weights and the order of the batches.

    Raises:
        TypeError: a count that is not an integer.
        ValueError: a depth below 2, a width or a number of seeds below 1.
    """

    data: Dataset
    depth: int = 3
    width: int = 100
    nonlinearity: Nonlinearity = "relu"
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10))
    seeds: int = 3

    def __post_init__(self) -> None:
        checked_count(self.depth, name="depth", low=2)
        checked_count(self.width, name="width")
        checked_count(self.seeds, name="seeds")

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, hidden units, classes."""
        return (self.data.inputs, *(self.width,) * (self.depth - 1), self.data.classes)

    @property
    def chance(self) -> float:
        """The loss of a network that knows nothing: the logarithm of the number of classes."""
        return math.log(self.data.classes)


@dataclass(frozen=True)
class Trial:
    """One seed: the network at step zero, its training, and the network at the end."""

    seed: int
    before: Profile
    epochs: tuple[Epoch, ...]
    after: Profile


@dataclass(frozen=True)
class Outcome:
    """What became of a start, over all seeds.

    Args:
        start: which.
        factor: on every weight, 1 but in a sweep.
        trials: one a seed.
    """

    start: Start
    factor: float
    trials: tuple[Trial, ...]

    @property
    def start_loss(self) -> float:
        """Loss before the first step, mean over the seeds."""
        return float(np.mean([trial.epochs[0].loss for trial in self.trials]))

    @property
    def final_loss(self) -> float:
        """Loss of the last epoch, mean over the seeds; not finite if any diverged."""
        return float(np.mean([trial.epochs[-1].loss for trial in self.trials]))

    @property
    def train_accuracy(self) -> float:
        """Share of the training set classified right at the end, mean over the seeds."""
        return float(np.mean([trial.epochs[-1].train_accuracy for trial in self.trials]))

    @property
    def test_accuracy(self) -> float:
        """Share of the test set classified right at the end, mean over the seeds."""
        return float(np.mean([trial.epochs[-1].test_accuracy for trial in self.trials]))

    @property
    def trained(self) -> bool:
        """Whether it learnt its training set at all."""
        return self.train_accuracy >= TRAINED

    @property
    def diverged(self) -> bool:
        """Whether a loss became infinite or NaN for any seed."""
        return any(trial.epochs[-1].diverged for trial in self.trials)

    def losses(self) -> tuple[float, ...]:
        """Loss of every epoch, mean over the seeds; NaN from the first that diverged on."""
        length = max(len(trial.epochs) for trial in self.trials)
        curves = np.full((len(self.trials), length), np.nan)
        for row, trial in zip(curves, self.trials, strict=True):
            row[: len(trial.epochs)] = [epoch.loss for epoch in trial.epochs]
        return tuple(curves.mean(axis=0).tolist())

    def rms(self, measure: Callable[[LayerProfile], float], *, after: bool = False) -> tuple[float, ...]:
        """A measure of every layer, root mean square over the seeds.

        Args:
            measure: of one layer, such as ``lambda layer: layer.std``.
            after: at the end of training instead of step zero.
        """
        profiles = [trial.after if after else trial.before for trial in self.trials]
        values = np.array([[measure(layer) for layer in profile.layers] for profile in profiles])
        return tuple(np.sqrt(np.mean(values**2, axis=0)).tolist())

    def hidden_share(self, measure: Callable[[LayerProfile], float], *, after: bool = False) -> float:
        """A share of units, mean over the hidden layers and seeds."""
        profiles = [trial.after if after else trial.before for trial in self.trials]
        return float(np.mean([measure(layer) for profile in profiles for layer in profile.layers[:-1]]))

    def growth(self) -> float | None:
        """Factor on the second moment of the pre-activations from one hidden layer to the next, at step zero.

        The arithmetic mean over layers and seeds: for random weights its expectation is what the theory gives,
        where the geometric mean would be lower by about 5 / (2 width) a layer. None without two hidden layers, or
        where a signal is 0 or not finite.
        """
        moments = np.array([[layer.second_moment for layer in trial.before.layers[:-1]] for trial in self.trials])
        if moments.shape[1] < 2 or not (np.isfinite(moments).all() and (moments > 0).all()):
            return None
        return float(np.mean(moments[:, 1:] / moments[:, :-1]))


def run(setup: Setup, start: Start, *, factor: float = 1.0, on_trial: Callable[[], None] | None = None) -> Outcome:
    """Trains one start over all seeds.

    Args:
        setup: what all starts have in common.
        start: the law of the weights and the norm.
        factor: on every weight.
        on_trial: called after each seed.
    """
    trials = []
    for seed in range(setup.seeds):
        trials.append(_trial(setup, start, factor, seed))
        if on_trial:
            on_trial()
    return Outcome(start, factor, tuple(trials))


def sweep_factors(low: float, high: float, points: int) -> tuple[float, ...]:
    """Factors from `low` to `high`, evenly spaced in their logarithm; 1 is one of them where it lies between."""
    factors = np.geomspace(low, high, points)
    if low < 1 < high:
        factors[np.argmin(np.abs(np.log(factors)))] = 1.0
    return tuple(float(f"{factor:.3g}") for factor in factors)


def trained_range(outcomes: Sequence[Outcome]) -> tuple[float, float] | None:
    """Smallest and largest factor of a sweep that trained; None where none did."""
    factors = [outcome.factor for outcome in outcomes if outcome.trained]
    return (min(factors), max(factors)) if factors else None


def _trial(setup: Setup, start: Start, factor: float, seed: int) -> Trial:
    architecture = Architecture(setup.widths, setup.nonlinearity, start.norm)
    key = Key(seed)

    def weight(shape: tuple[int, ...], /, *, key: Key) -> NDArray[Any]:
        return np.float32(factor) * start.law(shape, key=key)

    parameters = initialize(architecture, weight, key)
    examples = setup.data.train_x, setup.data.train_y
    before = probe(architecture, parameters, *examples)
    trained = train(architecture, parameters, setup.data, setup.recipe, key=key)
    after = probe(architecture, trained.parameters, *examples)
    return Trial(seed, before, trained.epochs, after)
