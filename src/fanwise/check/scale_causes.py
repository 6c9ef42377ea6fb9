"""Why the weights of several maps have the wrong size: which law was drawn, and what was meant."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from fanwise.check.findings import Fix, counted
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import MAP_USES
from fanwise.graph.op import UseRole
from fanwise.laws.elementwise import Zeros

SAME = 0.15
"""By what share a gain may differ from the one that a nonlinearity needs and still count as the same."""

WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "slip": ("slip", "std 2/sqrt(fan_in), a slip for sqrt(2/fan_in)"),
        "shard": ("local_shard", "std by a part of fan_in, as where each of several shards counts its own"),
        "he_fan_out": ("swapped", "the fan_out stands where the fan_in belongs"),
        "lecun_fan_out": ("swapped", "the fan_out stands where the fan_in belongs"),
        "default": ("default", "torch's default, U(±1/sqrt(fan_in)): a third of unit variance"),
    }
)
"""The kind of a cause and its words, by the kind of the law that was found."""


def needed_gain(before: Map, layer: Map) -> float:
    """The factor on 1/sqrt(fan_in) that would have kept the second moment from the map before to this one."""
    return root(before.signal.second_moment / layer.fed.second_moment) if layer.fed.second_moment > 0 else math.nan


def scale_cause(maps: Sequence[Map], *, grows: bool) -> tuple[str, str]:
    """A word for why a signal grows or shrinks along these maps, each of which reads the one before, and the reason."""
    kind, count = Counter(kind for layer in maps for kind in layer.law.kinds or (layer.law.kind,)).most_common(1)[0]
    if kind == "default" and any(layer.derived for layer in maps):
        return "skipped_init", f"torch's default was left in {count} parametrized weights: their init had no effect"
    if kind in WORDS and (kind != "slip" or any(reads_relu(layer) for layer in maps)):
        word, text = WORDS[kind]
        return word, f"{text} ({count} of {len(maps)} weights)"
    if kind == "fixed":
        text = Counter(layer.law.text for layer in maps if layer.law.kind == kind).most_common(1)[0][0]
        return ("huge" if grows else "tiny"), f"{text} on {count} of {len(maps)} weights, whatever their fan_in"
    return _by_gain(maps)


def reads_relu(layer: Map) -> bool:
    """Whether a nonlinearity feeds it that takes half the second moment: a slip is one of He's formula."""
    activation = layer.case.around.activation(layer.op) if layer.case.around is not None else None
    return activation is not None and str(activation.nonlinearity).startswith(HALVING)


HALVING = ("relu", "leaky_relu", "prelu")


def _by_gain(maps: Sequence[Map]) -> tuple[str, str]:
    """In the words of the gain that the nonlinearity needs."""
    pairs = [(layer.law.gain, needed_gain(before, layer)) for before, layer in pairwise(maps)]
    pairs = [(measured, needed) for measured, needed in pairs if measured > 0 and needed > 0]
    if not pairs:
        return "wrong_gain", "the size of the weights does not fit what feeds them"
    measured, needed = (_middle([pair[i] for pair in pairs]) for i in (0, 1))
    if abs(measured / needed - 1) < SAME:
        return "wrong_gain", f"gain {measured:.3g}, as the nonlinearity needs: something else changes the scale"
    word = size_word(maps[len(maps) // 2], measured / needed)
    names = Counter(layer.law.text for layer in maps).most_common(1)[0][0]
    return word, f"gain {measured:.3g} where {needed:.3g} keeps the scale ({names})"


def size_word(layer: Map, factor: float) -> str:
    """Whether a weight has a wrong gain, or a size that no gain explains."""
    if layer.law.kind != "fixed" and 1 / EXTREME < factor < EXTREME:
        return "wrong_gain"
    return "huge" if factor > 1 else "tiny"


EXTREME = 30.0
"""Factor on a gain that nobody means."""


def _middle(numbers: Sequence[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]


def redraw(maps: Sequence[Map], text: str = "") -> Fix:
    """Draws these weights anew, and what the model makes them of; safe where none of them looks trained.

    Where most units of a weight repeat others, nobody has trained it, whatever its law looks like.
    """
    weights = tuple(dict.fromkeys(layer.path for layer in maps))
    paths = tuple(dict.fromkeys(path for layer in maps for path in (layer.path, *_made_of(layer))))
    safe = all(layer.law.fresh or layer.values.repeated > REPEATED for layer in maps)
    return Fix(text or f"draw {counted(len(weights), 'weight')} anew at unit second moment (fanwise fix)", safe, paths)


REPEATED = 0.4
"""Share of units that repeat others which no training leaves."""


def _made_of(layer: Map) -> tuple[str, ...]:
    """The other parameters of which a model makes a weight, as the lengths of weight norm."""
    return tuple(use.path for use in layer.op.uses if layer.derived and use.steps and use.role in MAKES)


MAKES = MAP_USES | {UseRole.SCALE}
"""Roles of parameters that make a weight."""


def zero_biases(subject: Subject, paths: Sequence[str], text: str = "start the biases at 0") -> Fix:
    """Starts biases at 0, whatever they were meant for; safe where nobody has trained the model."""
    distinct = tuple(dict.fromkeys(paths))
    return Fix(f"{text} (fanwise fix)", subject.fresh, distinct, dict.fromkeys(distinct, Zeros()))


def root(number: float) -> float:
    """A square root that lets infinities and NaN pass."""
    return math.sqrt(number) if number >= 0 else math.nan
