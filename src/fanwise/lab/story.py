"""What happened to a start and why, in one line of plain words, read from the numbers alone."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fanwise.check.findings import Finding
from fanwise.check.rules.losses import FEW_TIMES
from fanwise.lab.experiment import Outcome, Setup
from fanwise.lab.layers import EPSILON
from fanwise.report.document import Tone

STEADY = (0.8, 1.25)
"""Second moments that change by less than this a layer count as kept."""

UNIT = 0.9
"""Std from which on a norm has done what it is for."""

DIRECTIONS: Mapping[str, str] = MappingProxyType(
    {"FWD001": "shrinks", "WGT001": "shrinks", "FWD002": "grows", "WGT002": "grows", "LAW001": "grows"}
)
"""Findings on the scale, by code, and what the signal does where they are right."""

LOUD = "LOS001"
"""The finding on the first loss, of which a sentence of its own tells."""


def tell(outcome: Outcome, setup: Setup, findings: Sequence[Finding] | None = None) -> str:
    """A few sentences: what stood at step zero, and what training made of it.

    Args:
        outcome: of a start.
        setup: what all starts have in common.
        findings: what the check found at step zero; None where nobody checked.
    """
    return f"{_beginning(outcome, setup, findings)} {_end(outcome, setup)}"


def wrong(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that are worse than a remark."""
    return tuple(finding for finding in findings if finding.severity != "info")


def tone(outcome: Outcome) -> Tone:
    """How to read an outcome: good where it trained, bad where it did not, warn between."""
    if outcome.trained:
        return "good"
    return "warn" if outcome.train_accuracy >= 0.5 else "bad"


def _beginning(outcome: Outcome, setup: Setup, findings: Sequence[Finding] | None) -> str:
    """Particular of step zero; the first that applies."""
    gradients = outcome.rms(lambda layer: layer.weight_gradient_std)
    if not any(gradients[:-1]) and not any(outcome.rms(lambda layer: layer.std)):
        return "No signal passes, so every hidden gradient is exactly 0: only the output bias can learn."
    if outcome.hidden_share(lambda layer: layer.identical) > 0.9:
        return "All units of a layer are equal and get equal gradients: the layer stays one unit, however wide."
    if outcome.start.norm != "none":
        return f"{_scale_of(outcome)}, and {_normalized(outcome)}.{_confidence(outcome, setup, findings)}"
    return f"{_signal(outcome, findings)}{_confidence(outcome, setup, findings)}"


def _signal(outcome: Outcome, findings: Sequence[Finding] | None) -> str:
    """What the signal does, or the check's first finding where that is of another kind."""
    factor = outcome.growth()
    if factor is None:
        return "The signal is 0 or overflows before the output."
    std, word = math.sqrt(factor), _direction(factor)
    first = next((finding for finding in wrong(findings or ()) if finding.code != LOUD), None)
    if first is not None and DIRECTIONS.get(first.code) != word:
        return f"{first.message[:1].upper()}{first.message[1:]}."
    if word == "kept":
        return f"The second moment is kept from layer to layer (x {factor:.2f})."
    borne = f"; {_layers(outcome)} bear that" if outcome.trained and findings is not None and first is None else ""
    return f"The signal {word} x {std:.2g} a layer{_across(std, outcome)}{borne}."


def _direction(factor: float) -> str:
    """What a factor on the second moment does to a signal: "shrinks", "grows" or "kept"."""
    if STEADY[0] <= factor <= STEADY[1]:
        return "kept"
    return "shrinks" if factor < 1 else "grows"


def _layers(outcome: Outcome) -> str:
    return f"{len(outcome.trials[0].before.layers)} layers"


def _across(std: float, outcome: Outcome) -> str:
    """Ratio over all hidden layers, where there are more than a few."""
    steps = len(outcome.trials[0].before.layers) - 2
    return f", x {std**steps:.1e} over {steps} layers" if steps >= 4 else ""


def _confidence(outcome: Outcome, setup: Setup, findings: Sequence[Finding] | None) -> str:
    """Whether the first loss is that of a model that is sure; a smaller one is where the check says so of its head."""
    times = outcome.start_loss / setup.chance
    if not math.isfinite(times):
        return " The first loss already overflows."
    found = {each.code for finding in wrong(findings or ()) for each in finding.walk()}
    if times <= FEW_TIMES and LOUD not in found:
        return ""
    return f" The first loss is {times:.3g} x ln {setup.data.classes}: confidently wrong."


def _scale_of(outcome: Outcome) -> str:
    first = outcome.rms(lambda layer: layer.std)[0]
    return f"The first pre-activations have std {first:.2g}"


def _normalized(outcome: Outcome) -> str:
    """What the norms make of the hidden layers: where a variance is not far above their epsilon, less than std 1."""
    name = "BatchNorm" if outcome.start.norm == "batch" else "LayerNorm"
    low = min(std / math.hypot(std, math.sqrt(EPSILON)) for std in outcome.rms(lambda layer: layer.std)[:-1])
    if low < UNIT:
        return f"{name} sets a layer's input to about std {low:.1g} only, as its epsilon outweighs so small a variance"
    return f"{name} sets every layer's input back to std 1"


def _end(outcome: Outcome, setup: Setup) -> str:
    """What training made of it."""
    epochs, accuracy = setup.recipe.epochs, f"{outcome.test_accuracy:.0%}"
    if outcome.trained:
        return f"It trains: {accuracy} of the test digits after {epochs} epochs."
    if outcome.diverged:
        return "Training overflows."
    stuck = abs(outcome.final_loss - setup.chance) < 0.02 * setup.chance
    dead = outcome.hidden_share(lambda layer: layer.dead, after=True)
    if dead > 0.5 and outcome.start_loss > FEW_TIMES * setup.chance:
        return f"The first steps push {dead:.0%} of the units below 0 for good: {accuracy} of the test digits."
    if stuck:
        return f"The loss is still at ln {setup.data.classes} after {epochs} epochs: {accuracy}, as good as guessing."
    return f"It learns little: {accuracy} of the test digits after {epochs} epochs."
