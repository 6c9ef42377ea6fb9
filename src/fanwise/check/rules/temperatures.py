"""The rule on the temperature of a contrastive loss: cosines times a factor, before a softmax."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fanwise.check.findings import Fix
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.subject import Subject
from fanwise.graph.attention import MASKING
from fanwise.graph.kinds import INVARIANT
from fanwise.graph.op import Op, OpKind, Use, UseRole
from fanwise.graph.transform import Transform
from fanwise.laws.elementwise import Constant

FAINT, LOUD = 0.5, 100.0
"""Factors on cosines below which the loss cannot fall, and above which a softmax picks single pairs."""
UNIT = 0.02
"""Share by which the square of a length may differ from 1."""

USUAL = 1 / 0.07
"""A factor from which such losses are trained."""
LARGEST, HALVINGS = 60.0, 40
"""Largest number that a parameter behind a function may start at, and how finely it is looked for."""
FACTORS = frozenset({OpKind.SCALE, OpKind.ELEMENTWISE, OpKind.MUL, OpKind.SHIFT})


@rule(
    "TMP001",
    severity="warning",
    title="a temperature that starts collapsed",
    page=Page(
        says="The scores of a contrastive loss are cosines times a factor that is far too small, or far too large.",
        why="Cosines lie between -1 and 1: times s, the softmax over C of them cannot lose less than "
        "ln(1 + (C - 1) exp(-2 s)), whatever the model learns. Times 1000 it is the single nearest pair that counts.",
        measured="The rms of the scores, before they are masked, over that of the product of normalised vectors, where "
        f"the loss is one of classes: below {FAINT:g} or above {LOUD:g}.",
        example="self.logit_scale = nn.Parameter(torch.zeros(())) used as a factor and not as its logarithm.",
        remedy="Start at 1 / 0.07: a logarithm of the scale at 2.66 (fanwise fix).",
    ),
    source='Radford et al., "Learning transferable visual models from natural language supervision", 2021, section '
    '2.5; Wang et al., "NormFace", 2017, proposition 2 (the bound)',
    explains=("FAC001",),
    shows_before=True,
)
def collapsed_temperature(subject: Subject) -> Iterator[Symptom]:
    """Cosines times a factor that no softmax can learn from."""
    loss, product = subject.first.loss, _cosines(subject)
    if loss is None or loss.classes < 2 or product is None:
        return
    cosines, outputs = subject.signals[product.index].rms, subject.signals[_scaled(subject, product).index].rms
    factor = outputs / cosines if cosines > 0 else math.nan
    if factor < FAINT or factor > LOUD:
        paths = _factors(subject, product)
        least = math.log1p((loss.classes - 1) * math.exp(-2 * factor)) if factor < FAINT else 0.0
        what = f"the loss cannot fall below {least:.3g}" if factor < FAINT else "the single nearest pair decides"
        yield Symptom(
            f"cosines are multiplied by {factor:.3g} before the softmax: {what}",
            paths[0] if paths else product.module,
            product.index,
            f"outputs of rms {outputs:.3g}, cosines of rms {cosines:.3g}",
            "temperature",
            paths,
            {"factor": factor, "classes": loss.classes},
            _started(subject, product, factor),
        )


def _cosines(subject: Subject) -> Op | None:
    """The product of normalised vectors that the first output is a multiple of; None where it is none."""
    if not subject.trace.outputs:
        return None
    end = subject.trace.ops[subject.trace.outputs[0]]
    product = end if end.kind == OpKind.MATMUL else subject.trace.before(end, {OpKind.MATMUL}, FACTORS)
    if product is None or len(product.inputs) != 2:
        return None
    both = all(_is_normalised(subject, operand) for operand in subject.trace.feeds(product))
    return product if both and len(subject.trace.feeds(product)) == 2 else None


def _scaled(subject: Subject, product: Op) -> Op:
    """The last op that multiplies the product, before anything of it is masked."""
    op = product
    while True:
        after = [each for each in subject.trace.follows(op) if each.index in subject.lead_to_output]
        if len(after) != 1 or after[0].kind not in FACTORS or after[0].name in MASKING:
            return op
        op = after[0]


def _is_normalised(subject: Subject, op: Op) -> bool:
    """Whether an operand is vectors of length 1, by a function or written out: E x^2 is then 1 / width."""
    norm = op if op.kind == OpKind.NORM else subject.trace.before(op, {OpKind.NORM}, INVARIANT)
    if norm is None or norm.uses or not norm.shape:
        return False
    return abs(subject.signals[norm.index].second_moment * norm.shape[norm.axis] - 1) < UNIT


def _factors(subject: Subject, product: Op) -> tuple[str, ...]:
    """Parameters that multiply the product on its way to the output."""
    return tuple(use.path for _, use in _scales(subject, product))


def _scales(subject: Subject, product: Op) -> Iterator[tuple[Op, Use]]:
    after = [op for op in subject.trace.ops if op.index > product.index and op.index in subject.lead_to_output]
    yield from ((op, use) for op in after for use in op.used(UseRole.SCALE) if use.path in subject.values)


def _started(subject: Subject, product: Op, factor: float) -> Fix:
    """Starts the one parameter that makes the factor where that is 1 / 0.07; a sentence where several things do."""
    scales = list(_scales(subject, product))
    value = _value_for(subject, *scales[0], factor) if len(scales) == 1 else None
    if value is None:
        return Fix(f"start the factor at 1 / 0.07 = {USUAL:.3g}, its logarithm at {math.log(USUAL):.3g}")
    path = scales[0][1].path
    text = f"start {path} at {value:.4g}, so that the factor is 1 / 0.07 = {USUAL:.3g} (fanwise fix)"
    return Fix(text, subject.fresh, (path,), {path: Constant(value)})


def _value_for(subject: Subject, op: Op, use: Use, factor: float) -> float | None:
    """The number with which a parameter makes a factor of 1 / 0.07; None where none is known."""
    values = subject.values[use.path]
    seen = use.seen[0] if use.seen is not None else values.mean * use.ratio
    more = USUAL / factor if factor > 0 and seen else USUAL / (seen or 1.0)
    wanted = seen / more if "div" in op.name else (seen or 1.0) * more
    if values.count != 1 or not 0 < wanted < math.inf:
        return None
    if use.transform is None:
        return None if use.steps else float(f"{wanted / use.ratio:.4g}")
    return _solved(partial(_made, use.transform, use.path), wanted)


def _made(transform: Transform, path: str, value: float) -> float:
    """What a function makes of a parameter of one value."""
    return float(np.asarray(transform.make({path: np.full(transform.parameters[path][0], value, np.float32)})))


def _solved(make: Callable[[float], float], wanted: float) -> float | None:
    """Where a monotonous function has a value, by bisection; None where it does not have it."""
    low, high = -LARGEST, LARGEST
    try:
        grows = make(high) > wanted
        if grows == (make(low) > wanted):
            return None
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if (make(middle) > wanted) == grows else (middle, high)
    except (TypeError, ValueError, RuntimeError, KeyError):  # a function that cannot be computed again
        return None
    return float(f"{high:.4g}")
