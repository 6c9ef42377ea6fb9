"""Profiles: what the layers of a framework, left at their defaults, would have done to this model.

A profile reads the kind of each op and the layout of its weight, writes the weight down as that framework's own layer
stores it, and applies the framework's own rule to that shape, its wrong fans included (DESIGN 4.2). So a plan by a
profile shows what a port of the model gets, and the difference from any other recipe. Bare parameters, which belong to
no layer, are left as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fanwise.graph.kinds import CONVOLUTIONS
from fanwise.graph.op import OpKind, Parameter, Use, UseRole
from fanwise.laws.composite import Blocks
from fanwise.laws.elementwise import Constant, Normal, TruncatedNormal, Uniform, Zeros
from fanwise.laws.layout import Layout
from fanwise.laws.structured import Orthogonal
from fanwise.plan.recipes.recipe import Choice, Feed, Recipe, Rule
from fanwise.plan.recipes.unit import UNIT, gate_bias, norm_scale, padded, recurrent, zeros
from fanwise.plan.roles import ADDED_TABLES, MAP_ROLES, Case
from fanwise.stream.box import Shape

TORCH = "torch 2.13, torch.nn: reset_parameters of each layer"
KERAS = "Keras 3.15, keras.layers: defaults of each layer; keras.initializers.compute_fans"
FLAX = "Flax 0.12, flax.linen: defaults of each layer; jax.nn.initializers.variance_scaling"

KERAS_TABLE = 0.05
"""Bound of `keras.initializers.RandomUniform`, the default of keras.layers.Embedding."""
FLAX_SLOPE = 0.01
"""flax.linen.PReLU(negative_slope_init=0.01)."""


@dataclass(frozen=True)
class Extents:
    """What the axes of a weight hold, whatever their order.

    Args:
        inputs: channels that one group reads.
        outputs: channels that all groups give.
        window: places of the kernel.
        groups: channel groups.
        stack: independent maps.
    """

    inputs: int
    outputs: int
    window: int = 1
    groups: int = 1
    stack: int = 1

    @classmethod
    def of(cls, layout: Layout, shape: Shape) -> "Extents":
        """Extents of a shape."""
        inputs, outputs, window, stack = (layout.extent(shape, role) for role in ("in", "out", "kernel", "stack"))
        groups = max(layout.group_count(shape), 1)
        if layout.grouped == "in":  # stored with the inputs of all groups and the outputs of one
            inputs, outputs = inputs // groups, outputs * groups
        return cls(inputs, outputs, window, groups, stack)


def _extents(case: Case) -> Extents | None:
    """Extents of the case's map; of the map beside it, where the case is a bias."""
    if case.layout is not None:
        return Extents.of(case.layout, case.parameter.shape)
    return None if case.around is None or case.role not in BIASES else _known(case.around.map_of(case.op))


def _known(extents: tuple[Use, Parameter] | None) -> Extents | None:
    if extents is None or extents[0].layout is None:
        return None
    return Extents.of(extents[0].layout, extents[1].shape)


def _kind(case: Case) -> str:
    return "" if case.op is None else case.op.kind


def _bare(case: Case, feed: Feed) -> Choice:
    """Left as the model's author set it."""
    return Choice(None, "left as it is: a bare parameter belongs to no layer of the framework")


def _is_bare(case: Case) -> bool:
    """Whether a bias or table is one of no layer."""
    return _kind(case) in (OpKind.SHIFT, OpKind.PARAMETER, OpKind.OTHER, OpKind.ELEMENTWISE, OpKind.SCALE)


def _table(rule: Rule) -> Rule:
    """For tables: those that are looked up are embeddings, the others bare parameters."""
    return lambda case, feed: rule(case, feed) if _kind(case) == OpKind.EMBEDDING else _bare(case, feed)


def _hidden(case: Case) -> int:
    """Size of a recurrent cell's state: the first matrix holds as many rows for each gate."""
    map_use = None if case.around is None or case.op is None else case.around.map_of(case.op)
    if case.op is None or map_use is None:
        return max(case.parameter.shape[0], 1)
    return max(map_use[1].shape[0] // case.op.gates, 1)


BIASES = ("bias", "head_bias")
NORMS = ("norm_scale", "branch_norm")
KEPT = ("gate", "branch_gate", "magnitude", "time_step", "decay", "inner", "other", "unused")


def _profile(name: str, rules: Mapping[str, Rule], source: str) -> Recipe:
    """A recipe of a framework's defaults: norms 1 and 0, bare parameters left alone."""
    kept = dict.fromkeys(KEPT, _bare)
    norms = dict.fromkeys(NORMS, _sourced(norm_scale, source))
    shift = {"norm_shift": zeros("a normalisation starts centred", source), "unused": UNIT.rules["unused"]}
    title = f"what the layers of {name} do at their defaults"
    return Recipe(name, title, {**kept, **norms, **shift, **rules}, source)


def _sourced(rule: Rule, source: str) -> Rule:
    return lambda case, feed: replace(rule(case, feed), source=source)


# torch


def _torch_uniform(case: Case) -> Choice:
    """U(+-1/sqrt(fan_in)), fan_in as torch reads it off (dim 1) x (window) of the stored weight."""
    extents = _extents(case)
    if extents is None:
        return _assumed(case, TORCH)
    transposed = _kind(case) == OpKind.CONV_TRANSPOSE
    channels = extents.outputs // extents.groups if transposed else _torch_inputs(case, extents)
    fan = max(channels * extents.window, 1)
    wrong = ", read off the outputs: torch stores (in, out, ...)" if transposed else ""
    return Choice(Uniform(1 / math.sqrt(fan)), f"U(+-1/sqrt({fan})){wrong}", TORCH)


def _torch_inputs(case: Case, extents: Extents) -> int:
    """Inputs of a map; of a bilinear one its first input alone, by which torch scales it."""
    pair = None if case.around is None else case.around.map_of(case.op)
    if _kind(case) != OpKind.BILINEAR or pair is None:
        return extents.inputs
    use, parameter = pair
    return parameter.shape[use.layout.axes.index("in")] if use.layout is not None else extents.inputs


def _assumed(case: Case, source: str) -> Choice:
    """A weight whose axes are not known, as a Linear stores it."""
    fan = max(math.prod(case.parameter.shape[1:]), 1)
    return Choice(Uniform(1 / math.sqrt(fan)), f"U(+-1/sqrt({fan})), its axes are assumed", source, None, True)


def _torch_map(case: Case, feed: Feed) -> Choice:
    """By the kind of op."""
    if _kind(case) == OpKind.RECURRENT:
        return _torch_state(case, feed)
    use = None if case.use is None else case.use.role
    if _kind(case) == OpKind.ATTENTION_BLOCK and use != UseRole.OUTPUT:
        rows, columns = case.parameter.shape
        bound = math.sqrt(6 / max(rows + columns, 1))
        return Choice(Uniform(bound), f"Xavier on the stored matrix, {rows} x {columns}", TORCH)
    return _torch_uniform(case)


def _torch_state(case: Case, feed: Feed) -> Choice:
    """U(+-1/sqrt(hidden)) for everything in a recurrent cell."""
    hidden = _hidden(case)
    return Choice(Uniform(1 / math.sqrt(hidden)), f"U(+-1/sqrt({hidden})), the size of the state", TORCH)


def _torch_bias(case: Case, feed: Feed) -> Choice:
    """The bound of its weight; 0 in attention."""
    if _is_bare(case):
        return _bare(case, feed)
    if _kind(case) == OpKind.ATTENTION_BLOCK:
        return Choice(Zeros(), "biases of an attention start at 0", TORCH)
    return _torch_uniform(case)


def _torch_table(case: Case, feed: Feed) -> Choice:
    return padded(case, Choice(Normal(1.0), "N(0, 1) whatever the width", TORCH))


def _torch_other(case: Case, feed: Feed) -> Choice:
    """The bias of an attention's keys and values is Xavier normal, its width read as a window; others are bare."""
    if _kind(case) != OpKind.ATTENTION_BLOCK or case.use is None or case.use.role != UseRole.OPERAND:
        return _bare(case, feed)
    width = max(case.parameter.shape[-1], 1)
    return Choice(Normal(1 / math.sqrt(width)), f"Xavier with {width} features read as a window", TORCH)


def _torch_length(case: Case, feed: Feed) -> Choice:
    """weight_norm keeps the weight that it finds: its rows have length sqrt(1/3) on average."""
    value = 1 / math.sqrt(3)
    return Choice(Constant(value), "the mean length of the rows of U(+-1/sqrt(fan_in))", TORCH, None, True)


TORCH_PROFILE = _profile(
    "torch-2.13",
    {
        **dict.fromkeys(MAP_ROLES, _torch_map),
        **dict.fromkeys(("recurrent", "gate_bias", "state_bias"), _torch_state),
        **dict.fromkeys(("embedding", "tied_embedding"), _torch_table),
        **dict.fromkeys(ADDED_TABLES, _table(_torch_table)),
        **dict.fromkeys(BIASES, _torch_bias),
        "slope": lambda case, feed: Choice(Constant(0.25), "torch.nn.PReLU(init=0.25)", TORCH),
        "magnitude": _torch_length,
        "other": _torch_other,
    },
    TORCH,
)


# Keras


def _glorot(fan_in: float, fan_out: float, words: str, source: str = KERAS) -> Choice:
    bound = math.sqrt(6 / max(fan_in + fan_out, 1))
    return Choice(Uniform(bound), f"glorot_uniform, fans {fan_in:g} and {fan_out:g}{words}", source)


def _keras_conv(case: Case, extents: Extents) -> Choice:
    """Fans read off the last two axes of the kernel."""
    per_group = extents.outputs // extents.groups
    if _kind(case) == OpKind.CONV_TRANSPOSE:  # kernel (*k, out, in)
        return _glorot(
            extents.window * per_group, extents.window * extents.inputs * extents.groups, ", swapped, stride ignored"
        )
    if extents.groups > 1 and extents.inputs == 1:  # depthwise kernel (*k, in, multiplier)
        words = ": a depthwise kernel read as a dense one"
        return _glorot(extents.window * extents.groups, extents.window * per_group, words)
    words = ": the outputs of all groups" if extents.groups > 1 else ""
    return _glorot(extents.window * extents.inputs, extents.window * extents.outputs, words)


def _keras_map(case: Case, feed: Feed) -> Choice:
    """glorot_uniform, on the shape that Keras stores."""
    extents = _extents(case)
    if extents is None:
        shape = case.parameter.shape
        choice = _glorot(math.prod(shape[1:]), shape[0] if shape else 1, ", its axes are assumed")
        return replace(choice, guess=True)
    if _kind(case) in CONVOLUTIONS:
        return _keras_conv(case, extents)
    if _kind(case) == OpKind.ATTENTION_BLOCK and case.layout is not None:
        block = case.layout.block_fans(case.parameter.shape)[0]
        return _glorot(block.fan_in, block.fan_out, ", each projection on its own")
    words = ": the stack counts as outputs" if extents.stack > 1 else ""
    return _glorot(extents.inputs, extents.stack * extents.outputs, words)


def _keras_recurrent(case: Case, feed: Feed) -> Choice:
    """One orthogonal matrix over all gates, whose own matrices are not orthogonal."""
    fused = None if case.layout is None else case.layout.fused
    if fused is None:
        return _sourced(recurrent, KERAS)(case, feed)
    whole = Blocks((Orthogonal(1.0, "norm"),), fused.axis)
    return Choice(whole, "one orthogonal matrix over all gates together", KERAS)


def _zero_bias(source: str) -> Rule:
    zero = zeros("biases start at 0", source)
    return lambda case, feed: _bare(case, feed) if _is_bare(case) else zero(case, feed)


def _uniform_table(case: Case, feed: Feed) -> Choice:
    return Choice(Uniform(KERAS_TABLE), f"U(+-{KERAS_TABLE})", KERAS)


KERAS_PROFILE = _profile(
    "keras-3",
    {
        **dict.fromkeys(MAP_ROLES, _keras_map),
        **dict.fromkeys(("embedding", "tied_embedding"), _uniform_table),
        **dict.fromkeys(ADDED_TABLES, _table(_uniform_table)),
        **dict.fromkeys(BIASES, _zero_bias(KERAS)),
        "recurrent": _keras_recurrent,
        "gate_bias": _sourced(gate_bias, KERAS),
        "state_bias": zeros("biases start at 0", KERAS),
        "slope": zeros("keras.layers.PReLU(alpha_initializer='zeros')", KERAS),
    },
    KERAS,
)


# Flax


def _lecun(fan_in: float, words: str = "") -> Choice:
    std = 1 / math.sqrt(max(fan_in, 1))
    return Choice(TruncatedNormal(std), f"lecun_normal, truncated at two sigmas, fan_in {fan_in:g}{words}", FLAX)


def _flax_map(case: Case, feed: Feed) -> Choice:
    """lecun_normal, on the shape that linen stores."""
    extents = _extents(case)
    if extents is None:
        return replace(_lecun(math.prod(case.parameter.shape[1:]), ", its axes are assumed"), guess=True)
    if _kind(case) == OpKind.CONV_TRANSPOSE:  # kernel (*k, in, out)
        return _lecun(extents.window * extents.inputs * extents.groups, ": the stride is ignored")
    return _lecun(extents.window * extents.inputs)


def _flax_table(case: Case, feed: Feed) -> Choice:
    width = max(case.parameter.shape[-1], 1)
    return Choice(Normal(1 / math.sqrt(width)), f"N(0, 1/{width}): the features, by variance_scaling(out_axis=0)", FLAX)


FLAX_PROFILE = _profile(
    "flax",
    {
        **dict.fromkeys(MAP_ROLES, _flax_map),
        **dict.fromkeys(("embedding", "tied_embedding"), _flax_table),
        **dict.fromkeys(ADDED_TABLES, _table(_flax_table)),
        **dict.fromkeys(BIASES, _zero_bias(FLAX)),
        **dict.fromkeys(("gate_bias", "state_bias"), zeros("biases start at 0", FLAX)),
        "recurrent": _sourced(recurrent, FLAX),
        "slope": lambda case, feed: Choice(Constant(FLAX_SLOPE), f"linen.PReLU: {FLAX_SLOPE}", FLAX),
        "magnitude": lambda case, feed: Choice(Constant(1.0), "linen.WeightNorm: each output's map of length 1", FLAX),
    },
    FLAX,
)

PROFILES = (TORCH_PROFILE, KERAS_PROFILE, FLAX_PROFILE)
"""In the order of the documentation."""
