"""Attention: softmax weights, the average of the values, and products of queries and keys."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from fanwise.graph import details
from fanwise.graph.arithmetic import constant_of
from fanwise.graph.kinds import AFTER_SOFTMAX, BEFORE_SOFTMAX
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.graph.trace import Trace
from fanwise.theory.rules.affine import shifted
from fanwise.theory.rules.maps import map_uses
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule
from fanwise.theory.samples import (
    ELSEWHERE,
    HERE,
    Likeness,
    Rows,
    Values,
    likeness,
    normal_rows,
    of_others,
    second,
)
from fanwise.theory.softmax_average import (
    Attended,
    Attention,
    Weights,
    averaged,
    key_gradient,
    query_gradient,
    value_gradient,
    weights,
)
from fanwise.theory.walk import Here, Walk
from fanwise.theory.windows import neighbours


@forward_rule(OpKind.ATTENTION)
def attention(walk: Walk, here: Here) -> Rows | None:
    """Output y_a = sum_j p_aj v_j with p = softmax(scale q k^T), over the keys j that a token a sees.

        E y^2 = s E v^2 + (1 - s) E v v',  s = E sum_j p_j^2;  scores: Var = scale^2 width E q^2 (E k^2 - E k k')

    Derived here: the weights of one query sum to 1, so sum_j p_j^2 + sum_{j != l} p_j p_l = 1; the first sum meets the
    same value twice, the second values of two places. Scores are normal and taken as independent of the values; what
    all keys share adds the same to every score of a query and changes no weight. s is averaged over draws
    (`averaging`).
    """
    op = here.op
    if len(here.sources) < 3 or len(op.shape) < 2:
        return None
    query, key = here.read(0), here.read(1)
    sharing = query[-3] / key[-3] if len(query) == len(key) > 2 and key[-3] else 1.0
    width = op.width or query[-1]
    scale = op.detail.scale if isinstance(op.detail, details.Attention) else width**-0.5
    attended = Attention(query[-2], key[-2], width, scale, op.causal, max(sharing, 1.0), here.read(2)[-1])
    operands = [likeness(rows) for rows in here.sources[:3]]
    return _attended(walk, op, attended, (operands[0], operands[1], operands[2]))


@backward_rule(OpKind.ATTENTION)
def attention_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradients at queries, keys and values.

        values: g_j = sum_a p_aj g_a
        scores: ds_aj = p_aj (g_a . v_j - sum_l p_al g_a . v_l)
        queries: scale sum_j ds_aj k_j

    Derived here from those of a softmax average; `averaging` has their second moments, with the gradient at the
    averages independent of weights and values.
    """
    memory = walk.attended.get(here.op.index)
    for operand, moments in enumerate(operand_gradients(memory, likeness(gradient)) if memory is not None else ()):
        yield Share(here.op.inputs[operand], normal_rows(moments, "back", here.op.index, operand))


@forward_rule(OpKind.ATTENTION_BLOCK)
def attention_block(walk: Walk, here: Here) -> Rows | None:
    """A whole attention layer: y = W_o sum_j p_j W_v x_j + b.

        E y^2 = fan_in Var(w_o) [s E v^2 + (1 - s) E v v'] + E b^2,  E v^2 = fan_in Var(w_v) E x^2, and so for q and k

    Derived here: linear maps before and after the average of `attention`.
    """
    block = block_operands(walk, here)
    out = here.op.used(UseRole.OUTPUT)
    if block is None or not out:
        return None
    attention, operands = block
    values = _attended(walk, here.op, attention, operands)
    variance, _ = walk.map_variance(out[0], here.laws)
    return shifted(walk, here, math.sqrt(variance) * walk.through(out[0].matrix, values, here.op.index, "out"))


@backward_rule(OpKind.ATTENTION_BLOCK)
def attention_block_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradients of `attention_gradient` through the transposed maps: each times fan_out Var(w) of its map."""
    memory, out = walk.attended.get(here.op.index), here.op.used(UseRole.OUTPUT)
    if memory is None or not out:
        return
    variance, _ = walk.map_variance(out[0], here.laws)
    inner = likeness(gradient) * variance
    gains = block_gains(walk, here)
    for operand, moments in enumerate(operand_gradients(memory, inner)):
        yield Share(here.op.inputs[operand], normal_rows(moments * gains[operand], "back", here.op.index, operand))


@forward_rule(OpKind.MATMUL)
def matmul(walk: Walk, here: Here) -> Rows | None:
    """A product of two tensors of data: scores q k^T, or values averaged by a softmax.

        scores: y = c sum_i q_i k_i, E y^2 = c^2 width E q^2 E k^2;  values: as `attention`

    Where both have something in common, E y^2 = c^2 [width Var(q_i k_i) + (width E q_i k_i)^2].

    Derived here: the width terms of the sum are products of independent values, so their variances and means add.
    """
    walk.doubt(here.op)
    if len(here.sources) < 2:
        return None
    softmax = softmax_before(walk.trace, here.op)
    if softmax is not None:
        written = written_attention(walk, here, softmax)
        if written is None:
            values = likeness(here.sources[1])
            return normal_rows(averaged(values, _even(softmax.shape[-1])), here.op.index)
        return _attended(walk, here.op, *written)
    width = here.op.width or (here.read(0)[-1] if here.read(0) else 1)
    first, other = likeness(here.sources[0]), likeness(here.sources[1])
    mean, size = _of_sum(walk, here, width)
    crossed = Likeness(first.here * other.here, first.elsewhere * other.here, first.another * other.another)
    shares = crossed * (max(size - mean * mean, 0.0) / crossed.here if crossed.here > 0 else 0.0)
    return _constant(here.op) * (mean + normal_rows(shares, here.op.index))


def _of_sum(walk: Walk, here: Here, width: int) -> tuple[float, float]:
    """Mean and second moment of sum_i q_i k_i at two places, which are the same as often as they meet."""
    (query, key), source = here.sources[:2], here.op.inputs[1]
    met = 1 / walk.places(source) if source >= 0 else 0.0
    parts = [_of_products(query[HERE] * key[row], width) for row in (HERE, ELSEWHERE)]
    (own_mean, own_size), (mean, size) = parts
    return met * own_mean + (1 - met) * mean, met * own_size + (1 - met) * size


def _of_products(terms: Values, width: int) -> tuple[float, float]:
    mean = float(terms.mean())
    return width * mean, width * second(terms - mean) + (width * mean) * (width * mean)


@backward_rule(OpKind.MATMUL)
def matmul_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Attention that is written out: straight to values, queries and keys; a plain product to both of its operands."""
    memory = walk.attended.get(here.op.index)
    if memory is None:
        yield from product_gradient(walk, here, gradient)
        return
    softmax = softmax_before(walk.trace, here.op)
    score = None if softmax is None else walk.trace.before(softmax, {OpKind.MATMUL}, BEFORE_SOFTMAX)
    query, key, value = operand_gradients(memory, likeness(gradient))
    yield Share(here.op.inputs[1], normal_rows(value, "back", here.op.index, "value"))
    if score is not None:
        for source, moments in zip(score.inputs, (query, key), strict=False):
            yield Share(source, normal_rows(moments, "back", here.op.index, source), reader=score.index)


def product_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/da = g b^T and dL/db = a^T g: E (dL/da)^2 = c^2 n E g^2 E b^2, with n terms in each sum."""
    if len(here.sources) < 2 or not here.op.shape:
        return
    scale = _constant(here.op) ** 2
    for operand, other in ((0, 1), (1, 0)):
        summed = here.op.size / max(math.prod(here.read(operand)), 1) * (here.read(0)[-1] if here.read(0) else 1)
        factor = scale * summed * second(here.sources[other][HERE])
        yield Share(
            here.op.inputs[operand], normal_rows(Likeness(second(gradient[HERE]) * factor), "back", here.op.index)
        )


@forward_rule(OpKind.SOFTMAX)
def softmax(walk: Walk, here: Here) -> Rows | None:
    """Weights p_i = e^x_i / sum_j e^x_j over an axis, or its logarithm x_i - ln sum_j e^x_j.

    Exact on the sample: each value stands beside n - 1 others that are drawn from it; over places, beside others that
    are as alike as places are.
    """
    if not here.sources or not here.op.shape:
        return None
    around = here.first - here.first.max(axis=1, keepdims=True)
    powers = np.exp(around)
    total = powers + _total_of_others(walk, here)(powers)
    return np.asarray(around - np.log(total) if here.op.name == "log_softmax" else powers / total)


@backward_rule(OpKind.SOFTMAX)
def softmax_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = p (g - sum_j p_j g_j); of the logarithm g - p sum_j g_j. Exact on the sample."""
    others = _total_of_others(walk, here)
    around = here.first - here.first.max(axis=1, keepdims=True)
    powers = np.exp(around)
    total = powers + others(powers)
    weights = powers / total
    if here.op.name == "log_softmax":
        yield Share(here.op.inputs[0], gradient - weights * (gradient + others(gradient)))
        return
    yield Share(here.op.inputs[0], weights * (gradient * (1 - weights) - others(powers * gradient) / total))


def _total_of_others(walk: Walk, here: Here) -> Callable[[Rows], Rows]:
    """Sums over what a value shares its softmax with: other features of its place, or its feature at other places."""
    op = here.op
    axis = op.detail.axis if isinstance(op.detail, details.Softmax) else -1
    count = max(op.shape[axis] if -axis <= len(op.shape) else 1, 1) - 1
    if not count:
        return np.zeros_like
    if axis != walk.trace.axes[op.index] and -axis < len(op.shape):
        return neighbours(here.first, count, op.index).total
    return lambda rows: of_others(rows, count, op.index, np.sum)


def block_operands(walk: Walk, here: Here) -> tuple[Attention, tuple[Likeness, Likeness, Likeness]] | None:
    """The attention in a block, and the second moments of its queries, keys and values; tokens are its first axis."""
    op = here.op
    if len(here.sources) < 3 or not op.shape or not map_uses(op):
        return None
    moments = [likeness(rows) * gain for rows, gain in zip(here.sources, block_gains(walk, here), strict=False)]
    width = max(op.shape[-1] // (op.detail.heads if isinstance(op.detail, details.AttentionBlock) else 1), 1)
    tokens = here.read(0)[0], here.read(1)[0]
    attended = Attention(*tokens, width, width**-0.5, op.causal)
    return attended, (moments[0], moments[1], moments[2])


def block_gains(walk: Walk, here: Here) -> list[float]:
    """Variance times fan_in of the maps to queries, keys and values, packed in one matrix or apart."""
    packed = here.op.used(UseRole.WEIGHT)
    if not packed:
        uses = [here.op.used(role)[0] for role in (UseRole.QUERY, UseRole.KEY, UseRole.VALUE)]
        return [walk.map_variance(use, here.laws)[0] for use in uses]
    blocks = walk.block_variances(packed[0], here.laws)
    return [gain for _, gain, _ in blocks] if len(blocks) == 3 else [walk.map_variance(packed[0], here.laws)[0]] * 3


def _attended(walk: Walk, op: Op, attention_op: Attention, operands: tuple[Likeness, Likeness, Likeness]) -> Rows:
    walk.doubt(op)
    moments = weights(attention_op, *operands[:2])
    walk.attended[op.index] = attention_op, operands, moments
    return normal_rows(averaged(operands[2], moments), op.index, "attention")


def operand_gradients(memory: Attended, gradient: Likeness) -> tuple[Likeness, Likeness, Likeness]:
    """Gradients at queries, keys and values."""
    attended, operands, moments = memory
    return (
        query_gradient(gradient, moments, attended, operands),
        key_gradient(gradient, moments, attended, operands),
        value_gradient(gradient, moments, attended),
    )


def softmax_before(trace: Trace, product: Op) -> Op | None:
    """The softmax by whose weights a product averages; None where it makes scores."""
    first = trace.ops[product.inputs[0]] if product.inputs and product.inputs[0] >= 0 else None
    if first is None or first.kind == OpKind.SOFTMAX:
        return first
    return trace.before(first, {OpKind.SOFTMAX}, AFTER_SOFTMAX) if first.kind in BEFORE_SOFTMAX else None


def written_attention(
    walk: Walk, here: Here, softmax: Op
) -> tuple[Attention, tuple[Likeness, Likeness, Likeness]] | None:
    """An attention that is written out: its product of queries and keys, the factors after it, and its values."""
    score = walk.trace.before(softmax, {OpKind.MATMUL}, BEFORE_SOFTMAX)
    if score is None or min(score.inputs, default=-1) < 0 or len(score.inputs) < 2 or len(softmax.shape) < 2:
        return None
    said = walk.seen[score.index]
    query, key = (likeness(rows) for rows in said.sources[:2])
    scale = _constant(score) * _factor_between(walk.trace, score, softmax)
    tokens, causal = softmax.shape[-2:], softmax.causal
    values = here.read(1)[-1] if here.read(1) else 0
    width = score.width or said.read(0)[-1]
    attended = Attention(tokens[0], tokens[1], width, scale, causal, values=values)
    return attended, (query, key, likeness(here.sources[1]))


def _constant(op: Op) -> float:
    return 1.0 if op.constant is None else op.constant


def _factor_between(trace: Trace, score: Op, softmax: Op) -> float:
    factor, here = 1.0, trace.ops[softmax.inputs[0]]
    while here.index != score.index and here.inputs and here.inputs[0] >= 0:
        factor, here = factor * constant_of(here), trace.ops[here.inputs[0]]
    return factor


def _even(keys: int) -> Weights:
    return Weights(1 / max(keys, 1), 1 / max(keys, 1), 0.0, 0.0)
