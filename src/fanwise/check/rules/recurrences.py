"""The rule on recurrences through one weight: message passing, unrolled cells, iterations to a fixed point."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.rules.depth import FEWEST, SLOPE, STEEP, STEEP_FEWEST, TOTAL
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw, scale_cause
from fanwise.check.subject import Map, Subject
from fanwise.graph.op import Op, OpKind, UseRole

LOUD = 1e2
"""Second moment at the end below which a recurrence is not too loud, however small it began."""


@rule(
    "REC001",
    severity="error",
    title="a recurrence through one weight that grows or dies",
    page=Page(
        says="One weight is used many times one after the other, and what it gives grows, or dies, from use to use.",
        why="The factor of one use is raised to the power of their number, forward and backward: the loss starts at a "
        "multiple of a guess's, or nothing of the start is left at the end.",
        measured="The second moment of what each use of a weight gives, where each use depends on the one before: it "
        f"changes by more than a factor of {TOTAL:g} over {FEWEST} uses or more, or of {STEEP:,.0f} over "
        f"{STEEP_FEWEST} or more, and by more than a factor of {math.exp(SLOPE):.2f} a use over the later half. "
        f"What grows ends above an rms of {math.sqrt(LOUD):g}; what dies does so over {FEWEST} uses or more.",
        example="s[i] = s[i] + relu(conv(s[i - 1])) with a kernel by He's law; h = relu(x + W h) with W of gain 3.",
        remedy="Draw this weight smaller: with a sum, so that n uses together double the signal, gain 1 / sqrt(n).",
    ),
    source='Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, section 2.1; Pan et al., '
    '"Spatial as deep", 2018, section 3.1',
    explains=("FWD001", "WGT002"),
    shows_before=True,
)
def runaway_recurrence(subject: Subject) -> Iterator[Symptom]:
    """Weights whose signal grows or dies from one use to the next."""
    chains = [(maps, change) for maps in _chains(subject) if (change := _change(subject, maps))]
    if chains:
        maps, change = chains[0]
        paths = tuple(dict.fromkeys(each[0].path for each, _ in chains))
        yield _symptom(maps, change, paths)


def _chains(subject: Subject) -> Iterator[Sequence[Map]]:
    """The uses of each weight of which each depends on the one before."""
    by_path: dict[str, list[Map]] = {}
    for layer in (*subject.maps, *subject.hidden_maps):
        if layer.op.kind != OpKind.EMBEDDING:
            by_path.setdefault(layer.path, []).append(layer)
    for path, maps in by_path.items():
        row = _in_a_row(subject, maps) if len(maps) >= STEEP_FEWEST and _is_hidden(maps[0].op, path) else []
        if len(row) >= STEEP_FEWEST:
            yield row


def _is_hidden(op: Op, path: str) -> bool:
    """Whether a weight of a cell maps its state; others map what they read."""
    return op.kind != OpKind.RECURRENT or any(use.path == path for use in op.used(UseRole.RECURRENT))


def _in_a_row(subject: Subject, maps: Sequence[Map]) -> list[Map]:
    """The uses of which each is fed by the one before; () where not all of them are, or lie beside one that is.

    Messages pass one weight more than once a round: the uses of a round read the round before.
    """
    row = [maps[0]]
    for layer in maps[1:]:
        past = subject.trace.ancestors(layer.op.index)
        if row[-1].op.index in past:
            row.append(layer)
        elif len(row) > 1 and row[-2].op.index not in past:
            return []
    return row


def _change(subject: Subject, maps: Sequence[Map]) -> float:
    """Log of the factor on the second moment from the first use to the last, 0 where it is not too much."""
    moments = [layer.signal.second_moment for layer in maps]
    moments = moments[next((i for i, moment in enumerate(moments) if moment > 0), 0) :]  # a state may begin at 0
    moments = moments[: next((i for i, moment in enumerate(moments) if not 0 < moment < math.inf), len(moments))]
    if len(moments) < STEEP_FEWEST:
        return 0.0
    total, half = math.log(moments[-1] / moments[0]), len(moments) // 2
    rate = math.log(moments[-1] / moments[half]) / max(len(moments) - 1 - half, 1)
    far = total > math.log(STEEP) or (abs(total) > math.log(TOTAL) and len(moments) >= FEWEST)
    quiet = total > 0 and moments[-1] < LOUD
    return total if far and not quiet and rate * math.copysign(1, total) > SLOPE else 0.0


def _symptom(maps: Sequence[Map], change: float, paths: tuple[str, ...]) -> Symptom:
    first, rate = maps[0], math.exp(change / (2 * (len(maps) - 1)))
    verb = "grows" if change > 0 else "dies"
    cause = scale_cause([first], grows=change > 0)[1]
    return Symptom(
        f"{first.path} is used {len(maps)} times one after the other, and what it gives {verb} {rate:.3g}x a use",
        first.path,
        first.op.index,
        f"the factor of one use is raised to the power of {len(maps)}: {cause}",
        "recurrence",
        paths,
        {"rate": rate, "uses": len(maps)},
        redraw([first], f"draw {first.path} smaller: its factor counts {len(maps)} times (fanwise fix)"),
    )
