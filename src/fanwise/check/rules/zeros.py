"""The rule on weights that are all zero: a mistake, unless something else carries the signal past them."""

from collections.abc import Iterator

from fanwise.check.findings import and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.rules.weights import neighbours
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import LINEAR_HEAD, MAPS_AND_PRODUCTS, UP_TO_A_SUM
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import Trace
from fanwise.plan.roles import ADDED_TABLES

FLAT_AT_ZERO = ("relu", "relu6", "threshold")
"""Nonlinearities whose slope at 0 counts as 0: a zero map before them never gets a gradient."""
MOST = 0.5
"""Share of the maps from which on zeros beside a mistake are part of it."""
MAY_BE_ZERO = ("head", "branch_end", "relative", "token", "gate", "branch_gate")
"""Roles that are often zero by design."""


@rule(
    "ZER001",
    severity="error",
    title="weights that are all zero",
    page=Page(
        says="Every value of a weight is 0, and no other signal passes it.",
        why="A map of zeros passes nothing forward, and no gradient back to what feeds it: the layers before it cannot "
        "learn.",
        measured="Trained weights whose values are all 0. It is a mistake where neither a sum nor the model's output "
        f"lets another signal pass, or where a nonlinearity of slope 0 at 0 ({', '.join(FLAT_AT_ZERO)}) follows: an "
        "error there, and where one map of zeros follows another; a single one before a slope learns in its first "
        "step, and opens what is before it in the second, which is a warning (python -m bench proof). "
        "Heads, ends of residual branches, adapters and last factors that start at zero are shown as the model's "
        "design.",
        example="nn.init.zeros_ on a weight that was meant to be a bias; to_empty() without an init after it.",
        remedy="Draw the weights at unit second moment (fanwise fix).",
    ),
    source='Goodfellow et al., "Deep learning", 2016, section 8.4',
    explains=("FWD001",),
)
def zero_maps(subject: Subject) -> Iterator[Symptom]:
    """Trained maps of zeros: those that block the signal, or else those that are so by design."""
    zero = [layer for layer in subject.maps if layer.law.kind == "zeros" and layer.case.parameter.trained]
    zero = [layer for layer in zero if not _is_offset(layer)]
    wrong = [layer for layer in zero if not _zero_by_design(subject, layer)]
    if wrong and len(zero) > MOST * len(subject.maps):
        wrong = zero  # nobody designs a model of zeros
    if wrong:
        kind, cause = _cause(subject)
        message = f"{wrong[0].path} is all zeros{and_more(len(wrong) - 1, 'weight')}"
        lost = kind != "zeros" or neighbours(subject, wrong) or any(_never_learns(subject, layer) for layer in wrong)
        yield of_maps(wrong, message, cause=cause, kind=kind, severity=None if lost else "warning")
    elif zero:
        yield Symptom(
            f"{zero[0].path} starts at zero, where a sum or the output lets the signal pass"
            f"{and_more(len(zero) - 1, 'weight')}",
            zero[0].path,
            zero[0].op.index,
            paths=tuple(layer.path for layer in zero),
            design=True,
            severity="info",
        )


def _is_offset(layer: Map) -> bool:
    """Whether the model makes another weight of the zeros, such as an identity plus this one."""
    made = layer.case.use is not None and bool(layer.case.use.steps)
    return made and layer.signal.second_moment > (1 + 1e-3) * layer.bias


def _zero_by_design(subject: Subject, layer: Map) -> bool:
    """A head, a table of biases, or the end of a branch whose sum carries another signal."""
    if layer.op.kind == OpKind.EMBEDDING:
        added = layer.case.role in ADDED_TABLES or layer.case.parameter.shape[-1] == 1
        return added or _meets_another(subject, layer)
    if layer.case.part in ("query", "key"):
        return not _all_zero(subject, "key" if layer.case.part == "query" else "query")
    if _never_learns(subject, layer):
        return False
    linear = subject.trace.after(layer.op, {OpKind.ACTIVATION, OpKind.NORM, OpKind.SOFTMAX}, LINEAR_HEAD) is None
    return layer.case.role in MAY_BE_ZERO or linear or _meets_another(subject, layer)


def _never_learns(subject: Subject, layer: Map) -> bool:
    """Whether a nonlinearity follows whose slope at 0 counts as 0."""
    after = subject.trace.after(layer.op, {OpKind.ACTIVATION, OpKind.ADD, OpKind.MUL}, UP_TO_A_SUM)
    if after is None or after.kind != OpKind.ACTIVATION:
        return False
    return after.nonlinearity in FLAT_AT_ZERO


def _meets_another(subject: Subject, layer: Map) -> bool:
    """Whether what it gives is added, before the next map, to something of the inputs that goes another way.

    Rows of a table may be multiplied with data first, as relative positions are with queries. A product carries the
    other signal on where the zeros stand beside a bias that is not: a transform that begins as the identity.
    """
    biased = layer.signal.second_moment > 0
    ends = MAPS_AND_PRODUCTS - ({OpKind.MATMUL} if biased or layer.op.kind == OpKind.EMBEDDING else set())
    seen, queue = {layer.op.index}, list(subject.trace.follows(layer.op))
    while queue:
        op = queue.pop()
        if op.index in seen or op.kind in ends:
            continue
        joins = (biased or op.kind != OpKind.MATMUL) and len(set(op.inputs)) > 1
        if joins and any(_passes_by(subject.trace, source, layer.op) for source in op.inputs):
            return True
        seen.add(op.index)
        queue.extend(subject.trace.follows(op))
    return False


def _all_zero(subject: Subject, part: str) -> bool:
    """Whether every map that makes this part of an attention is zero too."""
    others = [layer for layer in subject.maps if layer.case.part == part]
    return bool(others) and all(layer.law.kind == "zeros" for layer in others)


def _passes_by(trace: Trace, source: int, avoided: Op) -> bool:
    """Whether something of the model's inputs reaches an op without going through another.

    Beside a table other tables do not count: positions alone do not make up for tokens.
    """
    seen, queue = {avoided.index}, [source]
    while queue:
        here = queue.pop()
        if here == INPUT:
            return True
        op = trace.ops[here]
        if here in seen or (op.kind == OpKind.EMBEDDING and avoided.kind == OpKind.EMBEDDING):
            continue
        if op.kind == OpKind.EMBEDDING:
            return True
        seen.add(here)
        queue.extend(op.inputs)
    return False


def _cause(subject: Subject) -> tuple[str, str]:
    """Memory that was never written holds zeros in parameters that no author sets to zero."""
    scales = [path for path, case in subject.cases.items() if case.role == "norm_scale" and path in subject.values]
    if scales and all(subject.values[path].constant and subject.values[path].mean == 0 for path in scales):
        return "skipped_init", "every normalisation's factor is zero too: this memory was never initialised"
    return "zeros", "zero weights give zero signal, and pass no gradient to what feeds them"
