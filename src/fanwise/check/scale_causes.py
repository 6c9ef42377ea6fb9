"""Why the weights of several maps have the wrong size: which law was drawn, and what was meant."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist
from types import MappingProxyType

import numpy as np

from fanwise.check.findings import Fix, counted
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import AFFINE, MAP_USES
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Ones, Zeros
from fanwise.laws.nonlinearities import nonlinearity

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
    activation = _read_by(layer)
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
    safe = bool(maps) and all(layer.law.fresh or layer.values.repeated > REPEATED for layer in maps)
    return Fix(text or f"draw {counted(len(weights), 'weight')} anew at unit second moment (fanwise fix)", safe, paths)


REPEATED = 0.4
"""Share of units that repeat others which no training leaves."""


def _made_of(layer: Map) -> tuple[str, ...]:
    """The other parameters of which a model makes a weight, as the lengths of weight norm."""
    return tuple(use.path for use in layer.op.uses if layer.derived and use.steps and use.role in MAKES)


MAKES = MAP_USES | {UseRole.SCALE}
"""Roles of parameters that make a weight."""


def redraw_with_biases(subject: Subject, layer: Map, text: str) -> Fix:
    """Draws a weight anew and starts the biases beside it at 0: what follows them passes some examples again."""
    biases = [use.path for use in layer.op.used(UseRole.BIAS) if use.path in subject.values]
    fix = redraw([layer], text)
    return replace(fix, paths=(*fix.paths, *biases), laws=dict.fromkeys(biases, Zeros()))


def redraw_unless_flat(maps: Sequence[Map]) -> Fix:
    """Draws these weights anew; a sentence on the model where they read functions through which no law helps."""
    read = [op for op in map(_read_by, maps) if op is not None]
    flat = [op for op in read if _is_flat(op)]
    if len(flat) < FEWEST_FLAT or 2 * len(flat) <= len(read):
        return redraw(maps)
    name = flat[0].nonlinearity
    return Fix(
        f"no law of weights carries what tells examples apart through {len(flat)} layers of {name}: write tanh in "
        "its place, or add normalisations or residual connections"
    )


def _read_by(layer: Map) -> Op | None:
    """The nonlinearity that feeds a map."""
    return layer.case.around.activation(layer.op) if layer.case.around is not None else None


def _is_flat(op: Op) -> bool:
    """Whether a layer of this function takes from what tells examples apart, with weights that keep its size.

    chi = E f'(z)^2 / E f(z)^2, z normal, is the factor on a small difference (Schoenholz et al., "Deep information
    propagation", 2017, eq. 5, at the gain that keeps q = 1 without biases): 0.15 for sigmoid, 0.32 for softplus, 1 for
    ReLU, 1.2 for tanh.
    """
    try:
        function = nonlinearity(str(op.nonlinearity)).function if op.replay is None else op.replay
        here, ahead, behind = (np.asarray(function(NORMAL + step), np.float64) for step in (0.0, STEP, -STEP))
    except Exception:  # a function that cannot be computed again
        return False
    slope = (ahead - behind) / (2 * STEP)
    return float(np.square(slope).mean()) < FLAT_CHI * float(np.square(here).mean())


STEP = 1e-2
"""Half of the distance over which a slope is taken: rounding in float32 errs by 1e-5."""
FEWEST_FLAT, FLAT_CHI = 3, 0.5
"""Layers of a function, and the factor of each on small differences, from which no law of weights makes up for it."""
NORMAL = np.asarray([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
"""Standard normal numbers, evenly by their probability."""


def zero_biases(subject: Subject, paths: Sequence[str], text: str = "start the biases at 0") -> Fix:
    """Starts biases at 0, whatever they were meant for; safe where nobody has trained the model."""
    distinct = tuple(dict.fromkeys(paths))
    return Fix(f"{text} (fanwise fix)", subject.fresh, distinct, dict.fromkeys(distinct, Zeros()))


def factor_laws(subject: Subject, paths: Sequence[str]) -> dict[str, Initializer]:
    """Factors of 1; 0 for those that end a branch, or weigh what is added to another signal, and for w in 1 + w."""
    sums = {path: _sum_behind(subject, path) for path in paths}
    return {path: Zeros() if _starts_absent(subject, path, sums) else Ones() for path in paths}


def _starts_absent(subject: Subject, path: str, sums: Mapping[str, Op | None]) -> bool:
    """Whether a factor of 0 takes nothing away that is needed: the sum has a part that no such factor weighs."""
    case, total = subject.cases[path], sums[path]
    if case.role == "branch_gate" or case.offset:
        return True
    if total is None:
        return False
    weighing = {case.op.index for other in sums if sums[other] is total and (case := subject.cases[other]).op}
    return any(i < 0 or subject.trace.ancestors(i).isdisjoint(weighing) for i in total.inputs)


def _sum_behind(subject: Subject, path: str) -> Op | None:
    """The sum that what a factor weighs is an addend of."""
    op = subject.cases[path].op
    return None if op is None else subject.trace.after(op, {OpKind.ADD}, AFFINE | {OpKind.MUL})


def root(number: float) -> float:
    """A square root that lets infinities and NaN pass."""
    return math.sqrt(number) if number >= 0 else math.nan
