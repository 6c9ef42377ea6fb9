"""Starts that are meant: what a plan keeps of the values that a model's author gave it, and why.

Whatever the recipe, a plan never destroys a deliberate start: ends of side paths beside frozen weights, biases of
heads, gates and temperatures. The reasons of what is kept begin with `KEPT`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from fanwise.graph.frozen import STOPS_GRADIENT, FrozenMaps, stops_gradient
from fanwise.graph.kinds import MAP_USES, WEIGHTED
from fanwise.graph.op import OpKind, UseRole
from fanwise.graph.side_paths import Candidate, SidePath, SidePaths
from fanwise.graph.trace import Trace
from fanwise.graph.zero_born import acts_on_data
from fanwise.laws.elementwise import Normal, Ones, Zeros
from fanwise.laws.structured import Identity
from fanwise.plan.random_factors import random_factor
from fanwise.plan.recipes.recipe import Choice, Feed
from fanwise.plan.recipes.unit import constant_law, is_plausible
from fanwise.plan.roles import Case, fan_in_of
from fanwise.plan.row import KEPT
from fanwise.plan.starts import Starts

PRODUCTS = frozenset({"sum", "reduce_sum", "matmul", "mm", "bmm", "mv", "dot", "inner", "vdot", "vecdot", "einsum"}) | {
    "dot_general",
    "tensordot",
}
"""Functions that sum over the values of a parameter before anything else sees them."""
FACTOR_STD = 0.1
"""Std of vectors whose product makes one factor."""
_YE = 'Ye et al., "Differential transformer", 2024, section 2.1'
_LE = 'Le et al., "A simple way to initialize recurrent networks of rectified linear units", 2015, section 3'
_LIKE = "drawn anew by the law that its values look like: it acts in a way of its own"
_GATES = ("gate", "branch_gate")
_KEPT_MAPS = ("weight", "branch_end", "head")


class Meant:
    """The choices that stand before those of any recipe.

    Args:
        trace: of a run.
        starts: the values that the model holds; None where it has none.
        keep: what the user keeps, as why, by path.
    """

    def __init__(self, trace: Trace, starts: Starts | None, keep: Mapping[str, str]) -> None:
        self._trace = trace
        self._starts = starts
        self._keep = keep
        self._frozen = FrozenMaps(trace)
        self.merged: set[str] = set()
        self._ends: dict[str, bool] = {}
        for side in SidePaths(trace, self._frozen).paths:
            self._settle(side)

    def choice(self, case: Case) -> Choice | None:
        """What is kept of a parameter, or must be what it is whatever the recipe; None where the recipe decides."""
        path = case.parameter.path
        if not case.parameter.trained or case.op is None:
            return None
        if path in self._keep:
            return Choice(None, f"{KEPT}: {self._keep[path]}")
        if self._is_cut_off(path):
            return Choice(None, "left as it is: no gradient comes back to it")
        if path in self._ends:
            return _side_end(was_zero=self._ends[path])
        return self._beside_frozen(case) or self._of_role(case)

    def _is_cut_off(self, path: str) -> bool:
        """Whether the model lets no gradient back to a parameter, wherever it uses it.

        Not one that only chooses, as the maps of an index of places do that are run under `no_grad`: no base is lost.
        """
        uses = self._trace.uses[path]
        if not uses or not all(stops_gradient(use) for _, use in uses):
            return False
        return not self._trace.outputs or any(op.index in self._trace.once(_behind_outputs) for op, _ in uses)

    def as_found(self, case: Case, feed: Feed) -> Choice | None:
        """A law for random values of which the recipe knows none, so that the key fixes them too."""
        path = case.parameter.path
        if self._starts is None or case.op is None or not case.parameter.trained:
            return None
        if any(not STOPS_GRADIENT.isdisjoint(use.steps) for _, use in self._trace.uses[path]):
            return None  # it may be a base to which no gradient comes back
        if not self._starts.is_finite(path) or self._constant(path) is not None:
            return None
        return random_factor(self._trace, case, feed, self._starts) or self._redrawn(path)

    def _redrawn(self, path: str) -> Choice | None:
        law = None if self._starts is None else self._starts.drawn_like(path)
        return None if law is None else Choice(law, _LIKE, guess=True)

    def as_map(self, case: Case) -> Case:
        """The case of a map that is added to a frozen weight, as if it stood alone: its other factor is 0."""
        if case.parameter.path not in self.merged or case.use is None:
            return case
        return replace(case, role="weight", use=replace(case.use, steps=()))

    # Side paths

    def _settle(self, side: SidePath) -> None:
        """Decides which candidate is 0; the others are not, or nothing on the path would ever learn."""
        values = {candidate.path: self._constant(candidate.path) for candidate in side.candidates}
        if side.merged and (not _is_lone(side) or 0 in values.values()):
            self.merged.update(values)
        if not self._ends.keys().isdisjoint(values):
            return
        zeros = [candidate for candidate in side.candidates if values[candidate.path] == 0]
        end = next(iter(zeros), None) or _end_of(side.candidates, has_values=self._starts is not None)
        if end is not None:
            self._ends[end.path] = bool(zeros)

    def _beside_frozen(self, case: Case) -> Choice | None:
        """What belongs to frozen weights: their biases, lengths and norms, as they were trained or as 1 and 0."""
        if case.role in ("norm_scale", "norm_shift", "branch_norm"):
            return self._norm_of_frozen(case)
        if case.role in _GATES:
            return self._factor_of_frozen(case)
        belongs = case.op is not None and any(
            use.role in MAP_USES and not self._frozen.is_trained(use) for use in case.op.uses
        )
        if not belongs or case.role not in ("bias", "head_bias", "magnitude", "gate_bias", "state_bias"):
            return None
        value = self._constant(case.parameter.path)
        return _kept(value, "it belongs to a frozen weight")

    def _norm_of_frozen(self, case: Case) -> Choice | None:
        path = case.parameter.path
        if case.op is None or self._starts is None or self._constant(path) is not None:
            return None
        feeds = bool(case.op.inputs) and case.op.inputs[0] >= 0 and self._frozen.feeds(case.op.inputs[0])
        return Choice(None, f"{KEPT}: a norm of frozen weights, as it was trained") if feeds else None

    def _factor_of_frozen(self, case: Case) -> Choice | None:
        """A factor on what frozen weights give, as in (IA)^3: 1, where nothing else is known."""
        op = case.op
        if op is None or not op.inputs or op.inputs[0] < 0 or case.derived or case.use is None:
            return None
        sources = self._frozen.sources(op.inputs[0])
        if not sources or not sources <= self._frozen.indices:
            return None
        if self._starts is None:
            return Choice(Ones(), "a factor of 1: frozen weights give what they gave") if case.role == "gate" else None
        if self._constant(case.parameter.path) is not None:
            return None
        return Choice(None, f"{KEPT}: a factor on what frozen weights give, as it was trained")

    # By role

    def _of_role(self, case: Case) -> Choice | None:
        if case.role == "head_bias":
            return self._head_bias(case)
        if case.role == "bias":
            return self._gate_bias(case)
        if case.role in _GATES:
            return self._gate(case)
        if case.role == "other":
            return self._bias_of_softplus(case)
        if case.role == "recurrent" or case.role in _KEPT_MAPS:
            return self._identity(case) or (self._zero_map(case) if case.role in _KEPT_MAPS else None)
        return None

    def _head_bias(self, case: Case) -> Choice | None:
        """A prior of rare classes, the mean of the targets, log frequencies."""
        if self._starts is None or case.op is None:
            return None
        path, bound = case.parameter.path, self._default_bound(case)
        value = self._constant(path)
        if value is not None:
            single = math.prod(case.parameter.shape) == 1
            meant = is_plausible(value) and value != 0 and (not single or abs(value) > bound)
            return _kept(value, "the head's bias is a prior or the mean of its targets") if meant else None
        if self._starts.looks_written(path, bound):
            return Choice(None, f"{KEPT}: the head's biases are priors or the means of its targets")
        return None

    def _default_bound(self, case: Case) -> float:
        """Bound of torch's default biases: 1/sqrt(fan_in) of the map that they are added to."""
        pair = None if case.around is None else case.around.map_of(case.op)
        if pair is None:
            sources = self._trace.feeds(case.op) if case.op is not None else ()
            pair = next((found for op in sources if case.around and (found := case.around.map_of(op))), None)
        if pair is None:
            return 1.0
        use, parameter = pair
        return 1 / math.sqrt(fan_in_of(Case(parameter, "weight", use=use)))

    def _gate_bias(self, case: Case) -> Choice | None:
        """A constant bias of a gate that multiplies a signal: it starts open or shut."""
        value = self._constant(case.parameter.path)
        if value is None or value == 0 or math.prod(case.parameter.shape) == 1 or case.op is None:
            return None
        gates = self._trace.nonlinearity_after(case.op) in ("sigmoid", "hard_sigmoid", "hardsigmoid")
        meant = gates and acts_on_data(self._trace, case.op) and is_plausible(value)
        return _kept(value, "a gate that starts open or shut") if meant else None

    def _bias_of_softplus(self, case: Case) -> Choice | None:
        """A bias whose softplus is a scale, no time step: 0, where it is as small as a default would draw it."""
        is_bias = case.use is not None and case.use.role in (UseRole.BIAS, UseRole.SHIFT) and not case.derived
        path = case.parameter.path
        if not is_bias or self._starts is None or not self._starts.is_finite(path):
            return None
        if self._constant(path) is not None or self._starts.looks_written(path, self._default_bound(case)):
            return None
        return Choice(Zeros(), "no offset at the start: a scale of softplus(0), about 0.7")

    def _gate(self, case: Case) -> Choice | None:
        path = case.parameter.path
        if case.op is not None and case.op.kind in WEIGHTED:
            return self._factor_of_weights(case)
        if self._starts is None:
            return self._unread_gate(case)
        value = self._constant(path)
        if value is None:
            return self._uneven(case)
        if case.role == "branch_gate":
            return None  # the recipe knows what the end of a branch should be
        if not is_plausible(value):
            return _implausible(value)
        return _kept(value, f"a gate or temperature of {value:.4g}")

    def _factor_of_weights(self, case: Case) -> Choice:
        """A factor on the weights of a map, value by value: the weights hold the law."""
        if self._constant(case.parameter.path) == 0:
            return _kept(0.0, "a factor of 0 on the weights that it multiplies")
        return Choice(Ones(), "a factor of 1: the weights that it multiplies hold the law")

    def _unread_gate(self, case: Case) -> Choice | None:
        """A gate of a model without values."""
        if _is_summed(case):
            return _factor_vectors(case)
        sources = self._trace.feeds(case.op)[:1] if case.op is not None else ()
        is_temperature = case.role == "gate" and any(source.kind == OpKind.NORM for source in sources)
        return Choice(Ones(), "a factor of 1 after a normalisation", guess=True) if is_temperature else None

    def _uneven(self, case: Case) -> Choice | None:
        """A gate whose values differ: drawn at random, or written down."""
        path = case.parameter.path
        if case.role == "branch_gate":
            return None
        if self._starts is None or not self._starts.is_finite(path):
            return _implausible(math.nan)
        if all(law is None for law in (self._starts.drawn_like(path), self._starts.drawn_around(path))):
            if self._starts.random_sign(path) is not None:
                return None
            return Choice(None, f"{KEPT}: its values were written down, not drawn")
        return _factor_vectors(case) if _is_summed(case) else None

    def _identity(self, case: Case) -> Choice | None:
        """A square map that starts as the identity, or as a multiple of it: nobody draws such a matrix."""
        factor = None if self._starts is None else self._starts.multiple_of_identity(case.parameter.path)
        if factor is None:
            return None
        law = Identity(factor)
        return Choice(law, f"{KEPT}: it starts as {'' if factor == 1 else f'{factor:.4g} times '}the identity", _LE)

    def _zero_map(self, case: Case) -> Choice | None:
        """A map born 0 whose output is a factor of data, or joins it: a coupling of a flow, a modulation."""
        op, path = case.op, case.parameter.path
        if op is None or case.use is None or case.use.role != UseRole.WEIGHT or case.part in ("query", "key"):
            return None
        if op.kind not in (OpKind.LINEAR, OpKind.CONV) or not acts_on_data(self._trace, op, sums=self._is_apart(case)):
            return None
        if self._constant(path) != 0 or self._all_zero():
            return None
        return Choice(Zeros(), f"{KEPT}: born 0, so that what it scales or shifts starts unchanged")

    def _is_apart(self, case: Case) -> bool:
        """Whether a sum with data is a coupling, not a residual connection or an output."""
        if case.join is None:
            return case.role == "weight"
        stream, sum_op = case.join.stream, self._trace.ops[case.join.op]
        if stream not in self._trace.ancestors(case.join.branch):
            return True  # the model's own input, too: x + f(x) is the data where f is 0
        read = sum_op.reads[sum_op.inputs.index(stream)] if sum_op.reads else self._trace.ops[stream].shape
        return math.prod(read) < self._trace.ops[stream].size  # a part of it is moved by another part

    def _all_zero(self) -> bool:
        """Whether the model's maps are all 0: nobody has initialised it."""
        maps = (use.path for op in self._trace.ops for use in op.uses if use.role == UseRole.WEIGHT)
        return all(self._constant(path) == 0 for path in maps)

    def _constant(self, path: str) -> float | None:
        return None if self._starts is None else self._starts.constant(path)


def _is_lone(side: SidePath) -> bool:
    return all(candidate.kind == "lone" for candidate in side.candidates)


def _end_of(candidates: tuple[Candidate, ...], *, has_values: bool) -> Candidate | None:
    """The candidate that gets 0 where none has it: a gate whose value is known keeps it."""
    kinds = ("norm", "map", "shift", "gate", "inner") if has_values else ("gate", "norm", "map", "shift", "inner")
    order = [candidate for kind in kinds for candidate in candidates if candidate.kind == kind]
    return next(iter(order), None)


def _side_end(*, was_zero: bool) -> Choice:
    why = "at 0 this side path adds nothing, and the model starts as its frozen weights"
    return Choice(Zeros(), f"{KEPT}: {why}" if was_zero else why)


def _kept(value: float | None, why: str) -> Choice:
    """The value that was found, as a law, so that it holds for models built alike too; untouched where it varies."""
    return Choice(None if value is None else constant_law(value), f"{KEPT}: {why}")


def _implausible(value: float) -> Choice:
    return Choice(Ones(), f"a factor of 1: nobody writes {value:.3g}, this memory was never initialised", guess=True)


def _factor_vectors(case: Case) -> Choice:
    return Choice(Normal(FACTOR_STD), "vectors whose product makes one factor: near 1, or what the model adds", _YE)


def _is_summed(case: Case) -> bool:
    """Whether the values of a gate are summed up, with others, before they act."""
    return case.use is not None and not PRODUCTS.isdisjoint(case.use.steps)


def _behind_outputs(trace: Trace) -> frozenset[int]:
    """The ops that the outputs are made of; what a value chooses, as a place in a list, is not made of it."""
    return frozenset(op for output in trace.outputs if output >= 0 for op in trace.ancestors(output))
