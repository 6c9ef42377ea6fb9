"""Attention as models write it: which op feeds which operand, and how large the scores are.

Scores are a product of queries and keys that feeds a softmax: a matrix product, or a product value by value that is
summed. Their size follows from the contraction itself and from the factors on the way, wherever these stand.
"""

import math
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from fanwise.graph.arithmetic import QUOTIENTS, constant_of
from fanwise.graph.details import Attention
from fanwise.graph.kinds import AFTER_SOFTMAX, ATTENTION_OPERAND, BEFORE_SOFTMAX, ELEMENTWISE, MOVING, WEIGHTED
from fanwise.graph.op import Op, OpKind, Use
from fanwise.graph.trace import Trace

Factor = Callable[[Op], float]
"""The size of what an op multiplies by that is no number in the program: a learned temperature."""

TOTALS = ("sum", "reduce_sum")
"""Reductions that sum."""
SUMMED = frozenset({"sum", "reduce_sum"})
"""Functions that add up the parts of a softmax that is written out."""
MASKING = frozenset(
    {"masked_fill", "where", "select", "select_n", "tril", "triu"}
    | {"fill_diagonal", "setitem", "index_put", "masked_scatter"}
)
"""Functions that put a constant in the place of some scores."""
NORMALISED = ("normalize",)
"""Norms after which a vector has length 1."""
FARTHEST = 64
"""Ops between a product and the maps of its operands beyond which none is looked for."""
BOUNDED = "tanh"
"""The nonlinearity that keeps large scores in bounds, and ordinary ones as they are."""


def attention_part(trace: Trace, op: Op) -> str | None:
    """Which operand of an attention an op feeds: "query", "key" or "value"; None where it feeds none."""
    if op.index not in trace.once(_operands):
        return None
    return next(part for _, part in _fed(trace, op, ATTENTION_OPERAND))


def _operands(trace: Trace) -> frozenset[int]:
    """The ops that feed an operand of an attention: looked for once, from the last op back."""
    feeding: set[int] = set()
    for index in reversed(range(len(trace.ops))):
        for reader in trace.follows(trace.ops[index]):
            leads_on = reader.kind in ATTENTION_OPERAND and reader.index in feeding
            if leads_on or next(_parts(trace, reader, index), None) is not None:
                feeding.add(index)
                break
    return frozenset(feeding)


def score_std(trace: Trace, query: Op, factor: Factor = lambda op: 1.0) -> float:
    """Std of the scores that queries and keys of unit second moment would give; 1 where a norm stands between.

        scores c sum_i q_i k_i: Var = c^2 width E q^2 E k^2; products that are added to one another add their variances

    Args:
        trace: of the model.
        query: the op that makes the queries, alone or with other parts.
        factor: size of what an op multiplies by where that is a parameter.

    References:
        Vaswani et al., "Attention is all you need", 2017, section 3.2.1, footnote 4.
    """
    sizes = _Sizes(trace, factor)
    products = (op for op, part in _fed(trace, query, ATTENTION_OPERAND - {OpKind.NORM}) if part == "query")
    return math.sqrt(max(map(sizes.scores, products), default=1.0))


def softmax_over(trace: Trace, op: Op, besides: Op | None = None) -> Op | None:
    """The softmax over scores that an op gives, None where it gives none.

    Args:
        trace: of the model.
        op: a product, or what adds to one.
        besides: an op that the way must not lead through.
    """
    queue, seen = [op], {op.index if besides is None else besides.index}
    while queue:
        for reader in trace.follows(queue.pop(0)):
            if reader.kind == OpKind.SOFTMAX:
                return reader
            if _keeps_scores(reader) and reader.index not in seen:
                seen.add(reader.index)
                queue.append(reader)
    return None


def factors_of(trace: Trace, op: Op) -> tuple[int, int] | None:
    """The operands of an op that is a product of data summed over an axis; None for any other op."""
    if op.kind == OpKind.MATMUL and len(op.inputs) > 1:
        return op.inputs[0], op.inputs[1]
    if op.kind != OpKind.REDUCE or op.name not in TOTALS or len(op.inputs) != 1 or op.inputs[0] < 0:
        return None
    terms = trace.ops[op.inputs[0]]
    return (terms.inputs[0], terms.inputs[1]) if terms.kind == OpKind.MUL and len(terms.inputs) == 2 else None


class _Sizes:
    """Second moments in a model whose maps give unit ones, each computed once.

    Args:
        trace: of the model.
        factor: size of what an op multiplies by where that is a parameter.
    """

    def __init__(self, trace: Trace, factor: Factor) -> None:
        self._trace = trace
        self._factor = factor
        self._variances: dict[int, float] = {}

    def scores(self, product: Op) -> float:
        """Variance of the scores that a product takes part in."""
        if isinstance(product.detail, Attention):
            return product.detail.scale**2 * product.detail.width * self._operands(*product.inputs[:2])
        softmax = softmax_over(self._trace, product)
        return 1.0 if softmax is None else self._variance(softmax.inputs[0])

    def _variance(self, index: int) -> float:
        """Variance of scores, 0 of what is no scores: a mask, a table of biases."""
        if index not in self._variances:
            self._variances[index] = 0.0 if index < 0 else self._variance_of(self._trace.ops[index])
        return self._variances[index]

    def _variance_of(self, op: Op) -> float:
        operands = factors_of(self._trace, op)
        if operands is not None:
            size = 1.0 if op.constant is None else op.constant
            return size**2 * self._width(op) * self._operands(*operands) + sum(map(self._variance, op.inputs[2:]))
        if op.kind == OpKind.ADD:
            return sum(self._variance(source) for source in dict.fromkeys(op.inputs) if self._is_own(source, op))
        if not _keeps_scores(op):
            return 0.0
        return self._multiplied(op) * max(map(self._variance, op.inputs), default=0.0)

    def _is_own(self, source: int, total: Op) -> bool:
        """Whether what is added to scores is not another attention's: scores that an earlier softmax has read."""
        return source >= 0 and softmax_over(self._trace, self._trace.ops[source], besides=total) is None

    def _width(self, op: Op) -> float:
        """How many values a product sums."""
        if op.kind == OpKind.REDUCE:
            return self._trace.ops[op.inputs[0]].size / max(op.size, 1)
        if op.width is not None:
            return op.width
        return op.reads[0][-1] if op.reads and op.reads[0] else 1

    def _operands(self, left: int, right: int) -> float:
        sizes = (self._operand(source, FARTHEST) for source in (left, right))
        return math.prod(1.0 if size is None else size for size in sizes)

    def _operand(self, index: int, steps: int) -> float | None:
        """Second moment of an operand whose map gives a unit one; None where no map is in sight."""
        op = self._trace.ops[index] if index >= 0 and steps else None
        if op is None:
            return None
        if op.kind in WEIGHTED or op.kind == OpKind.PARAMETER:
            return 1.0
        if op.kind == OpKind.NORM:
            return 1.0 / max(op.shape[-1], 1) if op.norm in NORMALISED and op.shape else 1.0
        if op.kind not in ATTENTION_OPERAND:
            return None
        sources = [size for source in op.inputs if (size := self._operand(source, steps - 1)) is not None]
        return self._multiplied(op) * max(sources) if sources else None

    def _multiplied(self, op: Op) -> float:
        return (constant_of(op) * self._factor(op)) ** 2


def _keeps_scores(op: Op) -> bool:
    """Whether an op may stand between scores and their softmax: masks, biases, factors, joins with others, a bound."""
    return op.kind in BEFORE_SOFTMAX or op.kind == OpKind.CONCAT or op.nonlinearity == BOUNDED


def _fed(trace: Trace, op: Op, through: AbstractSet[OpKind]) -> Iterator[tuple[Op, str]]:
    """The attentions and products that an op feeds as an operand, each with which one it is, nearest first."""
    queue, seen = [op], {op.index}
    while queue:
        here = queue.pop(0)
        for reader in trace.follows(here):
            fed = list(_parts(trace, reader, here.index))
            yield from fed
            if not fed and reader.kind in through and reader.index not in seen:
                seen.add(reader.index)
                queue.append(reader)


def _parts(trace: Trace, reader: Op, source: int) -> Iterator[tuple[Op, str]]:
    """What a reader does with an operand, where it is an attention, a product, or the terms of one."""
    if reader.kind == OpKind.ATTENTION and source in reader.inputs[:3]:
        yield reader, ("query", "key", "value")[reader.inputs.index(source)]
    for product in (reader, *(trace.follows(reader) if reader.kind == OpKind.MUL else ())):
        part = _part_of_product(trace, product, source)
        if part is not None:
            yield product, part


def _part_of_product(trace: Trace, product: Op, source: int) -> str | None:
    """Scores are a product that feeds a softmax; values are multiplied by one that came out of a softmax."""
    operands = factors_of(trace, product)
    if operands is None or source not in operands:
        return None
    other = operands[1] if source == operands[0] else operands[0]
    if softmax_over(trace, product) is not None:
        return "query" if source == operands[0] else "key"
    return "value" if other >= 0 and _came_from_softmax(trace, other) else None


def _came_from_softmax(trace: Trace, index: int) -> bool:
    op = trace.ops[index]
    return op.kind == OpKind.SOFTMAX or trace.before(op, {OpKind.SOFTMAX}, AFTER_SOFTMAX) is not None


def makes_averages(trace: Trace, op: Op, use: Use) -> bool:
    """Whether a weight holds the scores of an average: exponentials of parameters, over their sum.

    A softmax of parameters; or their exponential, where what the same weights make of something else divides the
    result, as in an attention-free transformer. Their size has no effect then, as that of biases on scores has none.
    """
    steps = set(use.steps)
    if "softmax" in steps or ("exp" in steps and steps & QUOTIENTS and steps & SUMMED):
        return True
    if "exp" not in steps:
        return False
    others = {other.index for other, its in trace.uses[use.path] if its.matrix == use.matrix} - {op.index}
    return any(_divides(trace, op, reader, others) for reader in _readers(trace, op))


def _readers(trace: Trace, op: Op) -> Iterator[Op]:
    """What follows an op up to the next map or norm."""
    queue, seen = [op], {op.index}
    while queue:
        for reader in trace.follows(queue.pop()):
            if reader.index not in seen and reader.kind in ELEMENTWISE | MOVING:
                seen.add(reader.index)
                queue.append(reader)
                yield reader


def _divides(trace: Trace, op: Op, quotient: Op, others: AbstractSet[int]) -> bool:
    """Whether an op is a quotient of what a map gives and of what another of the same weights does."""
    if quotient.name not in QUOTIENTS or len(quotient.inputs) != 2:
        return False
    past = [trace.ancestors(index) for index in quotient.inputs]
    return any(op.index in mine and others & theirs for mine, theirs in (past, past[::-1]))
