"""What the rules share: how one is registered, and the gradient at a tensor that was repeated."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from fanwise.graph.kinds import KEEPS_PLACES
from fanwise.graph.op import OpKind
from fanwise.theory.padding import Profile
from fanwise.theory.samples import HERE, SAMPLES, Rows, likeness, normal_rows, second
from fanwise.theory.walk import Here, Walk


@dataclass(frozen=True)
class Share:
    """The gradient at one of the things that an op reads.

    Args:
        source: index of the op that gave it.
        rows: a sample, of the size of a value of the tensor that was read.
        profile: how it is spread over the spatial axes; None for that of the gradient at the output.
        reader: index of the op that read it, where that is another one.
        operand: which of the op's operands it is, where it reads the source more than once.
    """

    source: int
    rows: Rows
    profile: Profile | None = None
    reader: int | None = None
    operand: int | None = None


Forward: TypeAlias = Callable[[Walk, Here], Rows | None]
"""A sample of what an op gives; None where the rule does not fit it."""

Backward: TypeAlias = Callable[[Walk, Here, Rows], Iterator[Share]]
"""The gradients at what an op reads, from a sample of the gradient at what it gives."""

_FORWARD: dict[OpKind, Forward] = {}
_BACKWARD: dict[OpKind, Backward] = {}
FORWARD: Mapping[OpKind, Forward] = MappingProxyType(_FORWARD)
"""The rules of signals, by kind of op."""
BACKWARD: Mapping[OpKind, Backward] = MappingProxyType(_BACKWARD)
"""The rules of gradients, by kind of op."""


def forward_rule(*kinds: OpKind) -> Callable[[Forward], Forward]:
    """Registers the rule of signals of these kinds of ops."""

    def register(rule: Forward) -> Forward:
        _FORWARD.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def backward_rule(*kinds: OpKind) -> Callable[[Backward], Backward]:
    """Registers the rule of gradients of these kinds of ops."""

    def register(rule: Backward) -> Backward:
        _BACKWARD.update(dict.fromkeys(kinds, rule))
        return rule

    return register


UNFIT = (ArithmeticError, LookupError, ValueError)
"""What a rule raises whose numbers or shapes do not fit together."""
LARGEST = 1e75
"""A value beyond which the square of its square is no number any more."""


def by_rule(walk: Walk, here: Here) -> Rows | None:
    """A sample of what an op gives, by the rule of its kind.

    Rules read finite numbers: what was made of a signal that has overflowed has overflowed too, but for functions of
    each value alone, which may bring it back. A rule that an op does not fit is noted in `Walk.failed`.

    Returns:
        None where there is no rule, or where it does not fit.
    """
    rule = FORWARD.get(here.op.kind)
    if rule is None:
        return None
    if here.op.kind not in KEEPS_PLACES - {OpKind.NORM, OpKind.POOL} and not all(map(_is_finite, here.sources)):
        return np.full((3, SAMPLES), math.inf)
    try:
        return rule(walk, here)
    except UNFIT as error:
        walk.failed[here.op.index] = f"{type(error).__name__}: {error}"
        return None


def back_by_rule(walk: Walk, here: Here, gradient: Rows) -> list[Share] | None:
    """The gradients at what an op reads, by the rule of its kind; None where there is none, or where it does not fit.

    A gradient that has overflowed, or meets a signal that has, goes no further.
    """
    rule = BACKWARD.get(here.op.kind)
    if rule is None:
        return None
    if not all(map(_is_finite, (gradient, *here.sources))):
        return []
    try:
        return list(rule(walk, here, gradient))
    except UNFIT as error:
        walk.failed.setdefault(here.op.index, f"{type(error).__name__}: {error}")
        return None


def _is_finite(rows: Rows) -> bool:
    return bool(np.abs(rows).max(initial=0.0) <= LARGEST)


def gathered(rows: Rows, many: tuple[int, ...], few: tuple[int, ...]) -> Rows:
    """The gradient at a tensor of shape `few` that was repeated to the shape `many`: the sum over its copies.

        dL/dx = sum_c g_c;  E (dL/dx)^2 = n^2 E (mean_c g_c)^2

    Derived here: the copies are read at n places (and examples) of one feature, whose gradients have the covariance of
    the sample; `Likeness.average` is the second moment of their mean.
    """
    ratio = math.prod(many) / max(math.prod(few), 1)
    if ratio <= 1:
        return rows
    padded = (1,) * (len(many) - len(few)) + tuple(few)
    examples = float(many[0]) if len(many) > 1 and padded[0] == 1 and many[0] > 1 else 1.0
    total = likeness(rows).average(ratio / examples, examples) * ratio**2
    own = second(rows[HERE])
    return rows * math.sqrt(max(total, 0.0) / own) if own > 0 else rows


def through_gain(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """An op without a rule: taken for a map that keeps what it gives, E (dL/dx)^2 = gain^2 (given / read) E g^2."""
    for operand, source in enumerate(here.op.inputs[:1]):
        ratio = here.op.size / max(math.prod(here.read(operand)), 1)
        moments = likeness(gradient) * (signal_gain(walk, here) ** 2 * ratio)
        yield Share(source, normal_rows(moments, "back", here.op.index))


def signal_gain(walk: Walk, here: Here) -> float:
    """Rms of what an op gives over that of what it reads: the slope of a function that is as good as linear."""
    before, after = second(here.first[HERE]), second(walk.rows[here.op.index][HERE])
    return math.sqrt(after / before) if before > 0 and math.isfinite(after) else 1.0
