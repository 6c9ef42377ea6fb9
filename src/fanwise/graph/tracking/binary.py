"""Sums, differences, products and quotients of two operands: what each is to a trace."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanwise.graph.details import Arithmetic
from fanwise.graph.op import OpKind, UseRole
from fanwise.graph.tracking.call import Call, Input, Part


@dataclass(frozen=True)
class Binary:
    """A function of two operands, value by value.

    Args:
        is_sum: whether it is a sum or a difference; a product or quotient otherwise.
        is_quotient: whether it divides.
        minus: which operand is subtracted.
    """

    is_sum: bool
    is_quotient: bool = False
    minus: int | None = None

    def of_parameters(self, data: Sequence[Input], parts: Sequence[Part[Input]]) -> Call[Input]:
        """Data shifted or scaled by parameters."""
        kind, role = (OpKind.SHIFT, UseRole.SHIFT) if self.is_sum else (OpKind.SCALE, UseRole.SCALE)
        return Call(kind, tuple(data), tuple(replace(part, role=role) for part in parts))

    def of_data(self, data: Sequence[Input], constant: float | None = None) -> Call[Input]:
        """Data and data; the number that one of them holds, where it is known, is `constant`."""
        kind = OpKind.ADD if self.is_sum else OpKind.ELEMENTWISE if self.is_quotient else OpKind.MUL
        plain = constant is None and self.minus is None
        return Call(kind, tuple(data), (), -1, None if plain else Arithmetic(constant, self.minus))

    def of_number(self, data: Sequence[Input], number: float | None, parts: Sequence[Part[Input]] = ()) -> Call[Input]:
        """Data or parameters alone, and a number, None where it is not known."""
        operands = tuple(replace(part, role=UseRole.OPERAND) for part in parts)
        return Call(OpKind.ELEMENTWISE, tuple(data), operands, -1, None if number is None else Arithmetic(number))
