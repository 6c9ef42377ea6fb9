"""Gradients carried back through a propagation, op by op.

Where a tensor was cut, joined, pooled, repeated or summed, second moments follow its sizes.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fanwise.graph.op import INPUT
from fanwise.theory import padding
from fanwise.theory.rules import Share, back_by_rule
from fanwise.theory.rules.registry import gathered, through_gain
from fanwise.theory.samples import HERE, Likeness, Rows, normal_rows, rearranged, second
from fanwise.theory.walk import Here, Walk


def gradients(walk: Walk, start: Mapping[int, float]) -> tuple[float, ...]:
    """E (dL/dx)^2 at each op's output, from those at some.

    Args:
        walk: a propagation that is done.
        start: second moments of the gradient, independent from place to place, by the index of an op.

    Returns:
        One number an op; NaN where no gradient comes.
    """
    by_op: dict[int, Rows] = {i: normal_rows(Likeness(size), "start", i) for i, size in start.items()}
    walk.profiles_back.update(dict.fromkeys(start, ()))
    moments = [math.nan] * len(walk.seen)
    for here in reversed(walk.seen):
        gradient = by_op.pop(here.op.index, None)  # whole by now, and looked at for the last time
        if gradient is None:
            continue
        moments[here.op.index] = second(gradient[HERE])
        shares = back_by_rule(walk, here, gradient)
        for share in through_gain(walk, here, gradient) if shares is None else shares:
            if share.source != INPUT and np.isfinite(share.rows).all():
                _add(walk, by_op, share, here)
    return tuple(moments)


def _add(walk: Walk, by_op: dict[int, Rows], share: Share, here: Here) -> None:
    """Adds a gradient to those that came to the same tensor."""
    rows, shape = _at_source(walk, here, share), walk.spatial(share.source)
    profile = walk.profiles_back[here.op.index] if share.profile is None else share.profile
    parts = [(second(rows[HERE]), profile)]
    if share.source in by_op:
        parts.append((second(by_op[share.source][HERE]), walk.profiles_back[share.source]))
        rows = by_op[share.source] + rows
    by_op[share.source] = rows
    walk.profiles_back[share.source] = padding.mixed(parts, shape)


def _at_source(walk: Walk, here: Here, share: Share) -> Rows:
    """The gradient at a tensor of which the op read a part, or which it read repeated."""
    here = here if share.reader is None else walk.seen[share.reader]
    operand = here.op.inputs.index(share.source) if share.operand is None else share.operand
    if share.reader is None and walk.is_later_part(here.op, operand):
        share = replace(share, rows=rearranged(share.rows, "part", here.op.index, operand, back=True))
    source = walk.trace.ops[share.source]
    read = math.prod(here.read(operand)) if operand < len(here.op.reads) else source.size
    if not source.size or not read:
        return share.rows
    if read > source.size:
        return gathered(share.rows, here.read(operand), source.shape)
    if read < source.size:  # some places alone: no two of them at random both have one
        return _apart(math.sqrt(read / source.size) * share.rows, here.op.index)
    rows = share.rows
    flat = operand < len(here.op.reads) and len(here.read(operand)) <= 2 < len(source.shape) and read == source.size
    return _apart(rows, here.op.index) if flat and walk.places(share.source) > 1 else rows


def _apart(rows: Rows, name: int) -> Rows:
    """The gradient at places that have nothing in common, such as those that were read as features."""
    return np.stack([rows[HERE], *normal_rows(Likeness(second(rows[HERE])), "apart", name)[1:]])
