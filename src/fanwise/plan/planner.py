"""The visitor that plans: as the model runs, each parameter gets its law from what feeds the op that uses it.

It works on a real run, where the second moments are measured on the values that the plan itself would put there, and
on a propagation by theory, where there is nothing to measure (a model on the meta device).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fanwise.graph.details import Attention
from fanwise.graph.kinds import ATTENTION_OPERAND, CONSTANT_FACTOR, MAP_USES, UNFED_USES
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.patterns import constant_of
from fanwise.graph.repetition import Chain
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Moment
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal
from fanwise.plan.recipes.unit import Choice, Feed, Recipe
from fanwise.plan.roles import Case, cases, fan_in_of
from fanwise.plan.stacked import stacked_choice

LOUD_SCORES = 1.001
"""Scores are too loud from here on: a model may hold sqrt(d) in half precision."""
MOVED = 0.02
"""Share by which a number may differ between two passes that agree."""
STATE = 0.1
"""Second moment assumed for the state of a recurrent cell that feeds the next layer: it is hidden in one op."""


@dataclass(frozen=True)
class Decision:
    """What the planner decided for one parameter.

    Args:
        case: what it is.
        choice: the law and why.
        fed: second moment of what feeds it, None where there is none.
    """

    case: Case
    choice: Choice
    fed: float | None = None

    @property
    def gives(self) -> float | None:
        """Second moment that the op should give: as the rule says, or by theory from what feeds it; None for no map."""
        law, case = self.choice.law, self.case
        if self.choice.gives is not None or law is None or case.derived or case.transformed:
            return self.choice.gives
        moments = law.moments(case.parameter.shape, layout=case.layout)
        if case.op is not None and case.op.kind == OpKind.EMBEDDING:
            return float(f"{moments.mean**2 + moments.std**2:.3g}")
        return None if self.fed is None else float(f"{moments.std**2 * fan_in_of(case) * self.fed:.3g}")


@dataclass(frozen=True)
class Settled:
    """What a pass measured, for the next to start from.

    Args:
        heads: second moment of what feeds the head, by the path of its table.
        loops: by what the variance of a weight that opens a loop is multiplied, by `Use.matrix`.
        fed: second moment of what feeds each weight of a loop for the first time while no factor is at work.
    """

    heads: Mapping[str, float] = field(default_factory=dict)
    loops: Mapping[str, float] = field(default_factory=dict)
    fed: Mapping[str, float] = field(default_factory=dict)

    def differs(self, earlier: "Settled") -> bool:
        """Whether something has moved by more than 2 % since."""
        pairs = ((self.heads, earlier.heads), (self.loops, earlier.loops))
        return any(abs(value / old.get(name, 1.0) - 1) > MOVED for new, old in pairs for name, value in new.items())


class Planner:
    """A visitor of a run or of a propagation.

    Args:
        trace: of an earlier run of the same model: it says what follows each op.
        recipe: the rules.
        constants: the one value of parameters whose values are all equal, by path; None where values cannot be read.
        settled: what an earlier pass measured.
    """

    def __init__(
        self,
        trace: Trace,
        recipe: Recipe,
        constants: Mapping[str, float] | None = None,
        settled: "Settled | None" = None,
    ) -> None:
        self.cases = cases(trace)
        self.decisions: dict[str, Decision] = {}
        self.settled = settled or Settled()
        self.measured_heads: dict[str, float] = {}
        self._chosen: dict[str, Decision] = {}
        self._loops = _loops_of(self.cases)
        self._in_loops: dict[str, list[float]] = {}
        self._fed_in_loops: dict[str, float] = {}
        self._recipe = recipe
        self._constants = constants
        self._trace = trace
        self._moments: dict[tuple[str, int, int], float] = {}
        self._input: float | None = None
        self._streams = {join.op: join.stream for join in trace.joins}
        self._wanted = {trace.ops[stream].key for stream in self._streams.values() if stream >= 0}
        self._wants_input = INPUT in self._streams.values()
        self._late: list[str] = []

    def before(self, op: Op, moment: Moment) -> Mapping[str, Initializer]:
        """Decides the laws of the parameters that an op uses; returns what it should see in their place."""
        self._see_input(op, moment)
        laws: dict[str, Initializer] = {}
        for position, use in enumerate(op.uses):
            case = self._case(use)
            if self._slot(use) not in self._chosen:
                self._decide(case, op, use, self._feed(case, op, use, position, moment))
            if case.role == "tied_embedding" and use.role == UseRole.WEIGHT:
                self.measured_heads[use.path] = _positive(moment(0))[0]
            seen = self._seen(case, use)
            if seen is not None:
                laws[use.path] = seen
        return laws

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """Remembers the streams; sets the scale of maps whose input is hidden inside their op."""
        for name, chain in self._loops.items():
            if op.index in (chain.ops[0], chain.ops[-1]):
                self._in_loops.setdefault(name, []).append(moment())
        if not self._late:
            self._remember(op, moment)
            return None
        late, self._late = self._late, []
        factor = self._settle(late[0], moment())
        if op.key in self._wanted:
            self._moments[op.key] = moment() * factor**2
        return factor

    def finish(self) -> None:
        """Decides what no op of this pass used."""
        for path, case in self.cases.items():
            layers = {
                index: self._chosen[own.use.matrix]
                for index, own in case.layers.items()
                if own.use is not None and own.use.matrix in self._chosen
            }
            if layers:
                self.decisions[path] = _of_stack(case, layers)
            elif path in self._chosen:
                self.decisions[path] = self._chosen[path]
            else:
                feed = Feed(1.0, known=case.role == "unused", found=self._value(path))
                self.decisions[path] = Decision(case, self._recipe.choose(case, feed))

    def measured(self) -> "Settled":
        """What this pass measured for the next."""
        loops = dict(self.settled.loops)
        for name, (first, *_, last) in self._in_loops.items():
            if min(first, last) > 0 and math.isfinite(first + last):
                growth = (last / first) ** (1 / (len(self._loops[name].ops) - 1))
                loops[name] = float(f"{loops.get(name, 1.0) / growth:.3g}")
        return Settled(dict(self.measured_heads), loops, self.settled.fed or self._fed_in_loops)

    def _case(self, use: Use) -> Case:
        """The case of a parameter, or of the layer of a stack that a use reads."""
        case = self.cases[use.path]
        return case if use.layer is None else case.layers.get(use.layer[1], case)

    def _slot(self, use: Use) -> str:
        """What a decision is taken for: a parameter, or a layer of a stack."""
        return use.matrix if self.cases[use.path].layers else use.path

    # What feeds

    def _see_input(self, op: Op, moment: Moment) -> None:
        if self._wants_input and self._input is None and op.kind != OpKind.EMBEDDING and INPUT in op.inputs:
            self._input = moment(op.inputs.index(INPUT))

    def _feed(self, case: Case, op: Op, use: Use, position: int, moment: Moment) -> Feed:
        fed, known = self._second_moment(case, op, use, position, moment)
        stream, sure = self._stream(case)
        if case.is_loop:
            self._fed_in_loops[use.matrix] = fed
            fed = self.settled.fed.get(use.matrix, fed)
        loop = self.settled.loops.get(use.matrix, 1.0)
        return Feed(fed, known and sure, stream, self._scores(case), self._value(use.path), loop)

    def _second_moment(self, case: Case, op: Op, use: Use, position: int, moment: Moment) -> tuple[float, bool]:
        if case.role == "tied_embedding":
            return _positive(self.settled.heads.get(use.path, 1.0))[0], True
        if case.role == "position" and op.kind == OpKind.EMBEDDING:
            return self._partner_moment(case)
        if case.role == "magnitude":
            return self._direction_moment(op, use)
        if op.kind == OpKind.EMBEDDING or use.role in UNFED_USES:
            return 1.0, True
        if op.kind == OpKind.RECURRENT and any(other.role == UseRole.WEIGHT for other in op.uses[:position]):
            return STATE, False
        return _operand_moment(op, use, moment)

    def _direction_moment(self, op: Op, use: Use) -> tuple[float, bool]:
        """1 / (std^2 fan_in) of the direction that a length belongs to: the length then gives the same map."""
        for other in op.uses:
            decision = self._chosen.get(self._slot(other))
            if (
                other.path != use.path
                and other.role in MAP_USES
                and decision is not None
                and decision.choice.law is not None
            ):
                shape, layout = decision.case.parameter.shape, decision.case.layout
                std = decision.choice.law.moments(shape, layout=layout).std
                return _positive(1 / (std**2 * fan_in_of(decision.case)) if std else math.nan)
        return 1.0, False

    def _partner_moment(self, case: Case) -> tuple[float, bool]:
        partner = None if case.partner is None else self.cases[case.partner]
        if partner is None:
            return 1.0, True
        feed = Feed(_positive(self.settled.heads.get(partner.parameter.path, 1.0))[0])
        law = self._recipe.choose(partner, feed).law
        return (
            (1.0, True) if law is None else (law.moments(partner.parameter.shape, layout=partner.layout).std ** 2, True)
        )

    def _stream(self, case: Case) -> tuple[float, bool]:
        if case.join is None:
            return 1.0, True
        stream = case.join.stream
        while stream >= 0 and self._trace.ops[stream].key not in self._moments and stream in self._streams:
            stream = self._streams[stream]  # a sum of branches that all left before it: what they left
        if stream == INPUT:
            return _positive(1.0 if self._input is None else self._input)
        return _positive(self._moments.get(self._trace.ops[stream].key, math.nan))

    def _scores(self, case: Case) -> float:
        if case.op is None or (case.part != "query" and "query" not in case.blocks):
            return 1.0
        std = score_std(self._trace, case.op)
        return std if std > LOUD_SCORES else 1.0  # quieter ones may be added to others

    def _value(self, path: str) -> float | None:
        return None if self._constants is None else self._constants.get(path)

    # Decisions

    def _decide(self, case: Case, op: Op, use: Use, feed: Feed) -> None:
        choice = self._recipe.choose(case, feed)
        fed = feed.second_moment if use.role in MAP_USES else None
        self._chosen[self._slot(use)] = Decision(case, choice, fed)
        if use.role == UseRole.OUTPUT and choice.law is not None:
            self._late.append(self._slot(use))

    def _settle(self, slot: str, second_moment: float) -> float:
        """The output was measured instead of the input: for a map without bias the one follows from the other."""
        decision = self._chosen[slot]
        law = decision.choice.law
        if law is None:
            return 1.0
        shape, layout = decision.case.parameter.shape, decision.case.layout
        variance = law.moments(shape, layout=layout).std ** 2 * fan_in_of(decision.case)
        if not (math.isfinite(second_moment) and second_moment > 0 and variance > 0):
            return 1.0
        stream, _ = self._stream(decision.case)
        feed = Feed(second_moment / variance, True, stream)
        choice = self._recipe.choose(decision.case, feed)
        self._chosen[slot] = Decision(decision.case, choice, feed.second_moment)
        after = (
            1.0 if choice.law is None else choice.law.moments(shape, layout=layout).std ** 2 * fan_in_of(decision.case)
        )
        return math.sqrt(after / variance)

    def _seen(self, case: Case, use: Use) -> Initializer | None:
        """What the op should see: the law, or that of what is made of the parameter."""
        chosen = self._chosen[self._slot(use)].choice.law
        if chosen is None or case.role == "magnitude" or case.normalized:
            return None
        if case.offset:
            return Constant(chosen.moments(case.parameter.shape).mean + case.offset)
        if use.ratio != 1:
            return Normal(use.ratio * chosen.moments(case.parameter.shape, layout=case.layout).std)
        return None if case.derived and case.role not in ("weight", "branch_end", "head") else chosen

    def _remember(self, op: Op, moment: Callable[[], float]) -> None:
        if op.key in self._wanted:
            self._moments[op.key] = moment()


def _of_stack(case: Case, layers: Mapping[int, Decision]) -> Decision:
    """One decision for a stack whose layers were decided one by one."""
    choice = stacked_choice(case, {index: decision.choice for index, decision in layers.items()})
    feeds = [decision.fed for decision in layers.values() if decision.fed is not None]
    return Decision(case, choice, float(f"{sum(feeds) / len(feeds):.3g}") if feeds else None)


def _loops_of(cases_by_path: Mapping[str, Case]) -> Mapping[str, Chain]:
    """The chain of each weight that opens a loop."""
    each = [own for case in cases_by_path.values() for own in (case.layers.values() or (case,))]
    return {
        own.use.matrix: own.chain
        for own in each
        if own.is_loop and own.use is not None and own.chain is not None and own.chain.opens
    }


def _operand_moment(op: Op, use: Use, moment: Moment) -> tuple[float, bool]:
    """Second moment of the operand that a map reads."""
    if not op.inputs:
        return 1.0, False
    if op.kind == OpKind.BILINEAR and len(op.inputs) > 1:
        value, known = _positive(moment(0) * moment(1))
        return value, known and moment.known(0) and moment.known(1)
    which = min({UseRole.KEY: 1, UseRole.VALUE: 2}.get(use.role, 0), len(op.inputs) - 1)
    value, known = _positive(moment(which))
    return value, known and moment.known(which)


def score_std(trace: Trace, query: Op) -> float:
    """Std of the attention scores that a projection of unit queries and keys leads to.

    1 where they are divided by sqrt(d), or where a norm stands between.
    """
    queue: list[tuple[Op, float]] = [(query, 1.0)]
    seen = {query.index}
    while queue:
        here, factor = queue.pop(0)
        for reader in trace.follows(here):
            if reader.index in seen:
                continue
            seen.add(reader.index)
            if reader.kind == OpKind.NORM:
                return 1.0
            if reader.kind == OpKind.ATTENTION:
                return factor * _attention_factor(reader)
            if reader.kind == OpKind.MATMUL:
                return _product_std(trace, reader, here, factor)
            if reader.kind in ATTENTION_OPERAND:
                queue.append((reader, factor * constant_of(reader)))
    return 1.0


def _attention_factor(op: Op) -> float:
    """By what an attention multiplies the std of products of unit values; 1 where it does not say."""
    return op.detail.scale * math.sqrt(op.detail.width) if isinstance(op.detail, Attention) else 1.0


def _product_std(trace: Trace, product: Op, source: Op, factor: float) -> float:
    width = source.shape[-1] if source.shape else 1
    width = width if product.width is None else product.width
    factor *= (
        (1.0 if product.constant is None else product.constant)
        * math.sqrt(width)
        * _factor_before(trace, product, source)
    )
    here: Op | None = product
    while here is not None:
        following = [op for op in trace.follows(here) if op.kind in ATTENTION_OPERAND or op.kind == OpKind.SOFTMAX]
        here = following[0] if following else None
        if here is None or here.kind == OpKind.SOFTMAX:
            return factor if here is not None else 1.0
        if here.kind == OpKind.NORM:
            return 1.0
        factor *= constant_of(here)
    return 1.0


def _factor_before(trace: Trace, product: Op, source: Op) -> float:
    """The numbers by which the other operand of a product was multiplied since its map."""
    factor, others = 1.0, [i for i in product.inputs if i not in (source.index, INPUT)]
    while others:
        op = trace.ops[others[0]]
        if op.kind not in CONSTANT_FACTOR or len(op.inputs) != 1:
            break
        factor, others = factor * constant_of(op), [i for i in op.inputs if i >= 0]
    return factor


def _positive(value: float) -> tuple[float, bool]:
    """A second moment and whether it is one: 1 stands in for zeros and for what is not a number.

    Three digits of it: no batch tells more, and layers that are alike then have equal rows.
    """
    return (float(f"{value:.3g}"), True) if math.isfinite(value) and value > 0 else (1.0, False)
