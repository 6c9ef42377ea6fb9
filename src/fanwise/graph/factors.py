"""Factors between a map and what it is for: a nonlinearity, a softmax, a residual connection, the model's outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanwise.graph.arithmetic import PRODUCTS, QUOTIENTS, SUMS, constant_of
from fanwise.graph.kinds import PASSED, REACHED
from fanwise.graph.op import Op, OpKind
from fanwise.graph.trace import Trace

SCATTERED = SUMS | {"neg", "negative"}
"""Functions of a value and a number that leave the size of its scatter as it is."""
SAME = 1e-3
"""Factors that differ by less are one, as those that half precision rounded."""

CAPS = ("tanh", "hard_tanh", "hardtanh", "softsign")
"""Nonlinearities that are their argument near 0, and bounded."""


@dataclass(frozen=True)
class Factor:
    """By what a model multiplies the output of a map.

    Args:
        value: product of the numbers on the way.
        measured: ops on the way that multiply by what no trace tells: data, arrays of constants, parameters; each with
            the operand that comes from the map.
        end: index of the op that the map is for; None for the model's outputs.
        moved: whether a number was added: then it modulates what it is multiplied with, as 1 + s does.
    """

    value: float = 1.0
    measured: tuple[tuple[int, int], ...] = ()
    end: int | None = None
    moved: bool = False

    def after(self, trace: Trace, op: Op, operand: int) -> "Factor | None":
        """The factor after one op more; None after one that is no product with something independent."""
        if op.kind in PASSED:
            return self
        if op.name in SCATTERED and op.kind == OpKind.ELEMENTWISE and len(op.inputs) == 1:
            return replace(self, moved=self.moved or op.constant is not None)
        number = factor_of(op)
        if number is not None:
            return replace(self, value=self.value * number)
        if op.kind == OpKind.SCALE or (op.kind == OpKind.MUL and not self.moved and _is_carried(trace, op, operand)):
            return replace(self, measured=(*self.measured, (op.index, operand)))
        return None


def factor_of(op: Op) -> float | None:
    """The size of the number that an op multiplies its input by; None for any other op."""
    if len(op.inputs) != 1 or not op.constant or op.kind not in (OpKind.ELEMENTWISE, OpKind.MUL):
        return None
    return constant_of(op) if op.kind == OpKind.MUL or op.name in PRODUCTS | QUOTIENTS else None


def factor_after(trace: Trace, op: Op) -> Factor | None:
    """The factor between a map and what it is for; None where ways from it differ, or something else is made of it.

    A number that a nonlinearity's argument is multiplied by and its result divided by, as in ``c tanh(x / c)``, only
    says where the nonlinearity bends: the factor is 1.

    Args:
        trace: of a run.
        op: the map.
    """
    ends: list[Factor] = []
    ways = [(op, Factor())]
    while ways:
        here, factor = ways.pop()
        if here.index in trace.outputs:
            ends.append(factor)
        for reader in trace.follows(here):
            if reader.kind in REACHED or _is_join(trace, reader, here):
                ends.append(replace(factor, end=reader.index))
                continue
            after = factor.after(trace, reader, reader.inputs.index(here.index))
            if after is None:
                return None
            ways.append((reader, after))
    return _agreed(trace, ends)


def _agreed(trace: Trace, ends: Sequence[Factor]) -> Factor | None:
    """The factor of all ways, where they have one."""
    if not ends or any(_differ(ends[0], other) for other in ends[1:]):
        return None
    return replace(ends[0], value=_through_cap(trace, ends[0]))


def _differ(first: Factor, other: Factor) -> bool:
    return abs(first.value / other.value - 1) > SAME or first.measured != other.measured


def _through_cap(trace: Trace, factor: Factor) -> float:
    """A factor, with the number that makes up for it behind a soft cap: ``c tanh(m x / c)`` is m x as far as c."""
    end = None if factor.end is None else trace.ops[factor.end]
    readers = () if end is None else trace.follows(end)
    number = factor_of(readers[0]) if len(readers) == 1 else None
    if end is None or number is None:
        return factor.value
    if abs(factor.value * number - 1) < SAME:
        return 1.0
    is_cap = end.nonlinearity in CAPS and abs(factor.value) < 1 < abs(number)
    return factor.value * number if is_cap else factor.value


def _is_join(trace: Trace, reader: Op, here: Op) -> bool:
    """Whether a residual connection adds what an op gives to its stream."""
    return reader.kind == OpKind.ADD and any(
        join.op == reader.index and join.branch == here.index for join in trace.joins
    )


def _is_carried(trace: Trace, op: Op, operand: int) -> bool:
    """Whether a product carries a value on: the other is not made of it, as in a gate of its own, nor larger."""
    if op.reads and math.prod(op.reads[operand]) < op.size:
        return False
    others = [source for place, source in enumerate(op.inputs) if place != operand and source >= 0]
    return all(op.inputs[operand] not in trace.ancestors(source) for source in others)
