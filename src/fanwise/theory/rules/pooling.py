"""Averages, sums and largest values: over windows, places or features."""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Pooling
from fanwise.graph.op import OpKind
from fanwise.theory import coverage, windows
from fanwise.theory.coverage import Windows
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule, through_gain
from fanwise.theory.samples import (
    HERE,
    SAMPLES,
    Likeness,
    Rows,
    fresh,
    generator,
    likeness,
    normal_rows,
    of_others,
    second,
)
from fanwise.theory.walk import Here, Walk

SIGNS: Mapping[str, float] = MappingProxyType({"max": 1.0, "min": -1.0})
"""By what values are multiplied so that the largest is taken."""
REDUCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "mean": "mean",
        "sum": "sum",
        "reduce_sum": "sum",
        **dict.fromkeys(("amax", "max", "reduce_max"), "max"),
        **dict.fromkeys(("amin", "min", "reduce_min"), "min"),
    }
)
"""What the frameworks' reductions take."""
MOST_FEATURES = 4096
"""Features of a sum that are drawn from the sample; of more it is as good as normal."""


@forward_rule(OpKind.POOL)
def pool(walk: Walk, here: Here) -> Rows | None:
    """The mean, the sum or the largest of the n values of a window.

        mean: E y^2 = (E x^2 + (n - 1) E x x') / n;  largest: P(y <= t) = P(x_1 <= t, ..., x_n <= t)

    At the border a window holds fewer values, or zeros (`coverage`). Derived here: the variance of a mean of n equally
    correlated values; the largest is drawn from n values that are correlated as two places of the sample are, by a
    Gaussian copula (`windows`). Other pools have no rule.
    """
    axes = pooled(here)
    if axes is None:
        return None
    takes, left = _takes(here), math.prod(axis.few for axis in axes) > 1
    if not axes:
        return here.first
    if takes in SIGNS:
        sign = SIGNS[takes]
        return sign * windows.largest(sign * here.first, _some_counts(axes, here), here.op.index, left=left)
    mean = coverage.factor_of_mean(axes) * float(here.first[HERE].mean())
    moments = coverage.averaged(likeness(here.first), axes)
    return mean + normal_rows(moments.minus(mean * mean), "average", here.op.index)


@backward_rule(OpKind.POOL)
def pool_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = g / n of a mean; of the largest value g with probability F(x)^(n - 1), else 0.

    Source: David and Nagaraja, "Order statistics", 2003, eq. 2.1.1, for independent values (P(largest <= x) = F(x)^n).
    """
    axes = pooled(here)
    if axes is None:
        yield from through_gain(walk, here, gradient)
    elif not axes:
        yield Share(here.op.inputs[0], gradient)
    elif _takes(here) in SIGNS:
        count = math.prod(float(axis.counts.mean()) for axis in axes)
        covered = count * math.prod(axis.few / axis.many for axis in axes)
        yield Share(here.op.inputs[0], _of_largest(here, gradient, (count, covered), SIGNS[_takes(here)]))
    else:
        moments = coverage.spread_back(likeness(gradient), axes)
        yield Share(here.op.inputs[0], normal_rows(moments, "back", here.op.index))


def pooled(here: Here) -> tuple[Windows, ...] | None:
    """The windows along each pooled axis; None for a pool that has no rule."""
    detail = here.op.detail
    if not here.sources or not isinstance(detail, Pooling) or len(detail.window) != len(here.read(0)):
        return None
    return coverage.windows_of(detail, here.read(0), here.op.shape)


def _takes(here: Here) -> str:
    return here.op.detail.takes if isinstance(here.op.detail, Pooling) else ""


def _some_counts(axes: Sequence[Windows], here: Here) -> NDArray[np.float64]:
    """For each feature of the sample, how many values some window holds."""
    numbers = generator("windows", here.op.index)
    return np.asarray(np.prod([axis.counts[numbers.integers(axis.few, size=SAMPLES)] for axis in axes], axis=0))


@forward_rule(OpKind.REDUCE)
def reduce(walk: Walk, here: Here) -> Rows | None:
    """The mean, sum or largest value over places, or over the features.

        mean over n places: E y^2 = (E x^2 + (n - 1) E x x') / n
        over n features: (E x)^2 + Var(x) / n
        a sum n^2 times that

    Derived here: places are equally correlated, features of one place independent but for their mean.
    """
    takes = REDUCTIONS.get(here.op.name)
    if not here.sources or takes is None:
        return None
    count = max(math.prod(here.read(0)) / max(here.op.size, 1), 1.0)
    if over_features(walk, here):
        return _reduced_features(here, takes, count)
    left = len(here.op.shape) > 2 and walk.places(here.op.index) > 1
    if takes in SIGNS:
        sign = SIGNS[takes]
        return sign * windows.largest(sign * here.first, np.array(count), here.op.index, left=left)
    return (count if takes == "sum" else 1.0) * windows.average(here.first, count, here.op.index, left=left)


@backward_rule(OpKind.REDUCE)
def reduce_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Mean: dL/dx = g / n; sum: g; largest: g where x is the largest, as in `pool_gradient`."""
    takes = REDUCTIONS.get(here.op.name)
    if not here.sources:
        return
    if takes is None:
        yield from through_gain(walk, here, gradient)
        return
    count = window(here)
    if takes in SIGNS:
        yield Share(here.op.inputs[0], _of_largest(here, gradient, (count, 1.0), SIGNS[takes]))
        return
    share = 1.0 if takes == "sum" else 1 / count
    if over_features(walk, here):
        yield Share(here.op.inputs[0], share * gradient)
    else:
        places = walk.places(here.op.index) if len(here.op.shape) > 2 else 1
        yield Share(here.op.inputs[0], share * count * _of_average(here, gradient, (count, places)))


def _reduced_features(here: Here, takes: str, count: float) -> Rows:
    """What the features of one place give together: each of the sample stands beside others that are drawn from it."""
    others = min(round(count), MOST_FEATURES) - 1
    if others < 1:
        return here.first
    if takes in SIGNS:
        sign = SIGNS[takes]
        largest = of_others(sign * here.first, others, here.op.index, np.max)
        return np.asarray(sign * np.maximum(sign * here.first, largest))
    if count > MOST_FEATURES:
        return _sum_of_many(here, count) * (1.0 if takes == "sum" else 1 / count)
    sums = here.first + of_others(here.first, others, here.op.index, np.sum)
    return np.asarray(sums if takes == "sum" else sums / count)


def _sum_of_many(here: Here, count: float) -> Rows:
    means = np.repeat(here.first.mean(axis=1, keepdims=True), SAMPLES, axis=1)
    spread = math.sqrt(max(second(here.first[HERE] - means[HERE, 0]), 0.0) / count)
    return np.asarray(count * (means + spread * fresh("features", here.op.index)))


def over_features(walk: Walk, here: Here) -> bool:
    """Whether a reduction takes the features together: what it leaves has another number of them."""
    before, after = here.read(0), here.op.shape
    source = here.op.inputs[0]
    axis = walk.trace.axes[source] if source >= 0 else -1
    if not before or -axis > len(before):
        return False
    features = before[axis]
    kept = [*after[axis:][:1], *after[-1:], *after[1:2]]
    return features not in kept or (axis == -1 and len(after) == len(before) and after[-1] == 1 < features)


def window(here: Here) -> float:
    """How many values a pool takes together."""
    return max(math.prod(here.read(0)) / max(here.op.size, 1), 1.0)


def _of_largest(here: Here, gradient: Rows, sizes: tuple[float, float], sign: float) -> Rows:
    """Each output's gradient goes to its largest value: where the signal is large."""
    count, repeated = sizes
    chance = windows.chance_of_largest(sign * here.first[HERE], max(count, 1.0))
    own = second(gradient[HERE])
    values = normal_rows(Likeness(own), "largest", here.op.index) * np.sqrt(chance)
    return math.sqrt(repeated) * values


def _of_average(here: Here, gradient: Rows, sizes: tuple[float, int]) -> Rows:
    """Each value gets its share of the gradient of its window; those of one window get the same."""
    (count, places), own = sizes, likeness(gradient)
    together = (count - 1) / max(count * places - 1, 1.0)
    alike = together * own.here + (1 - together) * own.elsewhere
    moments = Likeness(own.here, alike, own.another) * count**-2
    return normal_rows(moments, "back", here.op.index)
