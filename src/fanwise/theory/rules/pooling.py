"""Averages, sums and largest values: over windows, places or features."""

import math
from collections.abc import Iterator

import numpy as np

from fanwise.graph.op import OpKind
from fanwise.theory import windows
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule, gathered
from fanwise.theory.samples import HERE, SAMPLES, Likeness, Rows, fresh, likeness, normal_rows, second
from fanwise.theory.walk import Here, Walk


@forward_rule(OpKind.POOL)
def pool(walk: Walk, here: Here) -> Rows | None:
    """The average or the largest of the n values of a window.

        average: E y^2 = (E x^2 + (n - 1) E x x') / n;  largest: P(y <= t) = P(x_1 <= t, ..., x_n <= t)

    Derived here: the variance of a mean of n equally correlated values; the largest is drawn from n values that are
    correlated as two places of the sample are, by a Gaussian copula (`windows`).
    """
    if not here.sources:
        return None
    count, left = window(here), walk.places(here.op.index) > 1
    if count <= 1:
        return here.first
    if "max" in here.op.name:
        return windows.largest(here.first, round(count), here.op.index, left=left)
    return windows.average(here.first, count, here.op.index, left=left)


@backward_rule(OpKind.POOL)
def pool_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = g / n of an average; of the largest value g with probability F(x)^(n - 1), else 0.

    Source: David and Nagaraja, "Order statistics", 2003, eq. 2.1.1, for independent values (P(largest <= x) = F(x)^n).
    """
    if not here.sources:
        return
    read, count = math.prod(here.read(0)), window(here)
    if here.op.size >= read:
        yield Share(here.op.inputs[0], gathered(gradient, here.op.shape, here.read(0)))
    elif "max" in here.op.name:
        yield Share(here.op.inputs[0], _of_largest(here, gradient, (count, here.op.size * count / read)))
    else:
        yield Share(here.op.inputs[0], _of_average(here, gradient, (count, walk.places(here.op.index))))


@forward_rule(OpKind.REDUCE)
def reduce(walk: Walk, here: Here) -> Rows | None:
    """The mean, sum or largest value over places, or over the features.

        mean over n places: E y^2 = (E x^2 + (n - 1) E x x') / n
        over n features: (E x)^2 + Var(x) / n
        a sum n^2 times that

    Derived here: places are equally correlated, features of one place independent but for their mean.
    """
    if not here.sources or here.op.name not in ("mean", "sum", "amax", "max"):
        return None
    count = max(math.prod(here.read(0)) / max(here.op.size, 1), 1.0)
    if over_features(walk, here):
        return _reduced_features(here, count)
    left = len(here.op.shape) > 2 and walk.places(here.op.index) > 1
    if here.op.name in ("amax", "max"):
        return windows.largest(here.first, round(count), here.op.index, left=left)
    return (count if here.op.name == "sum" else 1.0) * windows.average(here.first, count, here.op.index, left=left)


@backward_rule(OpKind.REDUCE)
def reduce_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Mean: dL/dx = g / n; sum: g; largest: g where x is the largest, as in `pool_gradient`."""
    if not here.sources or here.op.name not in ("mean", "sum", "amax", "max"):
        return
    count = window(here)
    if here.op.name in ("amax", "max"):
        yield Share(here.op.inputs[0], _of_largest(here, gradient, (count, 1.0)))
        return
    share = 1.0 if here.op.name == "sum" else 1 / count
    if over_features(walk, here):
        yield Share(here.op.inputs[0], share * gradient)
    else:
        places = walk.places(here.op.index) if len(here.op.shape) > 2 else 1
        yield Share(here.op.inputs[0], share * count * _of_average(here, gradient, (count, places)))


def _reduced_features(here: Here, count: float) -> Rows | None:
    if here.op.name in ("amax", "max"):
        return None
    means = np.repeat(here.first.mean(axis=1, keepdims=True), SAMPLES, axis=1)
    spread = math.sqrt(max(second(here.first[HERE] - means[HERE, 0]), 0.0) / count)
    return (count if here.op.name == "sum" else 1.0) * (means + spread * fresh("features", here.op.index))


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


def _of_largest(here: Here, gradient: Rows, sizes: tuple[float, float]) -> Rows:
    """Each output's gradient goes to its largest value: where the signal is large."""
    count, repeated = sizes
    chance = windows.chance_of_largest(here.first[HERE], max(round(count), 1))
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
