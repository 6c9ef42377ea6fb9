"""Rules on what the ops of a run gave: dead and saturated units, attention, inputs, outputs, the loss."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fanwise.check.depth_rules import chance_width
from fanwise.check.findings import Finding, Fix, and_more
from fanwise.check.scales import redraw, root, scale_cause
from fanwise.check.subject import Map, Stretch, Subject
from fanwise.graph.kinds import (
    AT_ONCE,
    ATTENTION_OPERAND,
    GATE_STEPS,
    JUDGED,
    LINEAR_MAPS,
    STRETCH_MAPS,
    TO_SIGNAL,
)
from fanwise.graph.op import INPUT, Op, OpKind, UseRole

USELESS = 0.5
"""Share of saturated values from which a layer is useless."""
DEAD = 2 / 3
"""Share of dead units: where biases alone decide, half of the units are off for every input."""
ALIKE = 0.999
"""Cosine of the outputs for different examples from which they say nothing of the input ..."""
FEATURES_ALIKE = 1 - 1e-4
"""... if that of what the head reads, which has no bias of the head in it, is this large too."""
TWICE = 2.0
"""Times the loss of a guess from which a model is confidently wrong."""
LOUD_TIMES, LOUD_HEAD = 1.3, 5.0
"""Times the loss of a guess that are worth a warning where the head's own gain is as large as this ..."""
LOUD_SQUARED = 20.0
"""The same for a squared error."""
SWAPPED_HEAD = 2.0
"""... or as this, where it follows from the fan_out."""
SQUARED_TIMES = 300.0
"""The same for a squared error: targets are often much smaller than outputs of unit variance, without harm."""
SCORES = 10.0
"""Std of attention scores from which a softmax picks single tokens."""
LOUD, FAINT = 8.0, 1e-3
"""Root mean square of an input beyond which it is not normalised."""
SHIFT = 2.0
"""Mean of a bias, in units of the rms of the signal that it is added to."""
UNIT_ROWS = 16
"""Fewest values of each unit from which it counts as dead."""


def _dead(subject: Subject) -> Iterator[Finding]:
    ops = [op for op in subject.trace.ops if subject.signals[op.index].silent > DEAD and _rows(op) >= UNIT_ROWS]
    ops = [op for op in ops if op.index in subject.lead_to_output and not _is_gate(subject, op)]
    if ops:
        first = ops[0]
        share = subject.signals[first.index].silent
        source = _map_before(subject, first)
        more = and_more(len(ops) - 1, "map", link="and after")
        yield Finding(
            "DEA001",
            "error",
            f"{share:.0%} of the units after {_name(source, first)} are dead: the same for every input{more}",
            _path(source, first),
            first.index,
            "what enters the nonlinearity lies on its flat side for every example",
            "dead",
            () if source is None else (source.path,),
            {"share": share, "layers": len(ops)},
            None if source is None else redraw([source]),
        )


def _rows(op: Op) -> int:
    return op.size // max(op.shape[op.axis] if op.shape else 1, 1)


def _saturated(subject: Subject) -> Iterator[Finding]:
    outputs = set(subject.trace.outputs)
    ops = [op for op in subject.trace.ops if subject.signals[op.index].saturated > USELESS]
    ops = [op for op in ops if op.index not in outputs and not _is_gate(subject, op)]
    if ops:
        first = ops[0]
        share, source = subject.signals[first.index].saturated, _map_before(subject, first)
        more = and_more(len(ops) - 1, "map", link="and after")
        kind, cause = "saturated", "what enters the nonlinearity is too large for it"
        maps = [one for one in (_map_before(subject, op) for op in ops) if one is not None]
        if maps:
            word, text = scale_cause(maps, grows=True)
            kind, cause = word, f"{cause}: {text}"
        name = str(first.detail.get("nonlinearity", first.name))
        yield Finding(
            "SAT001",
            "error",
            f"{share:.0%} of the {name} values after {_name(source, first)} are saturated{more}",
            _path(source, first),
            first.index,
            cause,
            kind,
            tuple(one.path for one in maps),
            {"share": share, "layers": len(ops)},
            redraw(maps) if maps else None,
        )


def _is_gate(subject: Subject, op: Op) -> bool:
    """Whether what it gives only multiplies another signal: a gate may well start open or closed."""
    return subject.trace.after(op, {OpKind.MUL}, GATE_STEPS) is not None


def _map_before(subject: Subject, op: Op) -> Map | None:
    if op.index in subject.map_of:
        return subject.map_of[op.index]
    found = subject.trace.before(op, {one.op.kind for one in subject.maps}, TO_SIGNAL)
    return None if found is None else subject.map_of.get(found.index)


def _name(source: Map | None, op: Op) -> str:
    return (op.module or op.name) if source is None else source.name


def _path(source: Map | None, op: Op) -> str:
    return op.module if source is None else source.path


def _shifted(subject: Subject) -> Iterator[Finding]:
    wrong = [(one, path, shift) for one in subject.maps for path, shift in _shifts(subject, one)]
    if wrong:
        one, path, shift = wrong[0]
        value = subject.values[path].mean
        more = and_more(len(wrong) - 1, "bias")
        paths = tuple(found for _, found, _ in wrong)
        yield Finding(
            "BIA001",
            "warning",
            f"{path} shifts all units by {value:.3g}, {shift:.3g} times the signal's rms{more}",
            path,
            one.op.index,
            "the bias decides what the nonlinearity sees, not the input",
            "bias",
            paths,
            {"shift": shift, "mean": value, "biases": len(wrong)},
            Fix("start the biases at 0 (fanwise fix)", True, paths),
        )


def _shifts(subject: Subject, one: Map) -> Iterator[tuple[str, float]]:
    """Biases of an op whose mean drowns what its weight gives, where a nonlinearity that is no gate follows."""
    after = subject.trace.after(one.op, {OpKind.ACTIVATION}, AT_ONCE)
    size = root(one.predicted)
    if after is None or one.op.kind == OpKind.RECURRENT or _is_gate(subject, after) or not size > 0:
        return
    for use in one.op.used(UseRole.BIAS):
        values = subject.values.get(use.path)
        if values is not None and abs(values.mean) > SHIFT * size and abs(values.mean) > SHIFT * values.std:
            yield use.path, abs(values.mean) / size


def _inputs(subject: Subject) -> Iterator[Finding]:
    for one in subject.maps:
        fed = one.fed
        direct = INPUT in one.op.inputs and one.op.kind in LINEAR_MAPS
        if direct and fed.rms > LOUD:
            yield _input_finding(one, f"inputs of rms {fed.rms:.3g} and mean {fed.mean:.3g}")
            return
        if direct and 0 < fed.rms < FAINT:
            yield _input_finding(one, f"inputs of rms {fed.rms:.2g}")
            return


def _input_finding(one: Map, words: str) -> Finding:
    return Finding(
        "INP001",
        "warning",
        f"{words} enter {one.name} as they are",
        one.path,
        one.op.index,
        "weights are sized for inputs of mean 0 and rms 1",
        "input",
        (),
        {"rms": one.fed.rms, "mean": one.fed.mean},
        Fix("normalise the inputs: subtract their mean, divide by their std"),
    )


def _broken_input(subject: Subject) -> Iterator[Finding]:
    bad = [i for i, signal in enumerate(subject.first.inputs) if signal.second_moment - signal.second_moment != 0]
    if bad:
        yield Finding(
            "INP002",
            "error",
            f"input {bad[0]} holds values that are infinite or not a number",
            "",
            None,
            "the batch itself is broken",
            "input",
            evidence={"inputs": len(bad)},
            fix=Fix("clean the data"),
        )


def _overflow(subject: Subject) -> Iterator[Finding]:
    bad = [op for op in subject.trace.ops if _not_finite(subject.signals[op.index].second_moment) and _judged(op)]
    loss = subject.first.loss
    if bad:
        op = bad[0]
        source = _map_before(subject, op) or subject.map_of.get(op.index)
        yield Finding(
            "NAN002",
            "error",
            f"{_name(source, op)} gives values that are infinite or not a number, or too large to square",
            _path(source, op),
            op.index,
            "",
            "overflow",
            evidence={"ops": len(bad)},
        )
    elif loss is not None and not math.isfinite(loss.value):
        yield Finding("NAN002", "error", f"the loss is {loss.value}", kind="overflow")


def _not_finite(number: float) -> bool:
    return math.isinf(number) or math.isnan(number)


def _judged(op: Op) -> bool:
    """Whether an op gives numbers that should be finite: masks of -inf are added to scores."""
    return op.kind in JUDGED and op.size > 0


def _outputs(subject: Subject) -> Iterator[Finding]:
    features = min((_likeness_before(subject, one.op) for one in subject.last), default=math.nan)
    inputs = [signal.likeness for signal in subject.first.inputs if not math.isnan(signal.likeness)]
    if subject.outputs.likeness > ALIKE and features > FEATURES_ALIKE and not any(one > 0.99 for one in inputs):
        op = _first_alike(subject)
        source = None if op is None else (subject.map_of.get(op.index) or _map_before(subject, op))
        place = "" if op is None else _path(source, op)
        yield Finding(
            "OUT001",
            "error",
            "the outputs do not depend on the input: their cosine over different examples is "
            f"{subject.outputs.likeness:.5f}",
            place,
            None if op is None else op.index,
            "what tells the examples apart is lost on the way, from here on",
            "alike",
            evidence={"cosine": subject.outputs.likeness},
            fix=redraw([one for one in subject.maps if one.case.role == "weight"]),
        )


def _likeness_before(subject: Subject, op: Op) -> float:
    """That of what an op reads, or of the nearest op before it where examples were compared."""
    while op.inputs and op.inputs[0] >= 0:
        op = subject.trace.ops[op.inputs[0]]
        if not math.isnan(subject.signals[op.index].likeness):
            return subject.signals[op.index].likeness
    return math.nan


def _first_alike(subject: Subject) -> Op | None:
    """The first op from which on everything on the way to the output is alike."""
    ops = [op for op in subject.trace.ops if op.index in subject.lead_to_output]
    ops = [op for op in ops if not math.isnan(subject.signals[op.index].likeness)]
    different = [i for i, op in enumerate(ops) if subject.signals[op.index].likeness <= ALIKE]
    after = ops[different[-1] + 1 :] if different else ops
    return after[0] if after else None


def _loss(subject: Subject) -> Iterator[Finding]:
    losses = [one.loss for one in subject.observations if one.loss is not None and not one.loss.probe]
    usable = [loss for loss in losses if math.isfinite(loss.value) and loss.chance > 0]
    if not usable:
        return
    value, chance = (
        sum(numbers) / len(usable) for numbers in zip(*((one.value, one.chance) for one in usable), strict=True)
    )
    squared = usable[0].classes == 0
    heads = [one for one in subject.heads if one.op.index in subject.lead_to_output]
    loud = any(one.law.gain > (SWAPPED_HEAD if _is_swapped(one) else LOUD_HEAD) for one in heads)
    if value > (SQUARED_TIMES if squared else TWICE * _by_width(subject, heads)) * chance:
        yield _loss_finding(subject, value, chance, usable[0].classes)
    elif loud and value > (LOUD_SQUARED if squared else LOUD_TIMES) * chance:
        yield replace(_loss_finding(subject, value, chance, usable[0].classes), severity="warning")


def _by_width(subject: Subject, heads: Sequence[Map]) -> float:
    """By what finite widths alone may multiply the logits: two standard deviations, where nothing sets their scale."""
    long = [Stretch(stretch.maps[:-1]) for stretch in subject.stretches if stretch.maps[-1] in heads]
    widest = max((chance_width(stretch, len(subject.observations)) for stretch in long), default=0.0)
    return math.exp(widest / 3)


def _loss_finding(subject: Subject, value: float, chance: float, classes: int) -> Finding:
    heads = [one for one in subject.heads if one.op.index in subject.lead_to_output]
    head = heads[-1] if heads else None
    wanted = f"ln {classes} = {chance:.3g}" if classes else f"{chance:.3g}, that of outputs of 0"
    kind, cause = ("head", "") if head is None else _head_cause(head)
    return Finding(
        "LOS001",
        "error",
        f"the initial loss {value:.3g} is {value / chance:.3g} times {wanted}: confidently wrong",
        "" if head is None else head.path,
        None if head is None else head.op.index,
        cause,
        kind,
        () if head is None else (head.path,),
        {"loss": value, "chance": chance, "classes": classes},
        None if head is None else redraw([head], "draw the head anew, so small that it says nothing yet (fanwise fix)"),
    )


def _is_swapped(head: Map) -> bool:
    return head.law.kind in ("he_fan_out", "lecun_fan_out")


def _head_cause(head: Map) -> tuple[str, str]:
    """Whether its own weights are too large, or what feeds it is."""
    gain, fed = head.law.gain, head.fed.rms
    whole = f"outputs of rms {head.signal.rms:.3g}"
    text = f"{whole}: the head's gain is {gain:.3g} ({head.law.text}), its input's rms {fed:.3g}"
    if _is_swapped(head) and gain > SWAPPED_HEAD:
        return "swapped", f"{text}; fan_out stands where fan_in belongs"
    return ("head", text) if gain > 3 or not fed > 4 else ("loud_input", text)


def _attention(subject: Subject) -> Iterator[Finding]:
    found = [(op, std) for op in subject.trace.ops if (std := _score_std(subject, op)) > SCORES]
    if found:
        op, std = found[0]
        makers = [subject.map_of[i] for i in _sources(subject, op) if i in subject.map_of]
        more = and_more(len(found) - 1, "attention", link="and in")
        kind, cause = scale_cause(makers, grows=True) if makers else ("huge", "")
        yield Finding(
            "ATT001",
            "warning",
            f"attention scores of std {std:.3g}: each token looks at one other only{more}",
            makers[0].path if makers else op.module,
            op.index,
            cause,
            kind,
            tuple(one.path for one in makers),
            {"std": std, "attentions": len(found)},
            redraw(makers) if makers else None,
        )


def _sources(subject: Subject, op: Op) -> Iterator[int]:
    """The maps that make queries and keys."""
    for source in op.inputs[:2]:
        here = subject.trace.ops[source] if source >= 0 else None
        if here is not None and here.index in subject.map_of:
            yield here.index
        elif here is not None:
            found = subject.trace.before(here, STRETCH_MAPS, ATTENTION_OPERAND)
            if found is not None:
                yield found.index


def _score_std(subject: Subject, op: Op) -> float:
    """By theory for an attention in one op, with its usual factor 1/sqrt(d); 0 where it is not one."""
    if op.kind != OpKind.ATTENTION or len(op.inputs) < 2:
        return 0.0
    product = subject.fed(op, 0).second_moment * subject.fed(op, 1).second_moment
    factor = float(op.detail.get("scale", 1.0)) * math.sqrt(float(op.detail.get("width", 1.0)))
    return factor * root(product) if math.isfinite(product) else 0.0
