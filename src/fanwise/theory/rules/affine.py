"""Products and sums with parameters: y = w x and y = x + b, value by value."""

from collections.abc import Iterator

import numpy as np

from fanwise.graph.op import OpKind, UseRole
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule, gathered
from fanwise.theory.samples import SAMPLES, Rows
from fanwise.theory.walk import Here, Walk


@forward_rule(OpKind.SCALE)
def scale(walk: Walk, here: Here) -> Rows | None:
    """Output y = w x, with one factor a feature, the same at every place and in every example.

        E y^2 = E w^2 E x^2

    Derived here: w and x are independent, so the second moment of the product is the product of theirs; the sample
    itself is multiplied, so that what depends on x stays dependent.
    """
    return scaled(walk, here) if here.sources else None


@backward_rule(OpKind.SCALE)
def scale_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = w g, summed over the places to which x was repeated."""
    factor = np.ones(SAMPLES)
    for use in here.op.used(UseRole.SCALE):
        sample = walk.vector(use, here.laws)
        factor = factor if sample is None else factor * sample
    for operand, source in enumerate(here.op.inputs[:1]):
        yield Share(source, gathered(factor * gradient, here.op.shape, here.read(operand)))


@forward_rule(OpKind.SHIFT)
def shift(walk: Walk, here: Here) -> Rows | None:
    """Output y = x + b, with one offset a feature, the same at every place and in every example.

        E y^2 = E x^2 + 2 E x E b + E b^2;  E y y' = E x x' + 2 E x E b + E b^2

    Source: Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016, eq. 3 and 5
    (sigma_b^2, which two inputs share).
    """
    return shifted(walk, here, here.first) if here.sources else None


@backward_rule(OpKind.SHIFT)
def shift_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = g."""
    for source in here.op.inputs[:1]:
        yield Share(source, gradient)


def scaled(walk: Walk, here: Here) -> Rows:
    """The first thing that an op reads, times its factors."""
    rows = here.first
    for use in here.op.used(UseRole.SCALE):
        factor = walk.rows_of(use, here.laws, walk.features(here.op) if here.op.shape else 1)
        rows = rows if factor is None else rows * factor
    return rows


def shifted(walk: Walk, here: Here, rows: Rows) -> Rows:
    """A sample plus the biases and offsets of an op."""
    features = walk.features(here.op) if here.op.shape else 1
    for use in (
        *here.op.used(UseRole.SHIFT),
        *(here.op.used(UseRole.BIAS) if here.op.kind != OpKind.RECURRENT else ()),
    ):
        offset = walk.rows_of(use, here.laws, features)
        rows = rows if offset is None else rows + offset
    return rows


def replaced(here: Here, rows: Rows) -> Here:
    """The op with another sample of what it reads first."""
    return Here(here.op, (rows, *here.sources[1:]), here.laws)
