"""The rule on laws with another fan than the one that a map has."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import and_more
from fanwise.check.rules.fan_readings import Explanation, Misread, misread, parts_of
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.scale_causes import reads_relu
from fanwise.check.subject import Map, Subject

SCORES, ROW = 4.0, 10.0
"""What another fan costs: std of the scores of an attention, and the factor on the rms over maps in a row.

Scores of std 8 in place of 1 double the loss of a decoder of 4 blocks of width 64 after 80 steps of Adam.
"""


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
        "extents, or the width of a head, or the fan_in without the stride of a transposed convolution or with other "
        "groups, but not the fan_in. It is a warning where it costs: scores of std above "
        f"{SCORES:g}, or a factor of {ROW:g} on the rms over maps in a row that no normalisation follows; elsewhere "
        "information.",
        example="random.normal(key, (d, heads, width)) * width ** -0.5; kaiming_normal_(w, mode='fan_out').",
        remedy="Draw it by its fan_in (fanwise fix).",
    ),
    source='LeCun et al., "Efficient backprop", 1998, section 4.6, eq. 16 (m is the number of inputs of a node)',
    shows_before=True,
)
def wrong_fans(subject: Subject) -> Iterator[Symptom]:
    """Maps that were drawn for another fan_in than they have, those that cost first."""
    explanations = tuple(misread(subject))
    costly = next(filter(None, (_costly(subject, wrong) for wrong in explanations)), None)
    alike = next((wrong.maps for wrong in explanations if wrong.is_of_most), None)
    if costly:
        yield _symptom(costly, costs=True)
    elif alike:
        yield _symptom(alike, costs=False)


def _costly(subject: Subject, wrong: Explanation) -> list[Misread]:
    """The maps of an explanation that make scores too large, or a row of which changes the signal too much."""
    loud = [each for each in wrong.maps if _scores(subject, each.map) > SCORES]
    return loud or _in_a_row(subject, wrong.maps)


def _scores(subject: Subject, layer: Map) -> float:
    """Std of the scores of queries or keys of this size, divided by the root of their width; 0 for other maps."""
    parts = parts_of(layer)
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


def _in_a_row(subject: Subject, wrong: Sequence[Misread]) -> list[Misread]:
    """Those in a row of maps over which their factors multiply to too much, and the signal changes by as much."""
    bare = {each.map.op.index: each for each in wrong if subject.trace.norm_after(each.map.op) is None}
    for stretch in subject.stretches:
        if stretch.on_branch:
            continue
        row = [bare[layer.op.index] for layer in stretch.maps if layer.op.index in bare]
        factors = (sum(math.log(each.factor) for each in row), sum(math.log(_off(each)) for each in row))
        if min(abs(factor) for factor in factors) > math.log(ROW):
            return row
    return []


def _off(each: Misread) -> float:
    """By what factor a map changes the size of the signal, as far as its nonlinearity tells."""
    return each.map.law.gain * math.sqrt(each.terms) / (math.sqrt(2) if reads_relu(each.map) else 1.0)


def _symptom(wrong: Sequence[Misread], *, costs: bool) -> Symptom:
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
