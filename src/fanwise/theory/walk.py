"""What the rules of theory share: samples so far, the laws of an op's parameters, shapes, places, and what to doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from fanwise.graph.details import Normalisation
from fanwise.graph.kinds import KEEPS_PLACES
from fanwise.graph.op import INPUT, Op, OpKind, Use
from fanwise.graph.trace import Trace
from fanwise.laws.base import Initializer, Moments
from fanwise.laws.composite import Blocks
from fanwise.stream.box import Shape
from fanwise.theory.padding import Profile, mixed
from fanwise.theory.samples import (
    ANOTHER,
    ELSEWHERE,
    HERE,
    SAMPLES,
    Likeness,
    Rows,
    Values,
    fresh,
    independent,
    likeness,
    normal_rows,
    one_place,
    rearranged,
    second,
)
from fanwise.theory.softmax_average import Attended

ADDED = 0.02
"""Share that a normalisation may add to what it divides by, squared, without keeping doubts alive."""
USES = 4
"""Earlier uses of one weight that a further use is held against."""


class Grounds(StrEnum):
    """What a prediction stands on."""

    RULES = "rules"
    """Rules of theory alone, from what was measured of the inputs and parameters."""
    ASSUMPTION = "assumption"
    """Rules, one of which assumes something: attention, cells, functions that were run on normal values."""
    NOTHING = "nothing"
    """An op without a rule stands before it: no theory."""


_WEAKER = tuple(Grounds)
"""From the strongest to the weakest."""


@dataclass(frozen=True)
class Given:
    """What theory takes a model's input tensor to be: normal values.

    Args:
        second_moment: E x^2.
        mean: E x.
        elsewhere: E x x' at two places of an example.
        another: E x x' in two examples.
    """

    second_moment: float = 1.0
    mean: float = 0.0
    elsewhere: float = 0.0
    another: float = 0.0

    def rows(self, number: int, name: str = "input") -> Rows:
        """A sample of it."""
        shared = self.mean * self.mean
        varying = Likeness(self.second_moment, max(self.elsewhere, shared), max(self.another, shared)).minus(shared)
        return self.mean + normal_rows(varying, name, number)


@dataclass(frozen=True)
class Start:
    """What is known of where signals begin.

    Args:
        given: the model's inputs, by number; those that are not there are of unit second moment.
        constants: what ops give that read neither inputs nor other ops, by index.
        alike: of lookups, E x x' at two places of an example over E x^2, by index: as often as they read one row.
        overlaps: of inputs, by number: E (x . x')^2 over (E x . x)^2 of what two windows hold.
        begun: the same of lookups and of what is made of constants alone, by index.
        dependent: paths of weights that are no independent draws, such as trained ones.
    """

    given: Mapping[int, Given] = field(default_factory=dict)
    constants: Mapping[int, Given] = field(default_factory=dict)
    alike: Mapping[int, float] = field(default_factory=dict)
    overlaps: Mapping[int, float] = field(default_factory=dict)
    begun: Mapping[int, float] = field(default_factory=dict)
    dependent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Here:
    """One op as its rule sees it.

    Args:
        op: the op.
        sources: samples of what it reads, in its order.
        laws: of the parameters that it uses, by path; one that has none is left out.
    """

    op: Op
    sources: tuple[Rows, ...]
    laws: Mapping[str, Initializer]

    @property
    def first(self) -> Rows:
        """A sample of the first thing that it reads."""
        return self.sources[0]

    def read(self, operand: int) -> Shape:
        """The shape in which it reads one of its inputs; its own where that is not known."""
        return self.op.reads[operand] if operand < len(self.op.reads) else self.op.shape


@dataclass(frozen=True)
class _Pass:
    """One use of a weight: what went in, and what came out at unit variance."""

    entered: Rows
    left: Rows


@dataclass
class Walk:
    """The state of a propagation.

    Args:
        trace: what is walked through.
        start: what is known of where signals begin.
    """

    trace: Trace
    start: Start = field(default_factory=Start)
    seen: list[Here] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    assumed: dict[int, None] = field(default_factory=dict)
    measured: dict[int, None] = field(default_factory=dict)
    unruled: dict[int, None] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    grounds: list[Grounds] = field(default_factory=list)
    parts: dict[int, tuple[tuple[int, int, float], ...]] = field(default_factory=dict)
    passes: dict[str, list[_Pass]] = field(default_factory=dict)
    memory: dict[int, object] = field(default_factory=dict)
    attended: dict[int, Attended] = field(default_factory=dict)
    sizes: dict[int, float] = field(default_factory=dict)
    profiles: dict[int, Profile] = field(default_factory=dict)
    profiles_back: dict[int, Profile] = field(default_factory=dict)
    sequences: dict[int, list[Values]] = field(default_factory=dict)

    def sources(self, op: Op) -> tuple[Rows, ...]:
        """Samples of what an op reads; one place each where its shape has no more, and parts of one tensor apart."""
        rows = [self._source(op, operand, source) for operand, source in enumerate(op.inputs)]
        parts = [self.is_later_part(op, operand) for operand in range(len(rows))]
        return tuple(
            rearranged(one, "part", op.index, operand) if part else one
            for operand, (one, part) in enumerate(zip(rows, parts, strict=True))
        )

    def is_later_part(self, op: Op, operand: int) -> bool:
        """Whether an op reads a tensor again, each time a part of its features: not the same ones, as in a gate."""
        source = op.inputs[operand]
        if source not in op.inputs[:operand] or operand >= len(op.reads) or source == INPUT:
            return False
        whole, axis = self.trace.ops[source].shape, self.trace.axes[source]
        read = op.reads[operand]
        fewer = math.prod(read) < math.prod(whole) and len(read) == len(whole) and -axis <= len(read)
        return fewer and read[axis] < whole[axis]

    def sure(self, op: Op) -> tuple[bool, ...]:
        """Which of an op's sources stand on no assumption; a normalisation ends a doubt."""
        return tuple(source == INPUT or self.grounds[source] == Grounds.RULES for source in op.inputs)

    def keep(self, here: Here, rows: Rows) -> None:
        """Remembers what an op gives."""
        self.grounds.append(self._grounds_of(here.op))
        self.seen.append(here)
        self.rows.append(rows)
        self.profiles.setdefault(here.op.index, self._kept_profile(here))

    def _grounds_of(self, op: Op) -> Grounds:
        """The weakest of its own and of its sources' grounds; after a normalisation those before it do not count."""
        if op.index in self.unruled:
            return Grounds.NOTHING
        assumed = op.index in self.assumed or self._reads_unknown(op) or self._uses_dependent(op) or self._grown(op)
        own = Grounds.ASSUMPTION if assumed else Grounds.RULES
        before = [self.grounds[source] for source in op.inputs if source != INPUT and not self._ends_doubt(op)]
        return max((own, *before), key=_WEAKER.index)

    def _uses_dependent(self, op: Op) -> bool:
        """Whether a weight of an op is no independent draw: what it gives depends on what it reads."""
        return any(use.path in self.start.dependent for use in op.uses)

    def _grown(self, op: Op) -> bool:
        """Whether an op reads a tensor along an axis several times as long: repeated, or with zeros beside it."""
        return any(self._is_multiple(op, operand, source) for operand, source in enumerate(op.inputs) if source >= 0)

    def _is_multiple(self, op: Op, operand: int, source: int) -> bool:
        before, after = self.trace.ops[source].shape, op.reads[operand] if operand < len(op.reads) else ()
        same = len(before) == len(after)
        return same and any(1 < n < m and m % n == 0 for n, m in zip(before, after, strict=True))

    def _ends_doubt(self, op: Op) -> bool:
        """Whether an op is a normalisation of something much larger than what it adds before the root."""
        return op.kind == OpKind.NORM and self.added_share(op) <= ADDED

    def added_share(self, op: Op) -> float:
        """Share of what a normalisation divides by, squared, that it adds itself."""
        added = op.detail.eps if isinstance(op.detail, Normalisation) else 0.0
        size = self.sizes.get(op.index, math.inf) ** 2
        return min(added / size, 1.0) if size > 0 else 0.0

    def _reads_unknown(self, op: Op) -> bool:
        """Whether an op reads, as values, an input whose moments were not measured: it counts as normal ones."""
        as_values = op.kind not in (OpKind.EMBEDDING, OpKind.NORM)
        return as_values and INPUT in op.inputs and not set(op.given or (0,)) <= set(self.start.given)

    def profile(self, index: int) -> Profile:
        """How the second moment of an op's output is spread over its spatial axes; () where that is not known."""
        return self.profiles.get(index, ())

    def profile_read(self, op: Op, operand: int) -> Profile:
        """The profile of what an op reads, with the zeros that the model puts around it."""
        source = op.inputs[operand]
        profile = self.profile(source)
        if self._filled(op, operand, source) == 1.0:
            return profile
        axis, before = self.trace.axes[source], self.spatial(source)
        after = op.reads[operand][axis + 1 :] if axis < -1 else op.reads[operand][1:-1]
        if not all(m >= n > 0 for n, m in zip(before, after, strict=True)):
            return profile
        own = profile if tuple(map(len, profile)) == before else tuple(np.ones(n) for n in before)
        pads = [((m - n) // 2, m - n - (m - n) // 2) for n, m in zip(before, after, strict=True)]
        return tuple(
            np.pad(along, pad) * (len(along) + sum(pad)) / len(along) for along, pad in zip(own, pads, strict=True)
        )

    def spatial(self, index: int) -> Shape:
        """The sizes of the axes behind that of the features; where it is last, of those between it and the first."""
        axis, shape = self.trace.axes[index], self.trace.ops[index].shape
        return shape[axis + 1 :] if axis < -1 else shape[1:-1]

    def _kept_profile(self, here: Here) -> Profile:
        """Profile of what was read: functions of each value, norms and pools keep the places."""
        if here.op.kind not in KEEPS_PLACES:
            return ()
        parts = [
            (second(rows[HERE]), self.profile(source))
            for source, rows in zip(here.op.inputs, here.sources, strict=True)
        ]
        chosen = parts if here.op.kind in (OpKind.ADD, OpKind.CONCAT) else parts[:1]
        return mixed(chosen, self.spatial(here.op.index))

    def doubt(self, op: Op) -> None:
        """Marks an op whose rule is an assumption."""
        self.assumed[op.index] = None

    # Parameters

    def moments(self, use: Use, laws: Mapping[str, Initializer]) -> Moments | None:
        """Moments of a parameter; None where it has no law."""
        law, shape = self._law_of_layer(laws.get(use.path), use), self.shape_of(use)
        return None if law is None else law.moments(shape, layout=use.layout if _fits(use, shape) else None)

    def shape_of(self, use: Use) -> Shape:
        """The shape of a parameter; of a stack of layers, one of which is read, that of a stack of this one."""
        shape, layer = self.trace.by_path[use.path].shape, use.layer
        return shape if layer is None else tuple(1 if axis == layer[0] else size for axis, size in enumerate(shape))

    def vector(self, use: Use, laws: Mapping[str, Initializer]) -> Values | None:
        """A sample of a parameter's values, one a feature, the same wherever it is asked for."""
        moments = self.moments(use, laws)
        return None if moments is None else moments.mean + moments.std * fresh("parameter", use.matrix)

    def rows_of(self, use: Use, laws: Mapping[str, Initializer], features: int) -> Rows | None:
        """A sample of a parameter that is read as data: one value a feature, or one a feature and place."""
        here = self.vector(use, laws)
        if here is None:
            return None
        if math.prod(self.shape_of(use)) <= max(features, 1):
            return np.stack([here, here, here])
        moments = self.moments(use, laws)
        spread, mean = (0.0, 0.0) if moments is None else (moments.std, moments.mean)
        others = [mean + spread * fresh("parameter", use.matrix, row) for row in (ELSEWHERE, ANOTHER)]
        return np.stack([here, *others])

    def map_variance(self, use: Use, laws: Mapping[str, Initializer]) -> tuple[float, float]:
        """Second moment of a map's outputs over that of its inputs by its weights' scatter, and by their mean.

        Variance times fan_in, averaged over the maps that one matrix holds; and mean times fan_in.
        """
        blocks = self.block_variances(use, laws)
        total = sum(count for count, _, _ in blocks)
        variance = sum(count * gain for count, gain, _ in blocks) / max(total, 1)
        return variance, sum(count * mean for count, _, mean in blocks) / max(total, 1)

    def block_variances(self, use: Use, laws: Mapping[str, Initializer]) -> list[tuple[int, float, float]]:
        """Outputs, variance times fan_in, and mean times fan_in of each map that a weight holds."""
        law, shape = self._law_of_layer(laws.get(use.path), use), self.shape_of(use)
        if law is None:
            return [(1, 1.0, 0.0)]
        if not _fits(use, shape) or use.layout is None:
            moments_of_all, fan_in = law.moments(shape), float(math.prod(shape[1:]))
            return [(1, (use.ratio * moments_of_all.std) ** 2 * fan_in, use.ratio * moments_of_all.mean * fan_in)]
        blocks = use.layout.blocks(shape)
        each = law.laws if isinstance(law, Blocks) and len(law.laws) == len(blocks) else (law,) * len(blocks)
        found_blocks = []
        for (box, layout), block_law in zip(blocks, each, strict=True):
            moments, fan_in = block_law.moments(box.shape, layout=layout), float(layout.fans(box.shape).fan_in)
            outputs = layout.extent(box.shape, "out")
            found_blocks.append((outputs, (use.ratio * moments.std) ** 2 * fan_in, use.ratio * moments.mean * fan_in))
        return found_blocks

    def through(self, path: str, rows: Rows, *name: object) -> Rows:
        """What random weights of unit fan-in variance make of a sample.

        The weights' next use is correlated with the ones before as what went in is: normal values conditioned on them.

        References:
            Yang, "Tensor programs I", 2019: the same weights used again, without their transpose, are Gaussian in the
            limit of large width, with these covariances.
        """
        before = self.passes.setdefault(path, [])
        finite = all(np.isfinite(entered).all() for entered in (rows, *(earlier.entered for earlier in before)))
        left = _conditioned(rows, before, name) if before and finite else normal_rows(likeness(rows), *name)
        self.passes[path] = [*before[1 - USES :], _Pass(rows, left)]
        return left

    def _law_of_layer(self, law: Initializer | None, use: Use) -> Initializer | None:
        """The law of the layer that is read, of a stack whose layers have laws of their own."""
        if not isinstance(law, Blocks) or use.layer is None or law.axis != use.layer[0]:
            return law
        axis, index = use.layer
        boxes = zip(law.laws, law.boxes(self.trace.by_path[use.path].shape), strict=True)
        return next(own for own, box in boxes if index < box.start[axis] + box.shape[axis])

    # Shapes

    def features(self, op: Op) -> int:
        """How many features an op gives."""
        return op.shape[self.trace.axes[op.index]] if op.shape else 1

    def places(self, index: int) -> int:
        """How many places an example of an op's output has."""
        op = self.trace.ops[index]
        return max(op.size // max(op.shape[0] * self.features(op), 1), 1) if op.shape else 1

    def _filled(self, op: Op, operand: int, source: int) -> float:
        """Share of what an op reads that its source gave, where zeros were put around it.

        A tensor that is repeated instead grows along axes of size 1, or by a whole factor.
        """
        before = () if source == INPUT else self.trace.ops[source].shape
        after = op.reads[operand] if operand < len(op.reads) else ()
        if len(before) != len(after) or not all(before):
            return 1.0
        padded = any(n > 1 and m > n and m % n for n, m in zip(before, after, strict=True))
        return math.prod(before) / math.prod(after) if padded and math.prod(after) > math.prod(before) else 1.0

    def _source(self, op: Op, operand: int, source: int) -> Rows:
        if source == INPUT:
            rank = op.inputs[:operand].count(INPUT)
            numbers = op.given
            number = numbers[rank] if rank < len(numbers) else 0
            rows = self.start.given.get(number, Given()).rows(number)
        else:
            rows = self.rows[source]
        filled = self._filled(op, operand, source)
        rows = rows if filled == 1 else rows * math.sqrt(filled)
        flat = operand < len(op.reads) and len(op.reads[operand]) <= 2 and len(op.shape) <= 2
        return one_place(rows) if flat else rows


def _fits(use: Use, shape: Shape) -> bool:
    return use.layout is not None and len(use.layout.axes) == len(shape)


def _conditioned(rows: Rows, before: Sequence[_Pass], name: tuple[object, ...]) -> Rows:
    """Normal values with the covariance of `rows` with themselves and with what the weights were used on before."""
    entered = np.concatenate([earlier.entered for earlier in before])
    left = np.concatenate([earlier.left for earlier in before])
    own = likeness(rows)
    among = np.array(
        [[own.here, own.elsewhere, own.another], [own.elsewhere, own.here, own.another], [own.another] * 2 + [own.here]]
    )
    inner, outer = entered @ entered.T / SAMPLES, rows @ entered.T / SAMPLES
    weights = outer @ np.linalg.pinv(inner, rcond=1e-6, hermitian=True)
    values, vectors = np.linalg.eigh(among - weights @ outer.T)
    rest = vectors * np.sqrt(np.clip(values, 0.0, None))
    return np.asarray(weights @ left + rest @ independent(*name))
