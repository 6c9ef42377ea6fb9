"""What each parameter is in the model: the role that decides which rule of a recipe speaks for it.

Roles partition the parameters: every parameter has exactly one, so two rules cannot fight and none is forgotten.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from fanwise.graph.arithmetic import PLAIN
from fanwise.graph.attention import attention_part, makes_averages
from fanwise.graph.context import GraphContext
from fanwise.graph.contractions import layout_of_product
from fanwise.graph.heads import heads_of
from fanwise.graph.kinds import (
    ATTENTION_OPERAND,
    MAP_USES,
    MOVING,
    SCORE_ENDS,
    TO_SIGNAL,
    TOKENS,
    WEIGHTED,
)
from fanwise.graph.made import Maker, is_map
from fanwise.graph.op import Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.repetition import Chain, ChainKind, chains_of
from fanwise.graph.residual import Join, ends_later
from fanwise.graph.state_space import is_decay, sets_a_time_scale, sets_a_time_step
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.plan.weight_steps import FACTORS, HIDDEN, INNER, LINEAR, MEASURED, NORMALIZING
from fanwise.stream.box import Shape

ROLES: Mapping[str, str] = MappingProxyType(
    {
        "weight": "a linear map inside the network",
        "branch_end": "the last linear map of a residual branch",
        "head": "the linear map that makes the model's outputs",
        "recurrent": "a map from a hidden state to itself",
        "embedding": "a table of tokens",
        "tied_embedding": "a table of tokens that is the head too",
        "position": "a table that is added to a signal: positions, segments",
        "relative": "a table of biases on attention scores",
        "token": "a learned token, query or state that enters as data",
        "norm_scale": "the factor of a normalisation",
        "norm_shift": "the summand of a normalisation",
        "branch_norm": "the factor of a normalisation that ends a residual branch",
        "gate": "a learned factor on a signal, such as LayerScale",
        "branch_gate": "a learned factor at the end of a residual branch, such as LayerScale or ReZero",
        "bias": "the summand of a linear map",
        "head_bias": "the summand of the head",
        "gate_bias": "the summand of a recurrent cell's gates",
        "state_bias": "the second summand of a recurrent cell's gates",
        "slope": "the slope of a PReLU",
        "magnitude": "the length of each row of a weight-normalised map",
        "time_step": "the bias of a state-space model's time steps",
        "decay": "the logarithm of a state-space model's decay rates, one for each head",
        "inner": "a vector whose inner product with another makes a gate, as in differential attention",
        "other": "a parameter that acts in a way of its own, such as a state-space model's decay",
        "unused": "no op of this run reads it",
    }
)
"""Every role and what it means."""

MAP_ROLES = ("weight", "branch_end", "head")
"""Roles of linear maps."""
ADDED_TABLES = ("position", "relative", "token")
"""Roles of tables whose rows are added to a signal, or enter as one."""
TABLES = ("embedding", "tied_embedding", *ADDED_TABLES)
"""Roles of tables; a framework's profile has a rule of its own for those of tokens."""


_NO_LAYERS: Mapping[int, "Case"] = MappingProxyType({})


@dataclass(frozen=True)
class Case:
    """One parameter, its role, and what the role's rule needs to know.

    Args:
        parameter: its name, shape, dtype.
        role: one of `ROLES`.
        op: the op that uses it, None for an unused one.
        use: how.
        join: the residual connection whose branch it ends, None elsewhere.
        ends: how many maps end that branch side by side; of a head, how many are summed.
        part: "query", "key" or "value" where it feeds an attention's operand.
        blocks: what its fused maps are.
        partner: for a position table, the table of tokens that it is added to; for another table, that one where it
            is the head too.
        offset: what is added to the parameter before it is used: 1 for norms written as 1 + weight.
        repeats: how many times it joins the same residual stream, or is applied in a row in a loop.
        chain: the uses that follow each other, each of what the one before led to; None where there is one use.
        layers: of a stack that is read layer by layer, the case of each layer by its index; empty elsewhere.
        maker: the products that use what its op makes as a weight, None where it makes none.
        around: what stands around it; None in a case that is made by hand.
    """

    parameter: Parameter
    role: str
    op: Op | None = None
    use: Use | None = None
    join: Join | None = None
    ends: int = 1
    part: str | None = None
    blocks: tuple[str, ...] = ()
    partner: str | None = None
    offset: float = 0.0
    repeats: int = 1
    chain: Chain | None = None
    layers: Mapping[int, "Case"] = field(default_factory=lambda: _NO_LAYERS, repr=False, compare=False)
    maker: Maker | None = None
    around: GraphContext | None = field(default=None, repr=False, compare=False)

    @property
    def layout(self) -> Layout | None:
        """Layout of the parameter as it is stored, None where it has none."""
        return None if self.use is None else self.use.layout

    @property
    def derived(self) -> bool:
        """Whether the op sees something made of the parameter, not the parameter."""
        return self.use is not None and any(step not in PLAIN for step in self.use.steps)

    @property
    def is_driven(self) -> bool:
        """Whether it ends a branch each time beside another stream, which the time before does not lead to."""
        return self.join is not None and self.chain is not None and self.chain.uses > self.repeats

    @property
    def is_loop(self) -> bool:
        """Whether it is applied in a row with nothing that leads past it or comes in from outside."""
        return self.chain is not None and self.chain.kind == ChainKind.LOOP and self.role == "weight"

    @property
    def reads_state(self) -> bool:
        """Whether it is a map that reads a state, which fills up over its uses, beside other data."""
        return self.role in MAP_ROLES and self.chain is not None and self.chain.kind == ChainKind.DRIVEN

    @property
    def transformed(self) -> bool:
        """Whether it is made by a function whose effect on the size of the weight is not known."""
        steps = set(self.use.steps if self.use else ())
        return self.derived and self.role != "magnitude" and not self.normalized and not steps <= LINEAR

    @property
    def normalized(self) -> bool:
        """Whether the model normalises the weights, so that their size has no effect."""
        return self.use is not None and not NORMALIZING.isdisjoint(self.use.steps)


def cases(trace: Trace) -> Mapping[str, Case]:
    """The case of every parameter, by path, in the model's order."""
    reader = _Reader(trace)
    return MappingProxyType({parameter.path: reader.case(parameter) for parameter in trace.parameters})


class _Reader:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._heads = heads_of(trace)
        self._ends: dict[int, tuple[Join, int]] = {}
        for join in trace.joins:
            ends = tuple(_branch_ends(trace, join))
            ends = ends if join.op not in trace.filled else tuple(_adding_ends(trace, join, ends))
            for end in ends:
                self._ends[end] = (join, len(ends))
        self._around = GraphContext(trace, frozenset(self._heads), self._ends)
        self._chains = chains_of(trace)
        self._counts = self._ends_by_stream()

    def case(self, parameter: Parameter) -> Case:
        """The case of a parameter; of a stack that is read layer by layer, the one that most of its layers have."""
        uses = self._trace.uses[parameter.path]
        layers = [use.layer for _, use in uses]
        axes = {layer[0] for layer in layers if layer is not None}
        if not uses or None in layers or len(axes) > 1:
            return self._of_uses(parameter, uses)
        by_index: dict[int, list[tuple[Op, Use]]] = {}
        for used, layer in zip(uses, layers, strict=True):
            by_index.setdefault(0 if layer is None else layer[1], []).append(used)
        each = {index: self._of_uses(parameter, by_index[index]) for index in sorted(by_index)}
        roles = [case.role for case in each.values()]
        common = next(case for case in each.values() if case.role == max(roles, key=roles.count))
        return replace(common, layers=MappingProxyType(each))

    def _ends_by_stream(self) -> Mapping[tuple[str, int], int]:
        """How many branches of a stream, one after the other, each parameter ends.

        By `Use.matrix` and number of the stream. Branches side by side, as those of the rows of a picture, count once.
        """
        rounds: dict[tuple[str, int], dict[int, int]] = {}
        for index, (join, _) in self._ends.items():
            for use in self._trace.ops[index].uses:
                rounds.setdefault((use.matrix, join.number), {})[join.depth] = join.rounds
        return MappingProxyType({name: sum(by_depth.values()) for name, by_depth in rounds.items()})

    def _of_uses(self, parameter: Parameter, uses: Sequence[tuple[Op, Use]]) -> Case:
        if not uses:
            return Case(parameter, "unused")
        cases = [self._of_use(parameter, op, use) for op, use in _telling(uses)]
        tied = any(case.role == "head" for case in cases)
        table = next((case for case in cases if case.role == "embedding"), None)
        if tied and table is not None:
            head = next(case for case in cases if case.role == "head")
            return replace(table, role="tied_embedding", op=head.op)
        order = ("head", "embedding", "branch_end", "branch_norm", "branch_gate")
        first = min(cases, key=lambda case: order.index(case.role) if case.role in order else len(order))
        data = (case for case in cases if case.role in ("gate", "token") and not case.derived)
        return next(data, first) if first.role == "other" else first

    def _of_use(self, parameter: Parameter, op: Op, use: Use) -> Case:
        maker = self._around.makers.get(op.index) if use.role in (UseRole.WEIGHT, UseRole.TABLE) else None
        if maker is not None and (maker.products or op.index not in self._heads):
            use = _as_map(parameter, use, maker)
            return Case(parameter, "weight", op, use, blocks=op.blocks, maker=maker, around=self._around)
        product = layout_of_product(self._trace, op, parameter) if use.role == UseRole.SCALE else None
        if product is not None:
            use = replace(use, role=UseRole.WEIGHT, layout=product)
        chain = self._chains.get(use.matrix) if use.role in MAP_USES else None
        case = Case(parameter, self._role(parameter, op, use), op, use, around=self._around, chain=chain)
        if case.role == "position":
            case = replace(case, partner=self._tokens_beside(op))
        if case.role == "embedding":
            case = replace(case, partner=self._tied_partner(op))
        if case.role in ("norm_scale", "branch_norm") and "add" in use.steps:
            case = replace(case, offset=1.0)
        if use.role in MAP_USES:
            part = (
                str(use.role)
                if use.role in (UseRole.QUERY, UseRole.KEY, UseRole.VALUE)
                else attention_part(self._trace, op)
            )
            blocks = op.blocks if use.role == UseRole.WEIGHT else ()
            case = replace(case, part=None if blocks else part, blocks=blocks)
        if op.index in self._ends and case.role in ("branch_end", "branch_norm", "branch_gate"):
            join, ends = self._ends[op.index]
            return replace(case, join=join, ends=ends, repeats=self._counts[use.matrix, join.number])
        case = replace(case, ends=self._heads[op.index]) if case.role == "head" else case
        return replace(case, repeats=chain.uses) if chain is not None and case.is_loop else case

    def _role(self, parameter: Parameter, op: Op, use: Use) -> str:
        if use.role in MAP_USES:
            return self._map_role(parameter, op, use)
        if use.role in (UseRole.BIAS, UseRole.STATE_BIAS):
            return self._bias_role(op, use)
        if use.role == UseRole.SHIFT:
            return self._shift_role(parameter, op, use)
        return self._simple_role(parameter, op, use)

    def _simple_role(self, parameter: Parameter, op: Op, use: Use) -> str:
        if use.role == UseRole.TABLE:
            return self._table_role(op)
        if INNER.issubset(use.steps):
            return "inner"
        if use.role == UseRole.SCALE:
            return "decay" if is_decay(self._trace, op, use) else self._scale_role(parameter, op, use)
        if use.role == UseRole.OPERAND:
            return "token" if op.kind == OpKind.PARAMETER else "other"
        return str(use.role)

    def _map_role(self, parameter: Parameter, op: Op, use: Use) -> str:
        if op.kind == OpKind.ATTENTION_BLOCK:
            ends = use.role == UseRole.OUTPUT and op.index in self._ends
            return "branch_end" if ends else "weight"
        if makes_averages(self._trace, op, use):
            return "relative"
        chain = self._chains.get(use.matrix)
        if chain is not None and chain.kind == ChainKind.STATE:
            return "recurrent"
        if op.index in self._heads:
            return "head" if chain is None else "weight"
        return "branch_end" if op.index in self._ends else "weight"

    def _table_role(self, op: Op) -> str:
        if _feeds_scores(self._trace, op):
            return "relative"
        if op.inputs:
            return "embedding"
        return "position" if self._trace.after(op, {OpKind.ADD, OpKind.SHIFT}, MOVING) is not None else "embedding"

    def _scale_role(self, parameter: Parameter, op: Op, use: Use) -> str:
        ends = op.index in self._ends
        if op.kind in WEIGHTED:
            return "gate" if _multiplies_weight(op, use) else "magnitude" if _is_length(op, use) else "other"
        if op.kind == OpKind.NORM or (self._follows_norm(op) and self._has_features(parameter, op)):
            return "branch_norm" if ends else "norm_scale"
        return "branch_gate" if ends else "gate"

    def _follows_norm(self, op: Op) -> bool:
        return any(source.kind == OpKind.NORM for source in self._trace.feeds(op)[:1])

    def _has_features(self, parameter: Parameter, op: Op) -> bool:
        """Whether a factor has a value for each feature; one for all of them is a temperature."""
        axis = self._trace.axes[op.index] % max(len(op.shape), 1)
        own = axis - (len(op.shape) - len(parameter.shape))
        return not op.shape or op.shape[axis] == 1 or (own >= 0 and parameter.shape[own] > 1)

    def _bias_role(self, op: Op, use: Use) -> str:
        if op.kind == OpKind.RECURRENT:
            return "gate_bias" if use.role == UseRole.BIAS else "state_bias"
        if sets_a_time_scale(self._trace, op):
            return "time_step" if sets_a_time_step(self._trace, op) else "other"
        return "head_bias" if op.index in self._heads else "bias"

    def _shift_role(self, parameter: Parameter, op: Op, use: Use) -> str:
        if op.kind == OpKind.NORM:
            return "norm_shift"
        source = next(iter(self._trace.feeds(op)), None)
        if source is not None and (
            source.kind == OpKind.NORM or (source.kind == OpKind.SCALE and self._follows_norm(source))
        ):
            return "norm_shift" if _is_vector(parameter, use) else "position"
        if _feeds_scores(self._trace, op):
            return "relative"
        if sets_a_time_scale(self._trace, op):
            return "time_step" if sets_a_time_step(self._trace, op) else "other"
        if not _is_vector(parameter, use) and not _fills_features(self._trace, source, parameter, use):
            return "position"
        return "head_bias" if source is not None and source.index in self._heads else "bias"

    def _tokens_beside(self, op: Op) -> str | None:
        """The table of tokens that tells the size of a position table; beside positions alone, the tokens of those.

        The n-grams of ProphetNet's second stream (Qi et al., 2020, section 2.2) are added to positions and no tokens.
        """
        beside = self._partner(op)
        readers = () if beside is None else [reader for reader, _ in self._trace.uses[beside]]
        positions = (reader for reader in readers if reader.kind == OpKind.EMBEDDING and not reader.inputs)
        tokens = (self._partner(reader) for reader in positions)
        return next((path for path in tokens if path is not None and path != beside), beside)

    def _partner(self, op: Op) -> str | None:
        """The table of tokens whose rows a position table's are added to; None where the sum has other terms."""
        if op.kind == OpKind.SHIFT:
            return self._tokens(op, op)
        joined = self._trace.after(op, {OpKind.ADD}, MOVING)
        sources = () if joined is None else self._trace.feeds(joined)
        return next((path for source in sources if (path := self._tokens(source, op))), None)

    def _tied_partner(self, table: Op) -> str | None:
        """The table that is the head too among those whose rows are added to a table's."""
        joined = self._trace.after(table, {OpKind.ADD}, MOVING)
        while joined is not None:
            paths = (self._tokens(source, table) for source in self._trace.feeds(joined))
            tied = next((path for path in paths if path is not None and self._is_head(path)), None)
            if tied is not None:
                return tied
            joined = self._trace.after(joined, {OpKind.ADD}, MOVING)
        return None

    def _is_head(self, path: str) -> bool:
        """Whether a parameter makes the scores of the model."""
        return any(op.index in self._heads and use.role in MAP_USES for op, use in self._trace.uses[path])

    def _tokens(self, source: Op, table: Op) -> str | None:
        """The table that an op's values come from by way of what keeps them apart, other than the one asked about."""
        tables = source if source.kind == OpKind.EMBEDDING else self._trace.before(source, WEIGHTED, TOKENS)
        if tables is None or tables.index == table.index:
            return None
        return next((use.path for use in tables.uses if use.role == UseRole.TABLE), None)


def _telling(uses: Sequence[tuple[Op, Use]]) -> Sequence[tuple[Op, Use]]:
    """The uses of a map without those that see only zeros, as of a state before the first step."""
    if not any(use.role in MAP_USES for _, use in uses):
        return uses
    return [(op, use) for op, use in uses if use.role in MAP_USES or use.seen != (0.0, 0.0)]


def _as_map(parameter: Parameter, use: Use, maker: Maker) -> Use:
    """The use of a table whose rows are taken by constant indices, as the weight that it is."""
    if use.role != UseRole.TABLE or use.layout is None:
        return use
    fan_in = maker.products[0].weight.fan_in
    layout = Layout(tuple("in" if role == "lookup" else role for role in use.layout.axes))
    is_told = layout.extent(parameter.shape, "in") == fan_in
    return replace(use, role=UseRole.WEIGHT, layout=layout if is_told else None, fan_in=fan_in)


def _multiplies_weight(op: Op, use: Use) -> bool:
    """Whether a factor multiplies a weight as it is; beside a direction, which is normed, it is a length."""
    uses = (use, *(other for other in op.uses if other.role in MAP_USES))
    return all(set(each.steps) <= PLAIN | FACTORS for each in uses)


def _is_length(op: Op, use: Use) -> bool:
    """Whether a factor stands beside a direction whose own size has no effect."""
    maps = [other for other in op.uses if other.role in MAP_USES]
    return not maps or any(not MEASURED.isdisjoint((*other.steps, *use.steps)) or _drops_size(other) for other in maps)


def _drops_size(use: Use) -> bool:
    """Whether a function that hides its steps takes a weight's own size out of it; taken so where it cannot be run."""
    if HIDDEN not in use.steps:
        return False
    return use.transform is None or use.transform.ignores_size(use.path)


def _branch_ends(trace: Trace, join: Join) -> Iterator[int]:
    """The ops that set a branch's size: its last maps, or the norm or gate that follows them."""
    joins = {other.op for other in trace.joins}
    queue, seen = [join.branch], {join.branch}
    while queue:
        op = trace.ops[queue.pop()]
        if is_map(op, WEIGHTED) or op.kind in (OpKind.NORM, OpKind.SCALE):
            if op.kind != OpKind.NORM or op.uses:
                yield op.index
                continue
            if _scaled_norm(trace, op):
                continue
        if ends_later(op) and op.index not in joins:
            fresh = [source for source in op.inputs if source > join.origin and source not in seen]
            seen.update(fresh)
            queue += fresh


def _adding_ends(trace: Trace, join: Join, ends: Sequence[int]) -> Iterator[int]:
    """Of a state that begins at zero, the maps that are added as they are: what is bent before has a size by itself.

    Factors are the model's own rates: how large a state becomes follows from them.
    """
    for end in ends:
        op = trace.ops[end]
        bend = trace.after(op, {OpKind.ACTIVATION}, TO_SIGNAL | {OpKind.ELEMENTWISE})
        if is_map(op, WEIGHTED) and (bend is None or bend.index > join.branch):
            yield end


def _scaled_norm(trace: Trace, op: Op) -> bool:
    """Whether a norm without parameters is followed by a scale that has them."""
    return any(reader.kind == OpKind.SCALE for reader in trace.follows(op))


def _fills_features(trace: Trace, source: Op | None, parameter: Parameter, added: Use) -> bool:
    """Whether a parameter holds one number for each feature that a map gives, in whatever shape."""
    while source is not None and source.kind == OpKind.ADD:  # a sum of maps has the features of each
        source = next(iter(trace.feeds(source)), None)
    for use in () if source is None else source.used(UseRole.WEIGHT):
        if use.layout is not None:
            seen = _shape_seen(trace.by_path[use.path].shape, use)
            features, groups = use.layout.extent(seen, "out"), use.layout.extent(seen, "stack")
            stack = 1 if added.layout is None else added.layout.extent(parameter.shape, "stack")
            return math.prod(_shape_seen(parameter.shape, added)) in (features * stack, features * groups)
    return False


def _shape_seen(shape: Shape, use: Use) -> Shape:
    """The shape of the part of a parameter that an op sees."""
    counts = {axis: count for axis, _, count in use.parts}
    return tuple(counts.get(axis, extent) for axis, extent in enumerate(shape))


def _is_vector(parameter: Parameter, use: Use) -> bool:
    """Whether it holds one number for each feature; a stack of such vectors, one for each layer, does too."""
    roles = use.layout.axes if use.layout is not None else ("out",) * len(parameter.shape)
    return sum(extent > 1 for extent, role in zip(parameter.shape, roles, strict=True) if role != "stack") <= 1


def _feeds_scores(trace: Trace, op: Op) -> bool:
    """Whether what an op gives is added to attention scores."""
    follower = trace.after(op, SCORE_ENDS, ATTENTION_OPERAND)
    if follower is None or follower.kind not in (OpKind.SOFTMAX, OpKind.ATTENTION):
        return False
    if follower.kind == OpKind.SOFTMAX:
        return True
    return len(follower.inputs) > 3 and follower.inputs[3] in _reach(trace, op, follower)


def _reach(trace: Trace, op: Op, until: Op) -> set[int]:
    reached, queue = {op.index}, [op]
    while queue:
        for reader in trace.follows(queue.pop()):
            if reader.index < until.index and reader.index not in reached:
                reached.add(reader.index)
                queue.append(reader)
    return reached


def fan_in_of(case: Case) -> float:
    """fan_in of a case's map; the elements of a row where neither its use nor its layout tells."""
    if case.use is not None and case.use.fan_in is not None:
        return max(case.use.fan_in, 1)
    if case.layout is not None:
        fans = case.layout.block_fans(case.parameter.shape)
        return max(fans[0].fan_in, 1)
    return max(math.prod(case.parameter.shape[1:]), 1)
