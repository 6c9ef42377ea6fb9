"""Rules on what nonlinearities and attention do to a signal: drowned by biases, saturated, dead, sharp."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fanwise.check.findings import Fix, and_more
from fanwise.check.rules.origins import loudest_before, map_before, name_of, path_of
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.rules.weights import WRITTEN
from fanwise.check.scale_causes import NORMAL, redraw, root, scale_cause, zero_biases
from fanwise.check.subject import Map, Subject
from fanwise.graph.attention import MASKING
from fanwise.graph.details import Attention
from fanwise.graph.kinds import (
    AFTER_SOFTMAX,
    AT_ONCE,
    ATTENTION_OPERAND,
    BEFORE_SOFTMAX,
    GATE_STEPS,
    STRETCH_MAPS,
)
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.laws.elementwise import Constant
from fanwise.laws.nonlinearities import nonlinearity
from fanwise.measure.observation import Values

SHIFT = 2.0
"""Mean of a bias, in units of the rms of the signal that it is added to."""
FLAT = 0.25
"""Rms of a nonlinearity's slope, over that at a mean of 0, below which it lies on its flat side."""
LINEAR = 0.1
"""Std of the slope, over that at a mean of 0, below which a nonlinearity has become a linear function."""
OTHER_SIGN = 0.02
"""Share of values of the other sign up to which weights are of one: a sample may miss some of the zeros."""
POSITIVE = ("softplus", "sigmoid", "exp")
"""Nonlinearities whose values are rates, steps of time or decays."""
OFF, PART = 3.0, 0.25
"""A bias below so many times the rms of the signal switches its unit off; share of such units that counts."""
SCORES = 10.0
"""Std of attention scores from which a softmax picks single tokens."""
SUMS = frozenset({OpKind.ADD, OpKind.SHIFT})
"""Ops that may add a mask to scores."""
USELESS = 0.5
"""Share of saturated values from which a layer is useless."""
LOST = 0.9
"""... and from which its training fails. `python -m bench proof`: three tanh layers of which 53 % are saturated cost no
steps, of 83 % less than twice the steps, since large weights pass back as much as the flat sides take away."""
DEAD = 2 / 3
"""Share of dead units: where biases alone decide, half of the units are off for every input."""
CHANCE = 2.5
"""Standard errors by which the share exceeds a half before it says anything."""
UNIT_ROWS = 16
"""Fewest values of each unit from which it counts as dead."""


@rule(
    "BIA001",
    severity="warning",
    title="biases that drown the signal",
    page=Page(
        says="A layer's biases are so large that its nonlinearity hardly sees the input.",
        why="The nonlinearity gets nearly the same value for every example: a unit is always on, or always off.",
        measured=f"The mean of a bias, against what the weight beside it gives: more than {SHIFT:g} times its rms by "
        f"theory, and more than {SHIFT:g} times the bias's own std, before a nonlinearity that is no gate, where its "
        f"slope falls below {FLAT:g} of what it is without the shift, or varies by less than {LINEAR:g} of it. A bias "
        f"that centres the signal shifts nothing. Or single biases below -{OFF:g} times that rms, where more than "
        f"{100 * PART:.0f} % of the units behind them never change.",
        example="nn.init.constant_(layer.bias, -3.0) before a ReLU.",
        remedy="Start the biases at 0 (fanwise fix).",
    ),
    source='He et al., "Delving deep into rectifiers", 2015, section 2.2 (biases of 0)',
    explains=("FWD001", "FWD002"),
)
def drowning_biases(subject: Subject) -> Iterator[Symptom]:
    """Biases that decide what a nonlinearity sees."""
    wrong = [(layer, path, shift) for layer in subject.maps for path, shift in _shifts(subject, layer)]
    shifted = [] if wrong else list(_shifted(subject))
    silenced = [triple for op, size, role in shifted for triple in _silenced(subject, op, size, role)]
    if silenced:
        yield _silencing(subject, silenced)
    if wrong:
        layer, path, shift = wrong[0]
        value, named = subject.values[path].mean, tuple(path for _, path, _ in wrong)
        paths = (*named, *_later(subject, named))
        more = and_more(len(paths) - 1, "bias")
        yield Symptom(
            f"{path} shifts all units by {value:.3g}, {shift:.3g} times the signal's rms{more}",
            path,
            layer.op.index,
            "the bias decides what the nonlinearity sees, not the input",
            "bias",
            paths,
            {"shift": shift, "mean": value, "biases": len(paths)},
            zero_biases(subject, paths),
        )


@rule(
    "ATT001",
    severity="warning",
    title="attention that picks single tokens",
    page=Page(
        says="The scores of an attention are so large that its softmax picks one token and ignores all others.",
        why="A softmax of such scores is a maximum: hardly any gradient reaches queries and keys.",
        measured="The std of the scores by theory, rms(q) rms(k) sqrt(d) times the attention's scale, from the "
        f"measured sizes of queries q and keys k of width d: above {SCORES:g}. Of a softmax that is written out, over "
        "scores that are products of data, the share of distributions of which 1 - sum p^2 is below 5 % of that of an "
        f"even one: above {100 * USELESS:.0f} %.",
        example="Weights of std 0.5; scores that are not divided by sqrt(d).",
        remedy="Draw the maps of queries and keys at unit second moment, and divide the scores by sqrt(d) (fanwise "
        "fix).",
    ),
    source='Vaswani et al., "Attention is all you need", 2017, section 3.2.1',
    explains=("NAN002", "OUT001", "FAN001"),
    shows_before=True,
)
def sharp_attention(subject: Subject) -> Iterator[Symptom]:
    """Attentions whose scores are too large."""
    sharp = [(op, std) for op in subject.trace.ops if (std := _score_std(subject, op)) > SCORES]
    picked = [(op, product) for op in subject.trace.ops if (product := _picking(subject, op)) is not None]
    if sharp or picked:
        op, std = sharp[0] if sharp else (picked[0][1], root(subject.signals[picked[0][1].index].second_moment))
        makers = [subject.map_of[i] for i in _sources(subject, op) if i in subject.map_of]
        more = and_more(len(sharp) + len(picked) - 1, "attention", link="and in")
        kind, cause = scale_cause(makers, grows=True) if makers else ("huge", "")
        what = f"attention scores of std {std:.3g}" if sharp else f"a softmax over products of rms {std:.3g}"
        yield Symptom(
            f"{what}: each token looks at one other only{more}",
            makers[0].path if makers else op.module,
            op.index,
            cause,
            kind,
            tuple(maker.path for maker in makers),
            {"std": std, "attentions": len(sharp) + len(picked)},
            redraw(makers) if makers else None,
        )


@rule(
    "SAT001",
    severity="error",
    title="saturated units",
    page=Page(
        says="Most values of a bounded nonlinearity, such as tanh or sigmoid, lie on its flat ends.",
        why="There the slope is nearly 0: hardly any gradient passes to the layers before.",
        measured="The share of the nonlinearity's values where its slope is below 5 % of its steepest: above "
        f"{100 * USELESS:.0f} %, and an error above {100 * LOST:.0f} %. Gates, which only multiply another signal, and "
        "the model's outputs are left out.",
        example="tanh after weights of gain 10.",
        remedy="Weights of gain 1 before tanh, and inputs of rms 1 (fanwise fix).",
    ),
    source='Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, '
    "section 3",
    explains=("DEA001",),
    shows_before=True,
)
def saturated(subject: Subject) -> Iterator[Symptom]:
    """Bounded nonlinearities on their flat ends."""
    outputs = set(subject.trace.outputs)
    ops = [op for op in subject.trace.ops if subject.signals[op.index].saturated > USELESS]
    ops = [
        op
        for op in ops
        if op.kind != OpKind.SOFTMAX
        and op.index not in outputs
        and not _is_gate(subject, op)
        and not _is_surrogate(subject, op)
    ]
    if ops:
        first, source = ops[0], loudest_before(subject, ops[0])
        share, more = subject.signals[first.index].saturated, and_more(len(ops) - 1, "map", link="and after")
        maps = [layer for layer in (loudest_before(subject, op) for op in ops) if layer is not None]
        kind, cause = _saturated_cause(maps)
        nonlinearity = first.nonlinearity or first.name
        yield Symptom(
            f"{share:.0%} of the {nonlinearity} values after {name_of(source, first)} are saturated{more}",
            path_of(source, first),
            first.index,
            cause,
            kind,
            tuple(layer.path for layer in maps),
            {"share": share, "layers": len(ops)},
            _centred(subject, maps) or redraw(maps) if maps else None,
            severity=None if any(subject.signals[op.index].saturated > LOST for op in ops) else "warning",
        )


def _centred(subject: Subject, maps: Sequence[Map]) -> Fix | None:
    """Biases that take away what weights of one sign give, where such weights are what saturates; None elsewhere.

    Weights that may not be negative, as in monotone networks, are drawn so, and what they read is of one sign too.
    """
    signed = [layer for layer in maps if _is_one_signed(layer.values) and abs(layer.signal.mean) > layer.signal.rms / 2]
    pairs = [(layer, use.path) for layer in signed for use in layer.op.used(UseRole.BIAS) if use.path in subject.values]
    if not pairs or len(signed) < len(maps) or any(layer.law.kind == "shifted" for layer in signed):
        return None
    laws = {path: Constant(float(f"{subject.values[path].mean - layer.signal.mean:.3g}")) for layer, path in pairs}
    layer, path = pairs[0]
    text = f"the weights of {layer.name} are of one sign: start {path} at {laws[path].value:.3g} (fanwise fix)"
    return Fix(text, all(subject.laws[path].fresh for path in laws), tuple(laws), laws)


def _is_one_signed(values: Values) -> bool:
    """Whether hardly a sampled value is of the other sign; zeros, which are of none, are counted above 0."""
    half, total = len(values.histogram) // 2, sum(values.histogram)
    below, above = sum(values.histogram[:half]), sum(values.histogram[half:]) - values.zeros * total
    return not values.constant and total > 0 and min(below, above) < OTHER_SIGN * total


@rule(
    "DEA001",
    severity="error",
    title="dead units",
    page=Page(
        says="Most units after a layer give one and the same value for every example.",
        why="Such units pass no signal and get no gradient: the layer is as wide as the units that are left.",
        measured="The share of units that give one and the same value for every example and position of the batch, "
        f"{UNIT_ROWS} values or more each: above {100 * DEAD:.0f} %, more for few units. Where biases alone decide, "
        "half of the units are off. Gates, which only multiply another signal, and exponentials, which have no flat "
        "side, are left out; so is what the input does not reach, what a parameter that is 0 multiplies, and "
        "what reads a map of zeros or a signal of zeros.",
        example="A bias of -3 before ReLU.",
        remedy="Weights of mean 0, and biases of 0 (fanwise fix).",
    ),
    source='Lu et al., "Dying ReLU and initialization", 2020, theorem 1',
    explains=("GRD003",),
)
def dead(subject: Subject) -> Iterator[Symptom]:
    """Activations most of whose units never change."""
    signals = subject.signals
    ops = [op for op in subject.trace.ops if signals[op.index].silent > _most_dead(subject, op)]
    ops = [op for op in ops if _rows(subject, op) >= UNIT_ROWS and op.nonlinearity != "exp"]
    ops = [op for op in ops if op.index in subject.lead_to_output and not _is_gate(subject, op)]
    ops = [op for op in ops if _reads_data(subject, op) and not _is_closed(subject, op) and _varies(subject, op)]
    if ops:
        first, source = ops[0], map_before(subject, ops[0])
        share, more = subject.signals[first.index].silent, and_more(len(ops) - 1, "map", link="and after")
        yield Symptom(
            f"{share:.0%} of the units after {name_of(source, first)} are dead: the same for every input{more}",
            path_of(source, first),
            first.index,
            "what enters the nonlinearity lies on its flat side for every example",
            "dead",
            () if source is None else (source.path,),
            {"share": share, "layers": len(ops)},
            None if source is None else redraw([source]),
        )


def _reads_data(subject: Subject, op: Op) -> bool:
    """Whether an op depends on the model's inputs: what is made of parameters alone is the same for every example."""
    return op.index in subject.trace.of_data


def _varies(subject: Subject, op: Op) -> bool:
    """Whether what an op reads differs between examples; where zeros are multiplied before it, its units may wait."""
    here = subject.fed(op).second_moment
    source = map_before(subject, op)
    read = here if source is None else source.fed.second_moment
    weight = 1.0 if source is None or source.derived else source.values.second_moment
    return not (here == 0 or read == 0 or weight == 0)


def _is_closed(subject: Subject, op: Op) -> bool:
    """Whether an op reads a signal times a parameter that is 0: it opens as the parameter learns."""
    scale = subject.trace.before(op, {OpKind.SCALE}, AT_ONCE)
    factors = () if scale is None else scale.used(UseRole.SCALE)
    return any(subject.values[use.path].mean == subject.values[use.path].std == 0 for use in factors)


def _shifts(subject: Subject, layer: Map) -> Iterator[tuple[str, float]]:
    """Biases of an op whose mean drowns what its weight gives, and puts the nonlinearity that follows on its flat side.

    What multiplies another signal may start open or closed. What the op gives is what counts: a bias that centres a
    signal whose mean is not 0 shifts nothing.
    """
    after, size = _nonlinearity_behind(subject, layer.op), root(layer.predicted)
    if after is None or not size > 0:
        return
    for use in layer.op.used(UseRole.BIAS):
        values = subject.values.get(use.path)
        if values is None or not abs(values.mean) > SHIFT * max(size, values.std):
            continue
        given = layer.signal.mean
        if abs(given) > abs(values.mean) / 2 and _is_lost(after.nonlinearity, given, size):
            yield use.path, abs(values.mean) / size


def _later(subject: Subject, wrong: Sequence[str]) -> Iterator[str]:
    """Other biases that would drown their signals as soon as these no longer do.

    They hold a value that nobody writes, or the same one value and read a signal of 0, of which nothing can be said;
    or they would shift a nonlinearity to its flat side if their map read a signal of rms 1: behind a bias that drowns
    it a signal is loud.
    """
    alike = {subject.values[path].mean for path in wrong if subject.values[path].constant}
    for layer in subject.distinct_maps:
        after = _nonlinearity_behind(subject, layer.op)
        for path in (use.path for use in layer.op.used(UseRole.BIAS) if use.path in subject.values):
            values = subject.values[path]
            same = values.constant and values.mean in alike and layer.fed.second_moment == 0
            same = same or (values.constant and abs(values.mean) > WRITTEN[1])
            if path not in wrong and (same or (after is not None and _would_drown(values, layer, after))):
                yield path


def _would_drown(values: Values, layer: Map, after: Op) -> bool:
    """Whether a bias shifts a nonlinearity behind a map of a signal of rms 1 to its flat side."""
    size = layer.law.gain
    large = size > 0 and abs(values.mean) > SHIFT * max(size, values.std)
    return large and _is_lost(after.nonlinearity, values.mean, size)


def _nonlinearity_behind(subject: Subject, op: Op) -> Op | None:
    """The nonlinearity that reads an op and its biases at once; None where it is a gate, or part of a recurrent op."""
    after = subject.trace.after(op, {OpKind.ACTIVATION}, AT_ONCE)
    return None if after is None or op.kind == OpKind.RECURRENT or _is_gate(subject, after) else after


def _is_lost(name: str | None, mean: float, size: float) -> bool:
    """Whether a nonlinearity at normal numbers of this mean and std passes hardly any gradient, or has become linear.

    Compared are the root mean square and the std of its slope there with those at a mean of 0. One without a known
    slope counts as lost.
    """
    try:
        slope = None if name is None else nonlinearity(name).slope
    except (TypeError, ValueError):  # a function that fanwise has no slope of
        slope = None
    if slope is None:
        return True
    shifted, centred = slope(NORMAL * size + mean), slope(NORMAL * size)
    flat = np.square(shifted).mean() < FLAT**2 * np.square(centred).mean()
    return bool(flat or (centred.std() > LINEAR and shifted.std() < LINEAR * centred.std()))


def _shifted(subject: Subject) -> Iterator[tuple[Op, float, UseRole]]:
    """Ops that shift what they make: the rms of that without the shift, and the role of what shifts it."""
    for layer in subject.maps:
        yield layer.op, root(layer.predicted), UseRole.BIAS
    for op in (op for op in subject.trace.ops if op.kind == OpKind.NORM):
        factors = [
            subject.values[use.path].second_moment for use in op.used(UseRole.SCALE) if use.path in subject.values
        ]
        yield op, root(factors[0]) if factors else 1.0, UseRole.SHIFT


def _silenced(subject: Subject, op: Op, size: float, role: UseRole) -> Iterator[tuple[Op, str, float]]:
    """Biases of which a part switches off the units behind them, and what share of those never change."""
    after = _nonlinearity_behind(subject, op)
    if after is None or not size > 0:
        return
    for use in op.used(role):
        values, silent = subject.values.get(use.path), subject.signals[after.index].silent
        off = 0.0 if values is None else _share_below(values, -OFF * size)
        spread = values is not None and values.std > 2 * abs(values.mean)  # of both signs: the signal is faint
        if silent > PART and off > PART and not spread:
            yield op, use.path, silent


def _share_below(values: Values, line: float) -> float:
    """Share of values below a line, by the histogram of a sample."""
    bins, total = len(values.histogram), sum(values.histogram)
    if not total or values.constant:
        return 0.0
    ends = [values.largest * (2 * (i + 1) / bins - 1) for i in range(bins)]
    return sum(count for end, count in zip(ends, values.histogram, strict=True) if end < line) / total


def _silencing(subject: Subject, silenced: Sequence[tuple[Op, str, float]]) -> Symptom:
    op, path, share = silenced[0]
    paths = tuple(path for _, path, _ in silenced)
    return Symptom(
        f"{path} switches off {share:.0%} of the units behind it, whatever the input{and_more(len(paths) - 1, 'bias')}",
        path,
        op.index,
        "a part of its values is far below 0: the bias decides what the nonlinearity sees, not the input",
        "bias",
        paths,
        {"share": share, "biases": len(paths)},
        zero_biases(subject, paths),
    )


def _is_gate(subject: Subject, op: Op) -> bool:
    """Whether what it gives only multiplies another signal: a gate may well start open or closed.

    Steps of time and decays, which are positive, reach their product through further factors and exponentials.
    """
    if op.nonlinearity in POSITIVE:
        steps = GATE_STEPS | {OpKind.SCALE, OpKind.ACTIVATION}
        return subject.trace.after(op, {OpKind.MUL, OpKind.MATMUL}, steps) is not None
    return subject.trace.after(op, {OpKind.MUL}, GATE_STEPS) is not None


def _is_surrogate(subject: Subject, op: Op) -> bool:
    """Whether its values cancel, as in s + (hard - s).detach(): only its gradient is used.

    Bengio et al., "Estimating or propagating gradients through stochastic neurons", 2013, section 4 (straight-through).
    """
    readers = [subject.trace.ops[index] for index in subject.trace.followers[op.index]]
    sums = {reader.index for reader in readers if reader.kind == OpKind.ADD}
    return any(sums & set(reader.inputs) for reader in readers if reader.index in sums)


def _score_std(subject: Subject, op: Op) -> float:
    """By theory for an attention in one op, with its usual factor 1/sqrt(d); 0 where it is not one."""
    if op.kind != OpKind.ATTENTION or len(op.inputs) < 2:
        return 0.0
    product = subject.fed(op, 0).second_moment * subject.fed(op, 1).second_moment
    factor = op.detail.scale * math.sqrt(op.detail.width) if isinstance(op.detail, Attention) else 1.0
    return factor * root(product) if math.isfinite(product) else 0.0


def _picking(subject: Subject, op: Op) -> Op | None:
    """The product of data whose softmax picks single tokens, where one is written out; None elsewhere."""
    if op.kind != OpKind.SOFTMAX or not subject.signals[op.index].saturated > USELESS:
        return None
    weighs = subject.trace.after(op, {OpKind.MATMUL}, AFTER_SOFTMAX) is not None
    return subject.trace.before(op, {OpKind.MATMUL}, BEFORE_SOFTMAX) if weighs and _are_loud(subject, op) else None


def _are_loud(subject: Subject, softmax: Op) -> bool:
    """Whether the scores themselves are large: a mask that leaves a token or two makes a softmax pick them anyway."""
    scores = subject.trace.before(softmax, BEFORE_SOFTMAX | {OpKind.MATMUL}, BEFORE_SOFTMAX)
    while scores is not None and scores.kind != OpKind.MATMUL and (scores.kind in SUMS or scores.name in MASKING):
        scores = subject.trace.before(scores, BEFORE_SOFTMAX | {OpKind.MATMUL}, BEFORE_SOFTMAX)
    return scores is not None and subject.signals[scores.index].second_moment > SCORES**2


def _sources(subject: Subject, op: Op) -> Iterator[int]:
    """The maps that make queries and keys."""
    for source in op.inputs[:2]:
        here = subject.trace.ops[source] if source >= 0 else None
        if here is not None and here.index in subject.map_of:
            yield here.index
        elif here is not None:
            maker = subject.trace.before(here, STRETCH_MAPS, ATTENTION_OPERAND)
            if maker is not None:
                yield maker.index


def _saturated_cause(maps: list[Map]) -> tuple[str, str]:
    cause = "what enters the nonlinearity is too large for it"
    if not maps:
        return "saturated", cause
    kind, text = scale_cause(maps, grows=True)
    return kind, f"{cause}: {text}"


def _most_dead(subject: Subject, op: Op) -> float:
    """The share of units that may be dead by chance: of few units more than of many, where each is with chance 1/2."""
    units = _units(subject, op)
    return min(max(DEAD, 0.5 + CHANCE * math.sqrt(0.25 / units)), 1 - 0.5 / units)


def _units(subject: Subject, op: Op) -> int:
    return max(op.shape[subject.trace.axes[op.index]] if op.shape else 1, 1)


def _rows(subject: Subject, op: Op) -> int:
    return op.size // _units(subject, op)
