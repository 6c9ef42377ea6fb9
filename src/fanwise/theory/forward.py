"""The forward rules of theory: what each kind of op makes of the samples that it reads.

A linear map gives new normal values (a sum of many terms is nearly normal); an elementwise function gives that function
of the same sample, so that what depends on itself (x * sigmoid(x), a gate and its input, a stream and its branch) is
right by construction.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.patterns import constant_of
from fanwise.graph.trace import Op, Trace, Use
from fanwise.laws.nonlinearities import NONLINEARITIES, nonlinearity
from fanwise.theory import padding, windows
from fanwise.theory.averaging import Attention, Weights, averaged, weights
from fanwise.theory.recurrence import unrolled
from fanwise.theory.samples import (
    HERE,
    SAMPLES,
    Likeness,
    Rows,
    fresh,
    generator,
    likeness,
    normal_rows,
    rearranged,
    reshaped,
    same_everywhere,
    second,
)
from fanwise.theory.walk import Here, Walk

Rule: TypeAlias = Callable[[Walk, Here], Rows | None]
"""What an op gives; None where the rule does not fit it."""

STEPS = ("scale", "shift", "add", "mul", "elementwise", "dropout", "slice")
"""What may stand between a product of queries and keys, its softmax, and the product with the values."""


def linear(walk: Walk, here: Here) -> Rows | None:
    """A sum of many products: normal, its second moment that of the input times fan_in times the variance."""
    uses = map_uses(here.op)
    if not here.sources or not uses:
        return None
    rows = here.first
    if here.op.kind == "bilinear" and len(here.sources) > 1:
        rows = rows * rearranged(here.sources[1], "bilinear", here.op.index)
    variance, coherent = walk.map_variance(uses[0], here.laws)
    kernel = kernel_of(walk, uses[0])
    passage = padding.forward(here.op, here.read(0), kernel, walk.profile(here.op.inputs[0]) if kernel else ())
    walk.profiles[here.op.index] = passage.profile
    found = math.sqrt(variance * passage.share) * walk.through(uses[0].path, _thinned(rows, passage), here.op.index)
    _remember_parts(walk, here, uses[0])
    return _shifted(walk, here, found + coherent * passage.share * rows.mean(axis=1, keepdims=True))


def _thinned(rows: Rows, passage: padding.Passage) -> Rows:
    """The sample with what places have in common lessened, as windows at the border miss other taps."""
    if passage.alike == 1:
        return rows
    own = likeness(rows)
    return reshaped(rows, Likeness(own.here, passage.alike * own.elsewhere, passage.alike * own.another))


def map_uses(op: Op) -> tuple[Use, ...]:
    """The maps of an op, its main one first."""
    return tuple(use for use in op.uses if use.role in ("weight", "value")) or op.used("query")


def kernel_of(walk: Walk, use: Use) -> tuple[int, ...]:
    """Sizes of the window of a weight."""
    shape = walk.trace.by_path[use.path].shape
    if use.layout is None or len(use.layout.axes) != len(shape):
        return ()
    return tuple(size for size, role in zip(shape, use.layout.axes, strict=True) if role == "kernel")


def attention_block(walk: Walk, here: Here) -> Rows | None:
    """Projections, an average over tokens by softmax weights, and the output map."""
    found = block_operands(walk, here)
    out = here.op.used("output")
    if found is None or not out:
        return None
    attention, operands = found
    values = _attended(walk, here.op, attention, operands)
    variance, _ = walk.map_variance(out[0], here.laws)
    return _shifted(walk, here, math.sqrt(variance) * walk.through(out[0].path, values, here.op.index, "out"))


def block_operands(walk: Walk, here: Here) -> tuple[Attention, tuple[Likeness, Likeness, Likeness]] | None:
    """The attention in a block, and the second moments of its queries, keys and values; tokens are its first axis."""
    op = here.op
    if len(here.sources) < 3 or not op.shape or not map_uses(op):
        return None
    moments = [likeness(rows) * gain for rows, gain in zip(here.sources, block_gains(walk, here), strict=False)]
    width = max(op.shape[-1] // int(op.detail.get("heads", 1)), 1)
    tokens = here.read(0)[0], here.read(1)[0]
    found = Attention(*tokens, width, width**-0.5, bool(op.detail.get("causal", False)))
    return found, (moments[0], moments[1], moments[2])


def block_gains(walk: Walk, here: Here) -> list[float]:
    """Variance times fan_in of the maps to queries, keys and values, packed in one matrix or apart."""
    packed = here.op.used("weight")
    if not packed:
        uses = [here.op.used(role)[0] for role in ("query", "key", "value")]
        return [walk.map_variance(use, here.laws)[0] for use in uses]
    blocks = walk.block_variances(packed[0], here.laws)
    return [gain for _, gain, _ in blocks] if len(blocks) == 3 else [walk.map_variance(packed[0], here.laws)[0]] * 3


def attention(walk: Walk, here: Here) -> Rows | None:
    """An average of the values of other tokens, by the softmax of products of queries and keys."""
    op = here.op
    if len(here.sources) < 3 or len(op.shape) < 2:
        return None
    query, key = here.read(0), here.read(1)
    sharing = query[-3] / key[-3] if len(query) == len(key) > 2 and key[-3] else 1.0
    width = int(op.detail.get("width", query[-1]))
    scale = float(op.detail.get("scale", width**-0.5))
    found = Attention(query[-2], key[-2], width, scale, bool(op.detail.get("causal", False)), max(sharing, 1.0))
    operands = [likeness(rows) for rows in here.sources[:3]]
    return _attended(walk, op, found, (operands[0], operands[1], operands[2]))


def _attended(walk: Walk, op: Op, found: Attention, operands: tuple[Likeness, Likeness, Likeness]) -> Rows:
    walk.doubt(op)
    moments = weights(found, *operands[:2])
    walk.attended[op.index] = found, operands, moments
    return normal_rows(averaged(operands[2], moments), op.index, "attention")


def matmul(walk: Walk, here: Here) -> Rows | None:
    """Scores, or an average of values by a softmax."""
    walk.doubt(here.op)
    if len(here.sources) < 2:
        return None
    softmax = softmax_before(walk.trace, here.op)
    if softmax is not None:
        found = written_attention(walk, here, softmax)
        if found is None:
            values = likeness(here.sources[1])
            return normal_rows(averaged(values, _even(softmax.shape[-1])), here.op.index)
        return _attended(walk, here.op, *found)
    width = int(here.op.detail.get("width", here.read(0)[-1] if here.read(0) else 1))
    scale = abs(float(here.op.detail.get("constant", 1.0)))
    first, other = likeness(here.sources[0]), likeness(here.sources[1])
    size = scale * math.sqrt(width)
    crossed = Likeness(first.here * other.here, first.elsewhere * other.here, first.another * other.another)
    return size * normal_rows(crossed, here.op.index)


def softmax_before(trace: Trace, product: Op) -> Op | None:
    """The softmax by whose weights a product averages; None where it makes scores."""
    first = trace.ops[product.inputs[0]] if product.inputs and product.inputs[0] >= 0 else None
    if first is None or first.kind == "softmax":
        return first
    return (
        trace.before(first, ("softmax",), ("dropout", "slice", "elementwise", "mul")) if first.kind in STEPS else None
    )


def written_attention(
    walk: Walk, here: Here, softmax: Op
) -> tuple[Attention, tuple[Likeness, Likeness, Likeness]] | None:
    """An attention that is written out: its product of queries and keys, the factors after it, and its values."""
    score = walk.trace.before(softmax, ("matmul",), STEPS)
    if score is None or min(score.inputs, default=-1) < 0 or len(score.inputs) < 2 or len(softmax.shape) < 2:
        return None
    said = walk.seen[score.index]
    query, key = (likeness(rows) for rows in said.sources[:2])
    scale = float(score.detail.get("constant", 1.0)) * _factor_between(walk.trace, score, softmax)
    tokens, causal = softmax.shape[-2:], bool(softmax.detail.get("causal", False))
    return Attention(tokens[0], tokens[1], said.read(0)[-1], scale, causal), (query, key, likeness(here.sources[1]))


def _factor_between(trace: Trace, score: Op, softmax: Op) -> float:
    factor, here = 1.0, trace.ops[softmax.inputs[0]]
    while here.index != score.index and here.inputs and here.inputs[0] >= 0:
        factor, here = factor * constant_of(here), trace.ops[here.inputs[0]]
    return factor


def _even(keys: int) -> Weights:
    return Weights(1 / max(keys, 1), 1 / max(keys, 1), 0.0, 0.0)


def embedding(walk: Walk, here: Here) -> Rows | None:
    """A row of a table; other places read other rows."""
    found = walk.moments(here.op.uses[0], here.laws) if here.op.uses else None
    if found is None:
        return None
    summed = here.op.detail.get("mode")
    count = here.read(0)[-1] if summed in ("sum", "mean") and len(here.read(0)) > 1 else 1
    share = 1 / count if summed == "mean" else 1.0
    return share * (count * found.mean + math.sqrt(count) * found.std * _rows_of_table(here.op.uses[0]))


def _rows_of_table(use: Use) -> Rows:
    return normal_rows(Likeness(1.0), "table", use.path)


def recurrent(walk: Walk, here: Here) -> Rows | None:
    """The states of a cell, step by step, of which a place is one."""
    walk.doubt(here.op)
    run = unrolled(walk, here)
    if run is None:
        return None
    walk.memory[here.op.index] = run
    return run.states


def norm(walk: Walk, here: Here) -> Rows | None:
    """The sample, less its mean and brought to unit second moment; scaled and shifted."""
    op = here.op
    if not here.sources:
        return None
    rows = centred(walk, here)
    epsilon = op.detail.get("eps") or 0.0
    size = math.sqrt(second(rows[HERE]) + (float(epsilon) if isinstance(epsilon, int | float) else 0.0))
    rows = rows / size if size > 0 else rows
    walk.sizes[op.index] = size
    if op.name == "normalize":
        rows = rows / math.sqrt(op.shape[-1] if op.shape else 1)
    return _shifted(walk, replaced(here, rows), _scaled(walk, replaced(here, rows)))


def centred(walk: Walk, here: Here) -> Rows:
    """The sample less what a norm takes for its mean: over features, or over places and examples."""
    rows, name = here.first, str(here.op.detail.get("norm", here.op.name))
    if name == "by hand":
        return np.asarray(rows - rows.mean()) if here.op.detail.get("centred") else rows
    if "rms" in name or here.op.name == "normalize":
        return rows
    moments, places = likeness(rows), walk.places(here.op.index)
    around = rows - rows[HERE].mean()
    if "batch" in name:
        return reshaped(
            around, moments.minus(moments.average(places, max(here.op.shape[0], 1) if here.op.shape else 1))
        )
    if "instance" in name:
        left = moments.minus(moments.average(places))
        return reshaped(around, Likeness(left.here, left.elsewhere, 0.0))
    return np.asarray(around)


def replaced(here: Here, rows: Rows) -> Here:
    """The op with another sample of what it reads first."""
    return Here(here.op, (rows, *here.sources[1:]), here.laws)


def _scaled(walk: Walk, here: Here) -> Rows:
    rows = here.first
    for use in here.op.used("scale"):
        factor = walk.rows_of(use, here.laws, walk.features(here.op) if here.op.shape else 1)
        rows = rows if factor is None else rows * factor
    return rows


def _shifted(walk: Walk, here: Here, rows: Rows) -> Rows:
    features = walk.features(here.op) if here.op.shape else 1
    for use in (*here.op.used("shift"), *(here.op.used("bias") if here.op.kind != "recurrent" else ())):
        offset = walk.rows_of(use, here.laws, features)
        rows = rows if offset is None else rows + offset
    return rows


def scale(walk: Walk, here: Here) -> Rows | None:
    """A product with a parameter."""
    return _scaled(walk, here) if here.sources else None


def shift(walk: Walk, here: Here) -> Rows | None:
    """A sum with a parameter."""
    return _shifted(walk, here, here.first) if here.sources else None


def activation(walk: Walk, here: Here) -> Rows | None:
    """The function of the sample."""
    name = str(here.op.detail.get("nonlinearity"))
    if not here.sources:
        return None
    if name == "glu":
        return np.asarray(here.first / (1 + np.exp(-rearranged(here.first, "gate", here.op.index))))
    if name == "prelu":
        return np.where(here.first > 0, here.first, prelu_slope(walk, here) * here.first)
    if here.op.replay is not None:
        return replayed(here)
    return None if name not in NONLINEARITIES else np.asarray(nonlinearity(name).function(here.first))


def prelu_slope(walk: Walk, here: Here) -> float:
    """The slope below 0 that a parameter holds; torch's 0.25 where it has no law."""
    found = [walk.moments(use, here.laws) for use in here.op.used("slope")]
    return found[0].mean if found and found[0] is not None else 0.25


def elementwise(walk: Walk, here: Here) -> Rows | None:
    """The function itself, on the samples."""
    if here.op.replay is not None and here.sources:
        return replayed(here)
    if len(here.sources) < 2:
        return None
    if here.op.kind == "add":
        signs = [-1.0 if place == here.op.detail.get("minus") else 1.0 for place in range(len(here.sources))]
        return np.asarray(sum(sign * rows for sign, rows in zip(signs, here.sources, strict=True)))
    if here.op.kind == "mul":
        return here.sources[0] * here.sources[1]
    return None


def replayed(here: Here) -> Rows | None:
    """What the op's own function gives; None where it is not finite, or not one value for each."""
    if here.op.replay is None:
        return None
    found = np.asarray(here.op.replay(*(rows.reshape(-1) for rows in here.sources)), np.float64)
    whole = found.shape == (3 * SAMPLES,) and bool(np.isfinite(found).all())
    return found.reshape(3, SAMPLES) if whole else None


def same(walk: Walk, here: Here) -> Rows | None:
    """What it reads."""
    return here.first if here.sources else None


def cut(walk: Walk, here: Here) -> Rows | None:
    """Some of the features: independent of the others, with the scale of the map that gives them."""
    if not here.sources:
        return None
    runs = here.op.detail.get("runs")
    root = int(here.op.detail.get("root", here.op.index))
    if runs is None:
        return here.first
    return math.sqrt(_relative(walk, root, runs)) * rearranged(here.first, root, runs)


def _remember_parts(walk: Walk, here: Here, use: Use) -> None:
    """The variance of each map that a weight holds, over their average, for the cuts that follow."""
    blocks = walk.block_variances(use, here.laws)
    average = sum(count * gain for count, gain, _ in blocks) / max(sum(count for count, _, _ in blocks), 1)
    if len(blocks) > 1 and average > 0:
        edges = np.cumsum([0, *(count for count, _, _ in blocks)])
        walk.parts[here.op.index] = tuple(
            (int(first), count, gain / average) for first, (count, gain, _) in zip(edges, blocks, strict=False)
        )


def _relative(walk: Walk, root: int, runs: tuple[tuple[int, int], ...]) -> float:
    """Variance of these features over that of all that the op gives."""
    blocks = walk.parts.get(root)
    if blocks is None:
        return 1.0
    found = [
        (max(min(first + count, start + extent) - max(first, start), 0), ratio)
        for first, count in runs
        for start, extent, ratio in blocks
    ]
    total = sum(count for count, _ in found)
    return sum(count * ratio for count, ratio in found) / total if total else 1.0


def parameter(walk: Walk, here: Here) -> Rows | None:
    """A parameter as data: the same in every example."""
    found = walk.vector(here.op.uses[0], here.laws) if here.op.uses else None
    if found is None:
        return None
    rows = walk.rows_of(here.op.uses[0], here.laws, here.op.shape[-1] if here.op.shape else 1)
    return same_everywhere(found) if rows is None else rows


def concat(walk: Walk, here: Here) -> Rows | None:
    """A mixture, by how many values each has."""
    if not here.sources:
        return None
    choice = chosen(here)
    return np.asarray(np.choose(choice, here.sources)) if len(here.sources) < 32 else here.first


def chosen(here: Here) -> NDArray[np.intp]:
    """Which of the tensors that are joined each feature of the sample belongs to."""
    sizes = np.array([max(math.prod(here.read(place)), 1) for place in range(len(here.sources))], float)
    edges = np.cumsum(sizes / sizes.sum())
    order = generator("concat", here.op.index).permutation(SAMPLES)
    return np.minimum(np.searchsorted(edges, (order + 0.5) / SAMPLES), len(here.sources) - 1)


def softmax(walk: Walk, here: Here) -> Rows | None:
    """Positive weights that sum to 1 over the last axis, or their logarithms."""
    if not here.sources or not here.op.shape:
        return None
    around = here.first - here.first.max(axis=1, keepdims=True)
    total = np.exp(around).mean(axis=1, keepdims=True) * max(here.op.shape[-1], 1)
    return np.asarray(around - np.log(total) if here.op.name == "log_softmax" else np.exp(around) / total)


def pool(walk: Walk, here: Here) -> Rows | None:
    """An average or the largest value of neighbours."""
    if not here.sources:
        return None
    count, left = window(here), walk.places(here.op.index) > 1
    if count <= 1:
        return here.first
    if "max" in here.op.name:
        return windows.largest(here.first, round(count), here.op.index, left=left)
    return windows.average(here.first, count, here.op.index, left=left)


def reduce(walk: Walk, here: Here) -> Rows | None:
    """An average over places, or over the features."""
    if not here.sources or here.op.name not in ("mean", "sum", "amax", "max"):
        return None
    count = max(math.prod(here.read(0)) / max(here.op.size, 1), 1.0)
    if over_features(walk, here):
        return _reduced_features(here, count)
    left = len(here.op.shape) > 2 and walk.places(here.op.index) > 1
    if here.op.name in ("amax", "max"):
        return windows.largest(here.first, round(count), here.op.index, left=left)
    return (count if here.op.name == "sum" else 1.0) * windows.average(here.first, count, here.op.index, left=left)


def _reduced_features(here: Here, count: float) -> Rows | None:
    if here.op.name in ("amax", "max"):
        return None
    means = np.repeat(here.first.mean(axis=1, keepdims=True), SAMPLES, axis=1)
    spread = math.sqrt(max(second(here.first[HERE]) - float(means[HERE, 0]) ** 2, 0.0) / count)
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


def probed(here: Here) -> Rows | None:
    """What the real op gives for normal values of the moments of what it reads; None where it cannot be run."""
    if here.op.probe is None or not here.sources:
        return None
    given = [(float(rows[HERE].mean()), float(rows[HERE].std())) for rows in here.sources]
    mean, size = here.op.probe(given)
    if not (math.isfinite(mean) and math.isfinite(size)):  # a mask that hides scores leaves the others as they are
        return here.first if here.op.kind in ("add", "elementwise") else None
    rows = here.first - here.first[HERE].mean()
    spread = math.sqrt(second(rows[HERE]))
    rows = rows / spread if spread > 0 else normal_rows(Likeness(1.0), "probe", here.op.index)
    return mean + math.sqrt(max(size - mean**2, 0.0)) * rows


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "linear": linear,
        "conv": linear,
        "conv_transpose": linear,
        "bilinear": linear,
        "attention_block": attention_block,
        "embedding": embedding,
        "recurrent": recurrent,
        "attention": attention,
        "matmul": matmul,
        "norm": norm,
        "scale": scale,
        "shift": shift,
        "activation": activation,
        "elementwise": elementwise,
        "add": elementwise,
        "mul": elementwise,
        "slice": cut,
        "dropout": same,
        "parameter": parameter,
        "concat": concat,
        "softmax": softmax,
        "pool": pool,
        "reduce": reduce,
    }
)
"""The rules, by kind of op."""
