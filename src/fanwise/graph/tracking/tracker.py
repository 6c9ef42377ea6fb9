"""The ops of a run, numbered in the order in which they were carried out, and shown to a visitor."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from fanwise.graph.blocks import WeightParts
from fanwise.graph.kinds import FOLLOWED, WEIGHTED
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.call import Call
from fanwise.graph.tracking.source_lines import Line, calling_line
from fanwise.graph.tracking.views import ViewChain
from fanwise.graph.visitor import Moment, Visitor
from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape
from fanwise.stream.formats import Array
from fanwise.stream.key import Key

Tensor = TypeVar("Tensor")

Parts: TypeAlias = tuple[tuple[int, int, int], ...]
"""What of a parameter is meant: axis, first and count for each axis that is not meant whole."""


@dataclass(frozen=True)
class Source:
    """Origin of a tensor's values.

    Args:
        op: index of the op that gave them, `INPUT` for one of the model's inputs.
        views: since the op whose features are counted; None where they were mixed since.
        given: which of the model's inputs.
    """

    op: int
    views: ViewChain | None = None
    given: int = 0


@dataclass(frozen=True)
class Read:
    """A tensor that an op reads.

    Args:
        source: where its values come from.
        shape: of it.
    """

    source: Source
    shape: Shape


@dataclass(frozen=True)
class Measured(Generic[Tensor]):
    """Second moments of what an op reads: first its inputs in their order, then constants.

    Args:
        read: the tensors.
        moment: E x^2 of one; NaN where it has no numbers.
        has_numbers: whether one has numbers to measure.
    """

    read: tuple[Tensor, ...]
    moment: Callable[[Tensor], float]
    has_numbers: Callable[[Tensor], bool]

    def __call__(self, operand: int, /) -> float:
        """E x^2 of the input at this place; NaN where there are no numbers."""
        return self.moment(self.read[operand])

    def known(self, operand: int, /) -> bool:
        """Whether there are numbers to measure."""
        return self.has_numbers(self.read[operand])


class Tracker:
    """The ops of a run so far, and the visitor that is shown each.

    Args:
        parameters: of the model, by path.
        visitor: what is shown each op.
        line: says which line of the user's sources runs.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        visitor: Visitor,
        line: Callable[[], Line | None] = calling_line,
    ) -> None:
        self.parameters = parameters
        self.weight_parts = WeightParts(parameters)
        self.ops: list[Op] = []
        self._visitor = visitor
        self._line = line
        self._ordinals: dict[tuple[str, int], int] = {}

    def trace(self, sources: Iterable[Source | None], unseen: Sequence[str] = ()) -> Trace:
        """What was seen.

        Args:
            sources: of what the model returns.
            unseen: as in `Trace`.
        """
        ends = dict.fromkeys(source.op for source in sources if source is not None and source.op >= 0)
        ops = tuple(self.weight_parts.with_parts(op) for op in self.ops)
        return Trace(ops, tuple(self.parameters.values()), tuple(ends), tuple(dict.fromkeys(unseen)))

    def opened(
        self, call: Call[Any], caller: tuple[str, int], read: Sequence[Read] = (), uses: tuple[Use, ...] = ()
    ) -> Op:
        """The op that a call is, before it is carried out.

        Args:
            call: the call, with its name.
            caller: the module that calls, and which of its calls it is.
            read: the tensors among its data that the model made, in order; constants are not listed.
            uses: of parameters.
        """
        module, number = caller
        return Op(
            index=len(self.ops),
            kind=call.kind,
            name=call.name,
            module=module,
            call=number,
            ordinal=self._ordinals.get(caller, 0),
            inputs=tuple(tensor_read.source.op for tensor_read in read),
            uses=uses,
            axis=call.axis,
            detail=call.detail,
            reads=tuple(tensor_read.shape for tensor_read in read),
            given=tuple(tensor_read.source.given for tensor_read in read if tensor_read.source.op == INPUT),
            blocks=call.blocks,
            line=self._line(),
        )

    def add(self, op: Op, shape: Shape) -> Op:
        """Adds an op that was carried out, with the numbers that it has by now: others may have come before it."""
        caller = op.module, op.call
        ordinal = self._ordinals.get(caller, 0)
        self._ordinals[caller] = ordinal + 1
        self.ops.append(replace(op, index=len(self.ops), ordinal=ordinal, shape=shape))
        return self.ops[-1]

    def before(self, op: Op, moment: Moment) -> Mapping[str, Initializer]:
        """Laws for parameters, by path: an op that is about to be carried out sees values drawn from them."""
        return self._visitor.before(op, moment)

    def factor_after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """The factor by which an op's output is scaled before the model goes on; None for 1."""
        factor = self._visitor.after(op, moment)
        return None if factor == 1 else factor

    def views_after(self, op: Op, read: Sequence[Read], *, is_sum: bool) -> ViewChain | None:
        """The chain of an op's output: features are counted from each weight op, through what keeps its shape.

        Args:
            op: with its shape.
            read: the tensors that it read.
            is_sum: whether it adds two of them.
        """
        if op.kind in WEIGHTED and op.shape:
            return ViewChain(op.index, op.shape, op.axis)
        if is_sum:
            return self._views_of_sum(
                [tensor_read.source.views for tensor_read in read if tensor_read.source.views is not None]
            )
        return read[0].source.views if op.kind in FOLLOWED and read and read[0].shape == op.shape else None

    def _views_of_sum(self, chains: Sequence[ViewChain]) -> ViewChain | None:
        """Two maps added feature by feature, as the gates of a recurrent cell written by hand."""
        if len(chains) != 2 or any(chain.steps or chain.peers for chain in chains):
            return None
        first, second = chains
        maps = all(self.ops[chain.root].kind != OpKind.EMBEDDING for chain in chains)
        same = (first.shape, first.axis) == (second.shape, second.axis)
        return replace(first, peers=(second.root,)) if maps and same else None


def drawn_values(parameter: Parameter, law: Initializer, layout: Layout | None) -> Array:
    """Values for a parameter that stand in for its own, always the same."""
    return law(parameter.shape, key=Key(0).child(parameter.path), layout=layout)


def stand_in_seed(path: str, parts: Parts = ()) -> int:
    """The seed of values that stand in for something made of a parameter, or for a part of it."""
    key = Key(0).child(path)
    return (key.child(str(parts)) if parts else key).philox().key[0]


def std_ratio(before: float, after: float) -> float:
    """By what the std of a tensor exceeds another's, from their second moments; 1 where one has no size."""
    return math.sqrt(after / before) if before > 0 and after > 0 else 1.0
