"""Linear maps, tables and parameters that are read as data."""

import math
from collections.abc import Iterator

import numpy as np

from fanwise.graph.arithmetic import PLAIN
from fanwise.graph.details import Lookup
from fanwise.graph.op import Op, OpKind, Use, UseRole
from fanwise.laws.base import Moments
from fanwise.theory import padding
from fanwise.theory.rules.affine import shifted
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule
from fanwise.theory.samples import (
    HERE,
    Likeness,
    Rows,
    likeness,
    normal_rows,
    rearranged,
    reshaped,
    same_everywhere,
    second,
)
from fanwise.theory.walk import Here, Walk


@forward_rule(OpKind.LINEAR, OpKind.CONV, OpKind.CONV_TRANSPOSE, OpKind.BILINEAR)
def linear(walk: Walk, here: Here) -> Rows | None:
    """Output y = W x + b: normal values, as sums of many products; a convolution is one at every place.

        E y^2 = fan_in Var(w) E x^2 + (fan_in E w E x)^2 + E b^2;  E y y' = fan_in Var(w) E x x' + the same

    At the border a window of K taps falls on K' < K values: the first two terms times K'/K (`padding`). A bilinear map
    reads the product of its two inputs.

    Source: He et al., "Delving deep into rectifiers", 2015, eq. 7; Poole et al., "Exponential expressivity in deep
    neural networks through transient chaos", 2016, eq. 3 (one input) and 5 (two). The term of E w is derived here:
    weights of mean m add m sum_i x_i, which is m fan_in E x in every unit.
    """
    uses = map_uses(here.op)
    if not here.sources or not uses:
        return None
    rows = here.first
    if here.op.kind == OpKind.BILINEAR and len(here.sources) > 1:
        rows = rows * rearranged(here.sources[1], "bilinear", here.op.index)
    variance, coherent = walk.map_variance(uses[0], here.laws)
    kernel = kernel_of(walk, uses[0])
    if not PLAIN.issuperset(uses[0].steps) or (uses[0].layout is not None and "stack" in uses[0].layout.axes):
        walk.doubt(here.op)  # masked or made weights are taken as even, and every map of a stack as chosen alike
    passage = padding.forward(here.op, here.read(0), kernel, walk.profile_read(here.op, 0) if kernel else ())
    walk.profiles[here.op.index] = passage.profile
    rows_out = math.sqrt(variance * passage.share * tied_excess(walk, here, uses[0])) * walk.through(
        uses[0].matrix, _thinned(rows, passage), here.op.index
    )
    _remember_parts(walk, here, uses[0])
    return shifted(walk, here, rows_out + coherent * passage.share * rows.mean(axis=1, keepdims=True))


@backward_rule(OpKind.LINEAR, OpKind.CONV, OpKind.CONV_TRANSPOSE, OpKind.BILINEAR)
def linear_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = W^T g: normal values, independent of the signal.

        E (dL/dx)^2 = fan_out Var(w) E g^2;  at two places the same of E g g'

    Source: He et al., "Delving deep into rectifiers", 2015, eq. 13 and 14; the independence is that of Schoenholz et
    al., "Deep information propagation", 2017, eq. 7. Border as for the signal, with the taps the other way round.
    """
    uses = map_uses(here.op)
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
    passage = padding.backward(here.op, here.read(0), kernel_of(walk, use), walk.profiles_back[here.op.index])
    factor = variance * passage.share * fans[1] / max(fans[0], 1e-300)
    if here.op.kind == OpKind.BILINEAR and len(here.sources) > 1:
        factor *= second(here.sources[1][HERE])
    own = likeness(gradient) * factor
    moments = Likeness(own.here, passage.alike * own.elsewhere, passage.alike * own.another)
    yield Share(here.op.inputs[0], normal_rows(moments, "back", here.op.index), passage.profile)


@forward_rule(OpKind.EMBEDDING)
def embedding(walk: Walk, here: Here) -> Rows | None:
    """A row of a table; other places read other rows. A bag of n rows is their sum or mean.

        one row: E y^2 = E w^2, and E y y' = E w^2 where another place reads the same row
        sum of n: E y^2 = n Var(w) + (n E w)^2;  mean of n: Var(w) / n + (E w)^2

    Derived here: rows are independent draws of one law, so variances of a sum add and its mean is n E w.
    """
    moments = walk.moments(here.op.uses[0], here.laws) if here.op.uses else None
    if moments is None:
        return None
    summed = here.op.detail.mode if isinstance(here.op.detail, Lookup) else None
    count = here.read(0)[-1] if summed in ("sum", "mean") and len(here.read(0)) > 1 else 1
    share = 1 / count if summed == "mean" else 1.0
    rows = _rows_of_table(here.op.uses[0], _same_row(walk, here.op, moments))
    return share * (count * moments.mean + math.sqrt(count) * moments.std * rows)


@forward_rule(OpKind.PARAMETER)
def parameter(walk: Walk, here: Here) -> Rows | None:
    """A parameter as data, y = w: the same in every example, and at every place unless it has an axis of places."""
    sample = walk.vector(here.op.uses[0], here.laws) if here.op.uses else None
    if sample is None:
        return None
    rows = walk.rows_of(here.op.uses[0], here.laws, here.op.shape[-1] if here.op.shape else 1)
    return same_everywhere(sample) if rows is None else rows


@backward_rule(OpKind.EMBEDDING, OpKind.PARAMETER)
def no_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """No gradient goes on: a table reads indices, and a parameter reads nothing."""
    yield from ()


def map_uses(op: Op) -> tuple[Use, ...]:
    """The maps of an op, its main one first."""
    return tuple(use for use in op.uses if use.role in (UseRole.WEIGHT, UseRole.VALUE)) or op.used(UseRole.QUERY)


def kernel_of(walk: Walk, use: Use) -> tuple[int, ...]:
    """Sizes of the window of a weight."""
    shape = walk.trace.by_path[use.path].shape
    if use.layout is None or len(use.layout.axes) != len(shape):
        return ()
    return tuple(size for size, role in zip(shape, use.layout.axes, strict=True) if role == "kernel")


def tied_excess(walk: Walk, here: Here, use: Use) -> float:
    """Second moment that a tied table gives, over that of independent weights: a token's own row answers to itself.

        E y^2 = Var(w) |x|^2 (1 + s d / V),  with the share s of |x|^2 that lies along the token's own row

    Derived here: of the V outputs <w_v, x> that of the own row w is sqrt(s) |w| |x|, with |w|^2 = d Var(w).
    """
    parameter, size = walk.trace.by_path[use.path], second(here.first[HERE])
    rows = [walk.rows[before.op.index] for before in walk.seen if _reads_table(before, use)]
    if not rows or len(parameter.shape) != 2 or not 0 < size < math.inf:
        return 1.0
    walk.doubt(here.op)  # other tokens of the same table are taken to add nothing
    share = sum(float(np.mean(row[HERE] * here.first[HERE])) ** 2 / (second(row[HERE]) or 1.0) for row in rows) / size
    outputs = walk.features(here.op)
    return 1.0 + min(share, 1.0) * math.prod(parameter.shape) / max(outputs, 1) ** 2


def _reads_table(here: Here, use: Use) -> bool:
    return here.op.kind == OpKind.EMBEDDING and any(other.path == use.path for other in here.op.uses)


def _thinned(rows: Rows, passage: padding.Passage) -> Rows:
    """The sample with what places have in common lessened, as windows at the border miss other taps."""
    if passage.alike == 1:
        return rows
    own = likeness(rows)
    return reshaped(rows, Likeness(own.here, passage.alike * own.elsewhere, passage.alike * own.another))


def _rows_of_table(use: Use, same: float) -> Rows:
    return normal_rows(Likeness(1.0, same, same), "table", use.path)


def _same_row(walk: Walk, op: Op, moments: Moments) -> float:
    """How often two places read the same row, as it was measured; never where that is not known."""
    alike, variance = walk.start.alike.get(op.index, 0.0), moments.std * moments.std
    mean = moments.mean * moments.mean
    return min(max((alike * (variance + mean) - mean) / variance, 0.0), 1.0) if variance > 0 else 0.0


def _remember_parts(walk: Walk, here: Here, use: Use) -> None:
    """The variance of each map that a weight holds, over their average, for the cuts that follow."""
    blocks = walk.block_variances(use, here.laws)
    average = sum(count * gain for count, gain, _ in blocks) / max(sum(count for count, _, _ in blocks), 1)
    if len(blocks) > 1 and average > 0:
        edges = np.cumsum([0, *(count for count, _, _ in blocks)])
        walk.parts[here.op.index] = tuple(
            (int(first), count, gain / average) for first, (count, gain, _) in zip(edges, blocks, strict=False)
        )
