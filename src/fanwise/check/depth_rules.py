"""Rules on scale over depth: signals along plain stretches of maps and along residual streams, gradients back."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Finding
from fanwise.check.scales import redraw, scale_cause
from fanwise.check.subject import SHARE, Stretch, Subject
from fanwise.graph.op import OpKind
from fanwise.graph.residual import Join

SLOPE = 0.3
"""Log of the factor of a second moment per map from which a stretch of maps counts as shrinking or growing."""
TOTAL, FEWEST = math.log(1e2), 6
"""Log of the factor over a whole stretch, and how many maps it must have ..."""
STEEP, STEEP_FEWEST = math.log(1e6), 3
"""... or fewer, where it falls or rises as much as this."""
BACKWARD_TOTAL = math.log(1e4)
"""The same for gradients, whose energy also depends on pooling and padding."""
STREAM_TOTAL, STREAM_RATE = math.log(1e3), 0.2
"""Growth of a residual stream: over all its joins, and per join over the later half of them."""
STREAM_LOUD = 1e2
"""Second moment at its end below which a stream is not too loud, however small it began."""


def _shrinks(subject: Subject) -> Iterator[Finding]:
    return (finding for finding in _along_depth(subject) if finding.code == "FWD001")


def _grows(subject: Subject) -> Iterator[Finding]:
    return (finding for finding in _along_depth(subject) if finding.code == "FWD002")


def _along_depth(subject: Subject) -> Iterator[Finding]:
    plain = [stretch for stretch in map(_inner, subject.stretches) if not _on_branch(stretch)]
    found = [(stretch, change) for stretch in plain if (change := _change(subject, stretch))]
    if found:
        stretch, change = max(found, key=lambda pair: abs(pair[1]))
        yield _depth_finding(stretch, change)


def _on_branch(stretch: Stretch) -> bool:
    """Whether it lies on a residual branch, whose stream carries the signal past it."""
    around = stretch.maps[-1].case.around if stretch.maps else None
    return around is not None and around.branch(stretch.maps[-1].op) is not None


def _inner(stretch: Stretch) -> Stretch:
    """As far as numbers are finite and weights are not zero, and without the maps that make the outputs."""
    inner = [one for one in stretch.maps if one.case.role != "head"]
    zero = next((i for i, one in enumerate(inner) if one.law.kind == "zeros"), len(inner))
    return Stretch(tuple(inner[:zero])).finite()


def _change(subject: Subject, stretch: Stretch) -> float:
    """Log of the factor from the first map to the last where it is more than chance explains, 0 elsewhere."""
    changes = stretch.forward()
    total = sum(changes)
    if not changes or math.isnan(total):
        return 0.0
    steep = abs(total) > STEEP and len(stretch.maps) >= STEEP_FEWEST
    long = abs(total) > TOTAL and len(stretch.maps) >= FEWEST
    beyond = abs(total) > chance_width(stretch, len(subject.observations))
    return total if (steep or long) and abs(total) / len(changes) > SLOPE and beyond and _steady(changes) else 0.0


def _steady(changes: Sequence[float]) -> bool:
    """Whether the change is that of many layers: without its largest step it would still be half as large."""
    total = sum(changes)
    if math.isinf(total):
        return True
    largest = max(changes, key=lambda change: change * math.copysign(1, total))
    return abs(total - largest) > 0.5 * abs(total) or len(changes) < 3


def chance_width(stretch: Stretch, seeds: int) -> float:
    """Three standard deviations of the log of the change that finite widths alone bring about: 5 / width a layer.

    References:
        Hanin and Nica, "Products of many large random matrices and gradients in deep neural networks", 2020,
        theorem 1: the log of a ReLU network's squared length varies by 5 / width a layer.
    """
    widths = [one.op.shape[one.op.axis] for one in stretch.maps if one.op.kind == OpKind.LINEAR and one.op.shape]
    return 3 * math.sqrt(sum(5 / max(width, 1) for width in widths) / seeds)


def _depth_finding(stretch: Stretch, total: float) -> Finding:
    changes = stretch.forward()
    whole, rate = (math.exp(max(total, -1e3) / (2 * steps)) for steps in (1, len(changes)))
    grows = total > 0
    start = next((i for i, change in enumerate(changes, 1) if _same_way(change, total / len(changes))), 1)
    wrong = stretch.maps[max(start - 1, 0) :]
    kind, cause = scale_cause(wrong, grows=grows)
    first = stretch.maps[start]
    verb, code = ("grows", "FWD002") if grows else ("shrinks", "FWD001")
    behind = " behind the biases" if any(one.bias > SHARE * one.signal.second_moment for one in wrong) else ""
    return Finding(
        code,
        "error",
        f"the signal {verb} {rate:.3g}x a layer over {len(changes)} layers{behind}, {whole:.2g}x in all",
        first.path,
        first.op.index,
        cause,
        kind,
        tuple(one.path for one in wrong),
        {"rate": rate, "layers": len(changes), "factor": whole},
        redraw(wrong),
    )


def _same_way(change: float, mean: float) -> bool:
    return change >= 0.5 * mean if mean > 0 else change <= 0.5 * mean


def _backward_shrinks(subject: Subject) -> Iterator[Finding]:
    return (finding for finding in _backward(subject) if finding.code == "BWD001")


def _backward_grows(subject: Subject) -> Iterator[Finding]:
    return (finding for finding in _backward(subject) if finding.code == "BWD002")


def _backward(subject: Subject) -> Iterator[Finding]:
    if subject.first.loss is None:
        return
    for stretch in [one for one in map(_inner, subject.stretches) if not _on_branch(one)]:
        changes = stretch.backward()
        total = -sum(changes)  # from the last map to the first
        enough = len(stretch.maps) >= FEWEST and math.isfinite(total)
        if enough and abs(total) > BACKWARD_TOTAL and abs(total) / len(changes) > SLOPE and _steady(changes):
            yield _backward_finding(stretch, total)
            return


def _backward_finding(stretch: Stretch, total: float) -> Finding:
    rate = math.exp(total / (2 * (len(stretch.maps) - 1)))
    verb, code = ("grows", "BWD002") if total > 0 else ("shrinks", "BWD001")
    last = stretch.maps[-1]
    kind, cause = scale_cause(stretch.maps, grows=total > 0)
    return Finding(
        code,
        "warning",
        f"the gradient {verb} {rate:.3g}x a layer on its way back over {len(stretch.maps)} layers",
        last.path,
        last.op.index,
        cause,
        kind,
        tuple(one.path for one in stretch.maps),
        {"rate": rate, "layers": len(stretch.maps)},
        redraw(stretch.maps),
    )


def _streams(subject: Subject) -> Iterator[Finding]:
    for joins in subject.streams:
        moments = [subject.signals[join.op].second_moment for join in joins]
        if not all(0 < moment < math.inf for moment in moments):
            moments = moments[: next(i for i, moment in enumerate(moments) if not 0 < moment < math.inf)]
        if len(moments) > 2 and _runs_away(moments):
            yield _stream_finding(subject, joins, moments)
            return


def _runs_away(moments: Sequence[float]) -> bool:
    half = len(moments) // 2
    rate = math.log(moments[-1] / moments[half]) / max(len(moments) - 1 - half, 1)
    return moments[-1] > STREAM_LOUD and math.log(moments[-1] / moments[0]) > STREAM_TOTAL and rate > STREAM_RATE


def _stream_finding(subject: Subject, joins: Sequence[Join], moments: Sequence[float]) -> Finding:
    ends = {join.op for join in joins}
    closing = [one for one in subject.maps if one.case.join is not None and one.case.join.op in ends]
    place = closing[0].path if closing else subject.trace.ops[joins[0].op].module
    rate = math.sqrt(moments[-1] / moments[0]) ** (1 / (len(moments) - 1))
    ends_rms = math.sqrt(moments[0]), math.sqrt(moments[-1])
    return Finding(
        "RES001",
        "error",
        f"the residual stream grows {rate:.3g}x a block over {len(moments)} blocks, from rms {ends_rms[0]:.3g} to "
        f"{ends_rms[1]:.3g}",
        place,
        joins[0].op,
        f"each of {len(joins)} branches is as loud as the stream that it joins",
        "no_residual_scale",
        tuple(one.path for one in closing),
        {"rate": rate, "joins": len(joins)},
        redraw(closing, f"let each branch give 1/{len(joins)} of the stream (fanwise fix)"),
    )
