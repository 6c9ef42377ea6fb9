"""What the rules look at: observations of one model over seeds, with roles, laws, and the depth of every map."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType

from fanwise.check.findings import label
from fanwise.check.prediction import predicted
from fanwise.graph.kinds import MAIN_USES, STRETCH, STRETCH_MAPS, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, UseRole
from fanwise.graph.residual import Join
from fanwise.graph.trace import Trace
from fanwise.measure.law_recognition import FoundLaw, found_law
from fanwise.measure.observation import NAN, Observation, Signal, Values
from fanwise.measure.optimizers import Optimizer
from fanwise.plan.plan import Plan
from fanwise.plan.roles import Case, cases
from fanwise.theory.propagation import Propagation


@dataclass(frozen=True)
class Map:
    """One weight op and its main parameter.

    Args:
        op: the op.
        path: of its weight.
        case: what that parameter is.
        values: its numbers.
        law: what they look like.
        signal: what the op gave, over the seeds.
        fed: what it read.
        bias: second moment of what is added to what the weight gives.
    """

    op: Op
    path: str
    case: Case
    values: Values
    law: FoundLaw
    signal: Signal
    fed: Signal
    bias: float = 0.0

    @property
    def name(self) -> str:
        """The path without ".weight" or ".kernel"."""
        return label(self.path)

    @property
    def derived(self) -> bool:
        """Whether the model makes the weight that it uses from this parameter, as weight norm does."""
        return self.case.use is not None and bool(self.case.use.steps) and (self.case.derived or self.case.transformed)

    @property
    def fan_in(self) -> float:
        """How many inputs a unit adds up; NaN for a weight of equal values."""
        return (self.law.gain / self.values.std) ** 2 if self.values.std else math.nan

    @property
    def predicted(self) -> float:
        """Second moment of the output by theory, from the one that feeds it and the weight's variance."""
        return self.law.gain**2 * self.fed.second_moment


@dataclass(frozen=True)
class Stretch:
    """Maps that follow one another with nothing between them that sets the scale anew.

    Args:
        maps: in order; each reads the one before through elementwise functions and pooling.
    """

    maps: tuple[Map, ...]

    @property
    def on_branch(self) -> bool:
        """Whether it lies on a residual branch, whose stream carries the signal past it."""
        around = self.maps[-1].case.around if self.maps else None
        return around is not None and around.branch(self.maps[-1].op) is not None

    def forward(self) -> tuple[float, ...]:
        """Log of the factor on the second moment from each map to the next.

        Biases are left out: a signal that fades behind a constant would look as if it did not.
        """
        return tuple(_log_ratio(*_passed_on(before, layer)) for before, layer in self._steps())

    def backward(self) -> tuple[float, ...]:
        """Log of the factor on the summed square of the gradient from each map to the next."""
        return tuple(_log_ratio(_energy(layer), _energy(before)) for before, layer in self._steps())

    def finite(self) -> "Stretch":
        """Its beginning, as far as numbers are finite."""
        bad = (i for i, layer in enumerate(self.maps) if not math.isfinite(layer.signal.second_moment))
        return Stretch(self.maps[: next(bad, len(self.maps))])

    def _steps(self) -> Iterator[tuple[Map, Map]]:
        return pairwise(self.maps)


def _passed_on(before: Map, layer: Map) -> tuple[float, float]:
    """Second moments after and before a step, without the bias where that is a good part of them.

    By theory from the weight; where the model makes the weight from parameters, what differs between examples.
    """
    second = layer.signal.second_moment
    if not layer.bias > SHARE * second:
        return second, before.signal.second_moment
    if layer.derived:
        return layer.signal.varying, before.signal.varying
    return (layer.predicted if layer.predicted > 0 else second), before.signal.second_moment


SKIPPED = 0.1
"""Share of the features that a map reads from which inputs of the model among them carry the signal past other maps."""
SHARE = 0.1
"""Share of a bias in a second moment from which it hides the signal."""


def _energy(layer: Map) -> float:
    return layer.signal.gradient * max(layer.op.size, 1)


def _log_ratio(after: float, before: float) -> float:
    if not (math.isfinite(after) and math.isfinite(before)):
        return NAN
    if before <= 0 or after <= 0:
        return 0.0 if before == after else math.copysign(math.inf, after - before)
    return math.log(after / before)


@dataclass(frozen=True)
class Subject:
    """One model as it was observed.

    Args:
        observations: one a seed, of the same architecture.
        plan: what its weights should be, None where nobody said.
        optimizer: what will train it, None where nobody said.
    """

    observations: tuple[Observation, ...]
    plan: Plan | None = None
    optimizer: Optimizer | None = None

    @property
    def first(self) -> Observation:
        """The observation that rules on values look at."""
        return self.observations[0]

    @property
    def trace(self) -> Trace:
        """Of the first seed."""
        return self.first.trace

    @property
    def values(self) -> Mapping[str, Values]:
        """Of the first seed."""
        return self.first.values

    @cached_property
    def cases(self) -> Mapping[str, Case]:
        """What each parameter is."""
        return cases(self.trace)

    @cached_property
    def signals(self) -> tuple[Signal, ...]:
        """Of each op, over the seeds: moments averaged in the logarithm, shares as they are."""
        alike = [
            observation.signals
            for observation in self.observations
            if len(observation.signals) == len(self.first.signals)
        ]
        return tuple(mean_signal(several) for several in zip(*alike, strict=True))

    @cached_property
    def outputs(self) -> Signal:
        """What the model returned, over the seeds."""
        return mean_signal([observation.outputs for observation in self.observations])

    def fed(self, op: Op, operand: int = 0) -> Signal:
        """What an op reads, over the seeds."""
        return mean_signal(
            [observation.fed(op, operand) for observation in self.observations if len(observation.signals) > op.index]
        )

    @cached_property
    def predicted(self) -> Propagation:
        """What theory says of the first seed."""
        return predicted(self.first)

    @cached_property
    def laws(self) -> Mapping[str, FoundLaw]:
        """What the values of each parameter look like."""
        return MappingProxyType(
            {path: self._law(path, case) for path, case in self.cases.items() if path in self.values}
        )

    def _law(self, path: str, case: Case) -> FoundLaw:
        return found_law(self.values[path], case.parameter.shape, case.layout)

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        """Every weight op whose main parameter has values, in the order of execution."""
        return tuple(layer for op in self.trace.ops if op.kind in WEIGHTED for layer in self._map(op))

    @cached_property
    def distinct_maps(self) -> tuple[Map, ...]:
        """The maps, each weight once: by the first op that uses it, in the order of the last."""
        return tuple({layer.path: layer for layer in reversed(self.maps)}.values())[::-1]

    def _map(self, op: Op) -> Iterator[Map]:
        use = next((use for use in op.uses if use.role in MAIN_USES and use.path in self.values), None)
        if use is not None:
            path = use.path
            biases = [self.values[use.path].second_moment for use in op.used(UseRole.BIAS) if use.path in self.values]
            facts = self.cases[path], self.values[path], self.laws[path]
            yield Map(op, path, *facts, self.signals[op.index], self.fed(op), sum(biases))

    @cached_property
    def hidden_maps(self) -> tuple[Map, ...]:
        """The maps from a hidden state to itself, inside ops of recurrent cells."""
        hidden = [
            (op, use.path)
            for op in self.trace.ops
            for use in op.used(UseRole.RECURRENT)
            if op.kind == OpKind.RECURRENT and use.path in self.values
        ]
        return tuple(
            Map(op, path, self.cases[path], self.values[path], self.laws[path], self.signals[op.index], Signal())
            for op, path in hidden
        )

    @cached_property
    def map_of(self) -> Mapping[int, Map]:
        """Maps by the index of their op."""
        return MappingProxyType({layer.op.index: layer for layer in self.maps})

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """Every stretch of maps, the longest first; those of a tree share their beginnings."""
        before = {layer.op.index: self._map_before(layer.op) for layer in self.maps if layer.op.kind in STRETCH_MAPS}
        inner = {source for source in before.values() if source is not None}
        ends = [index for index in before if index not in inner]
        stretches = [Stretch(tuple(self.map_of[i] for i in self._back(end, before))) for end in ends]
        return tuple(sorted(stretches, key=lambda stretch: -len(stretch.maps)))

    def _back(self, end: int, before: Mapping[int, int | None]) -> list[int]:
        way: list[int] = []
        here: int | None = end
        while here is not None:
            way.append(here)
            here = before[here]
        return way[::-1]

    def _map_before(self, op: Op) -> int | None:
        """The map that an op reads, with nothing between that sets the scale anew."""
        earlier = self.trace.before(op, STRETCH_MAPS, STRETCH)
        if earlier is None or earlier.index not in self.map_of or self._meets_inputs(op, earlier):
            return None
        return earlier.index

    def _meets_inputs(self, op: Op, earlier: Op) -> bool:
        """Whether inputs of the model are put beside what comes from a map, on the way to another: they skip it."""
        way = [op]
        while way[-1].index != earlier.index and (fed := self.trace.feeds(way[-1])):
            way.append(fed[0])
        joins = [(here, before) for here, before in pairwise(way) if here.kind is OpKind.CONCAT]
        return any(
            before.size < (1 - SKIPPED) * here.size
            and any(self._is_raw(source) for source in here.inputs if source != before.index)
            for here, before in joins
        )

    def _is_raw(self, source: int) -> bool:
        """Whether an op is made of the model's inputs alone, by no parameter."""
        ops = [self.trace.ops[index] for index in self.trace.ancestors(source) if index >= 0]
        return source == INPUT or (not any(op.uses for op in ops) and any(INPUT in op.inputs for op in ops))

    @cached_property
    def streams(self) -> tuple[tuple[Join, ...], ...]:
        """The joins of each residual stream, in order; long ones only."""
        streams: dict[int, list[Join]] = {}
        for join in self.trace.joins:
            streams.setdefault(join.number, []).append(join)
        return tuple(tuple(joins) for joins in streams.values() if len(joins) > 1)

    @cached_property
    def heads(self) -> tuple[Map, ...]:
        """The maps that make the outputs."""
        return tuple(
            layer
            for layer in self.maps
            if layer.case.role in ("head", "tied_embedding") and layer.op.kind != OpKind.EMBEDDING
        )

    @cached_property
    def followed(self) -> frozenset[int]:
        """Ops whose output reaches a map."""
        followed: set[int] = set()
        for op in reversed(self.trace.ops):
            if any(i in self.map_of or i in followed for i in self.trace.followers[op.index]):
                followed.add(op.index)
        return frozenset(followed)

    @property
    def last(self) -> tuple[Map, ...]:
        """The maps on the way to the first output that no other map follows."""
        inner = [layer for layer in self.maps if layer.op.index in self.lead_to_output]
        return tuple(layer for layer in inner if layer.op.index not in self.followed)

    @cached_property
    def lead_to_output(self) -> frozenset[int]:
        """The ops that the first output depends on."""
        return frozenset(self.trace.ancestors(self.trace.outputs[0])) if self.trace.outputs else frozenset()

    @cached_property
    def fresh(self) -> bool:
        """Whether the model looks as if nobody had trained it: most of its maps hold values of a generator."""
        fresh = [layer.law.fresh for layer in self.maps if layer.law.kind != "few"]
        return not fresh or sum(fresh) > 0.5 * len(fresh)


def mean_signal(signals: Sequence[Signal]) -> Signal:
    """Second moments averaged in the logarithm, all else as it is."""
    if len(signals) == 1:
        return signals[0]
    if not signals:
        return Signal()
    names = ("mean", "zeros", "silent", "saturated", "mode", "places", "likeness")
    plain = {name: _mean([vars(signal)[name] for signal in signals]) for name in names}
    logs = {name: _log_mean([vars(signal)[name] for signal in signals]) for name in ("second_moment", "gradient")}
    return Signal(**plain, **logs)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _log_mean(numbers: Sequence[float]) -> float:
    if any(not number > 0 or math.isinf(number) for number in numbers):
        return _mean(numbers)
    return math.exp(_mean([math.log(number) for number in numbers]))
