"""Side paths beside frozen weights: adapters, low-rank updates, control networks, gated cross-attention.

What is trained is added to what frozen weights give. Where the end of such a path is 0, the model starts as its frozen
base. An end is one parameter of several on the path: a gate, the factor of a norm, the last map, or a map before it.

References:
    Houlsby et al., "Parameter-efficient transfer learning for NLP", 2019, section 2.1: near the identity at the start.
    Hu et al., "LoRA: low-rank adaptation of large language models", 2021, section 4.1: B = 0.
    Zhang et al., "Adding conditional control to text-to-image diffusion models", 2023, section 3.1: zero convolutions.
    Alayrac et al., "Flamingo", 2022, section 2.2: gates tanh(0).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fanwise.graph.frozen import MOVES, STOPS_GRADIENT, FrozenMaps, is_map
from fanwise.graph.kinds import MAP_USES
from fanwise.graph.op import INPUT, Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace

ZERO_AT_ZERO = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "rrelu",
        "gelu",
        "gelu_tanh",
        "silu",
        "swish",
        "tanh",
        "elu",
        "selu",
        "celu",
    }
    | {"mish", "softsign", "hardtanh", "hardswish", "hard_swish", "hard_tanh", "tanhshrink", "softshrink", "sin"}
)
"""Nonlinearities that give 0 for 0."""
SCALING_STEPS = frozenset({"mul", "rmul", "multiply", "div", "truediv", "divide", "neg", "sin"})
"""Functions of a gate that give 0 for 0, beside those and beside moves."""
ONE_SIDED = frozenset({OpKind.DROPOUT, OpKind.SLICE, OpKind.POOL, OpKind.REDUCE, OpKind.OTHER, OpKind.ELEMENTWISE})
"""Ops that give 0 for 0, if they add no number."""
SUMS = ("add", "sub", "rsub", "radd", "subtract", "exp", "cos", "pow", "rsqrt", "reciprocal", "sigmoid")
"""Functions of one tensor and a number that may give something for 0."""
BETWEEN_MAPS = frozenset({OpKind.DROPOUT, OpKind.SLICE, OpKind.ELEMENTWISE, OpKind.SCALE, OpKind.POOL})
"""What may stand between the maps of a low-rank update."""
LEAST_SHARE = 0.5
"""Numbers in frozen maps over those in trained ones, from which on the model is one that is adapted."""
DEEPEST = 200
"""Ops that a walk back from a sum may pass."""


@dataclass(frozen=True)
class Candidate:
    """A parameter that can make a side path add nothing.

    Args:
        path: of it.
        kind: "gate"; "norm"; "map" for the last one; "inner" for one before it; "shift"; "lone" for one that may as
            well not be 0: a gate on what frozen weights give, a factor of a weight beside which nothing is known.
    """

    path: str
    kind: str


@dataclass(frozen=True)
class SidePath:
    """The candidates of one way that ends in a sum with what frozen weights give, from the sum backwards.

    Args:
        candidates: of which one should be 0, and the others not.
        merged: whether they are added to a frozen weight, instead of to what it gives.
        end: index of the op that joins it.
        side: position of what it gives among that op's inputs; None where it is no input of it.
    """

    candidates: tuple[Candidate, ...]
    merged: bool = False
    end: int = -1
    side: int | None = None


class SidePaths:
    """The side paths of a trace.

    Args:
        trace: of a run.
        frozen: its frozen maps.
    """

    def __init__(self, trace: Trace, frozen: FrozenMaps) -> None:
        self._trace = trace
        self._frozen = frozen

    @cached_property
    def paths(self) -> tuple[SidePath, ...]:
        """In the order of the sums; none where nothing is frozen."""
        if not self._frozen.indices:
            return ()
        return tuple(path for op in self._trace.ops for path in self._of(op))

    @cached_property
    def _is_adapted(self) -> bool:
        frozen, trained = self._frozen.weigh()
        return frozen >= LEAST_SHARE * trained

    def _of(self, op: Op) -> Iterator[SidePath]:
        if op.kind == OpKind.ADD and len(op.inputs) > 1:
            yield from self._of_sum(op)
        elif op.kind == OpKind.MUL and len(op.inputs) == 2:
            yield from self._of_product(op)
        elif op.kind in (OpKind.LINEAR, OpKind.CONV):
            yield from self._of_map(op)

    def _of_sum(self, op: Op) -> Iterator[SidePath]:
        for position, side in enumerate(op.inputs):
            bases = [index for index in op.inputs if index != side]
            if op.minus is not None and position != op.minus:
                continue
            ways = self._ways(side)
            if ways and any(self._is_beside(op, side, base) for base in bases):
                yield from (SidePath(way, end=op.index, side=position) for way in ways)

    def _of_product(self, op: Op) -> Iterator[SidePath]:
        """A product h (1 + side): its factor is 1 where the side path gives 0."""
        for side, base in (op.inputs, op.inputs[::-1]):
            factor = self._trace.ops[side] if side != INPUT else None
            if factor is None or factor.kind != OpKind.ELEMENTWISE or factor.constant != 1 or len(factor.inputs) != 1:
                continue
            ways = self._ways(factor.inputs[0]) if factor.name in ("add", "radd") else None
            if ways and self._is_beside(op, side, base):
                yield from (SidePath(way, end=factor.index, side=0) for way in ways)

    def _of_map(self, op: Op) -> Iterator[SidePath]:
        """A sum inside a map: beside another operand, or beside a frozen weight in one product."""
        uses = [use for use in op.uses if use.role in MAP_USES]
        trained = [use for use in uses if self._frozen.is_trained(use)]
        if trained and len(trained) < len(uses) and all(use.steps for use in trained):
            yield SidePath(
                tuple(Candidate(use.path, "map") for use in sorted(trained, key=self._reads_rank(op))), True, op.index
            )
        elif len(trained) > 1 and all(_is_product_and_sum(use) for use in trained):
            cut_off = any(not STOPS_GRADIENT.isdisjoint(use.steps) for use in trained)
            yield SidePath(tuple(Candidate(use.path, "lone") for use in trained), merged=not cut_off)
        elif trained and len(op.inputs) == 2 and self._is_beside(op, op.inputs[0], op.inputs[1]):
            yield SidePath(tuple(self._of_end(op)))

    def _reads_rank(self, op: Op) -> Callable[[Use], int]:
        features = op.shape[op.axis] if op.shape else 0
        return lambda use: 0 if features in self._outputs(use) else 1

    def _outputs(self, use: Use) -> tuple[int, ...]:
        """What may count the outputs of a factor: any extent, where its layout is not known."""
        return self._trace.by_path[use.path].shape if use.layout is None else (self._extent(use, "out"),)

    def _extent(self, use: Use, role: str) -> int:
        return 0 if use.layout is None else use.layout.extent(self._trace.by_path[use.path].shape, role)

    # Beside frozen weights

    def _is_beside(self, op: Op, side: int, base: int) -> bool:
        """Whether the base comes from frozen weights that the side path stands beside, or that go on after the sum.

        What the base itself reads is no side path: at 0 nothing would be left.
        """
        if base == INPUT or not self._frozen.feeds(base) or side in self._trace.ancestors(base):
            return False
        past = self._trace.ancestors(side) if side != INPUT else set()
        if any(self._is_parallel(end, past) for end in self._frozen.sources(base) & self._frozen.indices):
            return True
        return self._is_adapted and self._goes_on(op)

    def _is_parallel(self, end: int, past: set[int]) -> bool:
        """Whether a frozen map reads what the side path reads too, and the side path does not read it."""
        if end in past:
            return False
        mine = self._trace.ancestors(end)
        if mine & past:
            return True
        reads = [{number for i in ops for number in _given(self._trace.ops[i])} for ops in (mine, past)]
        return self._is_adapted and bool(reads[0] & reads[1])

    def _goes_on(self, op: Op) -> bool:
        """Whether frozen weights read the sum, or it meets what they give."""
        after = _descendants(self._trace, op)
        for index in after:
            here = self._trace.ops[index]
            if index in self._frozen.indices or any(not self._frozen.is_trained(use) for use in here.uses):
                return True
            others = [source for source in here.inputs if source not in after and source != op.index]
            joins = here.kind == OpKind.ADD and len(others) < len(here.inputs)
            if joins and any(source != INPUT and self._frozen.feeds(source) for source in others):
                return True
        return False

    # Back from a sum

    def _ways(self, index: int, depth: int = 0) -> list[tuple[Candidate, ...]] | None:
        """The candidates of each way that leads to an op; None where something else comes along."""
        if index == INPUT or depth > DEEPEST:
            return None
        op = self._trace.ops[index]
        if is_map(op):
            return [tuple(self._of_end(op))] if self._is_trained_map(op) else None
        if op.kind in (OpKind.SCALE, OpKind.NORM, OpKind.SHIFT):
            return self._affine(op, depth)
        if op.kind in (OpKind.ADD, OpKind.CONCAT):
            return self._joined(op.inputs, depth)
        if op.kind in (OpKind.MUL, OpKind.MATMUL, OpKind.ATTENTION):
            return self._of_any(op, depth)
        return self._ways(op.inputs[0], depth + 1) if _keeps_zero(op) else None

    def _is_trained_map(self, op: Op) -> bool:
        uses = [use for use in op.uses if use.role in MAP_USES]
        known = op.kind not in (OpKind.RECURRENT, OpKind.BILINEAR)
        return known and bool(uses) and all(self._frozen.is_trained(use) for use in uses)

    def _joined(self, indices: Sequence[int], depth: int) -> list[tuple[Candidate, ...]] | None:
        ways = [self._ways(index, depth + 1) for index in indices]
        return None if any(way is None for way in ways) else [path for way in ways for path in way or ()]

    def _of_any(self, op: Op, depth: int) -> list[tuple[Candidate, ...]] | None:
        """One zero operand is enough: the values of an attention, of a product what has no nonlinearity first."""
        order = sorted(op.inputs, key=lambda i: i != INPUT and self._trace.ops[i].kind == OpKind.ACTIVATION)
        order = list(op.inputs[2:3]) if op.kind == OpKind.ATTENTION else order
        order = order[::-1] if op.kind == OpKind.MATMUL else order
        return next((ways for index in order if (ways := self._ways(index, depth + 1))), None)

    def _affine(self, op: Op, depth: int) -> list[tuple[Candidate, ...]] | None:
        scales = [use for use in op.used(UseRole.SCALE) if self._frozen.is_trained(use)]
        shifts = op.used(UseRole.SHIFT)
        if any(not self._frozen.is_trained(use) for use in shifts) or not op.inputs:
            return None
        offsets = [(Candidate(use.path, "shift"),) for use in shifts]
        before = self._ways(op.inputs[0], depth + 1)
        gates = tuple(Candidate(use.path, "gate") for use in scales if _is_zero_at_zero(use))
        if before is None:
            lone = tuple(replace(gate, kind="lone") for gate in gates) if op.kind == OpKind.SCALE else ()
            return [lone, *offsets] if lone else None
        if op.kind == OpKind.NORM and scales:
            return [tuple(Candidate(use.path, "norm") for use in scales), *offsets]
        return [*((*gates, *way) for way in before), *offsets]

    def _of_end(self, op: Op) -> Iterator[Candidate]:
        """The last map of a way, what scales it, and the map before it."""
        ends = {UseRole.OUTPUT} if op.kind == OpKind.ATTENTION_BLOCK else MAP_USES | {UseRole.SCALE}
        for use in op.uses:
            if use.role in ends and self._frozen.is_trained(use):
                yield Candidate(use.path, "map" if use.role in MAP_USES else "inner")
        inner = self._trace.before(op, {OpKind.LINEAR, OpKind.CONV, OpKind.EMBEDDING}, BETWEEN_MAPS)
        if op.kind in (OpKind.LINEAR, OpKind.CONV) and inner is not None:
            roles = (UseRole.SCALE, UseRole.WEIGHT, UseRole.TABLE)
            inner_uses = [use for role in roles for use in inner.used(role)]
            if all(self._frozen.is_trained(use) for use in inner_uses):
                yield from (Candidate(use.path, "inner") for use in inner_uses)


def _keeps_zero(op: Op) -> bool:
    if op.kind == OpKind.ACTIVATION:
        return len(op.inputs) == 1 and op.nonlinearity in ZERO_AT_ZERO
    return op.kind in ONE_SIDED and len(op.inputs) == 1 and op.name not in SUMS


def _is_zero_at_zero(use: Use) -> bool:

    return set(use.steps) <= SCALING_STEPS | ZERO_AT_ZERO | MOVES


def _is_product_and_sum(use: Use) -> bool:
    """Whether a weight is made of a product of parameters and of something that is added to it."""
    return {"add", "matmul"} <= set(use.steps)


def _given(op: Op) -> tuple[int, ...]:
    """The model's inputs that an op reads; the first, where an adapter does not say."""
    return (op.given or (0,)) if INPUT in op.inputs else ()


def _descendants(trace: Trace, op: Op) -> set[int]:
    after: set[int] = set()
    queue = list(trace.followers[op.index])
    while queue:
        here = queue.pop()
        if here not in after:
            after.add(here)
            queue.extend(trace.followers[here])
    return after
