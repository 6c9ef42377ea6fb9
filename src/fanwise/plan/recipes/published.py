"""Recipes as their papers give them, by role.

Where a paper is silent on a role, the rule of the unit recipe fills in, and the reason says so. What a paper wants of
the architecture (a multiplier on the stream, no normalisation) stands in the reason too: a plan cannot build it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache

from fanwise.graph.context import Branch, Stack
from fanwise.graph.details import Activation
from fanwise.graph.op import Op, OpKind
from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.laws.elementwise import Constant, Normal, Ones, VarianceScaling, Zeros
from fanwise.laws.gain import gaussian_moments
from fanwise.laws.nonlinearities import NONLINEARITIES
from fanwise.laws.structured import Orthogonal
from fanwise.plan.recipes.recipe import Choice, Feed, Recipe, Rule
from fanwise.plan.recipes.unit import UNIT, norm_scale, normal, padded, recurrent, scaled, zeros
from fanwise.plan.roles import MAP_ROLES, TABLES, Case, fan_in_of

HE = 'He et al., "Delving deep into rectifiers", 2015, eq. 10'
GLOROT = 'Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16'
LECUN = 'LeCun et al., "Efficient BackProp", 1998, eq. 16'
SAXE = 'Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2013'
GPT2 = 'Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3'
GPT1 = 'Radford et al., "Improving language understanding by generative pre-training", 2018, section 4.1'
SMALL = 'Nguyen and Salazar, "Transformers without tears", 2019, section 2.2'
T_FIXUP = 'Huang et al., "Improving transformer optimization through better initialization", 2020, section 3.2'
DEEPNET = 'Wang et al., "DeepNet: scaling transformers to 1,000 layers", 2022, figure 2'
ADMIN = 'Liu et al., "Understanding the difficulty of training transformers", 2020, section 4'
FIXUP = 'Zhang et al., "Fixup initialization: residual learning without normalization", 2019, section 3'
GOYAL = 'Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1'
IOFFE = 'Ioffe and Szegedy, "Batch normalization", 2015, algorithm 1'

GPT_STD = 0.02
SMALL_HEAD = 0.01
RRELU_SLOPE = (1 / 8 + 1 / 3) / 2
"""Mean slope of a randomised leaky ReLU: Xu et al., "Empirical evaluation of rectified activations", 2015."""
PRELU_SLOPE = 0.25


def _each(roles: tuple[str, ...], rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(roles, rule)


def _borrowed(rule: Rule) -> Rule:
    """The rule of the unit recipe, with a word that the paper has none."""

    def borrowed(case: Case, feed: Feed) -> Choice:
        choice = rule(case, feed)
        if choice.law is None:
            return choice
        return replace(choice, reason=f"{choice.reason} (the paper is silent here: as in the unit recipe)")

    return borrowed


def _norm(case: Case, feed: Feed) -> Choice:
    """1 after a normalisation, also after one that ends a branch."""
    return replace(norm_scale(case, feed), source=IOFFE)


def _published(name: str, title: str, rules: Mapping[str, Rule], source: str) -> Recipe:
    """A recipe that says what its paper says, and borrows the rest."""
    silent = {role: _borrowed(rule) for role, rule in UNIT.rules.items()}
    norms = _each(("norm_scale", "branch_norm"), _norm)
    return UNIT.but(name, title, {**silent, **norms, **rules}, source)


# What feeds a map


@lru_cache(maxsize=256)
def _named_scale(name: str, slope: float) -> float | None:
    """1 / E f(z)^2, None where the function is not known."""
    if name in ("leaky_relu", "prelu"):
        return 2 / (1 + slope**2)
    return 1 / gaussian_moments(name).second_moment if name in NONLINEARITIES else None


def _scale_of(op: Op) -> float | None:
    """The factor on the variance that makes up for an activation op."""
    if not isinstance(op.detail, Activation):
        return None
    name = op.detail.nonlinearity
    if name == "gelu" and op.detail.approximate == "tanh":
        name = "gelu_tanh"
    leak = RRELU_SLOPE if op.detail.negative_slope is None else op.detail.negative_slope
    return _named_scale(name, PRELU_SLOPE if name == "prelu" else float(leak))


def _fed(case: Case) -> tuple[float, str, bool]:
    """The scale that makes up for what feeds a map, why, and whether it is known."""
    op = None if case.around is None else case.around.activation(case.op)
    if op is None:
        return 1.0, "no nonlinearity feeds it", True
    name, factor = op.nonlinearity, _scale_of(op)
    if factor is None:
        return 1.0, f"{name} feeds it, whose gain is not known", False
    return factor, f"{name} feeds it", True


def _he_fed(case: Case) -> tuple[float, str, bool]:
    """As `_fed`, but the first layer has the scale of a ReLU, as in the paper."""
    around = case.around
    if around is not None and around.activation(case.op) is None and around.reads_input(case.op):
        return 2.0, "the first layer, where the paper keeps the factor 2 for simplicity", True
    return _fed(case)


# He, Glorot, LeCun, orthogonal


def _he_times(case: Case, factor: float, more: str = "", source: str = HE) -> Choice:
    own, why, known = _he_fed(case)
    variance = own * factor**2
    choice = scaled(case, variance, gives=None, reason=f"variance {variance:.4g} / fan_in: {why}{more}", source=source)
    return choice if known else replace(choice, guess=True)


def he(case: Case, feed: Feed) -> Choice:
    """Normal of variance gain^2 / fan_in: 2 after a ReLU, 2 / (1 + a^2) after a leaky one, 1 after none (eq. 7).

    For other nonlinearities eq. 7 holds with their own E f(z)^2. The first layer has 2, as in the paper, which says
    that 1 would be right there.
    """
    return _he_times(case, 1.0)


def _scaling(case: Case, law: VarianceScaling, reason: str, source: str) -> Choice:
    """A law by the fans; where there are none, a normal law of the same gain."""
    if case.layout is not None:
        return Choice(law, reason, source)
    std = math.sqrt(law.scale / fan_in_of(case))
    return Choice(Normal(std), f"{reason}; its fans are assumed", source, None, True)


def _by_fans(law: VarianceScaling, reason: str, source: str) -> Rule:
    return lambda case, feed: _scaling(case, law, reason, source)


def _orthogonal(case: Case, feed: Feed) -> Choice:
    """An orthogonal matrix for each fused map, times the gain of what feeds it."""
    scale, why, known = _fed(case)
    if case.layout is None:
        return _scaling(case, VarianceScaling(scale), "a map whose axes are not known cannot be made orthogonal", SAXE)
    gain = math.sqrt(scale)
    return Choice(Orthogonal(gain), f"orthogonal, gain {gain:.4g}: {why}", SAXE, None, not known)


HE_RECIPE = _published(
    "he",
    "normal, variance 2 / fan_in after a ReLU",
    {
        **_each(MAP_ROLES, he),
        **_each(("bias", "head_bias"), zeros("biases start at 0", HE)),
        "slope": UNIT.rules["slope"],
    },
    HE,
)
GLOROT_RECIPE = _published(
    "glorot",
    "uniform, variance 2 / (fan_in + fan_out)",
    {
        **_each(
            MAP_ROLES, _by_fans(VarianceScaling(1.0, "fan_avg", "uniform"), "between forward and backward", GLOROT)
        ),
        **_each(("bias", "head_bias"), zeros("biases start at 0", GLOROT)),
    },
    GLOROT,
)
LECUN_RECIPE = _published(
    "lecun",
    "normal, variance 1 / fan_in",
    _each(MAP_ROLES, _by_fans(VarianceScaling(1.0), "unit variance from unit variance", LECUN)),
    LECUN,
)
ORTHOGONAL_RECIPE = _published(
    "orthogonal",
    "an orthogonal matrix for each map, with the gain of what feeds it",
    {**_each(MAP_ROLES, _orthogonal), "recurrent": recurrent},
    SAXE,
)


# Constants for transformers


def _table(std: float, reason: str, source: str) -> Rule:
    return lambda case, feed: padded(case, Choice(Normal(std), reason, source))


def _gpt2_end(case: Case, feed: Feed) -> Choice:
    """0.02 / sqrt(number of residual layers)."""
    joins = 1 if case.join is None else case.join.total
    reason = f"std {GPT_STD} / sqrt({joins}), one for each layer of its residual stream"
    return Choice(Normal(GPT_STD / math.sqrt(joins)), reason, GPT2)


_GPT_WORDS = f"std {GPT_STD} whatever the width"

GPT2_RECIPE = _published(
    "gpt2",
    "normal, std 0.02; the ends of n residual layers 0.02 / sqrt(n)",
    {
        **_each(("weight", "head"), normal(GPT_STD, _GPT_WORDS, GPT1)),
        **_each(TABLES, _table(GPT_STD, _GPT_WORDS, GPT1)),
        "branch_end": _gpt2_end,
    },
    GPT2,
)


def _model_width(case: Case) -> int:
    """Features of the residual stream that a dense map works for; its own fan_in elsewhere."""
    branch = _branch(case)
    dense = case.op is not None and case.op.kind in (OpKind.LINEAR, OpKind.ATTENTION_BLOCK)
    return branch.width if branch is not None and branch.width and dense else round(fan_in_of(case))


def _small(case: Case, feed: Feed) -> Choice:
    """N(0, 2 / (d + 4 d)), d the width of the model: Xavier's rule for the feed-forward map, used everywhere."""
    width = case.parameter.shape[-1] if case.role in TABLES else _model_width(case)
    reason = f"std sqrt(2 / (5 d)), d = {width} the width of the model"
    choice = Choice(Normal(math.sqrt(2 / (5 * width))), reason, SMALL)
    return padded(case, choice) if case.role in TABLES else choice


SMALL_RECIPE = _published(
    "small_init",
    "normal, std sqrt(2 / (5 d)) for a model of width d",
    _each((*MAP_ROLES, "embedding", "tied_embedding", "position"), _small),
    SMALL,
)


# Depth: T-Fixup, DeepNorm, Admin


def _branch(case: Case) -> Branch | None:
    return None if case.around is None else case.around.branch(case.op)


def _stack(case: Case, branch: Branch) -> Stack:
    return Stack("alone", 1) if case.around is None else case.around.stack(branch.join)


def _on_branches(beta: Callable[[Stack], tuple[float, str]], distribution: str, source: str) -> Rule:
    """Xavier's law, times beta on every map of a branch but queries and keys."""

    def rule(case: Case, feed: Feed) -> Choice:
        branch = _branch(case)
        if branch is None:
            return _xavier(case, lambda name: 1.0, ("Xavier: it is on no branch", source), distribution)
        factor, words = beta(_stack(case, branch))
        return _xavier(case, lambda name: 1.0 if name in ("query", "key") else factor, (words, source), distribution)

    return rule


def _xavier(case: Case, gain_of: Callable[[str | None], float], words: tuple[str, str], distribution: str) -> Choice:
    """Xavier's law with the gain of its part, or of each of its blocks."""

    def law(name: str | None) -> VarianceScaling:
        return VarianceScaling(gain_of(name) ** 2, "fan_avg", distribution)

    fused = None if case.layout is None else case.layout.fused
    distinct = {gain_of(name) for name in case.blocks}
    if fused is None or len(distinct) < 2:
        name = case.blocks[0] if case.blocks and len(distinct) < 2 else case.part
        choice = _scaling(case, law(name), *words)
        return replace(choice, guess=choice.guess or len(distinct) > 1)
    blocks = Blocks(tuple(law(name) for name in case.blocks), fused.axis, fused.sizes or None)
    return Choice(blocks, f"{words[0]}; queries and keys keep gain 1", words[1])


def deepnorm_constants(stack: Stack) -> tuple[float, float]:
    """Alpha, the model's factor on its residual stream, and beta, the gain of the maps on its branches.

    One stack of N layers: (2N)^(1/4), (8N)^(-1/4); an encoder of N beside a decoder of M: 0.81 (N^4 M)^(1/16),
    0.87 (N^4 M)^(-1/16); the decoder: (3M)^(1/4), (12M)^(-1/4). A layer has two joins, a decoder's that reads an
    encoder three.

    References:
        Wang et al., "DeepNet: scaling transformers to 1,000 layers", 2022, figure 2.
    """
    if stack.kind == "encoder":
        product = (stack.joins / 2) ** 4 * stack.others / 3
        return 0.81 * product ** (1 / 16), 0.87 * product ** (-1 / 16)
    layers, each = (stack.joins / 3, 3) if stack.kind == "decoder" else (stack.joins / 2, 2)
    return (each * layers) ** 0.25, (4 * each * layers) ** -0.25


def _deepnorm_beta(stack: Stack) -> tuple[float, str]:
    alpha, beta = deepnorm_constants(stack)
    needs = f"the model must add its branches as LayerNorm(alpha x + f(x)), alpha = {alpha:.7g}"
    return beta, f"Xavier times beta = {beta:.7g}; {needs}"


DEEPNORM_RECIPE = _published(
    "deepnorm",
    "Xavier, times beta where a residual stream scaled by alpha is joined",
    _each(("weight", "branch_end"), _on_branches(_deepnorm_beta, "normal", DEEPNET)),
    DEEPNET,
)


def admin_omega(stack: Stack) -> float:
    r"""The model's factor on its residual stream, by which its output changes as log n with its n branches.

    $$ \omega^2 = \frac{n + 1}{\ln(n + 1)} - 1 $$

    References:
        Liu et al., "Understanding the difficulty of training transformers", 2020, section 4, where a batch is profiled;
        the closed form is that of its authors' package admin-torch.
    """
    return math.sqrt((stack.joins + 1) / math.log(stack.joins + 1) - 1)


def _admin_factor(stack: Stack) -> tuple[float, str]:
    omega = admin_omega(stack)
    return 1.0, f"Xavier; the model must add its branches as LayerNorm(omega x + f(x)), omega = {omega:.7g}"


ADMIN_RECIPE = _published(
    "admin",
    "Xavier, where a residual stream scaled by omega is joined",
    _each(("weight", "branch_end"), _on_branches(_admin_factor, "uniform", ADMIN)),
    ADMIN,
)


def _t_fixup_factor(stack: Stack) -> tuple[float, str]:
    """0.67 N^(-1/4) in an encoder, (9M)^(-1/4) in a decoder that reads one."""
    decoder = stack.kind == "decoder"
    factor = (9 * stack.joins / 3) ** -0.25 if decoder else 0.67 * (stack.joins / 2) ** -0.25
    return factor, f"Xavier times {factor:.6g}; the model must have no normalisation"


def _t_fixup_table(case: Case, feed: Feed) -> Choice:
    """N(0, 1/d) times (9M)^(-1/4), M the layers of the decoder, or of the only stack."""
    stack = None if case.around is None else case.around.deepest
    layers = 1.0 if stack is None else stack.joins / (3 if stack.kind == "decoder" else 2)
    std = case.parameter.shape[-1] ** -0.5 * (9 * layers) ** -0.25
    return padded(case, Choice(Normal(std), f"std d^(-1/2) (9M)^(-1/4), M = {layers:g} layers", T_FIXUP))


T_FIXUP_RECIPE = _published(
    "t_fixup",
    "Xavier, smaller with depth; for transformers without norms",
    {
        **_each(("weight", "branch_end"), _on_branches(_t_fixup_factor, "uniform", T_FIXUP)),
        **_each(("embedding", "tied_embedding"), _t_fixup_table),
        "head": _by_fans(VarianceScaling(1.0, "fan_avg", "uniform"), "Xavier", T_FIXUP),
    },
    T_FIXUP,
)


# Branches that start at 0: Fixup, zero gamma


def fixup_factor(joins: int, depth: int) -> float:
    """L^(-1/(2m-2)) for L branches of m maps; 1 where the only map is the last one.

    References:
        Zhang et al., "Fixup initialization: residual learning without normalization", 2019, section 3, rule 2.
    """
    return float(joins ** (-1 / (2 * depth - 2))) if depth > 1 else 1.0


def _fixup_inner(case: Case, feed: Feed) -> Choice:
    """He's law, on a branch times L^(-1/(2m-2))."""
    branch = _branch(case)
    if branch is None or case.op is None:
        return _he_times(case, 1.0, "; it is on no branch", FIXUP)
    last = case.op.index in branch.ends and case.op.kind != OpKind.ATTENTION_BLOCK
    if last and not branch.normed:
        return _fixup_zero(case, feed)
    joins = branch.join.total
    words = f", L = {joins} branches of m = {branch.depth} maps: times L^(-1/(2m-2))"
    return _he_times(case, fixup_factor(joins, branch.depth), words, FIXUP)


def _fixup_zero(case: Case, feed: Feed) -> Choice:
    """0, but not in a weight that a parametrization divides by its length."""
    if case.derived:
        return replace(_he_times(case, 1.0, "; its length decides whether it starts at 0", FIXUP), guess=True)
    return Choice(Zeros(), "outputs start at 0" if case.role == "head" else "the branch starts at 0", FIXUP)


def _fixup_length(case: Case, feed: Feed) -> Choice:
    """The length of a weight that is 0 at the start, or that of the unit recipe."""
    branch = _branch(case)
    ends = branch is not None and case.op is not None and case.op.index in branch.ends and not branch.normed
    if ends or (case.around is not None and case.around.is_head(case.op)):
        return Choice(Zeros(), "the branch starts at 0", FIXUP)
    return _borrowed(UNIT.rules["magnitude"])(case, feed)


_HIDES = "its normalisation hides the size of its maps"


def _constant(value: float, case: Case) -> Initializer:
    """A constant, less what the model adds to it."""
    constant = value - case.offset
    return Zeros() if constant == 0 else Ones() if constant == 1 else Constant(constant)


def _fixup_gate(case: Case, feed: Feed) -> Choice:
    """1 after a map that is 0; 0 after a normalisation, which would hide the map's size."""
    branch = _branch(case)
    if branch is not None and branch.normed:
        return Choice(_constant(0.0, case), f"the branch starts at 0; {_HIDES}", FIXUP)
    return Choice(_constant(1.0, case), "the multiplier of a branch starts at 1", FIXUP)


def _zero_norm(source: str, why: str) -> Rule:
    return lambda case, feed: Choice(_constant(0.0, case), why, source)


FIXUP_RECIPE = _published(
    "fixup",
    "He, smaller with depth; branch ends and head 0; without norms",
    {
        "weight": _fixup_inner,
        **_each(("branch_end", "head"), _fixup_zero),
        **_each(("bias", "head_bias"), zeros("biases start at 0", FIXUP)),
        "branch_gate": _fixup_gate,
        "branch_norm": _zero_norm(FIXUP, f"the branch starts at 0; {_HIDES}"),
        "magnitude": _fixup_length,
    },
    FIXUP,
)
ZERO_GAMMA_RECIPE = _published(
    "zero_gamma",
    "He; the last normalisation of each branch 0; a small head",
    {
        **_each(("weight", "branch_end"), he),
        "branch_norm": _zero_norm(GOYAL, "the branch starts at 0: the block passes its input on"),
        "head": normal(SMALL_HEAD, f"std {SMALL_HEAD} in the last layer", GOYAL),
    },
    GOYAL,
)

PUBLISHED = (
    HE_RECIPE,
    GLOROT_RECIPE,
    LECUN_RECIPE,
    ORTHOGONAL_RECIPE,
    GPT2_RECIPE,
    SMALL_RECIPE,
    T_FIXUP_RECIPE,
    DEEPNORM_RECIPE,
    ADMIN_RECIPE,
    FIXUP_RECIPE,
    ZERO_GAMMA_RECIPE,
)
"""In the order of the documentation."""
