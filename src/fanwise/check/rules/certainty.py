"""The rule on outputs that are sure before anything was learned: policies, bounded outputs."""

from collections.abc import Iterator

from fanwise.check.rules.origins import loudest_before
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import AT_ONCE
from fanwise.graph.op import Op, OpKind

SURE = 0.5
"""Share of distributions, or of values, that are sure."""
TIMES = 10.0
"""Gain of a head from which it is taken for what makes a loss sure, where the loss does not tell which it reads."""


@rule(
    "SUR001",
    severity="warning",
    title="outputs that are sure at step zero",
    page=Page(
        says="Before anything was learned the model gives nearly all probability to single outcomes, or its bounded "
        "outputs lie at their ends.",
        why="A policy that is sure explores nothing: it sees the reward of one action alone, and the gradient of a "
        "softmax or a tanh is as small as what is left of the probability.",
        measured=f"Of softmaxes that end the model or that its loss computes, the share of distributions of which "
        f"1 - sum p^2 is below 5 % of that of an even one; of bounded nonlinearities that are outputs, the share of "
        f"values whose slope is below 5 % of the steepest: above {100 * SURE:.0f} %. Only of models that look "
        "untrained; not where the first loss is a known one of classes or truth values, which says as much.",
        example="The last layer of a policy at gain 30 in place of 0.01.",
        remedy="Draw the head so small that its outputs have std 0.1 or less (fanwise fix).",
    ),
    source='Andrychowicz et al., "What matters for on-policy deep actor-critic methods?", 2021, section 3.2: the last '
    "layer of a policy 100 times smaller",
    shows_before=True,
)
def sure_outputs(subject: Subject) -> Iterator[Symptom]:
    """Models whose first distribution leaves no choice."""
    loss = subject.first.loss
    judged = loss is not None and not loss.probe and loss.chance > 0 and loss.target in ("CLASS", "TRUTH")
    if judged or not subject.fresh:
        return
    for op in (op for op in subject.trace.ops if subject.signals[op.index].saturated > SURE):
        source = loudest_before(subject, op)
        if _ends(subject, op, source):
            yield _symptom(op, source, subject.signals[op.index].saturated)
            return
    if loss is not None and loss.sure > SURE:
        heads = [head for head in subject.heads if head.law.gain > TIMES] or list(subject.heads)
        if loss.sure_op is not None:
            end = subject.trace.ops[loss.sure_op]
            yield _symptom(end, loudest_before(subject, end), loss.sure)
        else:
            yield _symptom(None, heads[-1] if heads else None, loss.sure)


def _ends(subject: Subject, op: Op, source: Map | None) -> bool:
    """Whether an op makes an output of the model, from a map that no other follows."""
    last = source is not None and source.op.index not in subject.followed
    if op.kind == OpKind.SOFTMAX:
        return last and op.name != "gumbel_softmax" and subject.trace.after(op, {OpKind.MATMUL}, AT_ONCE) is None
    return last and op.kind == OpKind.ACTIVATION and op.index in subject.trace.outputs


def _symptom(op: Op | None, source: Map | None, share: float) -> Symptom:
    if source is None:
        module = "" if op is None else op.module
        return Symptom(_message("the model" if op is None else op.name, share), module, kind="head")
    return Symptom(
        _message(source.name, share),
        source.path,
        source.op.index,
        f"outputs of rms {source.signal.rms:.3g}: the head's gain is {source.law.gain:.3g} ({source.law.text})",
        "head",
        (source.path,),
        {"share": share},
        redraw([source], "draw the head so small that it says nothing yet (fanwise fix)"),
    )


def _message(name: str, share: float) -> str:
    return f"{share:.0%} of what {name} gives is sure at step zero: one outcome has all the probability"
