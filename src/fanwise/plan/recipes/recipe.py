"""Recipes as data: for each role of a parameter, the rule that gives its law.

A rule is a small function of a case and of what feeds it. A recipe is a mapping from roles to rules; it must speak for
every role, so that no parameter is forgotten, and each role has one rule, so that no two fight.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from fanwise.laws.base import Initializer
from fanwise.plan.roles import ROLES, Case


@dataclass(frozen=True)
class Demand:
    """What a product asks of the weight, or of the bias, that the model makes for it.

    Args:
        fan_in: how many products an output value sums; 1 for a bias.
        fed: second moment of what the product reads beside the weight; 1 for a bias.
        gain: second moment of the weight over that of the features that it holds.
        role: of the product: "weight", "head" or "branch_end".
        outputs: how many it makes.
        share: of the stream that a branch's end is to have.
        part: of the output's second moment that is asked for: half where a bias is made too.
        factor: as in `Feed`, of the product.
    """

    fan_in: float = 1.0
    fed: float = 1.0
    gain: float = 1.0
    role: str = "weight"
    outputs: int = 10
    share: float = 1.0
    part: float = 1.0
    factor: float = 1.0


@dataclass(frozen=True)
class Feed:
    """What a rule knows beside its case.

    Args:
        second_moment: of what feeds the op, E x^2.
        known: whether it was measured or derived; otherwise it is assumed.
        stream: second moment of the residual stream where the case's branch joins it.
        scores: by what the scores of the attention that a query feeds exceed unit variance, in std.
        found: the parameter's one value, where all its values are equal and there are values; None elsewhere.
        factor: by what the model multiplies a map's output before the nonlinearity, join or output that it is for.
        loop: by what its variance is multiplied so that a loop through it keeps the second moment.
        share: by what the share of a branch is multiplied, for what stands behind its last map makes more of it.
        silent: whether what feeds the op is 0 at the start, so that nothing can be measured.
        demands: for what makes weights, what is asked of each of its parts, by number; empty until it is known.
    """

    second_moment: float = 1.0
    known: bool = True
    stream: float = 1.0
    scores: float = 1.0
    found: float | None = None
    factor: float = 1.0
    loop: float = 1.0
    demands: Mapping[int, Demand] = field(default_factory=dict)
    silent: bool = False
    share: float = 1.0


@dataclass(frozen=True)
class Choice:
    """A law and why.

    Args:
        law: None leaves the parameter as it is.
        reason: one sentence.
        source: author, title, year.
        gives: second moment that the op should give, None where the rule does not say.
        guess: it stands on an assumption.
    """

    law: Initializer | None
    reason: str
    source: str = ""
    gives: float | None = None
    guess: bool = False


Rule: TypeAlias = Callable[[Case, Feed], Choice]


@dataclass(frozen=True)
class Recipe:
    """A way to initialise whole models.

    Args:
        name: how the command line calls it.
        title: what it does, in one line.
        rules: one rule for every role of `ROLES`.
        source: author, title, year.

    Raises:
        ValueError: a role without a rule, or a rule for an unknown role.
    """

    name: str
    title: str
    rules: Mapping[str, Rule]
    source: str = ""

    def __post_init__(self) -> None:
        missing, strange = sorted(set(ROLES) - set(self.rules)), sorted(set(self.rules) - set(ROLES))
        if missing or strange:
            raise ValueError(f"recipe {self.name!r}: no rule for {missing}, rules for unknown roles {strange}")

    def choose(self, case: Case, feed: Feed) -> Choice:
        """The law of one parameter."""
        if not case.parameter.trained and case.role != "unused":
            return Choice(None, "left as it is: the model does not train it")
        if case.transformed and case.role in ("weight", "branch_end", "head", "recurrent"):
            return Choice(None, "left as it is: the model makes its weights from it in a way that is not known here")
        return self.rules[case.role](case, feed)

    def but(self, name: str, title: str, rules: Mapping[str, Rule], source: str = "") -> "Recipe":
        """Recipe with other rules for some roles."""
        return replace(self, name=name, title=title, rules=MappingProxyType({**self.rules, **rules}), source=source)
