"""The rule on laws with another fan than the one that a map has."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from fanwise.check.findings import and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.subject import Map, Subject
from fanwise.graph.contractions import SUMS
from fanwise.graph.details import Attention, AttentionBlock, Product
from fanwise.graph.kinds import MOVING
from fanwise.graph.op import OpKind
from fanwise.measure.law_recognition import ROUND, std_error

BASES: Mapping[str, float] = {"LeCun": 1.0, "He": 2.0, "torch's default": 1 / 3}
"""Second moment of a law's weight times its fan."""
UNKNOWN = ("none", "shard", "fused", "fixed", "he_fan_out", "lecun_fan_out")
"""Kinds of laws that no formula with the fan_in explains."""
OFF = 1.5
"""Factor on the std from which another fan is another law."""
SCORES, ROW = 4.0, 10.0
"""What another fan costs: std of the scores of an attention, and the factor on the rms over maps in a row.

Scores of std 8 in place of 1 double the loss of a decoder of 4 blocks of width 64 after 80 steps of Adam.
"""
ROUNDED = 0.01
"""By what share a std may differ besides its standard errors."""


@rule(
    "FAN001",
    severity="warning",
    title="a law with the wrong fan",
    page=Page(
        says="The std of a weight is that of a usual law, with another number in the place of its fan_in.",
        why="The law keeps the size of a signal only with the number of values that one output sums. A head's width in "
        "the place of the model's makes queries and keys too large by the root of the number of heads each, and the "
        "scores by that number; the kernel's area alone makes a convolution too large by the root of its channels.",
        measured="The std against sqrt(g / fan) for g of 1, 2 and 1/3, where fan is a product of some of the weight's "
        "extents, or the width of a head, but not the fan_in. It is a warning where it costs: scores of std above "
        f"{SCORES:g}, or a factor of {ROW:g} on the rms over maps in a row that no normalisation follows and no stream "
        "passes by; elsewhere information.",
        example="random.normal(key, (d, heads, width)) * width ** -0.5; kaiming_normal_(w, mode='fan_out').",
        remedy="Draw it by its fan_in (fanwise fix).",
    ),
    source='LeCun et al., "Efficient backprop", 1998, section 4.6, eq. 16 (m is the number of inputs of a node)',
    shows_before=True,
)
def wrong_fans(subject: Subject) -> Iterator[Symptom]:
    """Maps that were drawn for another fan_in than they have, those that cost first."""
    wrong = [each for layer in subject.distinct_maps for each in _misread(subject, layer)]
    costly = [each for each in wrong if _scores(subject, each.map) > SCORES]
    costly = costly or _in_a_row(subject, wrong)
    if costly:
        yield _symptom(costly, costs=True)
    elif len(wrong) > 1:
        yield _symptom(wrong, costs=False)


@dataclass(frozen=True)
class _Misread:
    """A map that was drawn for another fan.

    Args:
        map: it.
        law: name of the law.
        fan: that stands in it.
        fan_in: that it has.
    """

    map: Map
    law: str
    fan: int
    fan_in: float

    @property
    def factor(self) -> float:
        """The std over the one that the law has with the right fan."""
        return math.sqrt(self.fan_in / self.fan)


def _misread(subject: Subject, layer: Map) -> Iterator[_Misread]:
    usual = layer.case.role in ("weight", "branch_end") and layer.case.parameter.trained and not layer.case.normalized
    if not usual or layer.derived or _is_round(layer) or layer.law.kind not in UNKNOWN or not layer.law.gain > 0:
        return
    fan_in = _fan_in(layer) * _terms(subject, layer)
    for fan in sorted(_fans(subject, layer)):
        for law, base in BASES.items():
            std = math.sqrt(base / fan)
            far = not 1 / OFF < math.sqrt(fan_in / fan) < OFF
            if far and abs(layer.values.std / std - 1) < 5 * std_error(layer.values) + ROUNDED:
                yield _Misread(layer, law, fan, fan_in)
                return


def _terms(subject: Subject, layer: Map) -> int:
    """How many outputs of a stack of maps are summed right behind it, as those of a polynomial's orders: each adds."""
    layout = layer.case.layout
    total = subject.trace.after(layer.op, {OpKind.REDUCE}, MOVING)
    if layout is None or total is None or total.name not in SUMS or len(subject.trace.follows(layer.op)) != 1:
        return 1
    stacked = layout.extent(layer.case.parameter.shape, "stack")
    return stacked if layer.op.size == stacked * total.size else 1


def _is_round(layer: Map) -> bool:
    """Whether its std is a number that people write, within 2 standard errors: no fan stands in it."""
    return any(abs(layer.values.std / std - 1) < 2 * std_error(layer.values) for std in ROUND)


def _fans(subject: Subject, layer: Map) -> set[int]:
    """Numbers that may stand in the place of the fan_in: products of extents, and the width of an attention's head."""
    extents = [extent for extent in layer.case.parameter.shape if extent > 1]
    products = {math.prod(some) for count in range(1, len(extents)) for some in combinations(extents, count)}
    return {fan for fan in {*products, *_head_widths(subject, layer)} if fan > 1}


def _head_widths(subject: Subject, layer: Map) -> Iterator[int]:
    """Features of a query of the attentions of the model, for a map that feeds one."""
    if layer.op.kind == OpKind.ATTENTION_BLOCK and isinstance(layer.op.detail, AttentionBlock):
        yield (layer.op.width or 0) // max(layer.op.detail.heads, 1)
    if not _parts(layer):
        return
    for op in subject.trace.ops:
        if op.kind in (OpKind.ATTENTION, OpKind.MATMUL) and isinstance(op.detail, Attention | Product):
            yield op.detail.width


def _parts(layer: Map) -> tuple[str, ...]:
    """What a map makes of an attention: queries, keys, values; () for other maps."""
    if layer.op.kind == OpKind.ATTENTION_BLOCK:
        return ("query", "key")
    return (layer.case.part,) if layer.case.part else tuple(set(layer.case.blocks) & {"query", "key", "value"})


def _fan_in(layer: Map) -> float:
    return (layer.law.gain / layer.values.std) ** 2


def _scores(subject: Subject, layer: Map) -> float:
    """Std of the scores of queries or keys of this size, divided by the root of their width; 0 for other maps."""
    parts = _parts(layer)
    if not {"query", "key"} & set(parts):
        return 0.0
    if len(parts) > 1 or _is_fused(layer):
        return layer.predicted
    wanted = "key" if parts[0] == "query" else "query"
    others = [other for other in subject.maps if other.case.part == wanted and other.op.inputs == layer.op.inputs]
    return math.sqrt(layer.predicted * (others[0] if others else layer).predicted)


def _is_fused(layer: Map) -> bool:
    """Whether it makes queries and keys in one map."""
    return layer.case.layout is not None and layer.case.layout.axes.count("out") > 2


def _in_a_row(subject: Subject, wrong: Sequence[_Misread]) -> list[_Misread]:
    """Those in a row of maps over which their factors multiply to too much."""
    bare = {each.map.op.index: each for each in wrong if subject.trace.norm_after(each.map.op) is None}
    for stretch in subject.stretches:
        if stretch.on_branch:
            continue
        row = [bare[layer.op.index] for layer in stretch.maps if layer.op.index in bare]
        if abs(sum(math.log(each.factor) for each in row)) > math.log(ROW):
            return row
    return []


def _symptom(wrong: Sequence[_Misread], *, costs: bool) -> Symptom:
    first = wrong[0]
    fan_in, more = round(first.fan_in), and_more(len(wrong) - 1, "weight")
    size = f"{first.factor:.3g} times" if first.factor > 1 else f"1/{1 / first.factor:.3g} of"
    return of_maps(
        [each.map for each in wrong],
        f"{first.map.path} is drawn for a fan_in of {first.fan}, reads {fan_in}{more}",
        cause=f"{first.law}'s law with {first.fan} in the place of the fan_in {fan_in}: {size} its std",
        kind="swapped" if first.map.law.kind in ("he_fan_out", "lecun_fan_out") else "wrong_fan",
        evidence={"fan": first.fan, "fan_in": fan_in, "factor": first.factor},
        severity=None if costs else "info",
    )
