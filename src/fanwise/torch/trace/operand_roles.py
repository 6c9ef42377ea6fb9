"""Roles of the axes of a product's operands, whichever of them is a weight."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.products import einsum_terms

FIRST = {"addmm": 1, "baddbmm": 1, "addbmm": 1, "addmv": 1}
"""Position of the left operand, where a summand comes before it."""
PRODUCTS = frozenset({"matmul", "rmatmul", "mm", "bmm", "mv", "dot", "vdot", *FIRST})


def operand_roles(function: Invocation) -> Mapping[int, tuple[str, ...]]:
    """Roles of the axes of each operand, by the tensor's identity; empty for what is no product of two operands.

    Args:
        function: a call.
    """
    if function.name in PRODUCTS:
        return _of_matrices(function)
    if function.name == "einsum" and isinstance(function.args[0], str):
        return _of_labels(function.args[0], list(tensors_in(function.args[1:])))
    return _of_axes(function) if function.name == "tensordot" else {}


def _of_matrices(function: Invocation) -> dict[int, tuple[str, ...]]:
    first = FIRST.get(function.name, 0)
    given = [*function.args[first:], *function.named.values()]
    operands = [value for value in given if isinstance(value, Tensor)][:2]
    if len(operands) < 2:
        return {}
    left, right = operands[::-1] if function.name == "rmatmul" else operands
    return {id(left): _with_stacks(left, ("out", "in")), id(right): _with_stacks(right, ("in", "out"))}


def _with_stacks(operand: Tensor, roles: tuple[str, str]) -> tuple[str, ...]:
    return ("in",) if operand.dim() == 1 else ("stack",) * (operand.dim() - 2) + roles


def _of_labels(equation: str, operands: list[Tensor]) -> dict[int, tuple[str, ...]]:
    """A label that the output lacks is summed over; one that it shares with another operand stacks products."""
    terms, result = einsum_terms(equation, [operand.dim() for operand in operands])
    roles: dict[int, tuple[str, ...]] = {}
    for which, (operand, term) in enumerate(zip(operands, terms, strict=True)):
        others = {label for i, other in enumerate(terms) if i != which for label in other}
        roles[id(operand)] = tuple(
            "in" if label not in result else "stack" if label in others else "out" for label in term
        )
    return roles


def _of_axes(function: Invocation) -> dict[int, tuple[str, ...]]:
    left, right = function.args[0], function.args[1]
    pairs: Any = function.args[2] if len(function.args) > 2 else function.named.get("dims", 2)
    if isinstance(pairs, Tensor):
        return {}
    if isinstance(pairs, int):
        pairs = (range(left.dim() - pairs, left.dim()), range(pairs))
    return {id(operand): _named(operand, summed) for operand, summed in zip((left, right), pairs, strict=True)}


def _named(operand: Tensor, summed: Any) -> tuple[str, ...]:
    inputs = {int(axis) % operand.dim() for axis in summed}
    return tuple("in" if axis in inputs else "out" for axis in range(operand.dim()))
