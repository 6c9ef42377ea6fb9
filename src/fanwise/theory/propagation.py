"""What the moments should be at each op of a trace, without running it.

Every op's output is represented by a sample of its values: fresh normal values after a linear map (a sum of many
terms is nearly normal), and after an elementwise function that function of the same sample, so that what depends on
itself (x * sigmoid(x), a gate and its input, a stream and its branch) is right by construction.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Zeros
from fanwise.laws.nonlinearities import NONLINEARITIES, nonlinearity
from fanwise.stream.fill import normal
from fanwise.stream.key import Key
from fanwise.trace import INPUT, Op, Trace, Use
from fanwise.visiting import Visitor

SAMPLES = 4096
"""Values that stand for an op's output: their second moment errs by about 2 %."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Propagation:
    """What theory says of a trace.

    Args:
        second_moments: E x^2 at each op's output.
        assumed: ops whose rule is an assumption: attention over tokens whose likeness is not known, ops without a rule.
    """

    second_moments: tuple[float, ...]
    assumed: tuple[int, ...]


def propagate(trace: Trace, visitor: Visitor, *, inputs: float = 1.0) -> Propagation:
    """Carries samples through a trace, op by op.

    Args:
        trace: any, from a meta device too.
        visitor: gives the laws of the parameters; those without one count as they would on a real run: not at all.
        inputs: second moment of the model's inputs.

    References:
        Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016, eq. 3, for a
        linear map of normal inputs; the samples extend it to any graph.
    """
    walk = _Walk(trace, inputs)
    for op in trace.ops:
        sources = walk.sources(op)
        laws = visitor.before(op, _Sampled(tuple(sources), walk.sure(op)))
        values = walk.output(op, sources, laws)
        factor = visitor.after(op, partial(_second, values))
        walk.keep(op, values if factor is None else values * factor)
    return Propagation(tuple(_second(values) for values in walk.values), tuple(walk.assumed))


@dataclass(frozen=True)
class _Sampled:
    """Moments of samples, and which of them stand on an assumption."""

    sources: tuple[Values, ...]
    sure: tuple[bool, ...]

    def __call__(self, place: int) -> float:
        return _second(self.sources[place])

    def known(self, place: int) -> bool:
        return self.sure[place]


class _Walk:
    def __init__(self, trace: Trace, inputs: float) -> None:
        self.values: list[Values] = []
        self.assumed: list[int] = []
        self._trace = trace
        self._inputs = math.sqrt(inputs) * _fresh(INPUT)
        self._doubts: list[bool] = []

    def sure(self, op: Op) -> tuple[bool, ...]:
        """Which of an op's sources stand on no assumption; a normalisation ends a doubt."""
        return tuple(source == INPUT or not self._doubts[source] for source in op.inputs)

    def keep(self, op: Op, values: Values) -> None:
        """Remembers what an op gives."""
        assumed = bool(self.assumed) and self.assumed[-1] == op.index
        doubtful = assumed or not all(self.sure(op))
        self._doubts.append(doubtful and op.kind != "norm")
        self.values.append(values)

    def sources(self, op: Op) -> list[Values]:
        """Samples of what an op reads."""
        return [self._inputs if source == INPUT else self.values[source] for source in op.inputs]

    def output(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values:
        """A sample of what it gives."""
        rule = _RULES.get(op.kind)
        values = None if rule is None else rule(self, op, sources, laws)
        if values is not None:
            return values
        self.assumed.append(op.index)
        return sources[0] if sources else _fresh(op.index)

    def linear(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """A sum of many products: normal, its second moment that of the input times fan_in times the variance."""
        if not sources:
            return None
        second = _second(sources[0])
        if op.kind == "bilinear":
            second *= _second(sources[1])
        uses = [use for use in op.uses if use.role in ("weight", "value")] or op.used("query")
        total = sum(self._variance(use, laws) for use in uses) / max(len(uses), 1)
        return math.sqrt(second * total) * _fresh(op.index)

    def _variance(self, use: Use, laws: Mapping[str, Initializer]) -> float:
        """Variance times fan_in of a map, averaged over its blocks; 1 where it has no law."""
        law, shape = laws.get(use.path), self._trace.by_path[use.path].shape
        if law is None:
            return 1.0
        fan_in = use.layout.block_fans(shape)[0].fan_in if use.layout is not None else math.prod(shape[1:])
        return law.moments(shape, layout=use.layout).std ** 2 * fan_in

    def attention_block(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """Projections, averaging over tokens, and the output map."""
        projected = self.linear(op, sources[-1:], laws)
        if projected is None:
            return None
        out = op.used("output")
        self.assumed.append(op.index)
        share = _averaged(op.shape[-2] if len(op.shape) > 1 else 1, causal=False)
        factor = self._variance(out[0], laws) if out else 1.0
        return math.sqrt(_second(projected) * share * factor) * _fresh(op.index)

    def embedding(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """A row of a table."""
        use = op.uses[0] if op.uses else None
        law = None if use is None else laws.get(use.path)
        if use is None or law is None:
            return None
        moments = law.moments(self._trace.by_path[use.path].shape, layout=use.layout)
        return math.hypot(moments.std, moments.mean) * _fresh(op.index)

    def recurrent(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """The state of a cell with gates: a product of a sigmoid and a hyperbolic tangent of normal values."""
        self.assumed.append(op.index)
        a, b = _fresh(op.index), _fresh(op.index + len(self._trace.ops))
        return (
            np.tanh(a) if op.detail.get("cell") != "lstm" else np.tanh(np.tanh(a) / (1 + np.exp(-b))) / (1 + np.exp(-b))
        )

    def attention(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """An average of values of other tokens, alike or not: taken as independent beyond what they share."""
        self.assumed.append(op.index)
        if len(sources) < 3 or len(op.shape) < 2:
            return sources[-1] if sources else None
        tokens = op.shape[-2]
        share = _averaged(tokens, causal=bool(op.detail.get("causal")))
        return math.sqrt(_second(sources[2]) * share) * _fresh(op.index)

    def matmul(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """Scores, or an average of values by a softmax."""
        self.assumed.append(op.index)
        if len(sources) < 2:
            return None
        first = self._trace.ops[op.inputs[0]] if op.inputs[0] >= 0 else None
        if first is not None and first.shape and self._is_softmaxed(first):
            share = _averaged(first.shape[-1], causal=True)
            return math.sqrt(_second(sources[1]) * share) * _fresh(op.index)
        width = int(op.detail.get("width", first.shape[-1] if first is not None and first.shape else 1))
        scale = float(op.detail.get("constant", 1.0))
        return scale * math.sqrt(width * _second(sources[0]) * _second(sources[1])) * _fresh(op.index)

    def _is_softmaxed(self, op: Op) -> bool:
        steps = ("dropout", "slice", "elementwise")
        return op.kind == "softmax" or self._trace.before(op, ("softmax",), steps) is not None

    def norm(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """The sample, brought to unit second moment, scaled and shifted."""
        if not sources:
            return None
        values = sources[0]
        if op.name not in ("rms_norm", "normalize") and op.detail.get("norm") != "by hand":
            values = values - values.mean()
        size = math.sqrt(_second(values))
        values = values / size if size else values
        if op.name == "normalize":
            values = values / math.sqrt(op.shape[-1] if op.shape else 1)
        return values * self._mean(op, laws, "scale", 1.0) + self._mean(op, laws, "shift", 0.0)

    def _mean(self, op: Op, laws: Mapping[str, Initializer], role: str, default: float) -> float:
        for use in op.used(role):
            law = laws.get(use.path)
            if law is not None:
                moments = law.moments(self._trace.by_path[use.path].shape, layout=use.layout)
                return math.copysign(math.hypot(moments.mean, moments.std), moments.mean or 1.0)
        return default

    def scale(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """A product with a parameter."""
        return sources[0] * self._mean(op, laws, "scale", 1.0) if sources else None

    def shift(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """A sum with a parameter: independent of the values."""
        if not sources:
            return None
        values = sources[0]
        for use in op.used("shift"):
            law = laws.get(use.path, Zeros())
            moments = law.moments(self._trace.by_path[use.path].shape, layout=use.layout)
            values = values + moments.mean + moments.std * _fresh(op.index)
        return values

    def activation(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """The function of the sample."""
        if not sources:
            return None
        if op.replay is not None:
            return _finite(op.replay(*sources), op)
        name = str(op.detail.get("nonlinearity"))
        if name == "prelu":
            return np.where(sources[0] > 0, sources[0], 0.25 * sources[0])
        return None if name not in NONLINEARITIES else np.asarray(nonlinearity(name).function(sources[0]))

    def elementwise(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """The function itself, on the samples."""
        if op.replay is not None and sources:
            return _finite(op.replay(*sources), op)
        return self._combined(op, sources)

    def _combined(self, op: Op, sources: Sequence[Values]) -> Values | None:
        if not sources:
            return None
        if op.kind == "add":
            return np.asarray(np.sum(sources, axis=0))
        if op.kind == "mul" and len(sources) > 1:
            return sources[0] * sources[1]
        self.assumed.append(op.index)
        if op.kind == "mul":  # by a constant that is not known: the cosine and sine of rotary positions halve
            return sources[0] * math.sqrt(0.5)
        return sources[0]

    def same(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """What it reads."""
        return sources[0] if sources else None

    def parameter(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """A parameter as data."""
        law = laws.get(op.uses[0].path) if op.uses else None
        if law is None:
            return None
        moments = law.moments(self._trace.by_path[op.uses[0].path].shape, layout=op.uses[0].layout)
        return moments.mean + moments.std * _fresh(op.index)

    def concat(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """A mixture."""
        if not sources:
            return None
        order = np.arange(SAMPLES) % len(sources)
        return np.choose(order, list(sources)) if len(sources) < 32 else sources[0]

    def softmax(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """Positive weights that sum to 1 over the last axis."""
        return None if not sources or not op.shape else np.exp(sources[0] - sources[0].max()) / max(op.shape[-1], 1)

    def pool(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """An average or a largest value of independent neighbours."""
        if not sources:
            return None
        count = self._window(op)
        if "max" in op.name:
            draws = sources[0][_shuffles(op.index, min(count, 64))]
            return np.asarray(draws.max(axis=0))
        return self._average(sources[0], count, op.index)

    def reduce(self, op: Op, sources: Sequence[Values], laws: Mapping[str, Initializer]) -> Values | None:
        """An average over independent places."""
        if not sources or "mean" not in op.name:
            return None
        return self._average(sources[0], self._window(op), op.index)

    def _window(self, op: Op) -> int:
        before = self._trace.ops[op.inputs[0]].shape if op.inputs and op.inputs[0] >= 0 else op.shape
        return max(round(math.prod(before) / max(math.prod(op.shape), 1)), 1)

    def _average(self, values: Values, count: int, index: int) -> Values:
        mean = float(values.mean())
        return mean + float(values.std()) / math.sqrt(count) * _fresh(index)


_RULES: Mapping[str, Callable[..., Values | None]] = {
    "linear": _Walk.linear,
    "conv": _Walk.linear,
    "conv_transpose": _Walk.linear,
    "bilinear": _Walk.linear,
    "attention_block": _Walk.attention_block,
    "embedding": _Walk.embedding,
    "recurrent": _Walk.recurrent,
    "attention": _Walk.attention,
    "matmul": _Walk.matmul,
    "norm": _Walk.norm,
    "scale": _Walk.scale,
    "shift": _Walk.shift,
    "activation": _Walk.activation,
    "elementwise": _Walk.elementwise,
    "add": _Walk.elementwise,
    "mul": _Walk.elementwise,
    "slice": _Walk.same,
    "dropout": _Walk.same,
    "parameter": _Walk.parameter,
    "concat": _Walk.concat,
    "softmax": _Walk.softmax,
    "pool": _Walk.pool,
    "reduce": _Walk.reduce,
}


def _fresh(index: int) -> Values:
    """Standard normal values of their own for each op: mean 0 and second moment 1 exactly."""
    values = normal(Key(0, f"theory.{index}"), (SAMPLES,), dtype="float64")
    values -= values.mean()
    return np.asarray(values / math.sqrt(_second(values)))


def _shuffles(index: int, count: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(index)
    return np.stack([rng.permutation(SAMPLES) for _ in range(count)])


def _second(values: Values) -> float:
    return float(np.mean(values**2))


def _finite(values: NDArray[np.float64], op: Op) -> Values | None:
    found = np.asarray(values, np.float64)
    return found if found.shape == (SAMPLES,) and bool(np.isfinite(found).all()) else None


def _averaged(tokens: int, *, causal: bool) -> float:
    """Second moment of an average over tokens by scores of unit variance, relative to one token's.

    With n independent tokens and softmax weights exp(s), s standard normal: e / n, at most 1; a causal average is over
    1, 2, ... n of them.
    """
    if tokens < 1:
        return 1.0
    if not causal:
        return min(1.0, math.e / tokens)
    return float(np.mean(np.minimum(1.0, math.e / np.arange(1, tokens + 1))))
