"""How far a second moment wanders from its prediction in a network of finite width, from one start to the next.

The units of a layer are a sample: the mean of their squares scatters, and the next layer starts from what it is. So
the logarithm of the second moment takes random steps (Hanin and Nica, "Products of many large random matrices and
gradients in deep neural networks", 2020; `width` has the same for plain networks in closed form), which normalisations
end and which nonlinearities lessen or increase.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from fanwise.graph.kinds import LINEAR_MAPS, RERUNNABLE, STRETCH_MAPS
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.theory.rules import by_rule
from fanwise.theory.rules.maps import map_uses
from fanwise.theory.rules.pooling import over_features
from fanwise.theory.samples import HERE, SAMPLES, Likeness, likeness, second
from fanwise.theory.walk import Here, Walk

PRECISION = 2 / SAMPLES
"""Variance of the logarithm of theory's own second moments, means over a sample."""
NUDGE = 1e-3
"""Share by which a source is made larger, to see by how much the output follows."""
LEAST = 1e-5
"""Part of a wandering below which it is forgotten."""


@dataclass(frozen=True)
class Scatter:
    """Variance of the logarithm of a second moment over initialisations.

    Args:
        scale: of what all units share, the second moment that they are drawn with: for each op from which it wanders,
            by how much (a standard deviation, with its sign), as what wanders twice by one cause adds up.
        units: of the mean over the units that there are.
        sample: of theory's own mean over its sample.
        pairs: no variance, but E c^2 of the correlation c of what two places hold: as often as they hold the same.
    """

    scale: Mapping[int, float] = field(default_factory=dict)
    units: float = 0.0
    sample: float = 0.0
    pairs: float = 0.0

    @property
    def own(self) -> float:
        """Of what does not come from elsewhere."""
        return self.units + self.sample

    @property
    def total(self) -> float:
        """Of the second moment that is measured."""
        return sum(part * part for part in self.scale.values()) + self.own


def scatters(walk: Walk) -> tuple[float, ...]:
    """The variance of ln E x^2 at each op of a propagation.

    Args:
        walk: a propagation that is done.
    """
    scatter_by_op: list[Scatter] = []
    for here in walk.seen:
        sources = [_of(scatter_by_op, i) for i in here.op.inputs]
        scale = _RULES.get(here.op.kind, _follows)(walk, here, sources)
        pairs = _of_pairs(walk, here, sources)
        units, sample = _of_units(walk, here, pairs), _of_sample(walk, here, sources)
        left = walk.added_share(here.op) ** 2 if here.op.kind == OpKind.NORM else 1.0
        scatter_by_op.append(Scatter(scale, left * units, left * sample, pairs))
    return tuple(scatter.total + PRECISION for scatter in scatter_by_op)


def _of(scatter_by_op: list[Scatter], index: int) -> Scatter:
    return scatter_by_op[index] if index >= 0 else Scatter()


def _of_sample(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    """Of theory's mean of squares where independent samples met; one normal sample alone is even, and errs by less."""
    together = here.op.kind in (OpKind.REDUCE, OpKind.POOL)
    met = len(set(here.op.inputs)) > 1 or together or any(source.sample for source in sources)
    squares = np.square(walk.rows[here.op.index][HERE])
    mean = float(squares.mean())
    if (here.op.kind in _RULES and here.op.kind != OpKind.NORM) or not met or not 0 < mean < math.inf:
        return 0.0
    chance = here.sources and together and not over_features(walk, here)
    return (float((squares / mean).var()) + (_of_chance(here, mean) if chance else 0.0)) / SAMPLES


def _of_chance(here: Here, size: float) -> float:
    """Of a mean of many places, by what these have in common in the sample by chance; of others little."""
    share = float(here.first[HERE].var()) / size
    return share * share


def _of_pairs(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    """How often two places hold the same: as often as they read one row of a table, or as windows of an input overlap.

    What is added to it makes them less alike, in proportion to its size.
    """
    if here.op.index in walk.start.begun:
        return walk.start.begun[here.op.index]
    if here.op.kind == OpKind.EMBEDDING:
        return max(1 / _rows_of_table(walk, here.op), walk.start.alike.get(here.op.index, 0.0))
    numbers = iter(here.op.given or (0,))
    before = [
        walk.start.overlaps.get(next(numbers, 0), 0.0) if i == INPUT else source.pairs
        for i, source in zip(here.op.inputs, sources, strict=True)
    ]
    if here.op.kind != OpKind.ADD or len(here.sources) != len(before):
        return max(before, default=0.0)
    whole = second(walk.rows[here.op.index][HERE])
    sizes = [second(rows[HERE]) / whole if whole > 0 else 1.0 for rows in here.sources]
    return sum(min(size, 1.0) ** 2 * pairs for size, pairs in zip(sizes, before, strict=True))


def _of_units(walk: Walk, here: Here, pairs: float) -> float:
    """Of the mean of squares over units, places and examples, which are alike to the degree that the sample says."""
    op, rows = here.op, walk.rows[here.op.index]
    size = second(rows[HERE])
    if not op.shape or not size > 0 or not math.isfinite(size):
        return 0.0
    squares = np.square(rows) - size
    spread = likeness(squares / size)
    if op.kind in STRETCH_MAPS:
        spread = _of_normal_units(likeness(rows), spread.here, _fan_in(walk, op))
    elif op.kind == OpKind.EMBEDDING:
        same = spread.here * max(1 / _rows_of_table(walk, op), walk.start.alike.get(op.index, 0.0))
        spread = Likeness(spread.here, same, same)
    places, examples = walk.places(op.index), max(op.shape[0], 1)
    least = 2 * pairs if op.kind in STRETCH_MAPS else 0.0
    return max(spread.average(places, examples), least) / max(walk.features(op), 1)


def _of_normal_units(alike: Likeness, own: float, fan_in: float) -> Likeness:
    """Likeness of the squares of normal values, E u^2 v^2 - 1 = 2 c^2 for a correlation c.

    That of what two places feed a map scatters about its mean by 1 / fan_in, which counts where the mean is 0.
    """
    shares = [part / alike.here for part in (alike.elsewhere, alike.another)]
    return Likeness(own, *(2 * (share**2 + (1 - share**2) ** 2 / fan_in) for share in np.clip(shares, -1, 1)))


def _fan_in(walk: Walk, op: Op) -> float:
    uses = map_uses(op)
    shape = walk.trace.by_path[uses[0].path].shape if uses else ()
    layout = uses[0].layout if uses else None
    if layout is None or len(layout.axes) != len(shape):
        return float(max(math.prod(shape[1:]), 1))
    return float(max(layout.block_fans(shape)[0].fan_in, 1))


def _rows_of_table(walk: Walk, op: Op) -> float:
    """How many rows two places choose from."""
    shape = walk.trace.by_path[op.uses[0].path].shape if op.uses else ()
    layout = op.uses[0].layout if op.uses else None
    if layout is None or len(layout.axes) != len(shape):
        return 1.0
    return float(max(math.prod(size for size, role in zip(shape, layout.axes, strict=True) if role == "lookup"), 1))


def _maps(walk: Walk, here: Here, sources: list[Scatter]) -> Mapping[int, float]:
    """A map's units are drawn with the second moment that it finds."""
    return _whole(here, sources, 0) if sources else {}


def _average(walk: Walk, here: Here, sources: list[Scatter]) -> Mapping[int, float]:
    """Slope by the values; the queries and the keys change little."""
    return _whole(here, sources, min(2, len(sources) - 1)) if sources else {}


def _product(walk: Walk, here: Here, sources: list[Scatter]) -> Mapping[int, float]:
    return _sum_of([_whole(here, sources, operand) for operand in range(min(len(sources), 2))])


def _norm(walk: Walk, here: Here, sources: list[Scatter]) -> Mapping[int, float]:
    """What a norm adds before its root is what keeps it from ending a wandering."""
    share = walk.added_share(here.op)
    scale = sources[0].scale if sources and share > LEAST else {}
    return {cause: share * size for cause, size in scale.items()}


def _nothing(walk: Walk, here: Here, sources: list[Scatter]) -> Mapping[int, float]:
    return {}


def _whole(here: Here, sources: list[Scatter], operand: int) -> Mapping[int, float]:
    """What a source's second moment wanders by, its own units' part from the source on."""
    source = sources[operand]
    return {**source.scale, here.op.inputs[operand]: math.sqrt(source.own)} if source.own > 0 else source.scale


def _follows(walk: Walk, here: Here, sources: list[Scatter]) -> Mapping[int, float]:
    """Each source's scale, by how much the output follows it."""
    parts = []
    for operand, source in enumerate(sources):
        if source.scale:
            slope = _slope(walk, here, operand)
            parts.append({cause: slope * size for cause, size in source.scale.items()})
    return _sum_of(parts)


def _sum_of(parts: Sequence[Mapping[int, float]]) -> Mapping[int, float]:
    if len(parts) < 2:
        return parts[0] if parts else {}
    whole: dict[int, float] = {}
    for part in parts:
        for cause, size in part.items():
            whole[cause] = whole.get(cause, 0.0) + size
    return {cause: size for cause, size in whole.items() if abs(size) > LEAST}


def _slope(walk: Walk, here: Here, operand: int) -> float:
    """D ln E y^2 / d ln E x^2 by one of the sources."""
    before = second(walk.rows[here.op.index][HERE])
    if here.op.kind not in RERUNNABLE or not before > 0:
        return 1.0
    sources = tuple(rows * (1 + NUDGE) if i == operand else rows for i, rows in enumerate(here.sources))
    after = by_rule(walk, Here(here.op, sources, here.laws))
    ratio = math.nan if after is None else second(after[HERE]) / before
    return math.log(ratio) / (2 * math.log1p(NUDGE)) if 0 < ratio < math.inf else 1.0


Rule: TypeAlias = Callable[[Walk, Here, list[Scatter]], Mapping[int, float]]

_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(LINEAR_MAPS - {OpKind.ATTENTION_BLOCK}, _maps),
        **dict.fromkeys((OpKind.EMBEDDING, OpKind.PARAMETER, OpKind.SOFTMAX), _nothing),
        OpKind.NORM: _norm,
        **dict.fromkeys((OpKind.ATTENTION, OpKind.ATTENTION_BLOCK), _average),
        OpKind.MATMUL: _product,
    }
)
