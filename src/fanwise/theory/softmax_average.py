"""What an average over tokens by softmax weights does: second moments of the weights, forward and backward."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.theory.samples import Likeness, generator

QUERIES = 256
"""Pairs of queries over which the moments of the weights are averaged."""
MOST_KEYS = 1024
"""Keys of one query that are drawn; with more, sums of squared weights fall as 1 / keys."""
WIDEST = 30.0
"""Std of scores beyond which the largest weight is 1."""


@dataclass(frozen=True)
class Weights:
    """Moments of softmax weights p over keys, at queries a and b.

    Args:
        same: E sum_j p_aj^2.
        other: E sum_j p_aj p_bj.
        steered: E sum_j p_aj^2 (1 - 2 p_aj + sum_l p_al^2): how far the scores move the average.
        steered_other: the same of two queries.
    """

    same: float
    other: float
    steered: float
    steered_other: float


@dataclass(frozen=True)
class Attention:
    """One attention: how many tokens there are, and how its scores are made.

    Args:
        queries: how many tokens ask.
        keys: how many are asked.
        width: features of a query and a key.
        scale: factor on their products.
        causal: whether a token sees only those before it, and itself.
        sharing: queries' heads for each head of keys and values.
        values: features of a value; 0 for as many as those of a query.
    """

    queries: int
    keys: int
    width: int
    scale: float
    causal: bool = False
    sharing: float = 1.0
    values: int = 0


def weights(attention: Attention, query: Likeness, key: Likeness) -> Weights:
    """Moments of the weights, where queries and keys are independent and normal.

    What all keys share adds the same to all scores of a query and changes no weight, so the scores that count have the
    variance scale^2 width E q^2 (E k^2 - E k k'); of one query it is scale^2 |q|^2 (E k^2 - E k k'), with |q|^2 a sum
    of so many squares.
    """
    differing = max(key.here - key.elsewhere, 0.0)
    spread = abs(attention.scale) * math.sqrt(attention.width * query.here * differing)
    alike = query.elsewhere / query.here if query.here > 0 else 1.0
    tokens = (attention.queries, attention.keys)
    width = min(max(attention.width, 1), MOST_KEYS)
    return _weights(tokens, (float(f"{min(spread, WIDEST):.3g}"), width), round(alike, 2), attention.causal)


def averaged(value: Likeness, softmax: Weights) -> Likeness:
    """The second moments of the average of the values."""
    return Likeness(
        softmax.same * value.here + (1 - softmax.same) * value.elsewhere,
        softmax.other * value.here + (1 - softmax.other) * value.elsewhere,
        value.another,
    )


def value_gradient(gradient: Likeness, softmax: Weights, attention: Attention) -> Likeness:
    """Of the gradient at the values, from that at the averages: g_v,j = sum_a p_aj g_a."""
    asked, given = attention.queries, attention.keys
    here = asked / given * (softmax.same * gradient.here + (asked - 1) * softmax.other * gradient.elsewhere)
    total = asked * gradient.here + asked * (asked - 1) * gradient.elsewhere
    elsewhere = (total - given * here) / (given * (given - 1)) if given > 1 else here
    return Likeness(here, elsewhere, asked**2 / given**2 * gradient.another) * attention.sharing


def query_gradient(
    gradient: Likeness, softmax: Weights, attention: Attention, operands: tuple[Likeness, ...]
) -> Likeness:
    """Of the gradient at the queries; `operands` are those of queries, keys and values."""
    _, key, value = operands
    factor = _steering(attention, value) * max(key.here - key.elsewhere, 0.0)
    return Likeness(factor * softmax.steered * gradient.here, factor * softmax.steered_other * gradient.elsewhere)


def key_gradient(
    gradient: Likeness, softmax: Weights, attention: Attention, operands: tuple[Likeness, ...]
) -> Likeness:
    """Of the gradient at the keys."""
    query, _, value = operands
    asked, given = attention.queries, attention.keys
    own = softmax.steered * gradient.here * query.here
    others = (asked - 1) * softmax.steered_other * gradient.elsewhere * query.elsewhere
    here = _steering(attention, value) * asked / given * (own + others) * attention.sharing
    return Likeness(here, -here / (given - 1) if given > 1 else here)


def _steering(attention: Attention, value: Likeness) -> float:
    return attention.scale**2 * (attention.values or attention.width) * max(value.here - value.elsewhere, 0.0)


Attended: TypeAlias = tuple[Attention, tuple[Likeness, Likeness, Likeness], Weights]
"""An attention, the second moments of its queries, keys and values, and the moments of its weights."""


@lru_cache(maxsize=512)
def _weights(tokens: tuple[int, int], scale: tuple[float, int], alike: float, causal: bool) -> Weights:
    (queries, keys), (spread, width) = tokens, scale
    drawn = min(keys, MOST_KEYS)
    numbers = generator("attention", drawn, spread, alike, causal)
    lengths = spread * np.sqrt(numbers.chisquare(width, (QUERIES, 1)) / width)
    scores = lengths * numbers.standard_normal((QUERIES, drawn))
    own = math.sqrt(max(1 - alike**2, 0.0))
    others = alike * scores + own * lengths * numbers.standard_normal((QUERIES, drawn))
    ends = (1 + numbers.permutation(QUERIES) * drawn // QUERIES, 1 + numbers.permutation(QUERIES) * drawn // QUERIES)
    if not causal or queries != keys:
        ends = (np.full(QUERIES, drawn), np.full(QUERIES, drawn))
    moments = _moments(_softmax(scores, ends[0]), _softmax(others, ends[1]))
    share = drawn / keys
    return Weights(*(moment * share for moment in moments))


def _softmax(scores: NDArray[np.float64], ends: NDArray[np.intp]) -> NDArray[np.float64]:
    seen = np.arange(scores.shape[1]) < ends[:, None]
    powers = np.where(seen, np.exp(scores - scores.max(axis=1, where=seen, initial=-math.inf, keepdims=True)), 0.0)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _moments(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, float, float]:
    squares, products = (first**2).sum(1), (first * second).sum(1)
    steered = squares - 2 * (first**3).sum(1) + squares**2
    steered_other = products - (first * second * (first + second)).sum(1) + products**2
    return tuple(float(part.mean()) for part in (squares, products, steered, steered_other))  # type: ignore[return-value]
