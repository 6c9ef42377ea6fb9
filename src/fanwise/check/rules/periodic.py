"""Rules on sines: arguments that go round many times, first sines that hardly move."""

import math
from collections.abc import Iterator

from fanwise.check.findings import and_more
from fanwise.check.rules.origins import loudest_before
from fanwise.check.rules.rule import MEASURED, Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import INVARIANT, TRANSPARENT
from fanwise.graph.op import Op, OpKind

SINES = ("sin", "cos")
ROUND = 6.0
"""Rms of an argument from which a sine is noise: E cos^2 no longer tells where on the wave it is."""
FREQUENCY = 5.0
"""Factor before a sine that is meant to be the frequency of a network of sines."""
STILL, HALF = 1.0, 0.5
"""Rms of a sine's argument in radians below which it is nearly a straight line, and share of the published std."""


@rule(
    "SIN001",
    severity="error",
    title="sines whose arguments go round many times",
    page=Page(
        says="A sine reads arguments of many periods, behind another sine.",
        why="Neighbouring inputs land on unrelated places of the wave: layer by layer the output becomes noise, and so "
        "do the gradients, which grow by the size of the arguments.",
        measured="The rms of what the weights give to the argument of a sine or cosine, where their map reads a sine "
        f"or cosine itself: above {ROUND:g}; it is 1 under the published law. The first layer, which sets the "
        "frequencies, may be louder.",
        example="sin(30 * linear(x)) with torch's default law in place of U(+-sqrt(6 / fan_in) / 30).",
        remedy="Draw hidden maps from U(+-sqrt(6 / fan_in) / omega) (fanwise fix).",
    ),
    source='Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020, section 3.2; '
    f"the line: {MEASURED.replace('bench false_alarms', 'pytest tests/torch/api/test_sines.py')}",
    explains=("WGT002",),
    shows_before=True,
)
def wrapped_sines(subject: Subject) -> Iterator[Symptom]:
    """Sines behind sines whose arguments are too large."""
    wrapped = [(op, source) for op in subject.trace.ops for source in _sources(subject, op)]
    wrapped = [(op, source) for op, source in wrapped if _argument(subject, op, source) > ROUND]
    if wrapped:
        op, source = wrapped[0]
        maps, size = list({layer.path: layer for _, layer in wrapped}.values()), _argument(subject, op, source)
        factor = subject.fed(op).rms / source.signal.rms
        yield Symptom(
            f"the {op.nonlinearity} after {source.name} reads arguments of rms {size:.3g}"
            f"{and_more(len(wrapped) - 1, 'sine')}",
            source.path,
            source.op.index,
            f"{source.law.text} at gain {source.law.gain:.3g}, and a factor of {factor:.3g} behind it",
            "wrapped",
            tuple(layer.path for layer in maps),
            {"rms": size, "sines": len(wrapped)},
            redraw(maps),
        )


@rule(
    "SIN002",
    severity="warning",
    title="first sines that hardly move",
    page=Page(
        says="The first layer of sines behind a frequency was drawn so small that its sines stay within a radian over "
        "all inputs.",
        why="The first layer sets the frequencies that a network of sines can show. Where it is as small as those "
        "behind it, the factor that was meant to raise them is divided out, and fine detail is learned late.",
        measured="The rms of what the weights give to the argument of a sine or cosine that reads the model's inputs "
        f"through one map and a factor of {FREQUENCY:g} or more, where another sine reads it: below {STILL:g}, and the "
        "std of the map below half of the published 1 / (fan_in r sqrt(3)), for inputs in [-r, r]. A training of 50 "
        "steps of Adam ends at 2.4 times the error of the published law (rms 0.8 against 7).",
        example="U(+-sqrt(6 / fan_in) / 30) on the first map too, in a network of sin(30 x).",
        remedy="Draw the first map from U(+-1 / fan_in) (fanwise fix).",
    ),
    source='Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020, section 3.2; '
    f"the line: {MEASURED.replace('bench false_alarms', 'pytest tests/torch/api/test_sines.py')}",
    shows_before=True,
)
def still_sines(subject: Subject) -> Iterator[Symptom]:
    """First sines whose frequency their map divides out."""
    for op in subject.trace.ops:
        source = _first_source(subject, op)
        if source is None or not _argument(subject, op, source) < STILL:
            continue
        size, factor = _argument(subject, op, source), subject.fed(op).rms / source.signal.rms
        yield Symptom(
            f"the {op.nonlinearity} after {source.name} reads arguments of rms {size:.3g}: the first sines hardly move",
            source.path,
            source.op.index,
            f"{source.law.text} at gain {source.law.gain:.3g} divides out the factor of {factor:.3g} behind it",
            "still",
            (source.path,),
            {"rms": size, "factor": factor},
            redraw([source]),
        )
        return


def _first_source(subject: Subject, op: Op) -> Map | None:
    """The map that makes the argument of a sine of the model's inputs, if it is smaller than published by half."""
    if op.kind != OpKind.ACTIVATION or op.nonlinearity not in SINES or not _feeds_sines(subject, op):
        return None
    source = loudest_before(subject, op)
    around = None if source is None else source.case.around
    if source is None or around is None or not around.is_first(source.op) or not source.fed.rms * source.signal.rms > 0:
        return None
    is_small = 3 * source.fed.rms * source.fan_in * source.values.std < HALF
    return source if is_small and subject.fed(op).rms > FREQUENCY * source.signal.rms else None


def _feeds_sines(subject: Subject, op: Op) -> bool:
    """Whether a sine of the next map reads a sine."""
    for layer in subject.maps:
        before = subject.trace.before(layer.op, {OpKind.ACTIVATION}, TRANSPARENT)
        after = subject.trace.after(layer.op, {OpKind.ACTIVATION}, INVARIANT)
        if before is op and after is not None and after.nonlinearity in SINES:
            return True
    return False


def _sources(subject: Subject, op: Op) -> Iterator[Map]:
    """The map that makes the argument of a sine, where it reads a sine itself."""
    if op.kind != OpKind.ACTIVATION or op.nonlinearity not in SINES or not subject.fed(op).rms > ROUND:
        return
    source = loudest_before(subject, op)
    before = None if source is None else subject.trace.before(source.op, {OpKind.ACTIVATION}, TRANSPARENT)
    if source is not None and before is not None and before.nonlinearity in SINES:
        yield source


def _argument(subject: Subject, op: Op, source: Map) -> float:
    """Rms of what the weights alone give to an argument: a bias is a phase, the same for all inputs."""
    return math.sqrt(max(source.predicted, 0.0)) * subject.fed(op).rms / source.signal.rms
