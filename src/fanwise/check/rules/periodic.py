"""The rule on sines whose arguments go round many times."""

import math
from collections.abc import Iterator

from fanwise.check.findings import and_more
from fanwise.check.rules.origins import loudest_before
from fanwise.check.rules.rule import MEASURED, Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import TRANSPARENT
from fanwise.graph.op import Op, OpKind

SINES = ("sin", "cos")
ROUND = 6.0
"""Rms of an argument from which a sine is noise: E cos^2 no longer tells where on the wave it is."""


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
