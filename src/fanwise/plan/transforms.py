"""Laws of parameters of which a model makes its weights: from the law that the weight should have, back to theirs.

Derived here. Let w = f(p) be what an op sees of parameters p. For a map, E y^2 = A Var w + S (E w)^2 with A = fan_in
E x^2 and S = E (sum of x)^2, which is A where the x are independent and of mean 0, and is measured where E w is not 0.
The recipe says what E y^2 should be; p then follows, for E w and Var w are measured through f itself:

- p ~ N(0, s^2), s such that E y^2 is as wanted. Several parameters at work together (the factors of U V, the bases of
  a decomposition and their coefficients, a generator and its codes) have the same s: each factor then has an equal
  part in the gradient of the others. Where f is of degree d in them, E y^2 goes with s^(2d), and two measurements tell.
- Where f fixes the size (a sign, an orthogonal matrix), s has no effect: the author's own, or that of a plain map.
- Where w does not vanish with p (exp, softplus, sigmoid), p is even on [m - 2, m + 2] and m is such that E y^2 is as
  wanted: under exp the std of w then is about its mean, as for independent positive weights of full spread.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from fanwise.graph.arithmetic import PRODUCTS, QUOTIENTS
from fanwise.graph.frozen import STOPS_GRADIENT
from fanwise.graph.op import Use
from fanwise.graph.transform import Spread, Transform
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal
from fanwise.plan.recipes.recipe import Choice, Feed
from fanwise.plan.recipes.spread import even
from fanwise.plan.recipes.unit import constant_law
from fanwise.plan.roles import ADDED_TABLES, MAP_ROLES, Case, fan_in_of
from fanwise.plan.row import KEPT
from fanwise.plan.starts import Starts

HALF_WIDTH = 2.0
"""Half the width of the law of parameters whose positive function is the weight."""
REACH = (1e-6, 1e4)
"""Stds among which one is looked for."""
SHIFTS = (-30.0, 30.0)
"""Means among which one is looked for."""
FLAT = 1.02
"""A size that changes by less, for stds a hundred times as large, does not depend on them."""
NEAR = 1e-3
"""Share by which the size may miss what is wanted."""
SMALL = 0.05
"""Means that are smaller, in stds of the weight, have no effect."""
STEPS = 60
"""Most measurements of one search."""


@dataclass(frozen=True)
class Weight:
    """A weight that is made of parameters, as a rule should see it.

    Args:
        transform: what makes it.
        given: means and stds of the parameters beside the one that is asked about, where they are decided.
        free: the parameters that are not, the one that is asked about among them.
        alike: E (sum x)^2 over fan_in E x^2, of the operand that it maps.
    """

    transform: Transform
    given: Mapping[str, Spread]
    free: tuple[str, ...]
    alike: float = 1.0

    def size(self, spread: Spread) -> float:
        """The variance of independent weights of mean 0 that give the same output; NaN where it cannot be measured."""
        moments = self.transform.moments({**self.given, **dict.fromkeys(self.free, spread)})
        return math.nan if moments is None else moments[1] ** 2 + self.alike * moments[0] ** 2

    @property
    def alone(self) -> "Weight":
        """The same weight as it is sized by its own second moment."""
        return replace(self, alike=1.0)


@dataclass(frozen=True)
class Solved:
    """The law of a parameter, and what the weight is under it.

    Args:
        law: of the parameter.
        seen: mean and std of the weight.
        why: in words.
        fits: whether the weight has the size that was wanted.
    """

    law: Initializer
    seen: Spread
    why: str
    fits: bool = True


def as_seen(case: Case, transform: Transform) -> Case:
    """The case of the weight that an op sees, as if it were a parameter."""
    if case.use is None:
        return case
    use = replace(case.use, steps=(), ratio=1.0, layout=transform.layout, fan_in=None, parts=(), transform=None)
    return replace(case, parameter=replace(case.parameter, shape=transform.shape), use=use)


def solved(weight: Weight, wanted: float, found: Initializer | None = None) -> Solved | None:
    """The law of the free parameters that gives a weight this variance; None where nothing can be measured.

    Args:
        weight: that they make.
        wanted: variance of independent weights of mean 0 that give the output wanted.
        found: the law that the parameter's own values look drawn from.
    """
    low, middle, high = (weight.alone.size((0.0, std)) for std in (1e-2, 1e-1, 1.0))
    if not all(map(math.isfinite, (low, middle, high))):
        return None
    if max(low, middle, high) <= FLAT * min(low, middle, high):
        return _flat(weight, wanted, found) if _is_free_of(weight) else _shifted(weight, wanted)
    if weight.size((0.0, REACH[0])) > wanted:
        return _shifted(weight, wanted)
    std = _root(lambda logarithm: weight.size((0.0, math.exp(logarithm))), wanted, tuple(map(math.log, REACH)))
    if std is None:
        return None
    return _ended(weight, wanted, Normal(_short(math.exp(std))), (0.0, _short(math.exp(std))))


def _is_free_of(weight: Weight) -> bool:
    """Whether the mean of the parameters has no effect on the size either."""
    sizes = [weight.alone.size((mean, 1.0)) for mean in (-4.0, 0.0, 4.0)]
    return max(sizes) <= 2 * min(sizes)


def _flat(weight: Weight, wanted: float, found: Initializer | None) -> Solved | None:
    std = math.sqrt(wanted)
    law = found or Normal(_short(std))
    own = law.moments(())
    seen = weight.transform.moments({**weight.given, **dict.fromkeys(weight.free, (own.mean, own.std))})
    why = "any scale: what the model makes of it has a size of its own"
    return None if seen is None else Solved(law, seen, why)


def _shifted(weight: Weight, wanted: float) -> Solved | None:
    """The law of parameters whose weight does not vanish with them."""
    std = HALF_WIDTH / math.sqrt(3)
    mean = _root(lambda shift: weight.size((shift, std)), wanted, SHIFTS)
    if mean is None:
        return None
    law = even(_short(mean), HALF_WIDTH)
    return _ended(weight, wanted, law, (law.moments(()).mean, law.moments(()).std))


def _ended(weight: Weight, wanted: float, law: Initializer, spread: Spread) -> Solved | None:
    seen = weight.transform.moments({**weight.given, **dict.fromkeys(weight.free, spread)})
    if seen is None:
        return None
    size = seen[1] ** 2 + weight.alike * seen[0] ** 2
    others = f", with {len(weight.free) - 1} more" if len(weight.free) > 1 else ""
    return Solved(law, seen, f"through what the model makes of it{others}", abs(size / wanted - 1) < 0.1)


def _root(size: Callable[[float], float], wanted: float, reach: tuple[float, ...]) -> float | None:
    """Where a growing function has a value, or the end of its reach; None where it is not finite.

    The logarithm of the size is a straight line for whatever is homogeneous: the secant hits at once there.
    """
    low, high = reach
    at = 0.0
    for _ in range(STEPS):
        here, beside = size(at), size(at + 0.01)
        if not (math.isfinite(here) and math.isfinite(beside)):
            high, at = at, (low + at) / 2
            continue
        if here > 0 and abs(here / wanted - 1) < NEAR:
            break
        low, high = (at, high) if here < wanted else (low, at)
        slope = (math.log(beside) - math.log(here)) / 0.01 if here > 0 and beside > 0 else 0.0
        step = math.log(wanted / here) / slope if slope > 0 else math.inf
        at = at + step if low < at + step < high else (low + high) / 2
        if high - low < 1e-6:
            break
    return at if math.isfinite(size(at)) else None


def _short(value: float) -> float:
    return float(f"{value:.4g}")


Rule: TypeAlias = Callable[[Case, Feed], Choice]


class TransformedWeights:
    """The state of a pass: what was solved so far.

    Args:
        starts: the values that the model holds; None where they cannot be read.
        spread: mean and std of a parameter whose law is decided, by its path; None of any other.
        merged: parameters whose product is added to a frozen weight: these have laws of their own.
    """

    def __init__(
        self, starts: Starts | None, spread: Callable[[str], Spread | None], merged: frozenset[str] = frozenset()
    ) -> None:
        self._starts = starts
        self._spread = spread
        self._merged = merged
        self.solved: dict[str, Solved] = {}

    def choice(self, case: Case, feed: Feed, rule: Rule, alike: float | None = None) -> Choice | None:
        """The choice of a parameter of which a weight is made; None where its law is that of the weight.

        Args:
            case: of the parameter.
            feed: of the op that uses the weight.
            rule: of the recipe, for the weight.
            alike: as in `Weight`, where it was measured.
        """
        transform = None if case.use is None else case.use.transform
        if transform is None or not self._applies(case, transform):
            return None
        if self._is_beside(case.parameter.path, transform):
            return self._beside(case.parameter.path)
        plain = rule(as_seen(case, transform), feed)
        if plain.law is None:
            return None
        wanted = plain.law.moments(transform.shape, layout=transform.layout).std ** 2
        weight = self._weight(case.parameter.path, transform, transform.fan_in if alike is None else alike)
        found = None if self._starts is None else self._starts.drawn_like(case.parameter.path)
        solution = solved(weight, wanted, found) if wanted > 0 else None
        if solution is None:
            return None
        self.solved[_name(case)] = solution
        reason = f"{plain.reason}; a weight of fan_in {transform.fan_in:g}, {solution.why}"
        return replace(plain, law=solution.law, reason=reason, guess=plain.guess or not solution.fits)

    def seen(self, case: Case) -> Initializer | None:
        """A law of the moments of the weight that was solved for; None where none was."""
        solution = self.solved.get(_name(case))
        if solution is None:
            return None
        mean, std = solution.seen
        if std == 0:
            return Constant(mean)
        return Normal(std) if abs(mean) < SMALL * std else even(mean, math.sqrt(3) * std)

    def has_mean(self, case: Case) -> bool:
        """Whether the mean of the weight that was solved for matters, so that its output is to be measured."""
        solution = self.solved.get(_name(case))
        return solution is not None and abs(solution.seen[0]) >= SMALL * solution.seen[1]

    def alike(self, case: Case, second_moment: float, fed: float) -> float:
        """How alike the values are that a weight maps, from what it gave; as in `Weight`."""
        (mean, std), fan_in = self.solved[_name(case)].seen, self.fan_in(case)
        return min(max((second_moment / (fan_in * fed) - std**2) / mean**2, 0.0), fan_in)

    def size(self, case: Case, alike: float) -> float:
        """The variance of independent weights of mean 0 with the same output."""
        mean, std = self.solved[_name(case)].seen
        return std**2 + alike * mean**2

    def fan_in(self, case: Case) -> float:
        """fan_in of the weight."""
        transform = None if case.use is None else case.use.transform
        return fan_in_of(case) if transform is None else transform.fan_in

    def _applies(self, case: Case, transform: Transform) -> bool:
        path, steps = case.parameter.path, set(case.use.steps if case.use else ())
        if path in self._merged or path not in transform.parameters or case.normalized:
            return False
        if case.role not in (*MAP_ROLES, "recurrent"):
            return False
        if len(transform.parameters) > 1 and not STOPS_GRADIENT.isdisjoint(steps):
            return False  # one of them may be a base to which no gradient comes back
        multiplies = not steps.isdisjoint(PRODUCTS | QUOTIENTS)
        is_product = multiplies and len(transform.parameters) > 1
        bends = multiplies and not is_proportional(path, transform)
        is_told = case.layout is not None or (case.use is not None and case.use.fan_in is not None)
        is_pair = not case.derived  # a complex number of two of the parameter's
        return case.transformed or is_product or is_pair or bends or not is_told

    def _is_beside(self, path: str, transform: Transform) -> bool:
        """Whether a parameter of one value stands beside others that vary: a factor, a delta that starts at 0."""
        constants = {other: self._constant(other) for other in transform.parameters}
        return constants[path] is not None and None in constants.values()

    def _beside(self, path: str) -> Choice:
        value = self._constant(path) or 0.0
        return Choice(constant_law(value), f"{KEPT}: {value:.4g} beside the parameters that the weight is made of")

    def _weight(self, path: str, transform: Transform, alike: float) -> Weight:
        given: dict[str, Spread] = {}
        free = [path]
        for other in transform.parameters:
            spread = None if other == path else self._spread(other)
            if spread is not None:
                given[other] = spread
            elif other != path and (self._constant(other) is None or self._constant(path) is not None):
                free.append(other)
        return Weight(transform, given, tuple(free), alike)

    def _constant(self, path: str) -> float | None:
        return None if self._starts is None else self._starts.constant(path)


def is_proportional(path: str, transform: Transform) -> bool:
    """Whether a weight is twice as large for twice the parameter."""
    if transform.degree is not None:
        return transform.degree == 1
    once, twice = (transform.moments({path: (0.0, std)}) for std in (1.0, 2.0))
    return once is None or twice is None or abs(math.hypot(*twice) - 2 * math.hypot(*once)) <= 0.02 * math.hypot(*twice)


def seen_of_table(case: Case, use: Use, law: Initializer) -> Initializer | None:
    """A law of the moments of what the model makes of a table that enters as data, such as itself plus zeros.

    None for what is no such table, and where it cannot be made again.
    """
    if use.transform is None or case.role not in ADDED_TABLES or len(use.transform.parameters) > 1:
        return None
    own = law.moments(case.parameter.shape, layout=case.layout)
    seen = use.transform.moments({use.path: (own.mean, own.std)})
    if seen is None or seen[1] == 0:
        return None if seen is None else Constant(seen[0])
    return even(seen[0], math.sqrt(3) * seen[1])


def with_transform(case: Case, use: Use) -> Case:
    """The case with what makes its weight now: the trace may be of a run without values."""
    if use.transform is None or case.use is None or case.use.path != use.path or case.use.role != use.role:
        return case
    return replace(case, use=replace(case.use, transform=use.transform))


def _name(case: Case) -> str:
    return case.parameter.path if case.use is None else case.use.matrix
