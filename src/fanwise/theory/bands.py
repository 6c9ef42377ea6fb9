"""How far a second moment wanders from its prediction in a network of finite width, from one start to the next.

The units of a layer are a sample: the mean of their squares scatters, and the next layer starts from what it is. So
the logarithm of the second moment takes random steps (Hanin and Nica, "Products of many large random matrices and
gradients in deep neural networks", 2020; `width` has the same for plain networks in closed form), which normalisations
end and which nonlinearities lessen or increase.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from fanwise.graph.kinds import LINEAR_MAPS, RERUNNABLE, STRETCH_MAPS
from fanwise.graph.op import Op, OpKind
from fanwise.theory.rules import by_rule
from fanwise.theory.rules.maps import map_uses
from fanwise.theory.samples import HERE, SAMPLES, Likeness, likeness, second
from fanwise.theory.walk import Here, Walk

PRECISION = 2 / SAMPLES
"""Variance of the logarithm of theory's own second moments, means over a sample."""
NUDGE = 1e-3
"""Share by which a source is made larger, to see by how much the output follows."""


@dataclass(frozen=True)
class Scatter:
    """Variance of the logarithm of a second moment over initialisations.

    Args:
        scale: of what all units share: the second moment that they are drawn with.
        units: of the mean over the units that there are.
    """

    scale: float = 0.0
    units: float = 0.0

    @property
    def total(self) -> float:
        """Of the second moment that is measured."""
        return self.scale + self.units


def scatters(walk: Walk) -> tuple[float, ...]:
    """The variance of ln E x^2 at each op of a propagation.

    Args:
        walk: a propagation that is done.
    """
    scatter_by_op: list[Scatter] = []
    for here in walk.seen:
        scale = _RULES.get(here.op.kind, _follows)(walk, here, [_of(scatter_by_op, i) for i in here.op.inputs])
        scatter_by_op.append(Scatter(scale, 0.0 if here.op.kind == OpKind.NORM else _of_units(walk, here)))
    return tuple(scatter.total + PRECISION for scatter in scatter_by_op)


def _of(scatter_by_op: list[Scatter], index: int) -> Scatter:
    return scatter_by_op[index] if index >= 0 else Scatter()


def _of_units(walk: Walk, here: Here) -> float:
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
    return max(spread.average(places, examples), 0.0) / max(walk.features(op), 1)


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


def _maps(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    """A map's units are drawn with the second moment that it finds."""
    return sources[0].total if sources else 0.0


def _average(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    """Slope by the values; the queries and the keys change little."""
    return sources[min(2, len(sources) - 1)].total if sources else 0.0


def _product(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    return sum(source.total for source in sources[:2])


def _nothing(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    return 0.0


def _follows(walk: Walk, here: Here, sources: list[Scatter]) -> float:
    """Each source's scale, by how much the output follows it."""
    return sum(
        _slope(walk, here, operand) ** 2 * source.scale for operand, source in enumerate(sources) if source.scale > 0
    )


def _slope(walk: Walk, here: Here, operand: int) -> float:
    """D ln E y^2 / d ln E x^2 by one of the sources."""
    before = second(walk.rows[here.op.index][HERE])
    if here.op.kind not in RERUNNABLE or not before > 0:
        return 1.0
    sources = tuple(rows * (1 + NUDGE) if i == operand else rows for i, rows in enumerate(here.sources))
    after = by_rule(walk, Here(here.op, sources, here.laws))
    ratio = math.nan if after is None else second(after[HERE]) / before
    return math.log(ratio) / (2 * math.log1p(NUDGE)) if 0 < ratio < math.inf else 1.0


Rule: TypeAlias = Callable[[Walk, Here, list[Scatter]], float]

_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(LINEAR_MAPS - {OpKind.ATTENTION_BLOCK}, _maps),
        **dict.fromkeys((OpKind.EMBEDDING, OpKind.PARAMETER, OpKind.NORM, OpKind.SOFTMAX), _nothing),
        **dict.fromkeys((OpKind.ATTENTION, OpKind.ATTENTION_BLOCK), _average),
        OpKind.MATMUL: _product,
    }
)
