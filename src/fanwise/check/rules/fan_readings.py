"""Readings of a weight's std: a usual law with another number in the place of the fan_in."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from fanwise.check.subject import Map, Subject
from fanwise.graph.contractions import SUMS
from fanwise.graph.details import Attention, AttentionBlock, Product
from fanwise.graph.kinds import ATTENTION_OPERAND, MOVING
from fanwise.graph.op import OpKind
from fanwise.measure.law_recognition import ROUND, std_error

BASES: Mapping[str, float] = {"LeCun": 1.0, "He": 2.0, "torch's default": 1 / 3}
"""Second moment of a law's weight times its fan."""
UNKNOWN = ("none", "shard", "fused", "fixed", "he_fan_out", "lecun_fan_out")
"""Kinds of laws that no formula with the fan_in explains."""
OFF = 1.5
"""Factor on the std from which another fan is another law."""
FORMULAS = ("he", "lecun")
"""Kinds of laws whose formula may stand on a fan that other libraries count; Glorot's and torch's default mean that."""
ROUNDED = 0.01
"""By what share a std may differ besides its standard errors."""
HALF = 0.5
"""Share of the maps that can be read so from which a reading is no chance: stds are near some formula's anyway."""


@dataclass(frozen=True)
class Misread:
    """A map that was drawn for another fan.

    Args:
        map: it.
        law: name of the law.
        fan: that stands in it.
        terms: how many outputs of a stack of maps are summed right behind it.
    """

    map: Map
    law: str
    fan: int
    terms: int = 1

    @property
    def factor(self) -> float:
        """The std over the one that the law has with the right fan."""
        return math.sqrt(self.fan_in / self.fan)

    @property
    def fan_in(self) -> float:
        """How many products an output sums, those of the maps that are summed with it too."""
        return self.map.fan_in * self.terms

    @property
    def distance(self) -> float:
        """By what share the std differs from the law's with this fan."""
        return abs(self.map.values.std / math.sqrt(BASES[self.law] / self.fan) - 1)

    @property
    def fits(self) -> bool:
        """Whether that is within 5 standard errors, and the right fan is another law."""
        near = self.distance < 5 * std_error(self.map.values) + ROUNDED
        return near and not 1 / OFF < self.factor < OFF


@dataclass(frozen=True)
class Explanation:
    """The maps that one law explains with one way of counting.

    Args:
        maps: that it explains, in the order of execution.
        readable: how many maps can be read so.
    """

    maps: tuple[Misread, ...]
    readable: int

    @property
    def is_of_most(self) -> bool:
        """Whether it explains several maps, and most of those that can be read so."""
        return len(self.maps) > 1 and len(self.maps) > HALF * self.readable

    @property
    def rank(self) -> tuple[int, float]:
        """The more it explains, and the nearer, the better."""
        return -len(self.maps), sum(each.distance for each in self.maps)


def misread(subject: Subject) -> Iterator[Explanation]:
    """Explanations of stds that no formula with the fan_in explains, the best first."""
    counts = [(layer, _counts(subject, layer)) for layer in subject.distinct_maps if _is_usual(layer)]
    ways = dict.fromkeys(way for _, fans in counts for way in fans)
    explanations = []
    for law, way in ((law, way) for law in BASES for way in ways):
        read = [Misread(layer, law, fans[way], _terms(subject, layer)) for layer, fans in counts if way in fans]
        far = [each for each in read if not 1 / OFF < each.factor < OFF]
        wrong = tuple(each for each in far if each.fits and _is_open(each, way) and not _gives_unit(each))
        if wrong:
            explanations.append(Explanation(wrong, len(far)))
    return iter(sorted(explanations, key=lambda each: each.rank))


def _terms(subject: Subject, layer: Map) -> int:
    """How many outputs of a stack of maps are summed right behind it, as those of a polynomial's orders: each adds."""
    layout = layer.case.layout
    total = subject.trace.after(layer.op, {OpKind.REDUCE}, MOVING)
    if layout is None or total is None or total.name not in SUMS or len(subject.trace.follows(layer.op)) != 1:
        return 1
    stacked = layout.extent(layer.case.parameter.shape, "stack")
    return stacked if layer.op.size == stacked * total.size else 1


def _is_usual(layer: Map) -> bool:
    usual = layer.case.role in ("weight", "branch_end") and layer.case.parameter.trained and not layer.case.normalized
    return usual and not layer.derived and not _is_round(layer) and layer.law.gain > 0


def _is_open(each: Misread, way: str) -> bool:
    """Whether no formula explains the std, or one that stands on a fan as other libraries count it."""
    layer = each.map
    if layer.law.kind in UNKNOWN:
        return True
    right = [Misread(layer, law, round(layer.fan_in)) for law in BASES]
    meant = any(law.distance < 5 * std_error(layer.values) + ROUNDED for law in right)
    return way in MISCOUNTED and layer.law.kind in FORMULAS and not meant


def _gives_unit(each: Misread) -> bool:
    """Whether what the map gives is nearer to unit size than by half of what the wrong fan multiplies it with.

    Then the law makes up for what the map reads, as a plan's does for a faint or a padded signal.
    """
    given = each.map.signal.second_moment
    return given > 0 and abs(math.log(given)) < abs(math.log(each.factor))


def _is_round(layer: Map) -> bool:
    """Whether its std is a number that people write, within 2 standard errors: no fan stands in it."""
    return any(abs(layer.values.std / std - 1) < 2 * std_error(layer.values) for std in ROUND)


MISCOUNTED = ("stride forgotten", "groups forgotten", "groups twice")
"""Ways to count a convolution wrong that no product of a weight's extents tells."""


def _counts(subject: Subject, layer: Map) -> dict[str, int]:
    """Numbers that may stand in the place of the fan_in, by how they are counted."""
    layout, shape = layer.case.layout, layer.case.parameter.shape
    axes = [(str(i) if layout is None else layout.axes[i], extent) for i, extent in enumerate(shape) if extent > 1]
    some = (part for count in range(1, len(axes)) for part in combinations(axes, count))
    counts = {" ".join(role for role, _ in part): math.prod(extent for _, extent in part) for part in some}
    counts |= {f"head {i}": width for i, width in enumerate(dict.fromkeys(_head_widths(subject, layer)))}
    return {way: fan for way, fan in (_miscounted(layer) | counts).items() if fan > 1}


def _miscounted(layer: Map) -> dict[str, int]:
    """The fan_in where the stride of a transposed convolution is forgotten, or the groups, or those count twice."""
    layout, shape = layer.case.layout, layer.case.parameter.shape
    if layout is None or layout.fused is not None:
        return {}
    groups, whole = max(layout.group_count(shape), 1), replace(layout, stride=()).fans(shape).fan_in
    fan_ins = (whole, whole * groups, whole / groups)
    return {way: round(fan) for way, fan in zip(MISCOUNTED, fan_ins, strict=True) if fan == round(fan)}


def _head_widths(subject: Subject, layer: Map) -> Iterator[int]:
    """Features of a query of the attentions of the model, for a map that feeds one."""
    if layer.op.kind == OpKind.ATTENTION_BLOCK and isinstance(layer.op.detail, AttentionBlock):
        yield (layer.op.width or 0) // max(layer.op.detail.heads, 1)
    if not parts_of(layer):
        return
    own = subject.trace.after(layer.op, {OpKind.ATTENTION, OpKind.MATMUL}, ATTENTION_OPERAND)
    for op in subject.trace.ops if own is None else (own,):
        if op.kind in (OpKind.ATTENTION, OpKind.MATMUL) and isinstance(op.detail, Attention | Product):
            yield op.detail.width


def parts_of(layer: Map) -> tuple[str, ...]:
    """What a map makes of an attention: queries, keys, values; () for other maps."""
    if layer.op.kind == OpKind.ATTENTION_BLOCK:
        return ("query", "key")
    return (layer.case.part,) if layer.case.part else tuple(set(layer.case.blocks) & {"query", "key", "value"})
