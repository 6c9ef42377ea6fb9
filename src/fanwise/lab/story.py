"""What happened to a start and why, in one line of plain words, read from the numbers alone."""

import math

from fanwise.lab.experiment import Outcome, Setup
from fanwise.report.document import Tone

CONFIDENT = 3.0
"""A loss at step zero of so many times ln C is worth a word."""

STEADY = (0.8, 1.25)
"""Second moments that change by less than this a layer count as kept."""


def tell(outcome: Outcome, setup: Setup) -> str:
    """One or two sentences: what stood at step zero, and what training made of it."""
    return f"{_beginning(outcome, setup)} {_end(outcome, setup)}"


def tone(outcome: Outcome) -> Tone:
    """How to read an outcome: good where it trained, bad where it did not, warn between."""
    if outcome.trained:
        return "good"
    return "warn" if outcome.train_accuracy >= 0.5 else "bad"


def _beginning(outcome: Outcome, setup: Setup) -> str:
    """What is particular about step zero; the first that applies."""
    gradients = outcome.rms(lambda layer: layer.weight_gradient_std)
    if not any(gradients[:-1]) and not any(outcome.rms(lambda layer: layer.std)):
        return "No signal passes, so every hidden gradient is exactly 0: only the output bias can learn."
    if outcome.hidden_share(lambda layer: layer.identical) > 0.9:
        return "All units of a layer are equal and get equal gradients: the layer stays one unit, however wide."
    if outcome.start.norm != "none":
        return f"{_scale_of(outcome)}, and {_norm_name(outcome)} sets every layer's input back to std 1."
    return f"{_signal(outcome)}{_confidence(outcome, setup)}"


def _signal(outcome: Outcome) -> str:
    factor = outcome.growth()
    if factor is None:
        return "The signal is 0 or overflows before the output."
    std = math.sqrt(factor)
    if STEADY[0] <= factor <= STEADY[1]:
        return f"The second moment is kept from layer to layer (x {factor:.2f})."
    word = "shrinks" if factor < 1 else "grows"
    return f"The signal {word} x {std:.2g} a layer{_across(std, outcome)}."


def _across(std: float, outcome: Outcome) -> str:
    """The same over all hidden layers, where there are more than a few."""
    steps = len(outcome.trials[0].before.layers) - 2
    return f", x {std**steps:.1e} over {steps} layers" if steps >= 4 else ""


def _confidence(outcome: Outcome, setup: Setup) -> str:
    times = outcome.start_loss / setup.chance
    if not math.isfinite(times):
        return " The first loss already overflows."
    if times < CONFIDENT:
        return ""
    return f" The first loss is {times:.3g} x ln {setup.data.classes}: confidently wrong."


def _scale_of(outcome: Outcome) -> str:
    first = outcome.rms(lambda layer: layer.std)[0]
    return f"The first pre-activations have std {first:.2g}"


def _norm_name(outcome: Outcome) -> str:
    return "BatchNorm" if outcome.start.norm == "batch" else "LayerNorm"


def _end(outcome: Outcome, setup: Setup) -> str:
    """What training made of it."""
    epochs, accuracy = setup.recipe.epochs, f"{outcome.test_accuracy:.0%}"
    if outcome.trained:
        return f"It trains: {accuracy} of the test digits after {epochs} epochs."
    if outcome.diverged:
        return "Training overflows."
    stuck = abs(outcome.final_loss - setup.chance) < 0.02 * setup.chance
    dead = outcome.hidden_share(lambda layer: layer.dead, after=True)
    if dead > 0.5 and outcome.start_loss > CONFIDENT * setup.chance:
        return f"The first steps push {dead:.0%} of the units below 0 for good: {accuracy} of the test digits."
    if stuck:
        return f"The loss is still at ln {setup.data.classes} after {epochs} epochs: {accuracy}, as good as guessing."
    return f"It learns little: {accuracy} of the test digits after {epochs} epochs."
