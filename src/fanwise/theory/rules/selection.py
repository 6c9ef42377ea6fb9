"""Parts of a tensor, tensors joined, and ops that pass their input on."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Runs, Slicing
from fanwise.graph.op import Op, OpKind
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule
from fanwise.theory.samples import SAMPLES, Rows, generator, rearranged
from fanwise.theory.walk import Here, Walk


@forward_rule(OpKind.DROPOUT)
def same(walk: Walk, here: Here) -> Rows | None:
    """Output y = x: dropout as it is in evaluation, where all values pass."""
    return here.first if here.sources else None


@backward_rule(OpKind.DROPOUT)
def same_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = g."""
    for source in here.op.inputs[:1]:
        yield Share(source, gradient)


@forward_rule(OpKind.SLICE)
def slice_(walk: Walk, here: Here) -> Rows | None:
    """Some of the features of a map: y = x_S.

        E y^2 = E x^2 r,  r = the variance of these features over the average of all that the map gives

    Derived here: features of a map are draws with the variance of the block of the weight that gives them; other
    features are independent of these.
    """
    if not here.sources:
        return None
    root, runs = _cut(here.op)
    if runs is None:
        return here.first
    return math.sqrt(_relative(walk, root, runs)) * rearranged(here.first, root, runs)


@backward_rule(OpKind.SLICE)
def slice_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = g on the features that were read and 0 on the others: E (dL/dx)^2 = (read / all) E g^2."""
    root, runs = _cut(here.op)
    if not here.op.inputs:
        return
    share = math.sqrt(min(here.op.size / max(math.prod(here.read(0)), 1), 1.0))
    yield Share(here.op.inputs[0], share * (gradient if runs is None else rearranged(gradient, root, runs, back=True)))


def _cut(op: Op) -> tuple[int, Runs | None]:
    """The weight op whose features an op takes a part of, and which; None where it does not say."""
    return (op.detail.root, op.detail.runs) if isinstance(op.detail, Slicing) else (op.index, None)


@forward_rule(OpKind.CONCAT)
def concat(walk: Walk, here: Here) -> Rows | None:
    """Tensors side by side: each feature is one of theirs, E y^2 = sum_i n_i E x_i^2 / sum_i n_i.

    Derived here: a feature drawn at random belongs to tensor i with probability n_i / sum n.
    """
    if not here.sources:
        return None
    choice = chosen(here)
    return np.asarray(np.choose(choice, here.sources)) if len(here.sources) < 32 else here.first


@backward_rule(OpKind.CONCAT)
def concat_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx_i = g on the features of tensor i.

    Tensors have features of their own, so their gradients have nothing in common: signs of their own make them so.
    """
    for operand, source in enumerate(here.op.inputs):
        signs = generator("concat", here.op.index, operand).choice((-1.0, 1.0), SAMPLES) if operand else 1.0
        yield Share(source, signs * gradient, operand=operand)


def _relative(walk: Walk, root: int, runs: tuple[tuple[int, int], ...]) -> float:
    """Variance of these features over that of all that the op gives."""
    blocks = walk.parts.get(root)
    if blocks is None:
        return 1.0
    overlaps = [
        (max(min(first + count, start + extent) - max(first, start), 0), ratio)
        for first, count in runs
        for start, extent, ratio in blocks
    ]
    total = sum(count for count, _ in overlaps)
    return sum(count * ratio for count, ratio in overlaps) / total if total else 1.0


def chosen(here: Here) -> NDArray[np.intp]:
    """Which of the tensors that are joined each feature of the sample belongs to."""
    sizes = np.array([max(math.prod(here.read(operand)), 1) for operand in range(len(here.sources))], float)
    edges = np.cumsum(sizes / sizes.sum())
    order = generator("concat", here.op.index).permutation(SAMPLES)
    return np.minimum(np.searchsorted(edges, (order + 0.5) / SAMPLES), len(here.sources) - 1)
