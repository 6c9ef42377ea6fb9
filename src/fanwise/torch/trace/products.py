"""Linear maps of every kind that torch writes as a product: linear, matmul, addmm, einsum, tensordot, grouped_mm."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fanwise.graph.details import Product
from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.layout import Layout
from fanwise.torch.trace.calls import Arguments, Call, Part, data_of, parts_of
from fanwise.torch.trace.function_names import tensors_in


def linear(a: Arguments) -> Call:
    """X W^T + b, W stored as (out, in)."""
    weight = a.tensor(1, "weight")
    layout = Layout.dense("out in") if weight is not None and weight.dim() == 2 else Layout(("in",))
    parts = parts_of((weight, UseRole.WEIGHT, layout), (a.tensor(2, "bias"), UseRole.BIAS, None))
    return Call(OpKind.LINEAR, data_of(a.tensor(0, "input")), parts)


def matmul(a: Arguments) -> Call:
    """A B, either of which may be the weight, with batch axes before the matrix."""
    return _product(a.tensor(0, "input"), _second_operand(a), (), a)


def reflected_matmul(a: Arguments) -> Call:
    """``B.__rmatmul__(A)``."""
    return _product(_second_operand(a), a.tensor(0, "input"), (), a)


def addmm(a: Arguments) -> Call:
    """Bias + A B, of matrices, of stacks, of a matrix and a vector."""
    left = a.tensor(1, "mat1") if a.tensor(1, "mat1") is not None else a.tensor(1, "batch1")
    left = left if left is not None else a.tensor(1, "mat")
    right = a.tensor(2, "mat2") if a.tensor(2, "mat2") is not None else a.tensor(2, "batch2")
    right = right if right is not None else a.tensor(2, "vec")
    added = a.tensor(0, "input")
    if added is not None and not a.weights(added):
        call = _product(left, right, (), a)
        return Call(call.kind, (*call.data, added), call.parts, call.axis, call.detail)
    return _product(left, right, parts_of((added, UseRole.BIAS, None)), a)


def inner(a: Arguments) -> Call:
    """Both operands' last axes are summed over, so that a weight on the right is stored as (out, in)."""
    left, right = a.tensor(0, "input"), _second_operand(a)
    if left is None or right is None or not a.weights(right):
        return _product(left, right, (), a)
    return Call(OpKind.LINEAR, (left,), (Part(right, UseRole.WEIGHT, _stacked(right, ("out", "in"))),))


def grouped(a: Arguments) -> Call:
    """A stack of matrices, one for each group of rows: (stack, in, out)."""
    call = _product(a.tensor(0, "mat_a"), a.tensor(1, "mat_b"), (), a)
    bias = a.tensor(3, "bias")
    return Call(call.kind, call.data, (*call.parts, *parts_of((bias, UseRole.BIAS, None))), call.axis, call.detail)


def tensordot(a: Arguments) -> Call:
    """Sums over the axes that `dims` names; the weight's others are made."""
    left, right = a.tensor(0, "a"), a.tensor(1, "b")
    pairs = a.get(2, "dims", 2)
    if left is None or right is None or a.weights(left) == a.weights(right) or isinstance(pairs, Tensor):
        return _product(None, None, (), a) if left is None or right is None else Call(OpKind.MATMUL, (left, right))
    if isinstance(pairs, int):
        pairs = (range(left.dim() - pairs, left.dim()), range(pairs))
    weight, data, summed = (right, left, pairs[1]) if a.weights(right) else (left, right, pairs[0])
    inputs = {axis % weight.dim() for axis in summed}
    layout = Layout(tuple("in" if axis in inputs else "out" for axis in range(weight.dim())))
    axis = -1 if weight is right else -1 - (data.dim() - len(inputs))
    return Call(OpKind.LINEAR, (data,), (Part(weight, UseRole.WEIGHT, layout),), axis)


def einsum(a: Arguments) -> Call:
    """An einsum of data and of parameters."""
    tensors = tuple(tensors_in([*a.args, dict(a.named)]))
    held = [i for i, tensor in enumerate(tensors) if a.weights(tensor)]
    data = tuple(tensor for i, tensor in enumerate(tensors) if i not in held)
    equation = _equation(a)
    if not held and len(tensors) > 1 and equation is not None:
        return _einsum_of_data(equation, tensors)
    if not held or not data or equation is None:
        parts = tuple(Part(tensors[i], UseRole.OPERAND) for i in held)
        return Call(OpKind.MATMUL if len(tensors) > 1 else OpKind.ELEMENTWISE, data, parts)
    layouts, axis = einsum_layouts(equation, held, tensors)
    parts = tuple(Part(tensors[i], UseRole.WEIGHT, layout) for i, layout in zip(held, layouts, strict=True))
    if not any(layout is not None and "in" in layout.axes for layout in layouts):
        return Call(OpKind.SCALE, data, tuple(Part(part.input, UseRole.SCALE) for part in parts), axis)
    return Call(OpKind.LINEAR, data, parts, axis)


def _equation(a: Arguments) -> str | None:
    """The equation of an einsum, of one with lists of numbers too; None where it has none that can be read."""
    first = a.args[0] if a.args else a.named.get("equation")
    if isinstance(first, str):
        return first
    lists = [value for value in a.args if isinstance(value, list | tuple) and all(map(_is_label, value))]
    terms = ["".join("..." if label is Ellipsis else chr(ord("A") + label) for label in labels) for labels in lists]
    count = sum(1 for _ in tensors_in(a.args))
    output = f"->{terms[-1]}" if len(terms) == count + 1 else ""
    return ",".join(terms[:count]) + output if count <= len(terms) <= count + 1 else None


def _is_label(value: Any) -> bool:
    return value is Ellipsis or (isinstance(value, int) and 0 <= value < 52)


def _einsum_of_data(equation: str, tensors: tuple[Tensor, ...]) -> Call:
    """A product of data, summed over the labels that the output lacks; the right operand makes its last axis."""
    terms, result = einsum_terms(equation, [tensor.dim() for tensor in tensors])
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for label, size in zip(term, tensor.shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    width = math.prod(size for label, size in sizes.items() if label not in result)
    turned = len(tensors) == 2 and bool(result) and result[-1] not in terms[1]
    return Call(OpKind.MATMUL, tensors[::-1] if turned else tensors, (), -1, Product(width))


def einsum_layouts(
    equation: str, which: Sequence[int], operands: Sequence[Tensor]
) -> tuple[tuple[Layout | None, ...], int]:
    """Layouts of the weights among an einsum's operands, and the axis of the output that the last of them makes.

    A label of a weight that the data share is summed over ("in") or, where the output has it too, stacks maps; one
    that the data lack is made ("out"), and is data to the weights that follow. A label that two operands of data share
    stacks maps too, though it is summed over: experts that a router weighs.

    Args:
        equation: as torch takes it, "..." and a missing output included.
        which: positions of the weights.
        operands: all of them.
    """
    terms, result = einsum_terms(equation, [operand.dim() for operand in operands])
    read = [label for i, term in enumerate(terms) if i not in which for label in set(term)]
    known, kept = set(read), {*result, *(label for label in read if read.count(label) > 1)}
    layouts: dict[int, Layout | None] = {}
    last = -1
    for i in sorted(which, key=lambda i: -len(known & set(terms[i]))):
        roles = tuple(_role(label, known, kept) for label in terms[i])
        outputs = [result.index(label) for label in terms[i] if label not in known and label in result]
        last = outputs[-1] - len(result) if outputs else last
        layouts[i] = Layout(roles) if roles else None
        known |= set(terms[i])
    return tuple(layouts[i] for i in which), last


def _role(label: str, known: set[str], kept: set[str]) -> str:
    if label not in known:
        return "out"
    return "stack" if label in kept else "in"


def einsum_terms(equation: str, dims: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Labels of the operands and of the output; the axes of an ellipsis are numbered from the last."""
    given, arrow, output = equation.replace(" ", "").partition("->")
    names = given.split(",")
    if not arrow:
        letters = sorted(set(given) - {",", "."})
        output = "..." * ("..." in given) + "".join(letter for letter in letters if given.count(letter) == 1)
    terms = [_spell_out(name, dim - len(name.replace("...", ""))) for name, dim in zip(names, dims, strict=True)]
    widest = max((sum(label.isdigit() for label in term) for term in terms), default=0)
    return terms, _spell_out(output, widest)


def _spell_out(term: str, hidden: int) -> list[str]:
    before, dots, after = term.partition("...")
    return [*before, *(str(n) for n in reversed(range(hidden if dots else 0))), *after]


def _product(left: Tensor | None, right: Tensor | None, more: tuple[Part, ...], a: Arguments) -> Call:
    if left is None or right is None:
        return Call(OpKind.MATMUL, data_of(left, right), more)
    if a.weights(right):
        return Call(OpKind.LINEAR, (left,), (Part(right, UseRole.WEIGHT, _stacked(right, ("in", "out"))), *more))
    if a.weights(left):
        axis = -1 if right.dim() == 1 else -2
        return Call(OpKind.LINEAR, (right,), (Part(left, UseRole.WEIGHT, _stacked(left, ("out", "in"))), *more), axis)
    detail = Product(left.shape[-1] if left.dim() else 1, float(a.named.get("alpha", 1)))
    return Call(OpKind.MATMUL, (left, right), more, -1, detail)


def _second_operand(a: Arguments) -> Tensor | None:
    named = ("other", "mat2", "vec2", "vec", "tensor")
    return next((operand for name in named if (operand := a.tensor(1, name)) is not None), None)


def _stacked(weight: Tensor, roles: tuple[str, str]) -> Layout:
    if weight.dim() < 2:
        return Layout(("in",))
    return Layout(("stack",) * (weight.dim() - 2) + roles)
