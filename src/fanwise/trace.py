"""What a model does: its operations in order, the parameters that each uses, and what feeds and follows it.

Neutral: an adapter (`fanwise.torch`, ...) writes a trace, everything else reads it. A trace holds paths, shapes,
layouts and numbers, never a framework's tensors.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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

MIXING = (*WEIGHT_KINDS, "matmul", "attention", "pool", "reduce", "other")
"""Ops that combine values of several places."""


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
    """

    path: str
    role: str
    layout: Layout | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Op:
    """One operation.

    Args:
        index: its place in the order of execution.
        kind: "linear", "conv", "conv_transpose", "embedding", "bilinear", "recurrent", "attention_block", "matmul",
            "attention", "softmax", "norm", "activation", "dropout", "scale", "shift", "add", "mul", "concat", "slice",
            "pool", "reduce", "elementwise" or "other".
        name: the framework's function.
        module: path of the module that calls it, "" for the model itself.
        call: which call of that module this is, from 0.
        ordinal: place among the ops of that call; (module, call, ordinal) names an op stably.
        inputs: the ops that it reads, in the order of its arguments; `INPUT` for the model's inputs. Constants and
            parameters are not listed.
        uses: the parameters that it uses.
        shape: of its first output.
        axis: which axis of the output holds the features.
        detail: what its kind needs: "nonlinearity", "stride", "p", "pieces", "window", "constant" ...
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
    """

    ops: tuple[Op, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[int, ...] = ()

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
    found: list[Join] = []
    for op in trace.ops:
        if op.kind == "add" and len(op.inputs) == 2:
            pair = _stream_and_branch(trace, op)
            if pair is not None:
                found.append(Join(op.index, *pair))
    return tuple(_numbered(trace, found))


def _stream_and_branch(trace: Trace, op: Op) -> tuple[int, int] | None:
    left, right = op.inputs
    if left == right:
        return None
    for stream, branch in ((left, right), (right, left)):
        past = _past_of(trace, branch, floor=stream)
        if stream in past and _has_map(trace, past - {stream}, stream):
            return stream, branch
    return _projected(trace, left, right)


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


def _has_map(trace: Trace, between: set[int], stream: int) -> bool:
    return any(
        trace.ops[i].kind in WEIGHT_KINDS or trace.ops[i].kind == "norm" for i in between if i >= 0 and i != stream
    )


def _projected(trace: Trace, left: int, right: int) -> tuple[int, int] | None:
    """A stream that is projected on its way, as where a residual network changes its width: the shorter path."""
    if left < 0 or right < 0:
        return None
    short, long = sorted((left, right), key=lambda i: _length(trace, left, right, i))
    maps = [i for i in _since_split(trace, short, long) if trace.ops[i].kind in WEIGHT_KINDS]
    others = [i for i in _since_split(trace, long, short) if trace.ops[i].kind in WEIGHT_KINDS]
    return (short, long) if len(maps) <= 1 < len(others) else None


def _length(trace: Trace, left: int, right: int, which: int) -> int:
    other = right if which == left else left
    return sum(1 for i in _since_split(trace, which, other) if trace.ops[i].kind in WEIGHT_KINDS)


def _since_split(trace: Trace, index: int, other: int) -> set[int]:
    """Ops on the way to `index` since it parted from the way to `other`."""
    mine, theirs = trace.ancestors(index), trace.ancestors(other)
    shared = mine & theirs
    if not shared:
        return set() if INPUT not in _roots(trace, mine) & _roots(trace, theirs) else mine
    return {i for i in mine - theirs if i > max(shared)}


def _roots(trace: Trace, ops: set[int]) -> set[int]:
    return {source for i in ops for source in trace.ops[i].inputs if source < 0}


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
