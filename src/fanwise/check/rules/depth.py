"""Rules on scale over depth: signals along plain stretches of maps and along residual streams, gradients back."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fanwise.check.findings import Fix
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw, redraw_unless_flat, scale_cause
from fanwise.check.subject import SHARE, Stretch, Subject
from fanwise.graph.op import OpKind
from fanwise.graph.residual import Join
from fanwise.laws.elementwise import Zeros

SLOPE = 0.3
"""Log of the factor of a second moment per map from which a stretch of maps counts as shrinking or growing."""
TOTAL, FEWEST = 1e2, 6
"""Factor over a whole stretch, and how many maps it must have ..."""
STEEP, STEEP_FEWEST = 1e6, 3
"""... or fewer, where it falls or rises as much as this."""
SHRUNK, GROWN = 2e2, 1e3
"""Factor over a whole stretch from which a signal that shrinks, or that grows, is an error. `python -m bench proof`: a
fall by 119 over 6 layers costs Adam no steps and SGD 2.3 times as many, one by 244 is too much for SGD at any of three
rates, by 6e3 for Adam too; a rise by 517 over 15 layers costs nothing, by 4,096 over 7 SGD fails, by 3e7 Adam too."""
BACKWARD_TOTAL = 1e4
"""Bounds for gradients, whose energy also depends on pooling and padding."""
STREAM_TOTAL, STREAM_RATE = 1e3, 0.2
"""Growth of a residual stream: factor over all its joins, and log of it per join over the later half of them."""
STREAM_LOUD = 1e2
"""Second moment at its end below which a stream is not too loud, however small it began."""

_FORWARD = (
    "The second moment of the outputs of maps that follow one another with no normalisation and no residual connection "
    "between them, without their biases. From the first map to the last it {verb} by more than "
    f"a factor of {TOTAL:g} over {FEWEST} maps or more, or of {STEEP:,.0f} over {STEEP_FEWEST} or more; by more than a "
    f"factor of {math.exp(SLOPE):.2f} a map on average; without one map alone making half of it; and by more than the "
    "chance of finite widths explains, three standard deviations at a variance of 5 / width a layer. Maps on residual "
    "branches, and those that make the outputs, are left out."
)
_BACKWARD = (
    "The summed square of the gradients at the outputs of maps that follow one another with no normalisation and no "
    "residual connection between them. From the last map to the first it {verb} by more than "
    f"a factor of {BACKWARD_TOTAL:,.0f} over {FEWEST} maps or more, by more than a factor of {math.exp(SLOPE):.2f} a "
    "map on average, and without one map alone making half of it."
)


@rule(
    "FWD001",
    severity="error",
    title="the signal shrinks with depth",
    page=Page(
        says="From layer to layer of a plain stretch of the model the signal gets smaller, by a factor that multiplies "
        "up with depth.",
        why="What reaches the head is biases and rounding, and the gradients of the early layers are as small: the "
        "early layers hardly learn.",
        measured=_FORWARD.format(verb="falls") + f" Up to a factor of {SHRUNK:g} it is a warning.",
        example="torch's default init, or Glorot's, in a deep plain ReLU network.",
        remedy="Give the weights the gain of their nonlinearity: He's law for ReLU (fanwise fix).",
    ),
    source='He et al., "Delving deep into rectifiers", 2015, eq. 9 and 10; Schoenholz et al., "Deep information '
    'propagation", 2017, section 3; Hanin and Rolnick, "How to start training", 2018; chance: Hanin and Nica, '
    '"Products of many large random matrices and gradients in deep neural networks", 2020, theorem 1',
    explains=("DEA001", "NAN002", "FAN001"),
)
def shrinking_signal(subject: Subject) -> Iterator[Symptom]:
    """The plain stretch that changes most, where its signal shrinks."""
    return (_forward(stretch, change) for stretch, change in _largest_change(subject) if change < 0)


@rule(
    "FWD002",
    severity="error",
    title="the signal grows with depth",
    page=Page(
        says="From layer to layer of a plain stretch of the model the signal gets larger, by a factor that multiplies "
        "up with depth.",
        why="The loss starts at a multiple of what a guess gives, gradients overflow, and the first steps destroy the "
        "weights.",
        measured=_FORWARD.format(verb="rises") + f" Up to a factor of {GROWN:,.0f} it is a warning.",
        example="std 2/sqrt(fan_in) in place of sqrt(2/fan_in).",
        remedy="Give the weights the gain of their nonlinearity: He's law for ReLU (fanwise fix).",
    ),
    source='He et al., "Delving deep into rectifiers", 2015, eq. 9 and 10; Schoenholz et al., "Deep information '
    'propagation", 2017, section 3; Hanin and Rolnick, "How to start training", 2018; chance: Hanin and Nica, '
    '"Products of many large random matrices and gradients in deep neural networks", 2020, theorem 1',
    explains=("LAW001", "ATT001", "SAT001"),
)
def growing_signal(subject: Subject) -> Iterator[Symptom]:
    """The plain stretch that changes most, where its signal grows."""
    return (_forward(stretch, change) for stretch, change in _largest_change(subject) if change > 0)


@rule(
    "RES001",
    severity="error",
    title="a residual stream that grows with depth",
    page=Page(
        says="In a residual network without enough normalisation, each block adds to the residual stream a branch as "
        "loud as the residual stream itself.",
        why="Each such branch doubles the second moment of the residual stream: activations grow exponentially with "
        "depth, and so do gradients.",
        measured="The second moment of one residual stream at its joins. It rises by more than a factor of "
        f"{STREAM_TOTAL:,.0f} over all of them, by more than a factor of {math.exp(STREAM_RATE):.2f} a join over the "
        f"later half, and to an rms above {math.sqrt(STREAM_LOUD):g}.",
        example="64 blocks of x + f(x) without a normalisation, with f at He's law.",
        remedy="Let each of L branches give 1/L of the residual stream's variance: scale its last map by 1/sqrt(L), or "
        "start that map at 0 (fanwise fix).",
    ),
    source='Zhang et al., "Fixup initialization", 2019, section 2; De and Smith, "Batch normalization biases residual '
    'blocks", 2020, section 2',
    explains=("FWD002",),
)
def growing_stream(subject: Subject) -> Iterator[Symptom]:
    """The first residual stream that runs away."""
    for joins in subject.streams:
        moments = [subject.signals[join.op].second_moment for join in joins]
        if not all(0 < moment < math.inf for moment in moments):
            moments = moments[: next(i for i, moment in enumerate(moments) if not 0 < moment < math.inf)]
        if len(moments) > 2 and _runs_away(moments):
            yield _stream(subject, joins, moments)
            return


@rule(
    "BWD001",
    severity="warning",
    title="the gradient shrinks on its way back",
    page=Page(
        says="From the end of a plain stretch of the model to its beginning the gradient gets smaller, by a factor "
        "that multiplies up with depth.",
        why="Early layers learn orders of magnitude more slowly than late ones.",
        measured=_BACKWARD.format(verb="falls"),
        example="A deep stack of sigmoids.",
        remedy="Give the weights the gain of their nonlinearity, or add residual connections (fanwise fix).",
    ),
    source='Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", 1991; Schoenholz et al., "Deep information '
    'propagation", 2017, section 4',
    explains=("UPD002",),
    shows_before=True,
)
def shrinking_gradient(subject: Subject) -> Iterator[Symptom]:
    """The first stretch whose gradient changes too much, where it shrinks."""
    return (_backward(stretch, change) for stretch, change in _backward_change(subject) if change <= 0)


@rule(
    "BWD002",
    severity="warning",
    title="the gradient grows on its way back",
    page=Page(
        says="From the end of a plain stretch of the model to its beginning the gradient gets larger, by a factor that "
        "multiplies up with depth.",
        why="The first steps of training tear the early layers apart.",
        measured=_BACKWARD.format(verb="rises"),
        example="tanh layers of gain 3.",
        remedy="Give the weights the gain of their nonlinearity (fanwise fix).",
    ),
    source='Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, section 2; Schoenholz et '
    'al., "Deep information propagation", 2017, section 4',
    shows_before=True,
)
def growing_gradient(subject: Subject) -> Iterator[Symptom]:
    """The first stretch whose gradient changes too much, where it grows."""
    return (_backward(stretch, change) for stretch, change in _backward_change(subject) if change > 0)


def chance_width(stretch: Stretch, seeds: int) -> float:
    """Three standard deviations of the log of the change that finite widths alone bring about: 5 / width a layer.

    References:
        Hanin and Nica, "Products of many large random matrices and gradients in deep neural networks", 2020,
        theorem 1: the log of a ReLU network's squared length varies by 5 / width a layer.
    """
    widths = [
        layer.op.shape[layer.op.axis] for layer in stretch.maps if layer.op.kind == OpKind.LINEAR and layer.op.shape
    ]
    return 3 * math.sqrt(sum(5 / max(width, 1) for width in widths) / seeds)


def _largest_change(subject: Subject) -> Iterator[tuple[Stretch, float]]:
    """The plain stretch that changes most, and log of the factor; none where no change is more than chance."""
    changes = [(stretch, change) for stretch in _plain(subject) if (change := _change(subject, stretch))]
    if changes:
        yield max(changes, key=lambda pair: abs(pair[1]))


def _plain(subject: Subject) -> Iterator[Stretch]:
    """The stretches that lie on no residual branch."""
    inner = (_inner(subject, stretch) for stretch in subject.stretches)
    return (stretch for stretch in inner if not stretch.on_branch)


def _inner(subject: Subject, stretch: Stretch) -> Stretch:
    """As far as numbers are finite and weights are not zero, and without the maps that make the outputs.

    A model that returns its own loss makes what would be its outputs by maps that no other follows.
    """
    inner = [layer for layer in stretch.maps if layer.case.role != "head" and layer.op.index in subject.followed]
    zero = next((i for i, layer in enumerate(inner) if layer.law.kind == "zeros"), len(inner))
    return Stretch(tuple(inner[:zero])).finite()


def _change(subject: Subject, stretch: Stretch) -> float:
    """Log of the factor from the first map to the last where it is more than chance explains, 0 elsewhere."""
    changes = stretch.forward()
    total = sum(changes)
    if not changes or math.isnan(total):
        return 0.0
    steep = abs(total) > math.log(STEEP) and len(stretch.maps) >= STEEP_FEWEST
    long = abs(total) > math.log(TOTAL) and len(stretch.maps) >= FEWEST
    beyond = abs(total) > chance_width(stretch, len(subject.observations))
    return total if (steep or long) and abs(total) / len(changes) > SLOPE and beyond and _steady(changes) else 0.0


def _steady(changes: Sequence[float]) -> bool:
    """Whether the change is that of many layers: without its largest step it would still be half as large."""
    total = sum(changes)
    if math.isinf(total):
        return True
    largest = max(changes, key=lambda change: change * math.copysign(1, total))
    return abs(total - largest) > 0.5 * abs(total) or len(changes) < 3


def _forward(stretch: Stretch, total: float) -> Symptom:
    changes = stretch.forward()
    whole, rate = (math.exp(max(total, -1e3) / (2 * steps)) for steps in (1, len(changes)))
    start = next((i for i, change in enumerate(changes, 1) if _same_way(change, total / len(changes))), 1)
    wrong, first = stretch.maps[max(start - 1, 0) :], stretch.maps[start]
    kind, cause = scale_cause(wrong, grows=total > 0)
    verb = "grows" if total > 0 else "shrinks"
    behind = " behind the biases" if any(layer.bias > SHARE * layer.signal.second_moment for layer in wrong) else ""
    return Symptom(
        f"the signal {verb} {rate:.3g}x a layer over {len(changes)} layers{behind}, {whole:.2g}x in all",
        first.path,
        first.op.index,
        cause,
        kind,
        tuple(layer.path for layer in wrong),
        {"rate": rate, "layers": len(changes), "factor": whole},
        redraw(wrong),
        severity="warning" if abs(total) < math.log(GROWN if total > 0 else SHRUNK) else None,
    )


def _same_way(change: float, mean: float) -> bool:
    return change >= 0.5 * mean if mean > 0 else change <= 0.5 * mean


def _backward_change(subject: Subject) -> Iterator[tuple[Stretch, float]]:
    """The first stretch whose gradient changes too much, and log of the factor from its last map to its first."""
    if subject.first.loss is None:
        return
    for stretch in _plain(subject):
        changes = stretch.backward()
        total = -sum(changes)  # from the last map to the first
        enough = len(stretch.maps) >= FEWEST and math.isfinite(total) and abs(total) > math.log(BACKWARD_TOTAL)
        if enough and abs(total) / len(changes) > SLOPE and _steady(changes):
            yield stretch, total
            return


def _backward(stretch: Stretch, total: float) -> Symptom:
    rate = math.exp(total / (2 * (len(stretch.maps) - 1)))
    verb, last = "grows" if total > 0 else "shrinks", stretch.maps[-1]
    kind, cause = scale_cause(stretch.maps, grows=total > 0)
    return Symptom(
        f"the gradient {verb} {rate:.3g}x a layer on its way back over {len(stretch.maps)} layers",
        last.path,
        last.op.index,
        cause,
        kind,
        tuple(layer.path for layer in stretch.maps),
        {"rate": rate, "layers": len(stretch.maps)},
        redraw(stretch.maps) if total > 0 else redraw_unless_flat(stretch.maps),
    )


def _runs_away(moments: Sequence[float]) -> bool:
    half = len(moments) // 2
    rate = math.log(moments[-1] / moments[half]) / max(len(moments) - 1 - half, 1)
    grown = math.log(moments[-1] / moments[0]) > math.log(STREAM_TOTAL)
    return moments[-1] > STREAM_LOUD and grown and rate > STREAM_RATE


def _stream(subject: Subject, joins: Sequence[Join], moments: Sequence[float]) -> Symptom:
    ends = {join.op for join in joins}
    closing = [layer for layer in subject.maps if layer.case.join is not None and layer.case.join.op in ends]
    rate = math.sqrt(moments[-1] / moments[0]) ** (1 / (len(moments) - 1))
    ends_rms = math.sqrt(moments[0]), math.sqrt(moments[-1])
    gates = [path for path, case in subject.cases.items() if case.role == "branch_gate" and path in subject.values]
    paths = tuple(layer.path for layer in closing) or tuple(
        path for path in gates if (join := subject.cases[path].join) is not None and join.op in ends
    )
    silent = Fix("start the factors that end the branches at 0 (fanwise fix)", subject.fresh, paths)
    smaller = redraw(closing, f"let each branch give 1/{len(joins)} of the residual stream (fanwise fix)")
    return Symptom(
        f"the residual stream grows {rate:.3g}x a block over {len(moments)} blocks, from rms {ends_rms[0]:.3g} to "
        f"{ends_rms[1]:.3g}",
        paths[0] if paths else subject.trace.ops[joins[0].op].module,
        joins[0].op,
        f"each of {len(joins)} branches is as loud as the residual stream that it joins",
        "no_residual_scale",
        paths,
        {"rate": rate, "joins": len(joins)},
        smaller if closing or not paths else replace(silent, laws=dict.fromkeys(paths, Zeros())),
    )
