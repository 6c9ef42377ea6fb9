"""The rule on choices that all fall on one outcome: routers of experts, codebooks of which one entry is used."""

from collections.abc import Iterator

from fanwise.check.findings import Fix
from fanwise.check.rules.origins import map_before
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw, zero_biases
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import AFTER_SOFTMAX
from fanwise.graph.op import INPUT, Op, OpKind, UseRole
from fanwise.measure.observation import Choice, RoundTrip

ROWS, OUTCOMES = 16, 4
"""Fewest choices, and outcomes, of which it is asked."""
MODE = 0.95
"""Mean probability of one outcome from which a soft choice is one, too."""


@rule(
    "CHO001",
    severity="warning",
    title="choices that all fall on one",
    page=Page(
        says="Whatever the input, a router takes the same expert, or the same entry of a codebook is the nearest.",
        why="The other experts, and entries, get no gradient: of all of them one learns. What they would tell apart is "
        "lost.",
        measured="The places that argmin, argmax and topk give, where the model reads what they choose: no more "
        f"different ones than are chosen at once, at {ROWS} rows and {OUTCOMES} outcomes or more. Of "
        "softmaxes over what a map gives, which weigh "
        f"what is behind them: a mean of {MODE:g} for one outcome. Tokens that a model chooses from its own logits are "
        "left out, and routers of zeros that get a gradient.",
        example="A router with one large bias; a codebook of N(0, 1) beside an encoder that gives 0.01.",
        remedy="Draw the router with biases of 0; draw the codebook at the size of what the encoder gives.",
    ),
    source='Shazeer et al., "Outrageously large neural networks", 2017, section 4 (a gate that favours few experts '
    'reinforces itself); van den Oord et al., "Neural discrete representation learning", 2017, section 3.2',
    explains=("ADD001", "LAY001"),
    shows_before=True,
)
def one_choice(subject: Subject) -> Iterator[Symptom]:
    """The first choice that falls on one outcome, whatever the input."""
    hard = [trip for trip in subject.first.round_trips if trip.choice is not None and _is_one(trip.choice)]
    hard = [trip for trip in hard if trip.reader in subject.lead_to_output and not _is_token(subject, trip)]
    hard = [trip for trip in hard if not _opens(subject, trip)]
    if hard:
        yield _hard(subject, hard[0])
        return
    for op in (op for op in subject.trace.ops if op.kind == OpKind.SOFTMAX):
        router = _router(subject, op)
        if router is not None and subject.signals[op.index].mode > MODE:
            yield _soft(subject, op, router)
            return


def _is_one(choice: Choice) -> bool:
    enough = choice.rows >= ROWS and choice.outcomes >= max(OUTCOMES, 2 * choice.each)
    return enough and choice.chosen <= choice.each


def _opens(subject: Subject, trip: RoundTrip) -> bool:
    """Whether the outcomes are equal, as those of a router of zeros that gets a gradient: a first step parts them."""
    router = None if trip.op is None else map_before(subject, _before_softmax(subject, subject.trace.ops[trip.op]))
    if router is None or _table(subject, trip) or router.values.second_moment != 0:
        return False
    return router.bias == 0 and router.values.gradient > 0


def _is_token(subject: Subject, trip: RoundTrip) -> bool:
    """Whether what is chosen is looked up in a table of which other rows are read too, as tokens are."""
    table = _table(subject, trip)
    others = [op for op, _ in subject.trace.uses[table] if op.kind == OpKind.EMBEDDING] if table else []
    behind = set() if trip.op is None else subject.trace.ancestors(trip.op)
    compared = any(op.index in behind for op, _ in subject.trace.uses[table]) if table else True
    return any(INPUT in op.inputs for op in others) or not compared


def _table(subject: Subject, trip: RoundTrip) -> str:
    """Path of the parameter whose rows are chosen; "" where they are no parameter's."""
    reader = None if trip.reader is None else subject.trace.ops[trip.reader]
    feeds = () if reader is None else subject.trace.feeds(reader)
    rows = [op for op in feeds if op.kind in (OpKind.PARAMETER, OpKind.EMBEDDING)]
    sources = () if reader is None else (reader, *rows)
    uses = [use for op in sources for use in op.uses]
    behind = set() if trip.op is None else subject.trace.ancestors(trip.op)
    compared = [use.path for use in uses if any(op.index in behind for op, _ in subject.trace.uses[use.path])]
    lookups = [use.path for use in uses if use.role == UseRole.TABLE]
    return next(iter((*compared, *lookups)), "")


def _hard(subject: Subject, trip: RoundTrip) -> Symptom:
    choice, table = trip.choice or Choice(0, 0, 0), _table(subject, trip)
    op = subject.trace.ops[trip.op or 0]
    router = None if table else map_before(subject, _before_softmax(subject, op))
    place = table or _decisive(subject, router, op)
    what = "entries" if table else "outcomes"
    return Symptom(
        f"{choice.chosen} of {choice.outcomes} {what} of {place or op.name} are chosen for {choice.rows} rows",
        place,
        op.index,
        "whatever the input, the same is nearest" if table else "one outcome is the largest, whatever the input",
        "one_choice",
        (place,) if place in subject.values else (),
        {"chosen": choice.chosen, "outcomes": choice.outcomes, "rows": choice.rows},
        Fix("draw the codebook at the size of what is compared with it") if table else _fix(subject, router, place),
    )


def _soft(subject: Subject, op: Op, router: Map) -> Symptom:
    place, mode = _decisive(subject, router, op), subject.signals[op.index].mode
    return Symptom(
        f"the mean weight of one of {op.shape[-1]} outcomes of {place} is {mode:.3g}",
        place,
        op.index,
        "one outcome is the largest, whatever the input",
        "one_choice",
        (place,),
        {"mode": mode, "outcomes": op.shape[-1]},
        _fix(subject, router, place),
    )


def _before_softmax(subject: Subject, op: Op) -> Op:
    """What a softmax reads, which a choice is made of; the op itself elsewhere."""
    softmax = op if op.kind == OpKind.SOFTMAX else subject.trace.before(op, {OpKind.SOFTMAX}, AFTER_SOFTMAX)
    return subject.trace.ops[softmax.inputs[0]] if softmax is not None and softmax.inputs[0] >= 0 else op


def _router(subject: Subject, op: Op) -> Map | None:
    """The map whose outputs are the outcomes of a softmax that weighs something; None where there is none."""
    rows = op.size // max(op.shape[-1], 1) if op.shape else 0
    if not op.inputs or op.inputs[0] < 0 or op.name == "gumbel_softmax" or rows < ROWS or op.shape[-1] < 2:
        return None
    source = map_before(subject, subject.trace.ops[op.inputs[0]])
    weighs = subject.trace.after(op, {OpKind.MUL, OpKind.MATMUL}, AFTER_SOFTMAX - {OpKind.MUL}) is not None
    whole = source is not None and source.op.kind == OpKind.LINEAR and source.op.shape[-1:] == op.shape[-1:]
    return source if whole and weighs else None


def _decisive(subject: Subject, router: Map | None, op: Op) -> str:
    """The bias of a router where it is larger than what the weight gives, else its weight; the op's module."""
    if router is None:
        return op.module
    biases = [use.path for use in router.op.used(UseRole.BIAS) if use.path in subject.values]
    return biases[0] if biases and router.bias > router.predicted else router.path


def _fix(subject: Subject, router: Map | None, place: str) -> Fix:
    if router is None:
        return Fix("draw the router so that no outcome is the largest for all inputs")
    text = "start the biases of the router at 0"
    return redraw([router]) if place == router.path else zero_biases(subject, (place,), text)
