"""A report from what was observed: what the checks of all frameworks share."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Severity
from fanwise.check.layers import layers
from fanwise.check.report import Report
from fanwise.check.rules.judgement import judge
from fanwise.check.subject import Subject
from fanwise.graph.op import OpKind


def assembled(
    subject: Subject, *, select: Sequence[str] = (), ignore: Sequence[str] = (), fail_on: Severity = "error"
) -> Report:
    """The report of a subject, without what only the adapter knows: names, versions and places in sources.

    Args:
        subject: what was observed.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.

    Raises:
        ValueError: a text that no code begins with.
    """
    trace, findings = subject.trace, judge(subject, select, ignore)
    weights = [parameter.path for parameter in trace.parameters if len(parameter.shape) > 1]
    return Report(
        findings,
        layers(subject, findings),
        subject.observations,
        parameters=sum(math.prod(parameter.shape) for parameter in trace.parameters),
        weights=(len(weights), sum(bool(trace.uses[path]) for path in weights)),
        fail_on=fail_on,
        notes=tuple(_notes(subject)),
    )


def _notes(subject: Subject) -> Iterator[str]:
    first, lengths = subject.first, {len(observation.signals) for observation in subject.observations}
    if len(lengths) > 1:
        yield "The runs took different ways through the model: moments are those of the first seed alone."
    if not first.backward:
        yield "The backward pass was left out: nothing is said of gradients."
    elif first.loss is None or not any(values.reached for values in first.values.values()):
        yield "No gradient came to any parameter: nothing is said of the backward pass."
    elif first.loss.probe:
        yield "No loss was given: gradients are those of a random projection of the output, and no loss was judged."
    elif first.loss.drawn:
        yield "The batch holds no target: random ones stand for it."
    if first.training:
        yield "The backward pass works in training mode alone: dropout and the like were on."
    unseen = [path for path in subject.cases if path not in subject.values]
    if unseen:
        yield f"{len(unseen)} parameters could not be measured (sparse or quantised), such as {unseen[0]}."
    blind = [observation for observation in first.trace.ops if observation.kind == OpKind.OTHER and observation.uses]
    if blind:
        yield f"{len(blind)} ops that use parameters are not known to fanwise, such as {blind[0].name}."
    failed = [first.trace.ops[i].name for i in subject.predicted.failed]
    if failed:
        yield f"No rule of theory fits {len(failed)} ops, such as {failed[0]}: nothing is expected of what follows."
    yield from (f"Not looked into: {text}." for text in first.trace.unseen)
