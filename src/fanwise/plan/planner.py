"""The visitor that plans: as the model runs, each parameter gets its law from what feeds the op that uses it.

It works on a real run, where the second moments are measured on the values that the plan itself would put there, and
on a propagation by theory, where there is nothing to measure (a model on the meta device).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fanwise.graph.arithmetic import PLAIN, QUOTIENTS, made_of
from fanwise.graph.attention import attention_part, score_std
from fanwise.graph.kinds import MAP_USES, UNFED_USES
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.repetition import Chain
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Moment
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal
from fanwise.plan.branches import BranchSizes
from fanwise.plan.feeds import has_other_operands, is_silent, operand_moment, positive, with_viewed
from fanwise.plan.makers import MadeWeights
from fanwise.plan.meant import Meant
from fanwise.plan.measured import ROUGH, Measured, OpKey, factor_of, measured_operands
from fanwise.plan.recipes.recipe import Choice, Feed, Recipe
from fanwise.plan.roles import Case, cases, fan_in_of
from fanwise.plan.row import KEPT
from fanwise.plan.stacked import stacked_choice
from fanwise.plan.starts import Starts
from fanwise.plan.transforms import TransformedWeights, seen_of_table, with_transform
from fanwise.plan.weight_steps import JOINED

LOUD_SCORES = 1.001
"""Scores are too loud from here on: a model may hold sqrt(d) in half precision."""
STATES: Mapping[str, float] = MappingProxyType({"lstm": 0.07, "gru": 0.3, "rnn_tanh": 0.5})
"""Second moment assumed for the state of a recurrent cell that another map inside the same op reads: what 24 steps on
white inputs give for unit pre-activations, an orthogonal map of the state, and a forget gate that starts open."""


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
        size = moments.mean**2 + moments.std**2  # an identity has a mean
        return None if self.fed is None else float(f"{size * fan_in_of(case) * self.fed:.3g}")


class Planner:
    """A visitor of a run or of a propagation.

    Args:
        trace: of an earlier run of the same model: it says what follows each op.
        recipe: the rules.
        starts: the values that the model holds; None where they cannot be read.
        keep: what the user keeps, as why, by path.
        known: what an earlier pass measured and this one needs before it can be measured.
    """

    def __init__(
        self,
        trace: Trace,
        recipe: Recipe,
        starts: Starts | None = None,
        *,
        keep: Mapping[str, str] = MappingProxyType({}),
        known: Measured | None = None,
    ) -> None:
        self.cases = cases(trace)
        self.decisions: dict[str, Decision] = {}
        self.known = known or Measured()
        self.measured = Measured()
        self._chosen: dict[str, Decision] = {}
        self._loops = _loops_of(self.cases)
        self._in_loops: dict[str, list[float]] = {}
        self._recipe = recipe
        self._starts = starts
        self._meant = Meant(trace, starts, keep)
        self._trace = trace
        self._moments: dict[OpKey, float] = {}
        self._input: float | None = None
        self._streams = {join.op: join.stream for join in trace.joins}
        self._wanted = {op.key for stream in self._streams.values() for op in with_viewed(trace, stream)}
        self._wants_input = INPUT in self._streams.values()
        self._late: list[str] = []
        self._blind: set[str] = set()
        self._after: dict[OpKey, float] = {}
        self._operands = measured_operands(trace, self.cases.values())
        self._read: dict[OpKey, float] = {}
        self._fed_first: dict[str, float] = {}
        self._made = MadeWeights(trace, self.cases)
        self._branches = BranchSizes(trace, next((case.around for case in self.cases.values() if case.around), None))
        self._transforms = TransformedWeights(starts, self._spread, frozenset(self._meant.merged))

    def before(self, op: Op, moment: Moment) -> Mapping[str, Initializer]:
        """Decides the laws of the parameters that an op uses; returns what it should see in their place."""
        self._see_input(op, moment)
        if op.key in self._operands:
            self._read[op.key] = moment(self._operands[op.key])
        laws: dict[str, Initializer] = {}
        for position, use in enumerate(op.uses):
            case = self._case(use)
            if self._slot(use) not in self._chosen:
                self._decide(case, op, use, self._feed(case, op, use, position, moment))
            elif self._slot(use) in self._blind:
                self._decide_anew(case, op, use, self._feed(case, op, use, position, moment))
            elif case.reads_state:
                self._remember_fed(use, operand_moment(op, use, moment)[0])
            if case.role == "tied_embedding" and use.role == UseRole.WEIGHT:
                self.measured.heads[use.path] = positive(moment(0))[0]
            self._remember_law(op, use.path)
            seen = self._seen(case, use)
            if seen is not None:
                laws[use.path] = seen
        if op.key in self._made.products:
            self._ask(op, moment)
        return laws

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """Remembers the streams; sets the scale of maps whose input is hidden inside their op."""
        factor = self._scale_of(op, moment)
        self._branches.see(op.key, moment if factor is None else lambda: moment() * factor**2)
        return factor

    def _scale_of(self, op: Op, moment: Callable[[], float]) -> float | None:
        if op.key in self._read:
            self._measure_factor(op.key, moment())
        for name, chain in self._loops.items():
            if op.index in (chain.ops[0], chain.ops[-1]):
                self._in_loops.setdefault(name, []).append(moment())
        if op.key in self._made.roots:
            self._made.sizes[op.key] = moment()
        if not self._late:
            made = self._made.factors.pop(op.key, None)
            self._remember(op, moment if made is None else lambda: moment() * made**2)
            return made
        late, self._late = self._late, []
        factor = self._settle(late[0], moment())
        if op.key in self._wanted:
            self._moments[op.key] = moment() * factor**2
        return factor

    def finish(self) -> None:
        """Decides what no op of this pass used."""
        self._measure_loops()
        self.measured.shares.update(self._branches.shares(self.known.shares))
        self.measured.streams.update({key: moment for key, moment in self._after.items() if positive(moment)[1]})
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
                feed = Feed(1.0, known=case.role == "unused", found=self._value(case))
                self.decisions[path] = Decision(case, self._choose(case, feed))

    def _measure_loops(self) -> None:
        """By what the variance of each weight that opens a loop is to be multiplied in the next pass."""
        self.measured.loops.update(self.known.loops)
        self.measured.fed.update(self.known.fed)  # the first pass, in which no factor was at work, says
        for name, (first, *_, last) in self._in_loops.items():
            if min(first, last) > 0 and math.isfinite(first + last):
                growth = (last / first) ** (1 / (len(self._loops[name].ops) - 1))
                self.measured.loops[name] = float(f"{self.known.loops.get(name, 1.0) / growth:.3g}")

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
            self.measured.fed[use.matrix] = fed
            fed = self.known.fed.get(use.matrix, fed)
        if case.reads_state:
            fed = positive(fed * self._remember_fed(use, fed))[0]
        factor, loop = self._factor(case), self.known.loops.get(use.matrix, 1.0)
        silent = sure and not known and use.role in MAP_USES and is_silent(op, moment)
        feed = Feed(fed, known and sure, stream, self._scores(case), self._value(case), factor, loop, silent=silent)
        return replace(feed, share=self._share(case))

    def _share(self, case: Case) -> float:
        """By what the share of a branch is multiplied for what stands behind its last map."""
        return 1.0 if case.use is None else self.known.shares.get(case.use.matrix, 1.0)

    def _remember_fed(self, use: Use, fed: float) -> float:
        """By how much more a weight reads at one of its uses than at the first, where a state is still empty."""
        self.measured.grow(use.matrix, fed / self._fed_first.setdefault(use.matrix, fed))
        return self.known.driven.get(use.matrix, 1.0)

    def _factor(self, case: Case) -> float:
        factor = factor_of(case)
        if factor is None:
            return 1.0
        return factor.value * math.prod(self._measured_factor(self._trace.ops[index]) for index, _ in factor.measured)

    def _measured_factor(self, op: Op) -> float:
        """What an op multiplies by; a learned factor that starts below 1 is meant to keep quiet what it multiplies."""
        factor = self.known.factors.get(op.key, 1.0)
        return 1.0 if op.kind == OpKind.SCALE and factor < 1 else factor

    def _ask(self, op: Op, moment: Moment) -> None:
        """Settles what makes the weight of a product."""
        path, _ = self._made.products[op.key]
        if path not in self._chosen:  # a layer of a stack, whose laws are taken together
            return
        asked = self._made.demand(op, moment)
        if asked is not None:
            case, fed = self.cases[path], self._chosen[path].fed
            self._chosen[path] = Decision(case, self._choose(case, asked[1]), fed)
        if path in self._chosen:
            self._made.factors[op.key] = self._made.factor(op, self._chosen[path].choice.law)

    def _remember_law(self, op: Op, path: str) -> None:
        decision = self._chosen.get(path)
        if decision is not None and decision.choice.law is not None and self._made.roots.get(op.key) == path:
            self._made.drawn[op.key] = decision.choice.law

    def _measure_factor(self, key: OpKey, after: float) -> None:
        before = self._read.pop(key)
        factor = math.sqrt(after / before) if before > 0 and 0 < after < math.inf else 1.0
        if abs(factor - 1) > ROUGH:
            self.measured.factors[key] = float(f"{factor:.3g}")

    def _second_moment(self, case: Case, op: Op, use: Use, position: int, moment: Moment) -> tuple[float, bool]:
        if case.role == "tied_embedding":
            return positive(self.known.heads.get(use.path, 1.0))[0], True
        is_added = case.role == "position" or (case.role == "embedding" and case.partner is not None)
        if is_added and (op.kind == OpKind.EMBEDDING or case.partner is not None):
            return self._partner_moment(case)
        if case.role == "magnitude":
            return self._direction_moment(op, use)
        if op.kind == OpKind.EMBEDDING or use.role in UNFED_USES:
            return 1.0, True
        if op.kind == OpKind.RECURRENT and op.fed and position not in op.fed:
            return STATES.get(str(op.cell), 1.0), False
        return operand_moment(op, use, moment)

    def _direction_moment(self, op: Op, use: Use) -> tuple[float, bool]:
        """1 / (std^2 n) of the direction that a length of n numbers belongs to: the length then gives the same map."""
        direction = self._direction(op, use)
        if direction is None or direction.choice.law is None:
            return 1.0, False
        case = direction.case
        if case.normalized:
            return 1.0, False  # `_settle_length` measures what comes out
        std = direction.choice.law.moments(case.parameter.shape, layout=case.layout).std
        return positive(1 / (std**2 * self._numbers_of_length(case, use)) if std else math.nan)

    def _numbers_of_length(self, direction: Case, length: Use) -> float:
        """How many numbers of the weights one length is of: the fan_in of a row, more or fewer along other axes."""
        lengths = math.prod(self._trace.by_path[length.path].shape)
        numbers = math.prod(direction.parameter.shape)
        return numbers / lengths if lengths and numbers % lengths == 0 else fan_in_of(direction)

    def _direction(self, op: Op, length: Use) -> Decision | None:
        """The decision for the weights whose rows have a length that is a parameter of its own."""
        others = (use for use in op.uses if use.path != length.path and use.role in MAP_USES)
        return next((self._chosen[self._slot(use)] for use in others if self._slot(use) in self._chosen), None)

    def _partner_moment(self, case: Case) -> tuple[float, bool]:
        partner = None if case.partner is None else self.cases[case.partner]
        if partner is None:
            return 1.0, True
        feed = Feed(positive(self.known.heads.get(partner.parameter.path, 1.0))[0])
        law = self._choose(partner, feed).law
        if law is None:
            return 1.0, True
        std = law.moments(partner.parameter.shape, layout=partner.layout).std
        return (std * self._table_factor(partner)) ** 2, True

    def _table_factor(self, table: Case) -> float:
        """The number by which the model multiplies the rows of a table."""
        uses = self._trace.uses[table.parameter.path]
        op = next((op for op, use in uses if use.role == UseRole.TABLE), None)
        return 1.0 if table.around is None else table.around.constant_after(op)

    def _stream(self, case: Case) -> tuple[float, bool]:
        if case.join is None or case.join.op in self._trace.filled:  # a state is to become as large as other signals
            return 1.0, True
        stream = case.join.stream
        while stream >= 0 and self._trace.ops[stream].key not in self._moments and stream in self._streams:
            stream = self._streams[stream]  # a sum of branches that all left before it: what they left
        if stream == INPUT:
            return positive(1.0 if self._input is None else self._input)
        return positive(self._stream_moment(self._trace.ops[stream]))

    def _stream_moment(self, stream: Op) -> float:
        """Of a stream; one that is computed after its branch was measured in an earlier pass."""
        while stream.key not in self._moments and stream.kind == OpKind.SLICE and stream.inputs[0] >= 0:
            stream = self._trace.ops[stream.inputs[0]]  # a view, of which nothing is measured
        key = stream.key
        if key in self._moments:
            return self._moments[key]
        self._after[key] = math.nan
        return self.known.streams.get(key, math.nan)

    def _scores(self, case: Case) -> float:
        is_query = case.part == "query" or "query" in case.blocks
        if case.op is None or not (is_query or self._is_query_norm(case)):
            return 1.0
        std = score_std(self._trace, case.op, self._learned_factor)
        return std if std > LOUD_SCORES else 1.0  # quieter ones are meant

    def _learned_factor(self, op: Op) -> float:
        """The size of the parameters that an op multiplies by, 1 where it is not known."""
        size = math.prod(self._size(use) for use in op.used(UseRole.SCALE))
        return 1.0 / size if op.name in QUOTIENTS and size else size

    def _size(self, use: Use) -> float:
        if use.seen is not None:
            return math.hypot(*use.seen)
        value = self._value(self.cases[use.path])
        return 1.0 if value is None else abs(made_of(value, use.steps))

    def _value(self, case: Case) -> float | None:
        layer = None if case.use is None else case.use.layer
        shape = [size for axis, size in enumerate(case.parameter.shape) if layer is None or axis != layer[0]]
        is_small = len(shape) < 2 or min(shape) == 1
        return self._starts.constant(case.parameter.path) if is_small and self._starts is not None else None

    def _is_query_norm(self, case: Case) -> bool:
        """Whether it is the scale of a norm of queries: what they were before it drops out."""
        return case.role == "norm_scale" and case.op is not None and attention_part(self._trace, case.op) == "query"

    # Decisions

    def _choose(self, case: Case, feed: Feed) -> Choice:
        """What is meant to stay, or else what the recipe says."""
        meant = self._meant.choice(case)
        if meant is not None:
            return meant
        through = self._transforms.choice(case, feed, self._recipe.choose)
        if through is not None and not self._has_length(case):
            return through
        choice = self._recipe.choose(self._meant.as_map(case), feed)
        return choice if choice.law is not None else self._meant.as_found(case, feed) or choice

    def _decide(self, case: Case, op: Op, use: Use, feed: Feed) -> None:
        case, feed = with_transform(case, use), self._made.first_feed(case, feed)
        choice = self._choose(case, feed)
        is_map = case.use is not None and case.use.role in MAP_USES
        fed = feed.second_moment if is_map or use.role in MAP_USES else None
        self._chosen[self._slot(use)] = Decision(case, choice, fed)
        hidden = use.role == UseRole.OUTPUT or has_other_operands(op, use) or self._is_length(case, op, use)
        hidden = hidden or self._transforms.has_mean(case)
        if choice.law is not None and hidden:
            self._late.append(self._slot(use))
        elif use.role in MAP_USES and not feed.known:
            self._blind.add(self._slot(use))

    def _decide_anew(self, case: Case, op: Op, use: Use, feed: Feed) -> None:
        """A map whose first operand was zero, as a state before the first step, is planned from the next."""
        if feed.known:
            self._blind.discard(self._slot(use))
            self._decide(case, op, use, feed)

    def _has_length(self, case: Case) -> bool:
        """Whether the length of a weight is a parameter of its own, whose value follows from the law of the weight."""
        beside = () if case.op is None else case.op.used(UseRole.SCALE)
        return any(self.cases[use.path].role == "magnitude" for use in beside)

    def _is_length(self, case: Case, op: Op, use: Use) -> bool:
        """Whether a parameter is the length of standardised weights: their mean is 0, so that they see no mean."""
        direction = self._direction(op, use) if case.role == "magnitude" else None
        return direction is not None and direction.case.role == "weight" and direction.case.normalized

    def _settle(self, slot: str, second_moment: float) -> float:
        """The output was measured instead of the input: for a map without bias the one follows from the other."""
        decision = self._chosen[slot]
        law = decision.choice.law
        if law is None:
            return 1.0
        if decision.case.role == "magnitude":
            return self._settle_length(slot, second_moment)
        if self._transforms.has_mean(decision.case):
            return self._settle_transformed(slot, second_moment)
        shape, layout = decision.case.parameter.shape, decision.case.layout
        variance = law.moments(shape, layout=layout).std ** 2 * fan_in_of(decision.case)
        if not (math.isfinite(second_moment) and second_moment > 0 and variance > 0):
            return 1.0
        stream, _ = self._stream(decision.case)
        feed = Feed(positive(second_moment / variance)[0], True, stream, share=self._share(decision.case))
        choice = self._choose(decision.case, feed)
        self._chosen[slot] = Decision(decision.case, choice, feed.second_moment)
        after = (
            1.0 if choice.law is None else choice.law.moments(shape, layout=layout).std ** 2 * fan_in_of(decision.case)
        )
        return math.sqrt(after / variance)

    def _settle_transformed(self, slot: str, second_moment: float) -> float:
        """A weight that has a mean, from how alike the values are that it maps."""
        case, fed = self._chosen[slot].case, self._chosen[slot].fed
        if not (math.isfinite(second_moment) and second_moment > 0 and fed):
            return 1.0
        alike = self._transforms.alike(case, second_moment, fed)
        before, stream = self._transforms.size(case, alike), self._stream(case)[0]
        feed = Feed(fed, True, stream, share=self._share(case))
        choice = self._transforms.choice(case, feed, self._recipe.choose, alike)
        if choice is None:
            return 1.0
        self._chosen[slot] = Decision(case, choice, fed)
        return math.sqrt(self._transforms.size(case, alike) / before)

    def _spread(self, path: str) -> tuple[float, float] | None:
        """Mean and std of a parameter whose law is decided."""
        decision = self._chosen.get(path)
        if decision is None or decision.choice.law is None:
            return None
        moments = decision.choice.law.moments(decision.case.parameter.shape, layout=decision.case.layout)
        return moments.mean, moments.std

    def _settle_length(self, slot: str, second_moment: float) -> float:
        """The length of standardised weights, from what they give at the length that they have."""
        case = self._chosen[slot].case
        value = self._value(case)
        if not value or not (math.isfinite(second_moment) and second_moment > 0):
            return 1.0
        moment, _ = positive(second_moment)
        self._chosen[slot] = Decision(case, self._choose(case, Feed(moment / value**2)))
        return 1 / math.sqrt(moment)

    def _seen(self, case: Case, use: Use) -> Initializer | None:
        """What the op should see: the law, or that of what is made of the parameter."""
        choice = self._chosen[self._slot(use)].choice
        chosen, as_made = choice.law, use.path in self._meant.merged or (case.transformed and KEPT in choice.reason)
        if chosen is None or case.role == "magnitude" or case.normalized or as_made:
            return None
        through = self._transforms.seen(case)
        if through is not None:
            return through
        if case.offset:
            return Constant(chosen.moments(case.parameter.shape).mean + case.offset)
        if use.layout is None and case.layout is not None:
            return Normal(chosen.moments(case.parameter.shape, layout=case.layout).std)
        if use.ratio != 1 and self._starts is not None:  # theory applies it itself
            return Normal(use.ratio * chosen.moments(case.parameter.shape, layout=case.layout).std)
        is_itself = set(use.steps) <= PLAIN | JOINED or case.role in ("weight", "branch_end", "head")
        return chosen if is_itself else seen_of_table(case, use, chosen)

    def _remember(self, op: Op, moment: Callable[[], float]) -> None:
        if op.key in self._wanted:
            self._moments[op.key] = moment()
            if op.key in self._after:
                self._after[op.key] = self._moments[op.key]


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
