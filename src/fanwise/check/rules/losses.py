"""Rules on the first loss: far above a guess's, of shapes that broadcast, of targets that the outputs are far from."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fanwise.check.findings import Fix, Severity
from fanwise.check.rules.depth import chance_width
from fanwise.check.rules.rule import MEASURED, Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Map, Stretch, Subject
from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.elementwise import Constant
from fanwise.measure.best_constant import names_of
from fanwise.measure.observation import ObservedLoss

FEW_TIMES = 3.5
"""Times the loss of a guess from which a model is confidently wrong. With Adam, decoders with a tied table take 1.1 to
1.7 times the steps at 2.7 times ln C and twice the steps at 4, perceptrons of the digits 1.2 times at 5 ..."""
CONFIDENT = 10.0
"""... and from which its training is slower or ends worse. Measured on the digits, 1 and 4 hidden layers, Adam at 1e-3:
at 9 times ln 10 it takes 1.6 times the steps to a loss of 0.5 and 4 more in 100 digits are wrong after 600; at 18 times
twice the steps and 7 in 100. At 3 times neither is so; SGD at 0.05 ends at ln 10 from 20 times on."""
SQUARED_TIMES = 300.0
"""Bound for a squared error: targets are often much smaller than outputs of unit variance, without harm."""
LOUD_TIMES, LOUD_HEAD = 1.3, 5.0
"""Times the loss of a guess that are worth a warning where the head's
own gain is as large as this ..."""
SWAPPED_HEAD = 2.0
"""... or as this, where it follows from the fan_out."""
LOUD_SQUARED = 20.0
"""Factors for a squared error."""
PRIOR_TIMES, PRIOR_ERROR = 20.0, 100.0
"""Times the loss of the best constant output from which a bias is missed, as a warning and as an error."""
PRIOR = 1.0
"""Size of a constant from which it is worth setting: a smaller one is learned in the first steps."""
FAR_TARGETS = 30.0
"""Size of targets, in units of the outputs or of 1, from which the outputs do not come to them."""
HEAD_GAIN, FED_RMS = 3.0, 4.0
"""Gain of a head from which it is to blame for a loss, and rms of its input from which that is."""


@rule(
    "LOS002",
    severity="error",
    title="a loss of shapes that broadcast",
    page=Page(
        says="The output and the target have other shapes, and the loss repeats one of them along an axis of the "
        "other: every prediction is compared with the target of every example.",
        why="The loss is least for the mean of all targets, whatever the weights are: the training seems stuck from "
        "the start, and the initialisation is blamed for it.",
        measured="The shapes; and that the loss of random outputs is another once they have the target's shape, or, "
        "where the target holds fewer numbers, the same once it was repeated. A loss that makes the shapes alike "
        "itself is not named.",
        example="A mean squared error of outputs of shape (64, 1) and targets of shape (64,): 64 x 64 differences.",
        remedy="Give both the same shape: `output.squeeze(-1)`, or `target[:, None]`.",
    ),
    source="NumPy user guide, broadcasting: general broadcasting rules",
    explains=("LOS003",),
    shows_before=True,
)
def broadcast(subject: Subject) -> Iterator[Symptom]:
    """A loss in which the output or the target is repeated."""
    loss = subject.first.loss
    if loss is None or len(loss.broadcast) != 2:
        return
    output, target = loss.broadcast
    text = _mended_shapes(output, target)
    yield Symptom(
        f"the loss compares outputs of shape {names_of((output, target))} of the targets: they broadcast, and every "
        "output is compared with the targets of other examples",
        kind="broadcast",
        cause=f"the weights are not to blame: {text}",
        evidence={"output": str(output), "target": str(target)},
        fix=Fix(text),
    )


@rule(
    "LOS003",
    severity="warning",
    title="targets far from what the outputs can be",
    page=Page(
        says="The targets are numbers of another size than the outputs, or truth values outside 0 to 1.",
        why="The outputs have to grow by that factor before anything is learned: the best weights are far from any "
        "start.",
        measured="Of a known loss of numbers, the rms of the target: above "
        f"{FAR_TARGETS:g} times that of the outputs, and above {FAR_TARGETS:g}. Of a binary cross-entropy, targets "
        "below 0 or above 1: an error.",
        example="Pictures of 0 to 255 as targets of a sigmoid.",
        remedy="Divide the targets by their size, or subtract their mean and divide by their std.",
    ),
    source=MEASURED,
    explains=("LOS001",),
    shows_before=True,
)
def far_targets(subject: Subject) -> Iterator[Symptom]:
    """Targets much larger than the outputs, or outside the range of truth values."""
    loss = subject.first.loss
    if loss is None or not loss.span:
        return
    low, high = loss.span
    evidence = {"low": low, "high": high, "rms": loss.target_rms}
    if loss.target == "TRUTH" and (low < 0 or high > 1):
        text = f"scale the targets into 0 to 1, such as target / {high:.4g}"
        message = f"the targets of a binary cross-entropy lie between {low:.4g} and {high:.4g}, not between 0 and 1"
        yield Symptom(message, kind="targets", evidence=evidence, fix=Fix(text), severity="error")
        return
    size = subject.outputs.rms
    if loss.target == "NUMBER" and loss.target_rms > FAR_TARGETS * max(size if math.isfinite(size) else 0.0, 1.0):
        yield Symptom(
            f"the targets have an rms of {loss.target_rms:.3g} ({low:.4g} to {high:.4g}), the outputs of {size:.3g}",
            kind="targets",
            cause="the scale of the targets, not the weights: the outputs would have to grow by that factor",
            evidence={**evidence, "outputs": size},
            fix=Fix(f"divide the targets by {loss.target_rms:.3g}, or give them mean 0 and std 1"),
        )


@rule(
    "LOS001",
    severity="error",
    title="an initial loss far above a guess's",
    page=Page(
        says="The first loss is far above what a model that guesses would get: the model starts confidently wrong, or "
        "the bias of its head holds no prior.",
        why="The first steps unlearn the head instead of learning the task.",
        measured="The first loss against that of a guess. For C classes that is ln C (ln 2 for yes or no): above "
        f"{FEW_TIMES:g} times, or more where finite widths explain more, and an error above {CONFIDENT:g} times. For a "
        "squared error it is the second moment of the target, for any other loss that of outputs of 0 or of the best "
        f"constant output, the larger: above {SQUARED_TIMES:g} times. It is a warning from {LOUD_TIMES:g} times "
        f"({LOUD_SQUARED:g} for a squared error) where the head's own gain is above {LOUD_HEAD:g}, or above "
        f"{SWAPPED_HEAD:g} if its std follows from the fan_out. Of all losses but those of classes, which are held "
        "against ln C alone: the loss and that of outputs of 0 against that of the best constant output, which is "
        f"found by trying: above {PRIOR_TIMES:g} times, an error above {PRIOR_ERROR:g} times.",
        example="A head of std 1; a detector of rare objects whose last bias is 0.",
        remedy="Draw the head so small that its outputs have std 0.5 or less (fanwise fix); give its bias the value of "
        "the best constant output, which for a share p of yes is log(p / (1 - p)).",
    ),
    source='Goodfellow et al., "Deep learning", 2016, section 8.4; Lin et al., "Focal loss for dense object '
    f'detection", 2017, section 4.1; the bounds: {MEASURED}',
    explains=("GRD002", "BWD001", "BWD002", "UPD001"),
    shows_before=True,
)
def loud_loss(subject: Subject) -> Iterator[Symptom]:
    """A first loss far above that of a guess, or of the best constant output."""
    losses = [
        observation.loss
        for observation in subject.observations
        if observation.loss is not None and not observation.loss.probe
    ]
    usable = [loss for loss in losses if math.isfinite(loss.value) and _guess(loss) > 0]
    if not usable:
        return
    loss, heads = _mean(usable), _heads(subject)
    severity = _loudness(subject, loss, heads)
    if severity is not None:
        yield replace(_loss(heads, loss), severity=severity)
    elif _lacks_prior(loss, PRIOR_TIMES):
        yield _prior(subject, loss, heads)


def _guess(loss: ObservedLoss) -> float:
    """The loss of a model that says nothing; the most cautious one where no formula is known."""
    return loss.chance if loss.chance > 0 else max(loss.zero, loss.constant)


def _loudness(subject: Subject, loss: ObservedLoss, heads: Sequence[Map]) -> Severity | None:
    """How grave it is that a loss is above that of a guess."""
    squared, times = loss.classes == 0, loss.value / _guess(loss)
    loud = any(head.law.gain > (SWAPPED_HEAD if _is_swapped(head) else LOUD_HEAD) for head in heads)
    if squared and times > SQUARED_TIMES:
        return "error"
    if not squared and times > FEW_TIMES * _by_width(subject, heads):
        return "error" if times > CONFIDENT else "warning"
    return "warning" if loud and times > (LOUD_SQUARED if squared else LOUD_TIMES) else None


def _lacks_prior(loss: ObservedLoss, times: float) -> bool:
    """Whether the loss, and that of outputs of 0, are so many times that of a constant that has to be learned."""
    far = max((abs(number) for number in loss.best), default=0.0) >= PRIOR
    return far and min(loss.value, loss.zero) > times * loss.constant > 0


def _mean(losses: Sequence[ObservedLoss]) -> ObservedLoss:
    """The first loss, with its numbers averaged over all."""
    names = ("value", "chance", "constant", "zero")
    return replace(losses[0], **{name: sum(vars(loss)[name] for loss in losses) / len(losses) for name in names})


def _heads(subject: Subject) -> list[Map]:
    """The heads on the way to the first output."""
    return [layer for layer in subject.heads if layer.op.index in subject.lead_to_output]


def _by_width(subject: Subject, heads: Sequence[Map]) -> float:
    """By what finite widths alone may multiply the logits: two standard deviations, where nothing sets their scale."""
    long = [Stretch(stretch.maps[:-1]) for stretch in subject.stretches if stretch.maps[-1] in heads]
    widest = max((chance_width(stretch, len(subject.observations)) for stretch in long), default=0.0)
    return math.exp(widest / 3)


def _loss(heads: Sequence[Map], loss: ObservedLoss) -> Symptom:
    value, chance, classes = loss.value, _guess(loss), loss.classes
    wanted = f"ln {classes} = {chance:.3g}" if classes else f"{chance:.3g}, that of outputs of 0"
    if not loss.chance > 0 and loss.constant > loss.zero:
        wanted = f"{chance:.3g}, that of the best constant output"
    message = f"the initial loss {value:.3g} is {value / chance:.3g} times {wanted}: confidently wrong"
    evidence = {"loss": value, "chance": chance, "classes": classes}
    if not heads:
        return Symptom(message, kind="head", evidence=evidence)
    head = heads[-1]
    kind, cause = _head_cause(head)
    fix = redraw([head], "draw the head anew, so small that it says nothing yet (fanwise fix)")
    return Symptom(message, head.path, head.op.index, cause, kind, (head.path,), evidence, fix)


def _is_swapped(head: Map) -> bool:
    return head.law.kind in ("he_fan_out", "lecun_fan_out")


def _head_cause(head: Map) -> tuple[str, str]:
    """Whether its own weights are too large, or what feeds it is."""
    gain, fed = head.law.gain, head.fed.rms
    whole = f"outputs of rms {head.signal.rms:.3g}"
    law = f"the head's gain is {gain:.3g} ({head.law.text})" if math.isfinite(gain) else f"the head is {head.law.text}"
    text = f"{whole}: {law}, its input's rms {fed:.3g}"
    if _is_swapped(head) and gain > SWAPPED_HEAD:
        return "swapped", f"{text}; fan_out stands where fan_in belongs"
    return ("head", text) if gain > HEAD_GAIN or not fed > FED_RMS else ("loud_input", text)


def _prior(subject: Subject, loss: ObservedLoss, heads: Sequence[Map]) -> Symptom:
    """A loss that another bias of the head would make much smaller."""
    number = loss.best[0]
    head = next((head for head in reversed(heads) if _gives_output(subject, head)), None)
    symptom = Symptom(
        f"the initial loss {loss.value:.3g} is {loss.value / loss.constant:.3g} times {loss.constant:.3g}, that of the "
        f"best constant output {', '.join(f'{each:.3g}' for each in loss.best)}: the bias holds no prior",
        kind="prior",
        evidence={"loss": loss.value, "constant": loss.constant, "zero": loss.zero, "best": number},
        severity="error" if _lacks_prior(loss, PRIOR_ERROR) else "warning",
    )
    if head is None:
        return replace(symptom, fix=Fix(f"make the outputs start near {number:.3g}, by the last bias"))
    bias = next((use.path for use in head.op.used(UseRole.BIAS)), "")
    cause = f"outputs of 0 lose {loss.zero:.3g}: the share or the mean of the targets has to be learned first"
    placed = replace(symptom, place=bias or head.path, op=head.op.index, cause=cause, paths=(bias or head.path,))
    if not bias or len(loss.best) > 1:
        return replace(placed, fix=Fix(f"give {head.name} a bias with which its outputs start near {number:.3g}"))
    text = f"set {bias} to {number:.3g}, the best constant output"
    return replace(placed, fix=Fix(text, safe=subject.fresh, paths=(bias,), laws={bias: Constant(number)}))


def _gives_output(subject: Subject, head: Map) -> bool:
    """Whether what a head gives is the output: nothing changes its values on the way."""
    after = [op for op in subject.trace.ops if op.index > head.op.index and op.index in subject.lead_to_output]
    return all(op.kind is OpKind.ADD and op.uses for op in after)


def _mended_shapes(output: tuple[int, ...], target: tuple[int, ...]) -> str:
    """What gives an output and a target the same shape."""
    if output == (*target, 1):
        return "write output.squeeze(-1), or target[..., None]"
    if target == (*output, 1):
        return "write target.squeeze(-1), or output[..., None]"
    return f"give the target the output's shape {output}, or the output the target's {target}"
