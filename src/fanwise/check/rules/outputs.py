"""Rules on what the model gives: numbers that overflow, outputs that say nothing, the first loss."""

import math
from collections.abc import Iterator

from fanwise.check.rules.origins import map_before, name_of, path_of
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Subject
from fanwise.graph.kinds import JUDGED
from fanwise.graph.op import Op, OpKind

ALIKE = 0.999
"""Cosine of the outputs for different examples from which they say nothing of the input ..."""
FEATURES_ALIKE = 1 - 1e-4
"""... if that of what the head reads, which has no bias of the head in it, is this large too ..."""
INPUTS_ALIKE = 0.99
"""... and that of the inputs is no larger than this."""
FAINT_TABLE = 1e-3
"""Rms of trained tables below which a bias hides them; nothing but the first steps is lost by it."""


@rule(
    "NAN002",
    severity="error",
    title="outputs that overflow",
    page=Page(
        says="On the way through the model numbers become infinite, not a number (NaN), or too large to be squared.",
        why="Training cannot start: the loss and every gradient are infinite or NaN.",
        measured="The output of each map, normalisation and nonlinearity: infinite, NaN, or beyond the square root of "
        "the largest float; the first such op is named. If all of them are finite, the loss.",
        example="Growth over many layers in float16; the log of 0 in a loss.",
        remedy="Mend the growth that leads there. Where nothing grows, look at the op that is named.",
    ),
    source="IEEE 754-2019, section 7.4",
    explains=("LOS001",),
    shows_before=True,
)
def overflow(subject: Subject) -> Iterator[Symptom]:
    """The first op whose output is not finite; or the loss, if only that is."""
    bad = [op for op in subject.trace.ops if not math.isfinite(subject.signals[op.index].second_moment) and _judged(op)]
    loss = subject.first.loss
    if bad:
        source = map_before(subject, bad[0])
        yield Symptom(
            f"{name_of(source, bad[0])} gives values that are infinite or not a number, or too large to square",
            path_of(source, bad[0]),
            bad[0].index,
            kind="overflow",
            evidence={"ops": len(bad)},
        )
    elif loss is not None and not math.isfinite(loss.value):
        yield Symptom(f"the loss is {loss.value}", kind="overflow")


@rule(
    "OUT001",
    severity="error",
    title="outputs that do not depend on the input",
    page=Page(
        says="Whatever the input, the model gives the same output: what tells examples apart is lost on the way.",
        why="No gradient can tell the examples apart. In a deep network this is the ordered phase, in attention the "
        "collapse of the rank.",
        measured=f"The mean cosine between the outputs for different examples, above {ALIKE:g}, where that of what the "
        f"last maps read is above {FEATURES_ALIKE:g} too, and that of the inputs is at most {INPUTS_ALIKE:g}. It is "
        f"information where the first maps read trained tables of rms below {FAINT_TABLE:g}, which learn at once. Or "
        "every output is exactly 0, though what the last map gives differs between examples.",
        example="A deep stack of sigmoids; dead units.",
        remedy="Draw the weights at the edge of chaos (fanwise fix); in a deep stack of sigmoids take tanh in their "
        "place, normalisations or residual connections.",
    ),
    source='Schoenholz et al., "Deep information propagation", 2017, section 3; Dong et al., "Attention is not all you '
    'need", 2021, section 2',
    explains=("BWD001", "BWD002", "UPD001"),
    shows_before=True,
)
def independent_of_input(subject: Subject) -> Iterator[Symptom]:
    """Outputs that are alike for different examples, or that are all 0 though what leads to them is not."""
    silencer = _silencer(subject)
    if silencer is not None:
        yield _silenced(subject, silencer)
        return
    features = min((_likeness_before(subject, layer.op) for layer in subject.last), default=math.nan)
    inputs = [signal.likeness for signal in subject.first.inputs if not math.isnan(signal.likeness)]
    different = not any(likeness > INPUTS_ALIKE for likeness in inputs)
    if subject.outputs.likeness > ALIKE and features > FEATURES_ALIKE and different:
        op = _first_alike(subject)
        faint = op is not None and _reads_faint_tables(subject, op)
        yield Symptom(
            "the outputs do not depend on the input: their cosine over different examples is "
            f"{subject.outputs.likeness:.5f}",
            "" if op is None else path_of(map_before(subject, op), op),
            None if op is None else op.index,
            "what tells the examples apart is lost on the way, from here on",
            "alike",
            evidence={"cosine": subject.outputs.likeness},
            fix=redraw([layer for layer in subject.maps if layer.case.role == "weight"]),
            severity="info" if faint else None,
        )


def _judged(op: Op) -> bool:
    return op.kind in JUDGED and op.size > 0


def _likeness_before(subject: Subject, op: Op) -> float:
    """The likeness of what an op reads, or of the nearest op before it where examples were compared."""
    while op.inputs and op.inputs[0] >= 0:
        op = subject.trace.ops[op.inputs[0]]
        if not math.isnan(subject.signals[op.index].likeness):
            return subject.signals[op.index].likeness
    return math.nan


def _reads_faint_tables(subject: Subject, op: Op) -> bool:
    """Whether an op reads trained tables alone, drawn so small that its bias hides them: the first steps draw them.

    So do hash grids start (Müller et al., "Instant neural graphics primitives", 2022, section 3: uniform in 1e-4).
    """
    before = subject.trace.ancestors(op.index) - {op.index}
    sources = [layer for layer in subject.maps if layer.op.index in before]
    tables = [layer for layer in sources if layer.op.kind == OpKind.EMBEDDING and layer.case.parameter.trained]
    return 0 < len(tables) == len(sources) and max(layer.signal.rms for layer in tables) < FAINT_TABLE


def _silencer(subject: Subject) -> Op | None:
    """The op from which on everything is 0, where no weight and no factor that is 0 makes it so."""
    if subject.outputs.second_moment != 0 or not subject.last:
        return None
    after = [op for op in subject.trace.ops if op.index in subject.lead_to_output]
    loud = [i for i, op in enumerate(after) if subject.signals[op.index].second_moment != 0]
    if not loud or loud[-1] + 1 == len(after):
        return None
    op = after[loud[-1] + 1]
    return None if op.uses else op


def _silenced(subject: Subject, op: Op) -> Symptom:
    source = map_before(subject, op)
    return Symptom(
        f"every output is 0: {op.name} after {name_of(source, op)} gives nothing else, whatever the input",
        path_of(source, op),
        op.index,
        "what enters it lies where it is 0, for every example",
        "dead",
        () if source is None else (source.path,),
        {"outputs": subject.outputs.second_moment},
        None if source is None else redraw([source]),
    )


def _first_alike(subject: Subject) -> Op | None:
    """The first op from which on everything on the way to the output is alike."""
    ops = [op for op in subject.trace.ops if op.index in subject.lead_to_output]
    ops = [op for op in ops if not math.isnan(subject.signals[op.index].likeness)]
    different = [i for i, op in enumerate(ops) if subject.signals[op.index].likeness <= ALIKE]
    after = ops[different[-1] + 1 :] if different else ops
    return after[0] if after else None
