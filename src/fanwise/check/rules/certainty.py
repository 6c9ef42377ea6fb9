"""The rule on outputs that are sure before anything was learned: policies, bounded outputs."""

from collections.abc import Iterator, Sequence

from fanwise.check.rules.origins import loudest_before, name_of, path_of
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
            yield _symptom(subject, op, source, subject.signals[op.index].saturated)
            return
    if loss is not None and loss.sure > SURE:
        op = None if loss.sure_op is None else subject.trace.ops[loss.sure_op]
        heads = [head for head in subject.heads if head.law.gain > TIMES] or list(subject.heads)
        source = heads[-1] if op is None and heads else None if op is None else loudest_before(subject, op)
        yield _symptom(subject, op, source, loss.sure)


def _ends(subject: Subject, op: Op, source: Map | None) -> bool:
    """Whether an op makes an output of the model, from a map that no other follows."""
    last = source is not None and source.op.index not in subject.followed
    if op.kind == OpKind.SOFTMAX:
        return last and op.name != "gumbel_softmax" and subject.trace.after(op, {OpKind.MATMUL}, AT_ONCE) is None
    return last and op.kind == OpKind.ACTIVATION and op.index in subject.trace.outputs


def _symptom(subject: Subject, op: Op | None, source: Map | None, share: float) -> Symptom:
    where = "the outputs" if op is None else name_of(source, op)
    paths: Sequence[str] = () if source is None else (source.path,)
    fix = None if source is None else redraw([source], "draw the head so small that it says nothing yet (fanwise fix)")
    text = "what enters is too large" if source is None else f"outputs of rms {source.signal.rms:.3g}"
    return Symptom(
        f"{share:.0%} of what {where} gives is sure at step zero: one outcome has all the probability",
        "" if op is None and source is None else source.path if source is not None else path_of(source, op),
        source.op.index if source is not None else None,
        f"{text}: the head's gain is {source.law.gain:.3g} ({source.law.text})" if source is not None else text,
        "head",
        tuple(paths),
        {"share": share},
        fix,
    )
