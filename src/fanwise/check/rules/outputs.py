"""Rules on what the model gives: numbers that overflow, outputs that say nothing, the first loss."""

import math
from collections.abc import Iterator

from fanwise.check.findings import Fix, label
from fanwise.check.rules.origins import function_of, line_in_words, map_before, name_of, path_of
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw_unless_flat, redraw_with_biases, root
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import JUDGED, MOVING, WEIGHTED
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.laws.elementwise import Normal, Ones

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
        "the largest float. The op is named that makes such values of finite ones, with its line in your sources, and "
        "the parameter that it reads through functions such as a division. If all of them are finite, the loss; if "
        "that is too, the gradients: the op is named before which they are lost.",
        example="Growth over many layers in float16; the log of 0; zeros over their norm; a root's slope at 0.",
        remedy="Mend the growth that leads there. Where nothing grows, look at the op that is named.",
    ),
    source="IEEE 754-2019, section 7.4",
    explains=("LOS001",),
    shows_before=True,
)
def overflow(subject: Subject) -> Iterator[Symptom]:
    """The first op whose output is not finite, by way of what it read; or the loss, if only that is."""
    bad = [op for op in subject.trace.ops if not _is_finite(subject, op) and _judged(op)]
    loss = subject.first.loss
    lost = loss is not None and not math.isfinite(loss.value)
    if bad:
        yield _overflowing(subject, _origin(subject, bad[0]), len(bad))
    elif lost and subject.trace.outputs and not _is_finite(subject, subject.trace.ops[subject.trace.outputs[0]]):
        yield _overflowing(subject, _origin(subject, subject.trace.ops[subject.trace.outputs[0]]), 1)
    elif loss is not None and lost:
        yield Symptom(f"the loss is {loss.value}", kind="overflow")
    else:
        yield from _lost_gradients(subject)


def _overflowing(subject: Subject, op: Op, count: int) -> Symptom:
    source, made = map_before(subject, op), _made_of(subject, op)
    return Symptom(
        f"{label(made) or _named(source, op)} gives values that are infinite or not a number, or too large to square"
        f"{line_in_words(op)}",
        made or path_of(source, op),
        op.index,
        _reason(subject, op, made),
        kind="overflow",
        evidence={"ops": count},
        fix=_restarted(subject, op, made) if made else None,
    )


def _restarted(subject: Subject, op: Op, path: str) -> Fix | None:
    """Draws a parameter anew that is 0 and by whose size something is divided; None where it is of usual size.

    Vectors that are brought to length 1 are drawn of that length.
    """
    if not root(subject.values[path].second_moment) < NOTHING:
        return None
    made = any(use.steps for use in op.uses if use.path == path)
    width = max(subject.cases[path].parameter.shape, default=1)
    text = f"start {path} at {'random numbers' if made else '1'}: what is divided by it has to be finite (fanwise fix)"
    return Fix(text, subject.fresh, (path,), {path: Normal(float(f"{width**-0.5:.3g}")) if made else Ones()})


NOTHING = 1e-30
"""Size of a parameter whose square is 0 in float32."""


def _named(source: Map | None, op: Op) -> str:
    """The map, where the op is one; else the function, and what it follows."""
    if source is not None and source.op.index == op.index:
        return source.name
    where = source.name if source is not None else op.module
    return f"{function_of(op)} {'after' if source is not None else 'in'} {where}" if where else function_of(op)


def _is_finite(subject: Subject, op: Op) -> bool:
    return math.isfinite(subject.signals[op.index].second_moment) or not op.size


def _origin(subject: Subject, op: Op) -> Op:
    """The op that makes what is not finite of what is; where several inputs are not, what is no number comes first."""
    while True:
        before = [source for source in subject.trace.feeds(op) if not _is_finite(subject, source)]
        if not before:
            return op
        op = min(before, key=lambda source: math.isinf(subject.signals[source.index].second_moment))


def _made_of(subject: Subject, op: Op) -> str:
    """The parameter of finite numbers that makes an op's output not finite: "" where there is none.

    Functions make an operand of it that is not finite, or it holds zeros and is no map, as what is divided by.
    """
    held = [(use, subject.values[use.path]) for use in op.uses if use.path in subject.values]
    finite = [(use, values) for use, values in held if values.infinite == 0]
    made = (use.path for use, _ in finite if use.steps and not all(map(math.isfinite, use.seen or ())))
    made_or_divides = [(use, values) for use, values in finite if use.steps or use.role == UseRole.SCALE]
    zeros = (use.path for use, values in made_or_divides if use.seen is None and values.zeros)
    return next(made, next(zeros, ""))


def _reason(subject: Subject, op: Op, made: str) -> str:
    """What an op read: the parameter that makes it so, or the sizes of its inputs."""
    if made:
        values = subject.values[made]
        steps = next(use.steps for use in op.uses if use.path == made) or (function_of(op),)
        zeros = f"holds {values.zeros:.2g} zeros" if values.zeros else f"has rms {root(values.second_moment):.3g}"
        return f"{made} {zeros if values.second_moment else 'is 0 everywhere'}; {', '.join(steps)} makes it not finite"
    reads = [subject.fed(op, number) for number in range(len(op.inputs))]
    sizes = [f"{root(signal.second_moment):.3g}" for signal in reads if math.isfinite(signal.second_moment)]
    among = ", zeros among them" if any(signal.second_moment == 0 or signal.zeros > 0 for signal in reads) else ""
    return f"{function_of(op)} reads finite values of rms {', '.join(sizes)}{among}" if sizes else ""


def _lost_gradients(subject: Subject) -> Iterator[Symptom]:
    """The op at which gradients become infinite or no number on their way back, where all values are finite."""
    lost = [path for path, values in subject.values.items() if values.reached and not math.isfinite(values.gradient)]
    if not lost:
        return
    op = _last_with_gradient(subject, frozenset(lost))
    made = lost[0] if op is None else _made_of(subject, op)
    at = f"{function_of(op)}{line_in_words(op)}" if op is not None else label(lost[0])
    yield Symptom(
        f"the gradients before {at} are infinite or not a number, though all values are finite",
        made or path_of(map_before(subject, op), op) if op is not None else lost[0],
        None if op is None else op.index,
        "" if op is None else f"the slope of {function_of(op)} is not finite at what it reads, as that of a root at 0",
        kind="overflow",
        paths=tuple(lost),
        evidence={"parameters": len(lost)},
    )


def _last_with_gradient(subject: Subject, lost: frozenset[str]) -> Op | None:
    """The op behind which gradients are finite and before which they are not, of what such parameters lead to."""
    behind: set[int] = set()
    for op in subject.trace.ops:
        if not behind.isdisjoint(op.inputs) or not lost.isdisjoint(use.path for use in op.uses):
            behind.add(op.index)
    signals = subject.first.signals
    bad = [op for op in subject.trace.ops if op.index in behind and not math.isfinite(signals[op.index].gradient)]
    readers = subject.trace.follows(bad[-1]) if bad else ()  # all of them have finite gradients: it is the last
    return max(readers, key=lambda op: op.kind not in STRAIGHT, default=None)


STRAIGHT = WEIGHTED | MOVING | {OpKind.ADD, OpKind.SHIFT, OpKind.SCALE, OpKind.CONCAT}
"""Kinds of ops that pass gradients on by finite slopes."""


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
            fix=redraw_unless_flat([layer for layer in subject.maps if layer.case.role == "weight"]),
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
        Fix(f"let {op.name} pass some examples: make what it reads louder, or its threshold lower")
        if source is None
        else redraw_with_biases(subject, source, f"draw {source.name} anew, its biases at 0 (fanwise fix)"),
    )


def _first_alike(subject: Subject) -> Op | None:
    """The first op from which on everything on the way to the output is alike."""
    ops = [op for op in subject.trace.ops if op.index in subject.lead_to_output]
    ops = [op for op in ops if not math.isnan(subject.signals[op.index].likeness)]
    different = [i for i, op in enumerate(ops) if subject.signals[op.index].likeness <= ALIKE]
    after = ops[different[-1] + 1 :] if different else ops
    return after[0] if after else None
