"""What a model does: its operations in order, the parameters that each uses, and what feeds and follows it.

Neutral: an adapter (`fanwise.torch`, ...) writes a trace, everything else reads it. A trace holds paths, shapes,
layouts and numbers, never a framework's tensors.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Any

from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape

INPUT = -1
"""The index that stands for the model's own inputs among an op's inputs."""

WEIGHT_KINDS = ("linear", "conv", "conv_transpose", "embedding", "bilinear", "recurrent", "attention_block")
"""Ops whose main parameter is a linear map (or a table) of what they read."""

ELEMENTWISE = ("activation", "dropout", "scale", "shift", "add", "mul", "elementwise")
"""Ops that keep the positions of their input: each output value depends on the values at its own place."""

KEEPING = (*ELEMENTWISE, "norm", "pool", "concat")
"""Ops that leave the features on the axis on which they were."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    Args:
        path: dotted name.
        shape: its shape.
        dtype: name of its dtype, such as "float32".
        aliases: other names of the same storage.
        trained: whether the framework trains it.
    """

    path: str
    shape: Shape
    dtype: str
    aliases: tuple[str, ...] = ()
    trained: bool = True


@dataclass(frozen=True)
class Use:
    """How an op uses a parameter.

    Args:
        path: of the parameter.
        role: "weight" (a linear map), "table" (a lookup), "recurrent" (a map of a hidden state), "bias", "scale" and
            "shift" (of a norm, or elementwise), "operand" (anything else).
        layout: roles of the axes as the parameter stores them; None for vectors and where it cannot be told.
        steps: functions between the parameter and this op, such as ("exp", "neg"); () where it is used as it is.
        ratio: std of what the op sees over the std of the parameter, where constants multiply it on the way.
        seen: mean and std of what the op sees, where that is made of the parameter and was there to be measured.
    """

    path: str
    role: str
    layout: Layout | None = None
    steps: tuple[str, ...] = ()
    ratio: float = 1.0
    seen: tuple[float, float] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Op:
    """One operation.

    Args:
        index: its place in the order of execution.
        kind: "linear", "conv", "conv_transpose", "embedding", "bilinear", "recurrent", "attention_block", "matmul",
            "attention", "softmax", "norm", "activation", "dropout", "scale", "shift", "add", "mul", "concat", "slice",
            "pool", "reduce", "elementwise", "parameter" (one that is read as data) or "other".
        name: the framework's function.
        module: path of the module that calls it, "" for the model itself.
        call: which call of that module this is, from 0.
        ordinal: place among the ops of that call; (module, call, ordinal) names an op stably.
        inputs: the ops that it reads, in the order of its arguments; `INPUT` for the model's inputs. Constants and
            parameters are not listed.
        uses: the parameters that it uses.
        shape: of its first output.
        axis: which axis of the output holds the features.
        detail: what its kind needs: "nonlinearity", "stride", "p", "constant"; "minus", which of its inputs is
            subtracted; "given", which of the model's inputs it reads, one number for each `INPUT` among its inputs ...
        replay: the function on NumPy arrays of one axis, where it works on each value alone.
        probe: mean and second moment of what the function gives for normal values of these means and stds in the shapes
            that it read, where it was run on values.
        reads: shapes of what it reads, one for each of its inputs: an input may be a part of what its op gave, or
            hold it several times.
    """

    index: int
    kind: str
    name: str
    module: str
    call: int
    ordinal: int
    inputs: tuple[int, ...]
    uses: tuple[Use, ...] = ()
    shape: Shape = ()
    axis: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)
    replay: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    probe: Callable[[Sequence[tuple[float, float]]], tuple[float, float]] | None = field(
        default=None, repr=False, compare=False
    )
    reads: tuple[Shape, ...] = ()

    @property
    def size(self) -> int:
        """How many values its first output has."""
        return math.prod(self.shape)

    @property
    def key(self) -> tuple[str, int, int]:
        """(module, call, ordinal)."""
        return self.module, self.call, self.ordinal

    def used(self, role: str) -> tuple[Use, ...]:
        """The uses in a role."""
        return tuple(use for use in self.uses if use.role == role)


@dataclass(frozen=True)
class Join:
    """A residual connection: an add of a stream and of a branch that left it.

    Args:
        op: index of the add.
        stream: index of the op whose output the branch left, and that the add adds unchanged; `INPUT` for an input.
        branch: index of the op at the end of the branch.
        depth: how many joins the same stream has had before.
        total: how many joins the stream has in all.
        first: index of the op with which the stream begins.
    """

    op: int
    stream: int
    branch: int
    depth: int = 0
    total: int = 1
    first: int = INPUT


@dataclass(frozen=True)
class Trace:
    """A model's run.

    Args:
        ops: in order of execution.
        parameters: every parameter, used or not, in the model's order.
        outputs: the ops whose results the model returns.
        unseen: in words, what an adapter could not look into, or did not.
    """

    ops: tuple[Op, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[int, ...] = ()
    unseen: tuple[str, ...] = ()

    @cached_property
    def by_path(self) -> Mapping[str, Parameter]:
        """Parameters by path and by alias."""
        names = {parameter.path: parameter for parameter in self.parameters}
        names |= {alias: parameter for parameter in self.parameters for alias in parameter.aliases}
        return MappingProxyType(names)

    @cached_property
    def uses(self) -> Mapping[str, tuple[tuple[Op, Use], ...]]:
        """Every use of every parameter, in order."""
        found: dict[str, list[tuple[Op, Use]]] = {parameter.path: [] for parameter in self.parameters}
        for op in self.ops:
            for use in op.uses:
                found[use.path].append((op, use))
        return MappingProxyType({path: tuple(uses) for path, uses in found.items()})

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Parameters that no op used."""
        return tuple(path for path, uses in self.uses.items() if not uses)

    @cached_property
    def followers(self) -> tuple[tuple[int, ...], ...]:
        """For each op, the ops that read it."""
        readers: list[list[int]] = [[] for _ in self.ops]
        for op in self.ops:
            for source in dict.fromkeys(op.inputs):
                if source >= 0:
                    readers[source].append(op.index)
        return tuple(tuple(found) for found in readers)

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """For each op, the axis of its features: after a convolution that of its channels, until a map comes."""
        found: list[tuple[Shape, int]] = []
        for op in self.ops:
            before = found[op.inputs[0]] if op.inputs and op.inputs[0] >= 0 else None
            found.append((op.shape, feature_axis(op, op.shape, before)))
        return tuple(axis for _, axis in found)

    @cached_property
    def joins(self) -> tuple[Join, ...]:
        """Residual connections, in order."""
        return _joins(self)

    def feeds(self, op: Op) -> tuple[Op, ...]:
        """The ops that an op reads."""
        return tuple(self.ops[source] for source in op.inputs if source >= 0)

    def follows(self, op: Op) -> tuple[Op, ...]:
        """The ops that read an op."""
        return tuple(self.ops[reader] for reader in self.followers[op.index])

    def before(self, op: Op, kinds: tuple[str, ...], through: tuple[str, ...]) -> Op | None:
        """The nearest op of these kinds that feeds an op, by way of `through` only, along first inputs."""
        return _walk(op, lambda here: self.feeds(here)[:1], kinds, through)

    def after(self, op: Op, kinds: tuple[str, ...], through: tuple[str, ...]) -> Op | None:
        """The nearest op of these kinds that follows an op, by way of `through` only."""
        return _walk(op, self.follows, kinds, through)

    def nonlinearity_before(self, op: Op) -> str | None:
        """Name of the nonlinearity that feeds an op, None where there is none."""
        found = self.before(op, ("activation",), ("dropout", "slice", "pool", "concat"))
        return None if found is None else str(found.detail.get("nonlinearity"))

    def nonlinearity_after(self, op: Op) -> str | None:
        """Name of the nonlinearity that an op feeds, None where there is none."""
        found = self.after(op, ("activation",), ("dropout", "slice", "norm", "scale", "shift"))
        return None if found is None else str(found.detail.get("nonlinearity"))

    def norm_after(self, op: Op) -> Op | None:
        """The normalisation that an op feeds before anything else mixes or adds to it, None where there is none."""
        return self.after(op, ("norm",), ("dropout", "slice", "shift"))

    def ancestors(self, index: int, stop: int = INPUT) -> set[int]:
        """Every op that an op depends on, itself too, down to `stop` (not beyond it)."""
        found: set[int] = set()
        stack = [index]
        while stack:
            here = stack.pop()
            if here < 0 or here in found:
                continue
            found.add(here)
            if here != stop:
                stack.extend(self.ops[here].inputs)
        return found


def feature_axis(op: Op, shape: Shape, before: tuple[Shape, int] | None) -> int:
    """The axis of an op's features: after a convolution that of its channels, until a map comes or a view turns it.

    Args:
        op: the op.
        shape: of what it gave.
        before: shape and axis of what it reads first; None for the model's inputs.
    """
    if op.axis != -1 or op.kind not in KEEPING or before is None:
        return op.axis
    read, axis = before
    kept = len(read) == len(shape) > 0 and (op.kind == "concat" or read[axis] == shape[axis])
    return axis if kept else op.axis


def _walk(op: Op, step: Callable[[Op], tuple[Op, ...]], kinds: tuple[str, ...], through: tuple[str, ...]) -> Op | None:
    seen, queue = {op.index}, list(step(op))
    while queue:
        here = queue.pop(0)
        if here.kind in kinds:
            return here
        if here.kind in through and here.index not in seen:
            seen.add(here.index)
            queue.extend(step(here))
    return None


def _joins(trace: Trace) -> tuple[Join, ...]:
    """Adds one of whose operands depends on the other, which it meets again; streams are followed through them."""
    found: dict[int, Join] = {}
    for op in trace.ops:
        if op.kind == "add" and len(set(op.inputs)) == len(op.inputs) == 2:
            pair = _met_again(trace, op) or _parallel(trace, op, found) or _projected(trace, op)
            if pair is not None:
                found[op.index] = Join(op.index, *pair)
    return tuple(_numbered(trace, list(found.values())))


def _orders(op: Op) -> tuple[tuple[int, int], ...]:
    """The operands as stream and branch, in either order; what is subtracted is no stream."""
    left, right = op.inputs
    pairs = (left, right), (right, left)
    minus = op.detail.get("minus")
    return pairs if minus is None else (pairs[1 - minus],)


def _met_again(trace: Trace, op: Op) -> tuple[int, int] | None:
    """A stream that is added unchanged to what was made of it."""
    pairs = (pair for pair in _orders(op) if _left_at(trace, *pair) and (pair[0] != INPUT or _same_input(trace, op)))
    return next(pairs, None)


def _same_input(trace: Trace, op: Op) -> bool:
    """Whether an add reads the same of the model's inputs as what it is added to: a mask is no stream."""
    number = op.detail.get("given", (0,))[0]
    past = trace.ancestors(max(op.inputs)) - {op.index}
    return any(number in trace.ops[i].detail.get("given", (0,)) for i in past if INPUT in trace.ops[i].inputs)


def _parallel(trace: Trace, op: Op, joins: Mapping[int, Join]) -> tuple[int, int] | None:
    """A second branch that left the stream where the one before it did: (x + f(x)) + g(x)."""
    pairs = (
        (stream, branch)
        for stream, branch in _orders(op)
        if stream in joins and _left_at(trace, joins[stream].stream, branch)
    )
    return next(pairs, None)


def _left_at(trace: Trace, origin: int, branch: int) -> bool:
    """Whether a branch left a stream at this op and mixed its values since."""
    past = _past_of(trace, branch, floor=origin)
    return origin in past and any(trace.ops[i].kind in _MAPS for i in past - {origin} if i >= 0)


_MAPS = (*WEIGHT_KINDS, "matmul", "attention", "pool", "other")
"""What a branch consists of; a sum of elementwise functions of one tensor, or a norm of it, is no residual."""


def _past_of(trace: Trace, index: int, floor: int) -> set[int]:
    """Ancestors of an op that are not older than `floor`."""
    found: set[int] = set()
    stack = [index]
    while stack:
        here = stack.pop()
        if here in found or here < floor:
            continue
        found.add(here)
        if here >= 0 and here != floor:
            stack.extend(trace.ops[here].inputs)
    return found


def _projected(trace: Trace, op: Op) -> tuple[int, int] | None:
    """A stream that is projected or scaled on its way, as where a residual network changes its width: the shorter path.

    The branch has at least two maps with a nonlinearity between, or one where the stream has none, and ends in a map.
    """
    if min(op.inputs) < 0 or any(trace.ops[i].size != op.size for i in op.inputs):
        return None
    ways = dict(zip(op.inputs, _ways_since_split(trace, *op.inputs), strict=True))
    short, long = sorted(op.inputs, key=lambda i: _count(trace, ways[i], WEIGHT_KINDS))
    maps, others = (_count(trace, ways[i], WEIGHT_KINDS) for i in (short, long))
    bent = _count(trace, ways[long], ("activation", "softmax", "attention", "attention_block"))
    straight = not _count(trace, ways[short], ("matmul", "attention", "softmax", "activation", "other"))
    found = maps <= 1 < others and bent and straight and _ends_in_map(trace, long)
    return (short, long) if found and (short, long) in _orders(op) else None


def _count(trace: Trace, ops: set[int], kinds: tuple[str, ...]) -> int:
    return sum(trace.ops[i].kind in kinds for i in ops)


def _ends_in_map(trace: Trace, index: int) -> bool:
    op = trace.ops[index]
    steps = (*ELEMENTWISE, "norm", "slice", "pool")
    return op.kind in WEIGHT_KINDS or (op.kind in steps and trace.before(op, WEIGHT_KINDS, steps) is not None)


def _ways_since_split(trace: Trace, left: int, right: int) -> tuple[set[int], set[int]]:
    """Ops on the way to each of two ops since the ways parted; empty where they have no origin in common."""
    marks, queue, ways = {left: 1, right: 2}, [-left, -right], (set[int](), set[int]())
    heapify(queue)
    while queue:  # from the latest op back: the first that both ways pass is where they part
        here = -heappop(queue)
        mark = marks.pop(here)
        if mark == 3:
            return ways
        ways[mark - 1].add(here)
        for source in trace.ops[here].inputs if here >= 0 else ():
            if source not in marks:
                heappush(queue, -source)
            marks[source] = marks.get(source, 0) | mark
    return set(), set()


def _numbered(trace: Trace, joins: list[Join]) -> Iterator[Join]:
    """Joins with their place in their stream: a join's stream leads to the one before it through elementwise ops."""
    stream_of: dict[int, int] = {}  # op of a join -> number of its stream
    members: list[list[Join]] = []
    firsts: list[int] = []
    for join in joins:
        earlier = _join_before(trace, join.stream, stream_of)
        if earlier is None:
            stream_of[join.op] = len(members)
            members.append([join])
            firsts.append(join.stream)
        else:
            stream_of[join.op] = earlier
            members[earlier].append(join)
    for join in joins:
        number = stream_of[join.op]
        peers = members[number]
        yield Join(join.op, join.stream, join.branch, peers.index(join), len(peers), firsts[number])


def _join_before(trace: Trace, index: int, stream_of: Mapping[int, int]) -> int | None:
    """The stream that an op belongs to: that of the join which it is, or which it carries on."""
    while index >= 0:
        if index in stream_of:
            return stream_of[index]
        op = trace.ops[index]
        if op.kind not in (*ELEMENTWISE, "norm", "slice", "pool") or not op.inputs:
            return None
        index = op.inputs[0]
    return None
