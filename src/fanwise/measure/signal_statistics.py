"""Statistics of NumPy arrays that a run gave, as `fanwise.measure.observation.Signal` defines them.

Large arrays are sampled at a stride that is prime to their sizes, so that every feature and every example has its turn.
"""

import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from fanwise.graph.details import Softmax
from fanwise.graph.kinds import COMPARED, NONLINEAR, PLACED
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import feature_axis
from fanwise.measure.observation import Signal
from fanwise.stream.formats import Array

MOST = 1 << 16
"""Values of an array that are looked at: the second moment of that many independent ones errs by 0.6 %."""
EXAMPLES, FEATURES = 16, 1024
"""Examples that are compared with one another, and how many values of each."""
WINDOWS, SIDE = 256, 3
"""Windows of an input that are compared with one another, and how many places they have along each axis."""
SATURATION = 0.05
"""A value is saturated where the slope is below this share of the steepest, as in `fanwise.lab`."""
SURE = 0.05
"""A distribution is sure where 1 - sum p^2 is below this share of that of an even one."""
PLACES, SPANS = 16, 128
"""Places of an example that are compared with one another, and how many features of each."""
LIMITS = {
    "tanh": (-math.sqrt(1 - SATURATION), math.sqrt(1 - SATURATION)),
    "sigmoid": ((1 - math.sqrt(1 - SATURATION)) / 2, (1 + math.sqrt(1 - SATURATION)) / 2),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "relu6": (-math.inf, 6.0),
    "softsign": (math.sqrt(SATURATION) - 1, 1 - math.sqrt(SATURATION)),
}
"""Outputs beyond which each bounded nonlinearity is saturated: tanh' = 1 - y^2, sigmoid' = y (1 - y), softsign' =
(1 - |y|)^2."""
CELLS = {"lstm": "tanh", "gru": "tanh", "rnn_tanh": "tanh", "rnn_relu": "relu"}
"""The nonlinearity that bounds what a recurrent cell gives."""
BOUNDED = ("tanh", "sigmoid", "hardtanh", "hardsigmoid", "softsign")
"""Nonlinearities whose units fall silent on a slope, or are saturated, but have no dead side."""


class Signals:
    """Measures what each op of a run gave, in the order of execution, or in any once all of them were followed."""

    def __init__(self) -> None:
        self._axes: dict[int, tuple[tuple[int, ...], int]] = {}

    def follow(self, op: Op, shape: tuple[int, ...]) -> int:
        """The axis of what an op gave along which its features lie; those of what it reads are known by then."""
        axis = feature_axis(op, shape, self._axes.get(op.inputs[0] if op.inputs else INPUT))
        self._axes[op.index] = shape, axis
        return axis

    def of(self, op: Op, array: Array) -> dict[str, float]:
        """The numbers of a `Signal`, its gradient left out, by name."""
        axis = self.follow(op, array.shape)
        array = _sizes(array)
        numbers = numbers_of(array, compared=op.kind in COMPARED)
        if begins(op):
            numbers |= {"alike": alike(array, axis), "overlap": overlap(array, axis)}
        if op.kind in NONLINEAR and array.size:
            numbers |= _activation(op, array, axis)
        if op.kind == OpKind.SOFTMAX and array.size:
            numbers |= distribution(array, softmax_axis(op))
        if has_places(op, array.shape, axis) and array.size:
            numbers["places"] = places(array)
        return numbers


def _sizes(array: Array) -> Array:
    """Complex numbers by their size; others as they are."""
    return np.abs(array) if np.iscomplexobj(array) else array


def begins(op: Op) -> bool:
    """Whether a signal begins at an op, as at an input: a lookup, and what is made of constants alone."""
    return op.kind == OpKind.EMBEDDING or not op.inputs


def has_places(op: Op, shape: Sequence[int], axis: int) -> bool:
    """Whether an op gives several places of an example, features last, which are compared: not those of pictures."""
    last = len(shape) > 2 and axis in (-1, len(shape) - 1)
    return last and op.kind in PLACED and min(shape[1], shape[-1]) > 1


def softmax_axis(op: Op) -> int:
    """The axis over which a softmax is taken."""
    return op.detail.axis if isinstance(op.detail, Softmax) else -1


def distribution(array: Array, axis: int) -> dict[str, float]:
    """What share of distributions are sure, and the largest mean of an outcome; logarithms are taken as such."""
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
    rows = rows[:: max(rows.size // (2 * MOST), 1)]
    rows = np.exp(rows) if rows.size and rows.max() <= 0 else rows
    outcomes = rows.shape[-1]
    spread = 1 - np.square(rows).sum(-1)
    sure = float((spread < SURE * (1 - 1 / outcomes)).mean()) if outcomes > 1 else math.nan
    return {"saturated": sure, "mode": float(rows.mean(0).max())}


def places(array: Array) -> float:
    """Mean cosine between the places of an example."""
    rows = np.asarray(array[:2, ..., :SPANS], np.float64).reshape(min(len(array), 2), -1, min(array.shape[-1], SPANS))
    rows = rows[:, :: max(rows.shape[1] // PLACES, 1)][:, :PLACES]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    number = rows.shape[1]
    cosines = (np.square(rows.sum(1)).sum(-1) - number) / (number * (number - 1))
    return float(cosines.mean())


def numbers_of(array: Array, *, compared: bool) -> dict[str, float]:
    """Mean and second moment of an array, and the likeness of its examples where they are to be compared."""
    if not array.size:
        return {}
    values = sampled(array)
    numbers = {"mean": float(values.mean(dtype=np.float64)), "second_moment": moment_of(values)}
    if compared and array.ndim > 1 and len(array) > 1:
        numbers["likeness"] = likeness(array)
    return numbers


def signal_of(array: Array, axis: int = -1) -> Signal:
    """The signal of an input or an output, whose features lie along an axis."""
    array = _sizes(array)
    return Signal(**numbers_of(array, compared=True), alike=alike(array, axis), overlap=overlap(array, axis))


def overlap(array: Array, axis: int) -> float:
    """E (x . x')^2 over (E x . x)^2 of two windows, as in `Signal`; NaN where there is but one."""
    if array.ndim < 2 or not array.size:
        return math.nan
    values = np.moveaxis(np.asarray(array[:WINDOWS], np.float64), axis, -1)
    if values.ndim > 3 and min(values.shape[1:-1]) >= SIDE:
        spatial = tuple(range(1, values.ndim - 1))
        whole = np.lib.stride_tricks.sliding_window_view(values, (SIDE,) * len(spatial), spatial)
        values = whole[(slice(None), *(slice(None, None, SIDE) for _ in spatial))]
        features = math.prod(values.shape[len(spatial) + 1 :])
    else:
        features = values.shape[-1]
    rows = values.reshape(-1, features)
    return overlap_of(rows[:: stride_prime_to((len(rows),), max(len(rows) // WINDOWS, 1))][:WINDOWS], len(rows))


def overlap_of(rows: Array, total: int) -> float:
    """The same of some of so many windows, each with itself as often as among all of them."""
    products = np.square(rows @ rows.T)
    own, whole, number = float(np.trace(products)), float(products.sum()), len(rows)
    size = float(np.square(rows).sum(1).mean()) ** 2
    if number < 2 or not size > 0 or not math.isfinite(whole):
        return math.nan
    pairs = (whole - own) / (number * (number - 1))
    return (pairs * (total - 1) / total + own / number / total) / size


def alike(array: Array, axis: int) -> float:
    """E x x' of a feature at two places of one example, over E x^2; NaN where an example has one place."""
    if array.ndim < 3 or not array.size:
        return math.nan
    values = np.moveaxis(np.asarray(array[:EXAMPLES], np.float64), axis, 1)
    values = values.reshape(*values.shape[:2], -1)
    places, squares = values.shape[2], float(np.square(values).mean())
    products = (float(np.square(values.mean(2)).mean()) * places - squares) / max(places - 1, 1)
    return products / squares if squares > 0 else math.nan


def moment_of(values: Array) -> float:
    """E x^2, in double precision; infinite where it is beyond the dtype."""
    moment = float(np.square(values, dtype=np.float64).mean())
    return moment if moment <= float(np.finfo(values.dtype).max) or math.isnan(moment) else math.inf


def sampled(array: Array, most: int = MOST) -> Array:
    """At most about `most` of an array's values, in one axis, in float32 or better."""
    flat = np.abs(array).ravel() if array.dtype.kind == "c" else array.ravel()
    if flat.size > 2 * most:
        flat = flat[:: stride_prime_to(array.shape, flat.size // most)]
    return flat if flat.dtype in (np.float32, np.float64) else flat.astype(np.float32)


def stride_prime_to(shape: Sequence[int], wanted: int) -> int:
    """The least stride from `wanted` on that has no factor in common with any of the sizes."""
    return next(stride for stride in count(max(wanted, 1)) if all(math.gcd(stride, size) == 1 for size in shape))


def likeness(array: Array) -> float:
    """Mean cosine between the examples of a batch, the first axis."""
    rows = np.asarray(array[:EXAMPLES].reshape(min(len(array), EXAMPLES), -1), np.float64)
    if rows.shape[1] > 2 * FEATURES:
        rows = rows[:, :: stride_prime_to(array.shape[1:], rows.shape[1] // FEATURES)]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    number = len(rows)
    return float((np.square(rows.sum(0)).sum() - number) / (number * (number - 1)))


def silent(array: Array, axis: int) -> float:
    """Share of units that give one and the same value at every example and position that is looked at."""
    units = np.moveaxis(array, axis, -1)
    rows = units.reshape(-1, units.shape[-1])
    most = max(MOST * 4 // max(units.shape[-1], 1), 64)
    if len(rows) > 2 * most:
        rows = rows[:: stride_prime_to(units.shape[:-1], len(rows) // most)]
    low, high = rows.min(0).astype(np.float32), rows.max(0).astype(np.float32)
    return float((high - low <= 1e-6 * (high.max() - low.min())).mean())


def _activation(op: Op, array: Array, axis: int) -> dict[str, Any]:
    values = sampled(array)
    shares = {"zeros": float((values == 0).mean())}
    name = str(CELLS.get(op.cell or "", op.nonlinearity or ""))
    if name in LIMITS:
        low, high = LIMITS[name]
        shares["saturated"] = float(((values <= low) | (values >= high)).mean())
    if array.size > array.shape[axis] and name not in (*BOUNDED, "sin", "cos"):
        shares["silent"] = silent(array, axis)
    return shares
