"""The best constant output: what a loss gives of a model that says one and the same thing of every example."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fanwise.measure.losses import Loss, LossArrays, NamedLoss, Target, generator, main_output
from fanwise.measure.observation import ObservedLoss
from fanwise.stream.formats import Array

EVALUATIONS = 60
"""Of a loss, at most, for each array: up to 25 find an interval that holds the minimum, 20 narrow it down."""
OUTPUTS = 4
"""Most arrays of a model's output that get a number each."""
FARTHEST = 2.0**24
"""Constant beyond which no minimum is looked for."""
LEAST = 1e-6
"""Share of the loss of zeros below which a constant output solves the task, or the loss has no least value."""
EXACT = 1e-3
"""By what share the least loss may be missed."""
NARROW = 0.05
"""Width of the interval that holds the best constant, in units of it, or of 1."""
ROUNDING = 1e-4
"""By what share two losses of the same numbers may differ: they may be summed in another order, in float32."""
GOLDEN = (3 - math.sqrt(5)) / 2


@dataclass(frozen=True)
class ConstantOutput:
    """The best constant output.

    Args:
        loss: with it.
        outputs: the number that each array of the output holds.
        zero: the loss of outputs of 0.
    """

    loss: float
    outputs: tuple[float, ...]
    zero: float


def best_constant(loss_at: Callable[[tuple[float, ...]], float], count: int = 1) -> ConstantOutput | None:
    """The constant output of least loss: one number an array, found one after the other from 0.

    One number for all that an array holds, not one a class: a small batch holds no example of many a class, and the
    best numbers for them are without bound. For a cross-entropy it gives ln C, for yes or no the entropy of the share
    of yes, for a squared error the variance of the target.

    Args:
        loss_at: the loss of outputs that are equal to these numbers.
        count: of the numbers.

    Returns:
        None where there is none that could be compared with: a loss that raises an error, differs from call to call,
        has no least value, or is 0 or negative.

    Example:
        >>> best = best_constant(lambda numbers: (numbers[0] - 3) ** 2 + 2)
        >>> f"{best.loss:.3f} {best.outputs[0]:.2f} {best.zero:.0f}"
        '2.000 3.00 11'
    """
    try:
        return _Search(loss_at, count).best()
    except Exception:  # whatever the user's function raises for outputs that no model gives
        return None


class _NoMinimumError(Exception):
    """There is none, or looking for it takes too long."""


class _Search:
    """The loss at constant outputs, counted."""

    def __init__(self, loss_at: Callable[[tuple[float, ...]], float], count: int) -> None:
        self._loss_at, self._count, self._left = loss_at, count, EVALUATIONS * count

    def best(self) -> ConstantOutput | None:
        """The best constant output."""
        numbers = (0.0,) * self._count
        zero = self._value(numbers)
        if not math.isfinite(zero) or abs(self._value(numbers) - zero) > ROUNDING * zero:
            return None
        least = zero
        for i in range(self._count):
            numbers, least = self._along(numbers, i, least)
        return ConstantOutput(least, numbers, zero) if least > LEAST * zero else None

    def _value(self, numbers: tuple[float, ...]) -> float:
        self._left -= 1
        value = float(self._loss_at(numbers))
        if self._left < 0 or value < 0:
            raise _NoMinimumError
        return value if math.isfinite(value) else math.inf

    def _along(self, numbers: tuple[float, ...], axis: int, start: float) -> tuple[tuple[float, ...], float]:
        """The numbers with a better one at a place, and their loss."""

        def at(number: float) -> float:
            return self._value((*numbers[:axis], number, *numbers[axis + 1 :]))

        middle, value = _narrowed(at, _bracket(at, start))
        return (*numbers[:axis], middle, *numbers[axis + 1 :]), value


_Points = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def _bracket(at: Callable[[float], float], start: float) -> _Points:
    """Three points in order, with their values, the middle one lowest; the first is 0."""
    below, above = (-1.0, at(-1.0)), (1.0, at(1.0))
    if start <= min(below[1], above[1]):
        return below, (0.0, start), above
    sign = 1.0 if above[1] < below[1] else -1.0
    last, here, step = (0.0, start), (above if sign > 0 else below), sign
    while abs(step) < FARTHEST:
        step *= 2
        beyond = (step, at(step))
        if beyond[1] >= here[1] * (1 - EXACT * EXACT):
            return (last, here, beyond) if sign > 0 else (beyond, here, last)
        last, here = here, beyond
    raise _NoMinimumError


def _narrowed(at: Callable[[float], float], points: _Points) -> tuple[float, float]:
    """The lowest point between the outer two, by parabolas where they help, else by golden sections."""
    (low, at_low), (middle, value), (high, at_high) = points
    previous = math.inf
    for turn in range(EVALUATIONS // 3):
        if turn > 2 and previous - value <= EXACT * value and high - low <= NARROW * max(abs(middle), 1.0):
            break
        previous = value
        new = _next_point(((low, at_low), (middle, value), (high, at_high)), halve=turn % 2 == 1)
        at_new = at(new)
        if at_new <= value:
            (low, at_low), (high, at_high) = (
                ((middle, value), (high, at_high)) if new > middle else ((low, at_low), (middle, value))
            )
            middle, value = new, at_new
        elif new > middle:
            high, at_high = new, at_new
        else:
            low, at_low = new, at_new
    return middle, value


def _next_point(points: _Points, *, halve: bool) -> float:
    """The vertex of the parabola through three points; where it tells nothing, or is not wanted, a golden section."""
    (low, at_low), (middle, value), (high, at_high) = points
    left, right = (middle - low) * (value - at_high), (middle - high) * (value - at_low)
    wide = high - middle > middle - low
    section = middle + GOLDEN * ((high - middle) if wide else (low - middle))
    if halve or not math.isfinite(left - right) or left == right:
        return section
    vertex = middle - ((middle - low) * left - (middle - high) * right) / (2 * (left - right))
    nearest = 1e-3 * (high - low)
    return vertex if low + nearest < vertex < high - nearest and abs(vertex - middle) > nearest else section


def judged(seen: ObservedLoss, loss: Loss, outputs: Any, arrays: LossArrays) -> ObservedLoss:
    """The loss with what is known of its target, and of the best constant output.

    Args:
        seen: the loss, with what a guess gives.
        loss: that was computed.
        outputs: what the model returned.
        arrays: of the framework.
    """
    if loss.named is None or loss.drawn:
        return seen
    seen = _with_target(seen, loss, arrays)
    seen = replace(seen, broadcast=seen.broadcast or broadcast_shapes(loss, main_output(outputs, arrays), arrays))
    known = seen.target in (Target.CLASS.name, Target.SHARES.name)
    return seen if known or seen.broadcast else with_constant(seen, *_at_constants(loss, outputs, arrays))


def with_constant(seen: ObservedLoss, loss_at: Callable[[tuple[float, ...]], float], count: int = 1) -> ObservedLoss:
    """The loss with that of the best constant output."""
    best = best_constant(loss_at, count) if math.isfinite(seen.value) and count else None
    return seen if best is None else replace(seen, constant=best.loss, zero=best.zero, best=best.outputs)


def _at_constants(loss: Loss, outputs: Any, arrays: LossArrays) -> tuple[Callable[[tuple[float, ...]], float], int]:
    """The loss of constant outputs, and of how many numbers: one for a known loss, which sees one array."""
    floats = arrays.floats(outputs)
    shapes = [arrays.shape(array) or () for array in floats]
    count = 1 if loss.named is not None and loss.named.target is not None else len(floats)

    def loss_at(numbers: tuple[float, ...]) -> float:
        filled = [
            arrays.drawn(np.full(shape, numbers[i % count], np.float32), array)
            for i, (shape, array) in enumerate(zip(shapes, floats, strict=True))
        ]
        return float(loss(arrays.replaced(outputs, filled)))

    return loss_at, count if 0 < count <= OUTPUTS else 0


def _with_target(seen: ObservedLoss, loss: Loss, arrays: LossArrays) -> ObservedLoss:
    """The loss with the range and the size of the numbers that it compares with."""
    shape = arrays.shape(loss.target)
    if not seen.target or seen.target in (Target.CLASS.name, Target.SHARES.name) or not shape or 0 in shape:
        return seen
    values = arrays.host(loss.target)
    span = (float(values.min()), float(values.max()))
    return replace(seen, span=span, target_rms=math.sqrt(float(np.square(values, dtype=np.float64).mean())))


def broadcast_shapes(loss: Loss, output: Any, arrays: LossArrays) -> tuple[tuple[int, ...], ...]:
    """The shapes of the output and of the target where the loss silently repeats one along an axis of the other.

    Shown by what it does with random outputs: where both hold as many numbers, its value is another than for outputs
    of the target's shape; where the target holds fewer, it is the value for a target that was repeated.
    """
    shape, given = arrays.shape(output), arrays.shape(loss.target)
    if loss.named is None or not shape or not given or not _may_broadcast(shape, given):
        return ()
    if loss.named.target in (Target.CLASS, Target.SHARES):
        return ()
    numbers = generator("check.broadcast").standard_normal(shape, np.float32)
    try:
        return (shape, given) if _broadcasts(loss.named, numbers, output, loss.target, arrays) else ()
    except Exception:  # whatever the user's function raises for what the model never gives
        return ()


def _may_broadcast(shape: tuple[int, ...], given: tuple[int, ...]) -> bool:
    if shape == given or math.prod(given) <= 1 or math.prod(shape) <= 1:
        return False
    pairs = zip(reversed(shape), reversed(given), strict=False)
    return all(a == b or 1 in (a, b) for a, b in pairs)


def _broadcasts(named: NamedLoss, numbers: Array, output: Any, target: Any, arrays: LossArrays) -> bool:
    """Whether it repeats; a loss of one's own may take several numbers a target, such as a mean and a variance."""
    given = arrays.shape(target) or ()

    def value(values: Any, aim: Any) -> float:
        return float(arrays.number(named.function(arrays.drawn(values, output), aim)))

    value_as_it_is = value(numbers, target)
    if not _same(value_as_it_is, value(numbers, target)):
        return False
    if math.prod(given) == numbers.size:
        return not _same(value_as_it_is, value(numbers.reshape(given), target))
    alike = named.target is not None or len(given) < numbers.ndim
    if math.prod(given) > numbers.size or given[0] != numbers.shape[0] or not alike:
        return False
    repeated = np.ascontiguousarray(np.broadcast_to(arrays.host(target), numbers.shape))
    return _same(value_as_it_is, value(numbers, arrays.drawn(repeated, output)))


def _same(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=ROUNDING)


def names_of(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes in words: "(64, 1) against (64,)"."""
    return " against ".join(str(tuple(shape)) for shape in shapes)
