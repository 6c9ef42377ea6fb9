"""The backward rules of theory: what each kind of op makes of the gradient at its output.

A linear map gives new normal values, independent of the signal (Schoenholz et al., 2017); an elementwise function
multiplies by its slope at the sample of the signal, so that a gate and what it gates, or the two ends of a branch, are
as dependent as they are. Where a tensor was cut, joined, pooled, repeated or summed, second moments follow its sizes.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.trace import INPUT
from fanwise.laws.nonlinearities import NONLINEARITIES, nonlinearity
from fanwise.theory import forward, padding, windows
from fanwise.theory.averaging import Attended, key_gradient, query_gradient, value_gradient
from fanwise.theory.padding import Profile
from fanwise.theory.recurrence import Unrolled, input_gradients
from fanwise.theory.samples import (
    HERE,
    SAMPLES,
    Likeness,
    Rows,
    Values,
    fresh,
    likeness,
    normal_rows,
    rearranged,
    reshaped,
    second,
)
from fanwise.theory.walk import Here, Walk

NUDGE = 1e-5
"""Step, over the size of a sample, by which the slope of a function is found."""


@dataclass(frozen=True)
class Share:
    """The gradient at one of the things that an op reads.

    Args:
        source: index of the op that gave it.
        rows: a sample, of the size of a value of the tensor that was read.
        profile: how it is spread over the spatial axes; None for that of the gradient at the output.
        reader: index of the op that read it, where that is another one.
    """

    source: int
    rows: Rows
    profile: Profile | None = None
    reader: int | None = None


Rule: TypeAlias = Callable[[Walk, Here, Rows], Iterator[Share]]
"""What an op makes of the gradient at its output."""


def gradients(walk: Walk, start: Mapping[int, float]) -> tuple[float, ...]:
    """E (dL/dx)^2 at each op's output, from those at some.

    Args:
        walk: a propagation that is done.
        start: second moments of the gradient, independent from place to place, by the index of an op.

    Returns:
        One number an op; NaN where no gradient comes.
    """
    found: dict[int, Rows] = {i: normal_rows(Likeness(size), "start", i) for i, size in start.items()}
    walk.profiles_back.update(dict.fromkeys(start, ()))
    for here in reversed(walk.seen):
        gradient = found.get(here.op.index)
        if gradient is None:
            continue
        for share in RULES.get(here.op.kind, _unknown)(walk, here, gradient):
            if share.source != INPUT and np.isfinite(share.rows).all():
                _add(walk, found, share, here)
    return tuple(second(found[i][HERE]) if i in found else math.nan for i in range(len(walk.seen)))


def _add(walk: Walk, found: dict[int, Rows], share: Share, here: Here) -> None:
    """Adds a gradient to those that came to the same tensor."""
    rows, shape = _at_source(walk, here, share), walk.spatial(share.source)
    profile = walk.profiles_back[here.op.index] if share.profile is None else share.profile
    parts = [(second(rows[HERE]), profile)]
    if share.source in found:
        parts.append((second(found[share.source][HERE]), walk.profiles_back[share.source]))
        rows = found[share.source] + rows
    found[share.source] = rows
    walk.profiles_back[share.source] = padding.mixed(parts, shape)


def _at_source(walk: Walk, here: Here, share: Share) -> Rows:
    """The gradient at a tensor of which the op read a part, or which it read repeated."""
    here = here if share.reader is None else walk.seen[share.reader]
    place = here.op.inputs.index(share.source)
    source = walk.trace.ops[share.source]
    read = math.prod(here.read(place)) if place < len(here.op.reads) else source.size
    if not source.size or not read:
        return share.rows
    if read > source.size:
        return gathered(share.rows, here.read(place), source.shape)
    if read < source.size:  # some places alone: no two of them at random both have one
        return _apart(math.sqrt(read / source.size) * share.rows, here.op.index)
    rows = share.rows
    flat = place < len(here.op.reads) and len(here.read(place)) <= 2 < len(source.shape) and read == source.size
    return _apart(rows, here.op.index) if flat and walk.places(share.source) > 1 else rows


def _apart(rows: Rows, name: int) -> Rows:
    """The gradient at places that have nothing in common, such as those that were read as features."""
    return np.stack([rows[HERE], *normal_rows(Likeness(second(rows[HERE])), "apart", name)[1:]])


def gathered(rows: Rows, many: tuple[int, ...], few: tuple[int, ...]) -> Rows:
    """The sum over the copies of a tensor that was repeated from the shape `few` to the shape `many`."""
    ratio = math.prod(many) / max(math.prod(few), 1)
    if ratio <= 1:
        return rows
    padded = (1,) * (len(many) - len(few)) + tuple(few)
    examples = float(many[0]) if len(many) > 1 and padded[0] == 1 and many[0] > 1 else 1.0
    total = likeness(rows).average(ratio / examples, examples) * ratio**2
    own = second(rows[HERE])
    return rows * math.sqrt(max(total, 0.0) / own) if own > 0 else rows


# Maps


def _linear(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    uses = forward.map_uses(here.op)
    if not uses or not here.sources:
        return
    use = uses[0]
    shape = walk.trace.by_path[use.path].shape
    if use.layout is None or len(use.layout.axes) != len(shape):
        fans = float(math.prod(shape[1:])), float(shape[0] if shape else 1)
    else:
        blocks = use.layout.block_fans(shape)
        fans = float(blocks[0].fan_in), float(sum(block.fan_out for block in blocks))
    variance, _ = walk.map_variance(use, here.laws)
    passage = padding.backward(here.op, here.read(0), forward.kernel_of(walk, use), walk.profiles_back[here.op.index])
    factor = variance * passage.share * fans[1] / max(fans[0], 1e-300)
    if here.op.kind == "bilinear" and len(here.sources) > 1:
        factor *= second(here.sources[1][HERE])
    own = likeness(gradient) * factor
    moments = Likeness(own.here, passage.alike * own.elsewhere, passage.alike * own.another)
    yield Share(here.op.inputs[0], normal_rows(moments, "back", here.op.index), passage.profile)


def _attention_block(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    memory, out = walk.attended.get(here.op.index), here.op.used("output")
    if memory is None or not out:
        return
    variance, _ = walk.map_variance(out[0], here.laws)
    inner = likeness(gradient) * variance
    gains = forward.block_gains(walk, here)
    for place, moments in enumerate(_attended(memory, inner)):
        yield Share(here.op.inputs[place], normal_rows(moments * gains[place], "back", here.op.index, place))


def _attention(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    memory = walk.attended.get(here.op.index)
    for place, moments in enumerate(_attended(memory, likeness(gradient)) if memory is not None else ()):
        yield Share(here.op.inputs[place], normal_rows(moments, "back", here.op.index, place))


def _attended(memory: Attended, gradient: Likeness) -> tuple[Likeness, Likeness, Likeness]:
    """Gradients at queries, keys and values."""
    found, operands, moments = memory
    return (
        query_gradient(gradient, moments, found, operands),
        key_gradient(gradient, moments, found, operands),
        value_gradient(gradient, moments, found),
    )


def _matmul(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Written-out attention: straight to values, queries and keys; a plain product to both of its operands."""
    memory = walk.attended.get(here.op.index)
    if memory is None:
        yield from _product(walk, here, gradient)
        return
    softmax = forward.softmax_before(walk.trace, here.op)
    score = None if softmax is None else walk.trace.before(softmax, ("matmul",), forward.STEPS)
    query, key, value = _attended(memory, likeness(gradient))
    yield Share(here.op.inputs[1], normal_rows(value, "back", here.op.index, "value"))
    if score is not None:
        for source, moments in zip(score.inputs, (query, key), strict=False):
            yield Share(source, normal_rows(moments, "back", here.op.index, source), reader=score.index)


def _product(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    if len(here.sources) < 2 or not here.op.shape:
        return
    scale = float(here.op.detail.get("constant", 1.0)) ** 2
    for place, other in ((0, 1), (1, 0)):
        summed = here.op.size / max(math.prod(here.read(place)), 1) * (here.read(0)[-1] if here.read(0) else 1)
        factor = scale * summed * second(here.sources[other][HERE])
        yield Share(
            here.op.inputs[place], normal_rows(Likeness(second(gradient[HERE]) * factor), "back", here.op.index)
        )


def _recurrent(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Back through time; a cell that reads another's states gives it the gradients of its steps as they are."""
    run = walk.memory.get(here.op.index)
    if not isinstance(run, Unrolled):
        return
    at_states = walk.sequences.get(here.op.index)
    if at_states is None:
        size = math.sqrt(second(gradient[HERE]))
        at_states = [size * fresh("start", here.op.index, time) for time in range(len(run.steps))]
    outputs = walk.features(here.op) / max(here.read(0)[-1] if here.read(0) else 1, 1)
    found = [math.sqrt(outputs) * one for one in input_gradients(walk, run, at_states, here.op.index)]
    source = here.op.inputs[0]
    if isinstance(walk.memory.get(source), Unrolled):
        walk.sequences[source] = found
    yield Share(source, normal_rows(_over_time(found), "back", here.op.index))


def _over_time(steps: list[Values]) -> Likeness:
    """Second moments over the steps, and of any two of them."""
    size = sum(second(one) for one in steps) / len(steps)
    pairs = [float(np.mean(one * other)) for i, one in enumerate(steps) for other in steps[:i]]
    return Likeness(size, sum(pairs) / len(pairs) if pairs else size)


# One value, one gradient


def _elementwise(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """The slope by each operand, times the gradient; summed over the places to which an operand was repeated."""
    for place, source in enumerate(here.op.inputs):
        slope = _slope(walk, here, place)
        if slope is not None:
            yield Share(source, gathered(slope * gradient, here.op.shape, here.read(place)))


def _slope(walk: Walk, here: Here, place: int) -> NDArray[np.float64] | float | None:
    op = here.op
    if op.replay is not None:
        return _difference(here, place)
    if op.kind == "activation":
        return _activation_slope(walk, here)
    if len(here.sources) < 2:
        return _gain(walk, here)
    if op.kind == "add":
        return -1.0 if place == op.detail.get("minus") else 1.0
    return here.sources[1 - place] if op.kind == "mul" and place < 2 else _gain(walk, here)


def _activation_slope(walk: Walk, here: Here) -> NDArray[np.float64] | None:
    name = str(here.op.detail.get("nonlinearity"))
    if name == "prelu":
        return np.where(here.first > 0, 1.0, forward.prelu_slope(walk, here))
    if name not in NONLINEARITIES:
        return None
    function = nonlinearity(name).function
    step = NUDGE * max(float(np.abs(here.first[HERE]).mean()), 1e-300)
    return np.asarray((function(here.first + step) - function(here.first - step)) / (2 * step))


def _difference(here: Here, place: int) -> NDArray[np.float64] | None:
    """The slope of the op's own function by one of its operands."""
    step = NUDGE * max(float(np.abs(here.sources[place][HERE]).mean()), 1e-300)
    ends = [_nudged(here, place, sign * step) for sign in (1, -1)]
    if ends[0] is None or ends[1] is None:
        return None
    return np.asarray((ends[0] - ends[1]) / (2 * step))


def _nudged(here: Here, place: int, step: float) -> Rows | None:
    sources = tuple(rows + step if i == place else rows for i, rows in enumerate(here.sources))
    return forward.replayed(Here(here.op, sources, here.laws))


def _gain(walk: Walk, here: Here) -> float:
    """Rms of what an op gives over that of what it reads: the slope of a function that is as good as linear."""
    before, after = second(here.first[HERE]), second(walk.rows[here.op.index][HERE])
    return math.sqrt(after / before) if before > 0 and math.isfinite(after) else 1.0


def _activation(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    if here.op.detail.get("nonlinearity") != "glu":
        yield from _elementwise(walk, here, gradient)
        return
    gate = 1 / (1 + np.exp(-rearranged(here.first, "gate", here.op.index)))
    halves = gradient * gate, gradient * here.first * gate * (1 - gate)
    size = sum(second(half[HERE]) for half in halves) / 2
    yield Share(here.op.inputs[0], normal_rows(Likeness(size), "back", here.op.index))


def _scale(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    factor = np.ones(SAMPLES)
    for use in here.op.used("scale"):
        found = walk.vector(use, here.laws)
        factor = factor if found is None else factor * found
    for place, source in enumerate(here.op.inputs[:1]):
        yield Share(source, gathered(factor * gradient, here.op.shape, here.read(place)))


def _norm(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Less its mean and its projection on the normalised signal, over the size that was divided by."""
    size = walk.sizes.get(here.op.index, 0.0)
    if not here.sources or size <= 0:
        return
    scaled = next(_scale(walk, here, gradient)).rows
    if here.op.name == "normalize":
        scaled = scaled / math.sqrt(here.op.shape[-1] if here.op.shape else 1)
    signal = forward.centred(walk, here) / size
    yield Share(here.op.inputs[0], _projected(walk, here, scaled, signal) / size)


def _projected(walk: Walk, here: Here, gradient: Rows, signal: Rows) -> Rows:
    name = str(here.op.detail.get("norm", here.op.name))
    if not any(kind in name for kind in ("batch", "instance")):
        mean = 0.0 if "rms" in name else gradient[HERE].mean()
        return np.asarray(gradient - mean - signal * float(np.mean(gradient[HERE] * signal[HERE])))
    moments, places = likeness(gradient), walk.places(here.op.index)
    examples = max(here.op.shape[0], 1) if "batch" in name else 1
    product = likeness(gradient * signal)
    lost = moments.average(places, examples) + product.average(places, examples)
    left = reshaped(gradient, moments.minus(min(lost, moments.here)))
    return left * math.sqrt(1 + _scatter_of_channels(walk, here, signal, (places, examples)))


def _scatter_of_channels(walk: Walk, here: Here, signal: Rows, sizes: tuple[float, float]) -> float:
    """Relative variance of the variances of the channels, each of which divides by its own: E 1/v = (1 + this) / E v.

    A channel is a random combination of its inputs: its variance scatters as the mean of so many squares as there are
    independent places and features.
    """
    squares = likeness(np.square(signal) - 1)
    return max(squares.average(*sizes), 0.0) + 2 / max(walk.features(here.op), 1)


# Sizes


def _same(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    for source in here.op.inputs[:1]:
        yield Share(source, gradient)


def _concat(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    for source in dict.fromkeys(here.op.inputs):
        yield Share(source, gradient)


def _cut(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    runs, root = here.op.detail.get("runs"), int(here.op.detail.get("root", here.op.index))
    if not here.op.inputs:
        return
    share = math.sqrt(min(here.op.size / max(math.prod(here.read(0)), 1), 1.0))
    yield Share(here.op.inputs[0], share * (gradient if runs is None else rearranged(gradient, root, runs, back=True)))


def _softmax(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    weights, count = walk.rows[here.op.index], here.op.shape[-1] if here.op.shape else 1
    if here.op.name == "log_softmax":
        yield Share(here.op.inputs[0], gradient - np.exp(weights) * count * gradient.mean(axis=1, keepdims=True))
        return
    mean = count * (weights * gradient).mean(axis=1, keepdims=True)
    yield Share(here.op.inputs[0], weights * (gradient - mean))


def _pool(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    if not here.sources:
        return
    read, count = math.prod(here.read(0)), forward.window(here)
    if here.op.size >= read:
        yield Share(here.op.inputs[0], gathered(gradient, here.op.shape, here.read(0)))
    elif "max" in here.op.name:
        yield Share(here.op.inputs[0], _of_largest(here, gradient, (count, here.op.size * count / read)))
    else:
        yield Share(here.op.inputs[0], _of_average(here, gradient, (count, walk.places(here.op.index))))


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


def _reduce(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    if not here.sources or here.op.name not in ("mean", "sum", "amax", "max"):
        return
    count = forward.window(here)
    if here.op.name in ("amax", "max"):
        yield Share(here.op.inputs[0], _of_largest(here, gradient, (count, 1.0)))
        return
    share = 1.0 if here.op.name == "sum" else 1 / count
    if forward.over_features(walk, here):
        yield Share(here.op.inputs[0], share * gradient)
    else:
        places = walk.places(here.op.index) if len(here.op.shape) > 2 else 1
        yield Share(here.op.inputs[0], share * count * _of_average(here, gradient, (count, places)))


def _nothing(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    yield from ()


def _unknown(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """An op without a rule: a map that keeps what it gives, as the gain of the signal says."""
    for place, source in enumerate(here.op.inputs[:1]):
        ratio = here.op.size / max(math.prod(here.read(place)), 1)
        moments = likeness(gradient) * (_gain(walk, here) ** 2 * ratio)
        yield Share(source, normal_rows(moments, "back", here.op.index))


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "linear": _linear,
        "conv": _linear,
        "conv_transpose": _linear,
        "bilinear": _linear,
        "attention_block": _attention_block,
        "embedding": _nothing,
        "recurrent": _recurrent,
        "attention": _attention,
        "matmul": _matmul,
        "norm": _norm,
        "scale": _scale,
        "shift": _same,
        "activation": _activation,
        "elementwise": _elementwise,
        "add": _elementwise,
        "mul": _elementwise,
        "slice": _cut,
        "dropout": _same,
        "parameter": _nothing,
        "concat": _concat,
        "softmax": _softmax,
        "pool": _pool,
        "reduce": _reduce,
    }
)
"""The rules, by kind of op; `_unknown` for all others."""
