"""The rule on sizes that theory does not expect, though it assumes nothing."""

import math
from collections.abc import Iterator

from fanwise.check.findings import and_more
from fanwise.check.layers import band_of
from fanwise.check.rules.rule import MEASURED, Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.subject import Map, Subject
from fanwise.theory.propagation import Grounds

FAR = 4.0
"""Factor beyond the end of a band from which a size is far outside it."""
WIDE = 30.0
"""Factor between the ends of a band from which it says little."""


@rule(
    "BND001",
    severity="info",
    title="a size that theory does not expect",
    page=Page(
        says="The rms of what a layer gives is far from the one that follows from its weights' sizes and its inputs, "
        "where theory assumes nothing.",
        why="Something that no other rule names sets the scale there: weights that are no independent draws, inputs of "
        "a rare kind, numbers that the layer reads and nobody sees.",
        measured=f"The rms of each layer against the band that holds it in 19 of 20 cases: more than {FAR:g} times its "
        "upper end, or less than its lower end by as much. Layers for which theory assumes something, such as "
        f"attention, and bands whose ends are {WIDE:g} times apart, are left out. Where anything else is found at "
        "warning or above, this follows from it.",
        example="A weight of many inputs whose rows each hold a little of the direction in which all inputs lie.",
        remedy="Look at the layer that is named, and at what it reads.",
    ),
    source=MEASURED.replace("false_alarms", "theory_bands"),
    shows_before=True,
    follows_any=True,
)
def outside_bands(subject: Subject) -> Iterator[Symptom]:
    """The first layer whose size is far outside its band."""
    off = [(layer, factor) for layer in subject.maps if (factor := _beyond(subject, layer)) > FAR]
    if off:
        layer, factor = off[0]
        expected, (low, high) = band_of(subject.predicted, layer.op.index, len(subject.observations))
        yield Symptom(
            f"the rms after {layer.name} is {layer.signal.rms:.3g}, where theory expects {expected:.3g} "
            f"({low:.3g} to {high:.3g}){and_more(len(off) - 1, 'layer')}",
            layer.path,
            layer.op.index,
            "the sizes of the weights and of what is read do not explain it",
            "off_band",
            evidence={"rms": layer.signal.rms, "expected": expected, "factor": factor, "layers": len(off)},
        )


def _beyond(subject: Subject, layer: Map) -> float:
    """By what factor a layer's rms is above its band, or below it; 0 where there is none that assumes nothing."""
    said, index = subject.predicted, layer.op.index
    if said.grounds[index] != Grounds.RULES:
        return 0.0
    _, (low, high) = band_of(said, index, len(subject.observations))
    size = layer.signal.rms
    if not (math.isfinite(size) and math.isfinite(high) and size > 0 and low > 0) or high > WIDE * low:
        return 0.0
    return max(size / high, low / size)
