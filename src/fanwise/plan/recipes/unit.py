"""The recipe `unit`: unit second moments at every map that is planned, from what feeds it; and its rules."""

import math
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from fanwise.graph.details import Lookup
from fanwise.graph.op import OpKind
from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.laws.elementwise import Constant, Normal, Ones, Uniform, VarianceScaling, Zeros
from fanwise.laws.structured import LooksLinear, Orthogonal
from fanwise.plan.recipes.recipe import Choice, Demand, Feed, Recipe, Rule
from fanwise.plan.recipes.spread import KEPT_SHARES, RATES, STEPS, decay_logarithm, kept_share, time_step_bias
from fanwise.plan.roles import Case, fan_in_of
from fanwise.plan.row import KEPT

_SAXE = 'Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2013'
_BALDUZZI = 'Balduzzi et al., "The shattered gradients problem", 2017, section 4.1'
_RADFORD = 'Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3'
_GERS = 'Jozefowicz et al., "An empirical exploration of recurrent network architectures", 2015, section 2.2'
_LIU = 'Liu et al., "Swin transformer", 2021, section 3.2'
_HE_PRELU = 'He et al., "Delving deep into rectifiers", 2015, section 2.1'
_SALIMANS = 'Salimans and Kingma, "Weight normalization", 2016, eq. 2'
_GOYAL = 'Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1'
_TOUVRON = 'Touvron et al., "Going deeper with image transformers", 2021, section 2'

_GU = 'Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces", 2023, section 3.6'
_DAO = 'Dao and Gu, "Transformers are SSMs", 2024, section 7 (its code)'
_DE = 'De et al., "Griffin: mixing gated linear recurrences with local attention", 2024, section 2.4'
_YE = 'Ye et al., "Differential transformer", 2024, section 2.1 (its code)'

_SITZMANN = 'Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020, section 3.2'

_CHANG = 'Chang, Flokas, Lipson, "Principled weight initialization for hypernetworks", 2020'

SINES = ("sin", "cos")
"""Nonlinearities whose argument a model multiplies by a frequency."""
NEAR = 0.15
"""Inputs in [-1, 1] are known by their second moment, which a grid with its ends exceeds a little."""
WRITTEN = (1e-12, 1e6)
"""Sizes of constants that people write."""
LOUDEST = 0.5
"""Std of the logits at the start where there are many classes, and under a tied table, which would starve below."""
EXCESS = 0.02
"""By what share of ln C the loss may start above ln C: logits of std s add s^2 / 2. Much smaller heads starve what
feeds them of gradient (python -m bench short_trainings)."""
ALONG = (math.exp(0.5) - 1) ** 2
"""Second moment of a sum of equal branches, over that of the stream that they point along, which it grows by e."""
ALIKE = 1 / 3
"""Correlation of two signals behind a ReLU, whose means are 1/pi of their second moments each; 0 for most others."""
BIAS_STD = 0.02
"""Std of biases on attention scores."""
POSITION_SHARE = 0.1
"""Std of a table of positions over that of the tokens that it is added to: as loud as they, it drowns them
(python -m bench short_trainings)."""


def scaled(case: Case, variance: float, *, gives: float | None, reason: str, source: str = "") -> Choice:
    """A normal law of this variance times fan_in, per fused map where there are several."""
    if case.use is not None and case.use.ratio not in (0, 1):
        variance /= case.use.ratio**2
        reason += f"; the model multiplies it by {case.use.ratio:.4g}"
    if case.normalized:
        variance, reason, gives = 1.0, "any scale: the model normalises these weights before it uses them", None
    if case.layout is None:
        tied = case.use is not None and case.use.fan_in is not None
        reason += f"; a weight tied by indices, fan_in {fan_in_of(case):g}" if tied else ""
        return Choice(Normal(math.sqrt(variance / fan_in_of(case))), reason, source, gives, case.derived and not tied)
    return Choice(VarianceScaling(variance, "fan_in", "normal"), reason, source, gives)


def unit_weight(case: Case, feed: Feed) -> Choice:
    """Unit second moment at the output, from what feeds it; queries also make up for scores that are too large."""
    if case.maker is not None:
        return unit_maker(case, feed)
    sine = None if case.around is None else case.around.bent_by(case.op)
    if feed.factor != 1 and sine in SINES:
        return siren(case, feed)
    variance = _short(feed.loop / (feed.second_moment * feed.factor**2))
    reason = "unit second moment at its output, from what feeds it"
    if case.is_loop:
        return _guessed(_looped(case, variance), feed)
    if feed.factor != 1:
        return _guessed(_divided(case, variance, 1.0, feed), feed)
    if feed.scores != 1 and (case.part == "query" or "query" in case.blocks):
        return _quiet_query(case, feed, variance)
    return _guessed(scaled(case, variance, gives=1.0, reason=reason), feed)


def unit_maker(case: Case, feed: Feed) -> Choice:
    """What makes a weight: E w^2 = 1 / (fan_in E x^2) of the product that uses it; half beside a bias that is made.

    variance = E w^2 / (own fan_in E h^2)
    """
    parts = len(case.blocks) or 1
    sizes = [_asked(feed.demands[part]) if part in feed.demands else 1.0 for part in range(parts)]
    fans = sorted({demand.fan_in for demand in feed.demands.values()} - {1.0})
    numbers = ", ".join(f"{fan:g}" for fan in fans)
    if case.op is not None and case.op.kind == OpKind.EMBEDDING:
        reason = "unit second moment at its product"
        reason += "" if case.layout is None else f"; a weight tied by indices, fan_in {numbers}"
        return scaled(case, _short(sizes[0]), gives=None, reason=reason)
    reason = f"it makes weights of fan_in {numbers}: of unit second moment at their product"
    reason += "" if all(demand.part == 1 for demand in feed.demands.values()) else ", half of it from the bias made too"
    if len(set(sizes)) == 1:
        variance = _short(sizes[0] / feed.second_moment)
        return _guessed(scaled(case, variance, gives=_short(sizes[0]), reason=reason, source=_CHANG), feed)
    return _guessed(_each_part(case, [size / feed.second_moment for size in sizes], reason), feed)


def _each_part(case: Case, variances: Sequence[float], reason: str) -> Choice:
    """A law for each of the parts that a map's features are cut into."""
    if case.layout is None or case.layout.fused is None:
        return scaled(case, _short(variances[0]), gives=None, reason=reason, source=_CHANG)
    laws = [VarianceScaling(_short(variance / _ratio_of(case) ** 2)) for variance in variances]
    return Choice(Blocks(laws, case.layout.fused.axis, case.layout.fused.sizes or None), reason, _CHANG)


def _asked(demand: Demand) -> float:
    """The second moment that features should have for what they make to be a weight, or a bias."""
    wanted = {"head": guess_std(demand.outputs) ** 2, "branch_end": demand.share}.get(demand.role, 1.0)
    return wanted * demand.part / (demand.fan_in * demand.fed * demand.gain * demand.factor**2)


def _divided(case: Case, variance: float, gives: float, feed: Feed) -> Choice:
    """The law of a map whose output the model multiplies before it is used."""
    end = None if case.around is None else case.around.bent_by(case.op)
    reason = f"unit second moment at the argument of {end}: the model multiplies this map's output by {feed.factor:.4g}"
    return scaled(case, variance, gives=_short(gives / feed.factor**2), reason=reason)


def siren(case: Case, feed: Feed) -> Choice:
    """A map whose output is multiplied by w before a sine: U(-sqrt(6 / fan_in) / w, sqrt(6 / fan_in) / w).

    The argument of the sine then has variance 1 where sines, of second moment 1/2, feed the map. The first map has
    U(-1 / (fan_in r), 1 / (fan_in r)) for inputs in [-r, r], whatever w: the frequencies that it offers are the
    model's own choice, and r is sqrt(3 E x^2), that of evenly spread inputs; published for r = 1.
    """
    if case.around is not None and case.around.is_first(case.op):
        reach = math.sqrt(3 * feed.second_moment)
        reach = 1.0 if abs(reach - 1) < NEAR else float(f"{reach:.3g}")
        bound = 1 / (fan_in_of(case) * reach * _ratio_of(case))
        reason = f"the first map before sin({feed.factor:.4g} x): 1 / fan_in, for inputs in [-{reach:g}, {reach:g}]"
        return _guessed(Choice(Uniform(bound), reason, _SITZMANN), feed)
    before = None if case.around is None else case.around.activation(case.op)
    sine = before is not None and before.nonlinearity in SINES
    variance = 2.0 if sine else _short(1 / feed.second_moment)
    variance /= (feed.factor * _ratio_of(case)) ** 2
    reason = f"the argument of sin({feed.factor:.4g} x) has unit variance: sqrt(6 / fan_in) / {feed.factor:.4g}"
    if case.layout is None:
        return Choice(Uniform(math.sqrt(3 * variance / fan_in_of(case))), reason, _SITZMANN)
    return _guessed(Choice(VarianceScaling(variance, "fan_in", "uniform"), reason, _SITZMANN), feed)


def _ratio_of(case: Case) -> float:
    return 1.0 if case.use is None else case.use.ratio or 1.0


def _looped(case: Case, variance: float) -> Choice:
    """An orthogonal matrix, of the size that a loop keeps: powers of a Gaussian one wander off, and a ReLU's too."""
    mirrors = case.chain is not None and case.chain.halves
    words = "orthogonal and mirrored, so that a ReLU changes nothing" if mirrors else "orthogonal"
    reason = f"applied {case.repeats} times in a row: {words}, of the size that keeps the second moment"
    choice = scaled(case, variance, gives=None, reason=reason, source=_BALDUZZI if mirrors else _SAXE)
    if not isinstance(choice.law, VarianceScaling):
        return choice
    gain = math.sqrt(choice.law.scale)
    return replace(choice, law=LooksLinear(gain) if mirrors else Orthogonal(gain))


def _short(variance: float) -> float:
    """Six digits: no batch tells more, and files stay short."""
    return float(f"{variance:.6g}")


def _quiet_query(case: Case, feed: Feed, variance: float) -> Choice:
    reason = "attention scores of unit variance: queries of unit second moment would give them std "
    reason += f"{feed.scores:.3g} in this model"
    small = variance / feed.scores**2
    if not case.blocks or case.layout is None or case.layout.fused is None:
        return scaled(case, small, gives=1 / feed.scores**2, reason=reason)
    laws = [VarianceScaling(small if name == "query" else variance) for name in case.blocks]
    return Choice(Blocks(laws, case.layout.fused.axis, case.layout.fused.sizes or None), reason)


def unit_branch_end(case: Case, feed: Feed) -> Choice:
    """A fixed share of the residual stream that the branch joins: 1 / joins of its second moment."""
    share, reason = branch_share(case, feed)
    share, reason = share / feed.factor**2, reason + _factor_words(feed)
    return _guessed(scaled(case, _short(share / feed.second_moment), gives=share, reason=reason, source=_RADFORD), feed)


def _factor_words(feed: Feed) -> str:
    return "" if feed.factor == 1 else f"; the model multiplies its output by {feed.factor:.4g}"


def branch_share(case: Case, feed: Feed) -> tuple[float, str]:
    """The second moment that a branch adds to its residual stream, and why.

        s / T of T joins;  c s / (T n) of one that is added n times: n equal summands add up to n^2 times their square,
        and c = (sqrt(e) - 1)^2 keeps the sum within e where they all point along the stream

    Where each step begins a stream of its own, r = E h^2 / E x^2 of h_i = x_i + f(h_(i-1)) is r = 1 + g r + 2 c
    sqrt(g r) once it has settled, c the correlation of x and f: g is such that r is e^(1/T). Derived here.

    Less where what stands behind the map makes more of it, or makes it alike with the stream (`fanwise.plan.branches`).
    """
    share, reason = _plain_share(case, feed)
    return share * feed.share, reason + _less_words(feed)


def _less_words(feed: Feed) -> str:
    return "" if feed.share == 1 else f"; {feed.share:.3g} of that, for what the model makes of it"


def _plain_share(case: Case, feed: Feed) -> tuple[float, str]:
    """The same where the map's output is added as it is."""
    total = 1 if case.join is None else case.join.total
    if case.is_driven and case.chain is not None:
        growth = math.exp(1 / total)
        root = math.sqrt(ALIKE**2 + growth - 1) - ALIKE
        share = _short(root**2 / growth)
        reason = f"{share:.3g} of the second moment of what it is added to, {case.chain.uses} times in a row"
        return share * feed.stream / case.ends, reason + f", so that the last grows by at most e^(1/{total})"
    part = 1 / total if case.repeats == 1 else _short(ALONG / (total * case.repeats))
    reason = f"{_part_words(case, total)} of the second moment of the residual stream that it joins"
    alike = "" if case.repeats == 1 else f", {case.repeats} of them with this weight, whose sums add up,"
    reason += f", so that {total} joins{alike} grow it by at most e"
    return part * feed.stream / case.ends, reason


def _part_words(case: Case, total: int) -> str:
    """The part of a stream that a branch of so many joins has, in words."""
    return f"1/{total}" if case.repeats == 1 else f"{ALONG / (total * case.repeats):.3g}"


def unit_head(case: Case, feed: Feed) -> Choice:
    """Outputs so small that the loss of C classes starts 2 % above ln C, of std 0.5 at most."""
    std = head_std(case)
    reason = f"outputs of std {std * math.sqrt(case.ends):.2g}: the loss starts near that of a guess"
    reason += _factor_words(feed) + (f"; it is one of {case.ends} that are summed" if case.ends > 1 else "")
    gives = (std / feed.factor) ** 2
    return _guessed(scaled(case, _short(gives / feed.second_moment), gives=gives, reason=reason), feed)


def head_std(case: Case) -> float:
    """Std of the outputs of C classes with which the loss starts 2 % above ln C, 0.5 at most; of n terms, of each."""
    classes = 10 if case.layout is None else case.layout.extent(case.parameter.shape, "out")
    return guess_std(classes) / math.sqrt(case.ends)


def guess_std(classes: int) -> float:
    """The same from the number of classes; ten where there are fewer."""
    classes = max(classes, 10)
    return min(LOUDEST, math.sqrt(2 * EXCESS * math.log(classes)))


def unit_tied(case: Case, feed: Feed) -> Choice:
    """The table that is the head too: outputs of moderate std."""
    width = case.parameter.shape[-1]
    std = LOUDEST / math.sqrt(width * feed.second_moment)
    return _guessed(
        padded(case, Choice(Normal(std), f"it is the head too: outputs of std {LOUDEST}", "", std**2)), feed
    )


def unit_embedding(case: Case, feed: Feed) -> Choice:
    """Tokens of unit second moment, once the model has multiplied them; as loud as a table that is the head too."""
    factor = 1.0 if case.around is None else case.around.constant_after(case.op)
    loudness = 1.0 if case.partner is None else math.sqrt(feed.second_moment)
    std = loudness if factor == 1 else _short(loudness / factor)
    reason = "tokens enter the network at unit second moment"
    if case.partner is not None:
        reason = "as loud as the table that it is added to, which is the head too"
    reason += "" if factor == 1 else f"; the model multiplies them by {factor:.4g}"
    return padded(case, Choice(Normal(std), reason, "", std**2))


def padded(case: Case, choice: Choice) -> Choice:
    """The row of the padding token stays 0."""
    row = case.op.detail.padding if case.op is not None and isinstance(case.op.detail, Lookup) else None
    rows = case.parameter.shape[0]
    if row is None or choice.law is None or not 0 <= row < rows:
        return choice
    sizes = (row, 1, rows - row - 1)
    laws = (choice.law, Zeros(), choice.law)
    kept = [(law, size) for law, size in zip(laws, sizes, strict=True) if size]
    law = Blocks(tuple(law for law, _ in kept), 0, tuple(size for _, size in kept))
    return replace(choice, law=law, reason=choice.reason + f"; row {row}, the padding, is 0")


def relative(case: Case, feed: Feed) -> Choice:
    """Small biases on the scores; of n factors whose product they are, each has the n-th root of their std."""
    transform = None if case.use is None else case.use.transform
    factors = 1 if transform is None else max(len(transform.parameters), 1)
    words = "small biases on the scores" + (f", a product of {factors}" if factors > 1 else "")
    return Choice(Normal(_short(BIAS_STD ** (1 / factors))), words, _LIU)


def unit_position(case: Case, feed: Feed) -> Choice:
    """A tenth of the tokens that it is added to; as loud as other signals, such as patches, that say little alone."""
    share = 1.0 if case.partner is None else POSITION_SHARE
    std = share * math.sqrt(feed.second_moment)
    reason = (
        "as loud as what it is added to" if share == 1 else f"{share:g} of the std of the tokens that it is added to"
    )
    return Choice(Normal(std), reason, "", std**2, not feed.known)


def recurrent(case: Case, feed: Feed) -> Choice:
    """One orthogonal matrix a gate: a state keeps its length."""
    return Choice(Orthogonal(), "an orthogonal matrix for each gate keeps the length of the state", _SAXE)


def gate_bias(case: Case, feed: Feed) -> Choice:
    """0, and 1 for the forget gate of an LSTM (torch's order: input, forget, cell, output)."""
    if case.op is not None and case.op.cell == "lstm":
        laws = (Zeros(), Ones(), Zeros(), Zeros())
        return Choice(Blocks(laws, 0), "the forget gate starts open at 1, the others at 0", _GERS)
    return Choice(Zeros(), "gates start in the middle")


def norm_scale(case: Case, feed: Feed) -> Choice:
    """1 after a normalisation; less after one of queries whose scores the model does not divide by sqrt(d)."""
    if feed.scores != 1:
        reason = "attention scores of unit variance: this model normalises its queries and does not divide by sqrt(d)"
        return Choice(constant_law(_short(1 / feed.scores) - case.offset), reason + _offset_words(case))
    return Choice(constant_law(1.0 - case.offset), "a normalisation starts as one" + _offset_words(case))


def branch_norm(case: Case, feed: Feed) -> Choice:
    """The normalisation at the end of a branch sets the branch's share of the residual stream; a batch norm's is 0.

    Not where a nonlinearity stands between it and the sum: at 0 a ReLU passes no gradient, and the branch never opens.
    """
    bent = case.around is not None and case.around.is_bent(case.op, case.join)
    if case.op is not None and case.op.norm == "batch_norm" and not bent:
        reason = "a batch norm that ends a branch: each block starts as its shortcut" + _offset_words(case)
        return Choice(constant_law(-case.offset), reason, _GOYAL, 0.0)
    share, _ = branch_share(case, feed)
    total = 1 if case.join is None else case.join.total
    reason = (
        f"it ends a branch: {_part_words(case, total)} of the second moment of the residual stream"
        + _less_words(feed)
        + _offset_words(case)
    )
    return Choice(constant_law(math.sqrt(share) - case.offset), reason, _RADFORD, share)


def branch_gate(case: Case, feed: Feed) -> Choice:
    """The model's own small value, or the branch's share of the residual stream where that is smaller."""
    part = _part_words(case, 1 if case.join is None else case.join.total)
    value = math.sqrt(branch_share(case, feed)[0])
    if feed.found is not None and _is_meant(case, feed.found, value):
        reason = f"{KEPT}: a gate of {feed.found:.4g}, as the model's author set it"
        return Choice(constant_law(feed.found), reason, _TOUVRON)
    if feed.found is None and not feed.known:
        return Choice(
            constant_law(value), f"a gate that lets through {part} of the residual stream", _TOUVRON, None, True
        )
    reason = f"a gate that lets through {part} of the second moment of the residual stream{_less_words(feed)}"
    return Choice(constant_law(value), reason, _TOUVRON)


def _is_meant(case: Case, found: float, share: float) -> bool:
    """Whether a gate's value is small enough for its branch, or a number that somebody chose: 1 is chosen by nobody."""
    chosen = math.prod(case.parameter.shape) == 1 and found != 1
    return is_plausible(found) and (chosen or abs(found) <= share)


def is_plausible(value: float) -> bool:
    """Whether a constant may have been written down; others are memory that was never initialised."""
    return value == 0 or WRITTEN[0] < abs(value) < WRITTEN[1]


def keep(case: Case, feed: Feed) -> Choice:
    """Left as the model's author set it."""
    return Choice(None, "left as it is: its value belongs to the model's design")


def time_step(case: Case, feed: Feed) -> Choice:
    """Time steps spread over the published range; one value for all is kept."""
    if feed.found is not None:
        return keep(case, feed)
    law = time_step_bias(case.parameter.shape[0]) if len(case.parameter.shape) == 1 else None
    reason = "time steps spread over [{:g}, {:g}]".format(*STEPS)
    return keep(case, feed) if law is None else Choice(law, reason, _GU)


def decay(case: Case, feed: Feed) -> Choice:
    """Decay rates spread over the published range; one value for all is kept."""
    if feed.found is not None:
        return keep(case, feed)
    shape = case.parameter.shape
    axis, units = max(enumerate(shape), key=lambda each: each[1])
    if case.use is not None and "softplus" in case.use.steps:
        reason = "what is kept of the state at a step, spread over [{:g}, {:g}]".format(*KEPT_SHARES)
        return Choice(kept_share(units, axis), reason, _DE)
    reason = "decay rates spread over [{:g}, {:g}]".format(*RATES)
    return Choice(decay_logarithm(units, axis), reason, _DAO)


def unused(case: Case, feed: Feed) -> Choice:
    """Left as it is."""
    return Choice(None, "left as it is: no op of this run read it")


def zeros(reason: str, source: str = "") -> Rule:
    """A rule that gives 0."""
    return lambda case, feed: Choice(Zeros(), reason, source)


def normal(std: float, reason: str, source: str = "") -> Rule:
    """A rule that gives a normal law whatever the fans."""
    return lambda case, feed: Choice(Normal(std), reason, source)


def magnitude(case: Case, feed: Feed) -> Choice:
    """The length of a row that gives unit second moment: sqrt(fan_in) times the std."""
    return Choice(
        constant_law(1 / math.sqrt(feed.second_moment)),
        "each row has the length that gives unit second moment",
        _SALIMANS,
    )


def constant_law(value: float) -> Initializer:
    """The law of one value."""
    if value == 0:
        return Zeros()
    return Ones() if value == 1 else Constant(value)


def _offset_words(case: Case) -> str:
    return f" (the model adds {case.offset:g})" if case.offset else ""


def _guessed(choice: Choice, feed: Feed) -> Choice:
    if feed.silent and not choice.guess:
        return replace(choice, reason=choice.reason + "; that is 0 at the start, and taken as 1, which it will be near")
    return choice if feed.known else replace(choice, guess=True)


UNIT = Recipe(
    "unit",
    "unit second moment after every map; branches a share; small head",
    MappingProxyType(
        {
            "weight": unit_weight,
            "branch_end": unit_branch_end,
            "head": unit_head,
            "recurrent": recurrent,
            "embedding": unit_embedding,
            "tied_embedding": unit_tied,
            "position": unit_position,
            "relative": relative,
            "token": normal(1.0, "a learned token is as loud as the others"),
            "norm_scale": norm_scale,
            "norm_shift": zeros("a normalisation starts centred"),
            "branch_norm": branch_norm,
            "gate": keep,
            "branch_gate": branch_gate,
            "bias": zeros("no offset at the start"),
            "head_bias": zeros("no class is preferred at the start"),
            "gate_bias": gate_bias,
            "state_bias": zeros("the other bias of the gates holds the offset"),
            "slope": lambda case, feed: Choice(Constant(0.25), "the slope of the paper", _HE_PRELU),
            "magnitude": magnitude,
            "time_step": time_step,
            "decay": decay,
            "inner": normal(0.1, "inner products near 0: the gate made of them starts near 1", _YE),
            "other": keep,
            "unused": unused,
        }
    ),
)
