"""The rule on the mean of weights: what they add to every unit alike, beside what tells the units apart."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Severity, and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.rules.weights import mixes
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import AFFINE, AT_ONCE, ATTENTION_OPERAND, STRETCH_MAPS
from fanwise.graph.op import OpKind

SHARED, USELESS = 4.0, 30.0
"""Second moment of all over that of what tells units apart, of maps in a row: worth a warning, and an error.

Steps in which a loss on digits falls below 0.7, for |mean| sqrt(n) of 0, 1, 2, 4, 8 std behind ReLU. Three maps,
factors of 1, 1.7, 5, 37, 450, and SGD at 0.05: 3, 3, 3, 17, 125. Six maps, 1, 4, 64, 8e3, 4e6, and Adam: 2, 6, 192,
never, never.
"""
LEAST = 0.3
"""What a map shares at least to be named, over what tells its units apart."""
DRIFT = 0.3
"""Mean over std from which it was drawn so: training moves means by 0.2 std."""
BEHIND_RELU = 1 / math.pi
"""(E x)^2 / E x^2 of what a ReLU of normal values gives: for weights that are looked at without a run."""
FREE_ROLES = ("relative", "recurrent")
"""Roles of maps that average, or hold a state."""


@rule(
    "LAW003",
    severity="error",
    title="weights with a mean",
    page=Page(
        says="The weights of a map are all positive, all negative, or drawn around another value than 0.",
        why="A mean m of n incoming weights adds m times the sum of the inputs to every unit alike: a map of rank one "
        "and gain |m| n, where independent weights of std s give s sqrt(n). Beyond |m| sqrt(n) / s = 1 all units say "
        "the same, which tells no examples apart and grows from layer to layer.",
        measured=f"Weights that look drawn, with a mean beyond its standard error and {DRIFT:g} of their std. What all "
        "units share: the square of the output's mean, which biases that centre take away, and m^2 n times the "
        "variance of the inputs; over s^2 n times the inputs' second moment. One more than that, multiplied over maps "
        f"that follow one another: above {SHARED:g} it is a warning, above {USELESS:g} an error. Left out: weights "
        "that a model makes of others, maps beside another map's output in a sum, as in input convex networks, "
        "depthwise averages, what is added to scores, and heads before a softmax, to which what all logits share is "
        "nothing. Where a normalisation follows at once it is information.",
        example="np.random.rand(n, m) / np.sqrt(n); jax.nn.initializers.uniform(0.03); Keras' RandomUniform(0, 1).",
        remedy="Draw them around 0: uniform(-a, a), or a normal law (fanwise fix).",
    ),
    source='LeCun et al., "Efficient backprop", 1998, section 4.6 (weights of mean 0); Baik, Ben Arous and Péché, '
    '"Phase transition of the largest eigenvalue", 2005: a map of rank one shows above noise from |m| sqrt(n) / s = 1',
    explains=("LAY001", "NRM001", "WGT001", "WGT002"),
    weights_alone=True,
    shows_before=True,
)
def shifted(subject: Subject) -> Iterator[Symptom]:
    """Maps whose mean drowns what tells their units apart."""
    drawn = [layer for layer in subject.distinct_maps if _is_drawn_off_centre(layer)]
    loud = [layer for layer in drawn if _share(layer) > LEAST and not _is_free(subject, layer)]
    plain, hidden = _parted(subject, loud)
    factor = _in_a_row(subject, plain)
    if factor > SHARED:
        also = [layer for layer in drawn if layer in plain or layer.case.role == "head"]
        yield _symptom(also, None if factor > USELESS else "warning")
    elif _in_a_row(subject, hidden) > SHARED:
        yield _symptom(hidden, "info")


def _in_a_row(subject: Subject, maps: Sequence[Map]) -> float:
    """The largest product of what the means add, over maps that follow one another."""
    factors = {layer.path: 1 + _share(layer) for layer in maps}
    rows = [math.prod(factors.get(layer.path, 1.0) for layer in stretch.maps) for stretch in subject.stretches]
    return max([*rows, *factors.values()], default=0.0)


def _symptom(maps: Sequence[Map], severity: Severity | None) -> Symptom:
    first = maps[0]
    values = first.values
    ratio = abs(values.mean) * math.sqrt(first.fan_in) / values.std
    others = and_more(len(maps) - 1, "weight")
    behind = ", which the normalisation behind hides" if severity == "info" else ""
    return of_maps(
        maps,
        f"{first.path} is drawn from {first.law.text}, around {values.mean:.3g} and not 0{others}{behind}",
        cause=f"|mean| sqrt(n) / std = {ratio:.3g}: what the mean gives to all units alike, over what tells them apart",
        kind="mean",
        evidence={"mean": values.mean, "std": values.std, "ratio": ratio},
        severity=severity,
    )


def _is_drawn_off_centre(layer: Map) -> bool:
    steps = layer.case.use.steps if layer.case.use is not None else ()
    fresh = layer.law.kind == "shifted" and layer.case.parameter.trained and not layer.case.derived
    fresh = fresh and abs(layer.values.mean) > DRIFT * layer.values.std
    return fresh and not layer.case.normalized and mixes(layer) and not steps and layer.law.gain > 0


def _share(layer: Map) -> float:
    """Second moment of what all units share over that of what tells them apart; 0 where it is not known."""
    values, size = layer.values, layer.fed.second_moment
    relative = (values.mean / values.std) ** 2
    if layer.op.kind == OpKind.RECURRENT or not size > 0:
        return relative * (layer.fan_in * BEHIND_RELU + 1 - BEHIND_RELU)
    apart = values.std**2 * layer.fan_in * size
    spread = max(size - layer.fed.mean**2, 0.0) if math.isfinite(layer.fed.mean) else size
    constant = layer.signal.mean**2 if math.isfinite(layer.signal.mean) else 0.0
    return constant / apart + relative * spread / size


def _is_free(subject: Subject, layer: Map) -> bool:
    """Whether a mean is meant or without effect: averages, what meets another map's output, heads before a softmax."""
    if layer.case.role in FREE_ROLES or layer.op.kind == OpKind.EMBEDDING or _makes_scores(subject, layer):
        return True
    loss = subject.first.loss
    softmax = loss is not None and loss.classes > 1
    return (layer.case.role == "head" and softmax) or _meets_a_map(subject, layer)


def _makes_scores(subject: Subject, layer: Map) -> bool:
    """Whether it makes what is added to scores, and neither queries nor keys: relative positions, segments."""
    through = ATTENTION_OPERAND | {OpKind.MATMUL, OpKind.OTHER}
    return layer.case.part is None and subject.trace.after(layer.op, {OpKind.SOFTMAX}, through) is not None


def _meets_a_map(subject: Subject, layer: Map) -> bool:
    """Whether it is added to what another map gives that is centred and does not lead to it, or of which it is none."""
    total = subject.trace.after(layer.op, {OpKind.ADD}, AFFINE)
    makers = [] if total is None else [_maker(subject, index) for index in total.inputs if index >= 0]
    past = subject.trace.ancestors(layer.op.index)
    others = [maker for maker in makers if maker is not None and maker.op.index not in past]
    return any(not _is_drawn_off_centre(maker) and maker.law.kind not in ("zeros", "constant") for maker in others)


def _maker(subject: Subject, index: int) -> Map | None:
    op = subject.trace.ops[index]
    maker = op if op.index in subject.map_of else subject.trace.before(op, STRETCH_MAPS, AFFINE)
    return None if maker is None else subject.map_of.get(maker.index)


def _parted(subject: Subject, maps: Sequence[Map]) -> tuple[list[Map], list[Map]]:
    """Those that no normalisation follows at once, and the others."""
    hidden = [layer for layer in maps if subject.trace.after(layer.op, {OpKind.NORM}, AT_ONCE) is not None]
    return [layer for layer in maps if layer not in hidden], hidden
