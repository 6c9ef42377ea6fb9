"""Functions of each value alone: activations, sums, products."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.op import OpKind, UseRole
from fanwise.laws.nonlinearities import NONLINEARITIES, nonlinearity
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule, gathered, signal_gain
from fanwise.theory.samples import HERE, SAMPLES, Likeness, Rows, normal_rows, rearranged, second
from fanwise.theory.walk import Here, Walk

NUDGE = 1e-5
"""Step, over the size of a sample, by which the slope of a function is found."""


@forward_rule(OpKind.ACTIVATION)
def activation(walk: Walk, here: Here) -> Rows | None:
    """Output y = f(x), on the sample itself: E y^2 = E f(x)^2, E y y' = E f(x) f(x').

    A gated linear unit is y = a sigmoid(b), with a and b two halves of what it reads.

    Source: Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016, eq. 3 and 5
    (their integrals over normal values); Dauphin et al., "Language modeling with gated convolutional networks", 2017,
    eq. 1.
    """
    name = str(here.op.nonlinearity)
    if not here.sources:
        return None
    if name == "glu":
        return np.asarray(here.first / (1 + np.exp(-rearranged(here.first, "gate", here.op.index))))
    if name == "prelu":
        return np.where(here.first > 0, here.first, prelu_slope(walk, here) * here.first)
    if here.op.replay is not None:
        return replayed(here)
    return None if name not in NONLINEARITIES else np.asarray(nonlinearity(name).function(here.first))


@backward_rule(OpKind.ACTIVATION)
def activation_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = f'(x) g: E (dL/dx)^2 = E f'(x)^2 g^2.

    Of a gated linear unit: dL/da = sigmoid(b) g and dL/db = a sigmoid(b) (1 - sigmoid(b)) g, half of the features each.

    Source: Schoenholz et al., "Deep information propagation", 2017, eq. 7 (chi_1 = sigma_w^2 E f'^2).
    """
    if here.op.nonlinearity != "glu":
        yield from elementwise_gradient(walk, here, gradient)
        return
    gate = 1 / (1 + np.exp(-rearranged(here.first, "gate", here.op.index)))
    halves = gradient * gate, gradient * here.first * gate * (1 - gate)
    size = sum(second(half[HERE]) for half in halves) / 2
    yield Share(here.op.inputs[0], normal_rows(Likeness(size), "back", here.op.index))


@forward_rule(OpKind.ELEMENTWISE, OpKind.ADD, OpKind.MUL)
def elementwise(walk: Walk, here: Here) -> Rows | None:
    """Output y = f(x_1, x_2, ...), value by value: sums, differences, products, and the op's own function.

    Exact on the samples: what depends on itself, as x sigmoid(x) or a residual stream and its branch, keeps its
    dependence.
    """
    if here.op.replay is not None and here.sources:
        return replayed(here)
    if len(here.sources) < 2:
        return None
    if here.op.kind == OpKind.ADD:
        signs = [-1.0 if operand == here.op.minus else 1.0 for operand in range(len(here.sources))]
        return np.asarray(sum(sign * rows for sign, rows in zip(signs, here.sources, strict=True)))
    if here.op.kind == OpKind.MUL:
        return here.sources[0] * here.sources[1]
    return None


@backward_rule(OpKind.ELEMENTWISE, OpKind.ADD, OpKind.MUL)
def elementwise_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx_i = (df/dx_i) g, summed over the places to which x_i was repeated.

    Exact on the samples; the slope of the op's own function is a central difference.
    """
    for operand, source in enumerate(here.op.inputs):
        slope = _slope(walk, here, operand)
        if slope is not None:
            yield Share(source, gathered(slope * gradient, here.op.shape, here.read(operand)), operand=operand)


def prelu_slope(walk: Walk, here: Here) -> float:
    """The slope below 0 that a parameter holds; torch's 0.25 where it has no law."""
    slopes = [walk.moments(use, here.laws) for use in here.op.used(UseRole.SLOPE)]
    return slopes[0].mean if slopes and slopes[0] is not None else 0.25


def replayed(here: Here) -> Rows | None:
    """What the op's own function gives; None where it is not finite, or not one value for each."""
    if here.op.replay is None:
        return None
    answer = _answered(here.op.replay, *(rows.reshape(-1) for rows in here.sources))
    values = np.asarray(math.nan if answer is None else answer, np.float64)
    whole = values.shape == (3 * SAMPLES,) and bool(np.isfinite(values).all())
    return np.asarray(values.reshape(3, SAMPLES)) if whole else None


def _answered(function: Callable[..., Any], *given: Any) -> Any:
    """What a function of the model's framework gives for values of theory's own; None where it refuses them.

    It may need a shape, a gradient or a state that a sample does not have, and raises what it likes.
    """
    try:
        return function(*given)
    except Exception:
        return None


def probed(here: Here) -> Rows | None:
    """What the real op gives for normal values of the moments of what it reads; None where it cannot be run."""
    if here.op.probe is None or not here.sources:
        return None
    given = [(float(rows[HERE].mean()), float(rows[HERE].std())) for rows in here.sources]
    answer = _answered(here.op.probe, given)
    if answer is None:
        return None
    mean, size = answer
    if not (math.isfinite(mean) and math.isfinite(size)):  # a mask that hides scores leaves the others as they are
        return here.first if here.op.kind in (OpKind.ADD, OpKind.ELEMENTWISE) else None
    rows = here.first - here.first[HERE].mean()
    spread = math.sqrt(second(rows[HERE]))
    rows = rows / spread if spread > 0 else normal_rows(Likeness(1.0), "probe", here.op.index)
    return np.asarray(mean + math.sqrt(max(size - mean * mean, 0.0)) * rows)


def _slope(walk: Walk, here: Here, operand: int) -> NDArray[np.float64] | float | None:
    op = here.op
    if op.replay is not None:
        return _difference(here, operand)
    if op.kind == OpKind.ACTIVATION:
        return _activation_slope(walk, here)
    if len(here.sources) < 2:
        return signal_gain(walk, here)
    if op.kind == OpKind.ADD:
        return -1.0 if operand == op.minus else 1.0
    return here.sources[1 - operand] if op.kind == OpKind.MUL and operand < 2 else signal_gain(walk, here)


def _activation_slope(walk: Walk, here: Here) -> NDArray[np.float64] | None:
    name = str(here.op.nonlinearity)
    if name == "prelu":
        return np.where(here.first > 0, 1.0, prelu_slope(walk, here))
    if name not in NONLINEARITIES:
        return None
    function = nonlinearity(name).function
    step = NUDGE * max(float(np.abs(here.first[HERE]).mean()), 1e-300)
    return np.asarray((function(here.first + step) - function(here.first - step)) / (2 * step))


def _difference(here: Here, operand: int) -> NDArray[np.float64] | None:
    """The slope of the op's own function by one of its operands."""
    step = NUDGE * max(float(np.abs(here.sources[operand][HERE]).mean()), 1e-300)
    ends = [_nudged(here, operand, sign * step) for sign in (1, -1)]
    if ends[0] is None or ends[1] is None:
        return None
    return np.asarray((ends[0] - ends[1]) / (2 * step))


def _nudged(here: Here, operand: int, step: float) -> Rows | None:
    sources = tuple(rows + step if i == operand else rows for i, rows in enumerate(here.sources))
    return replayed(Here(here.op, sources, here.laws))
