"""What the moments should be at each op of a trace, without running it: signals forward, gradients backward.

Every op's output is represented by a sample of its values at two places of an example and in another example
(`samples`); `rules` holds the rule of each kind of op.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np

from fanwise.graph.op import OpKind
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Visitor
from fanwise.theory import bands
from fanwise.theory.gradients import gradients as carried_back
from fanwise.theory.rules import by_rule
from fanwise.theory.rules.pointwise import probed
from fanwise.theory.samples import HERE, SAMPLES, Likeness, Rows, likeness, normal_rows, second
from fanwise.theory.walk import Given, Grounds, Here, Start, Walk

__all__ = ["SAMPLES", "Given", "Grounds", "Propagation", "Start", "propagate"]


@dataclass(frozen=True)
class Propagation:
    """What theory says of a trace.

    Args:
        second_moments: E x^2 at each op's output.
        means: E x there.
        elsewhere: E x x' at two places of one example, over E x^2.
        another: the same at places of two examples.
        scatters: variance of ln E x^2 there over initialisations, as the network is of finite width.
        gradients: E (dL/dx)^2 there; NaN where no gradient comes, () where none was asked for.
        assumed: ops whose rule is an assumption: attention, whose scores are taken as independent of its values; cells;
            ops without a rule.
        measured: ops without a rule whose real function was run on normal values.
        unruled: ops without a rule that could not be run either: taken to give what they read.
        grounds: what the numbers of each op stand on.
        failed: ops with a rule that could not work out what they do, and why; they count as ops without one.
    """

    second_moments: tuple[float, ...]
    means: tuple[float, ...] = ()
    elsewhere: tuple[float, ...] = ()
    another: tuple[float, ...] = ()
    scatters: tuple[float, ...] = ()
    gradients: tuple[float, ...] = ()
    assumed: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()
    unruled: tuple[int, ...] = ()
    grounds: tuple[Grounds, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)


def propagate(
    trace: Trace,
    visitor: Visitor,
    *,
    inputs: "float | Mapping[int, Given] | Start" = 1.0,
    gradients: Mapping[int, float] | None = None,
) -> Propagation:
    """Carries samples through a trace, op by op; then gradients back.

    Args:
        trace: any, from a meta device too.
        visitor: gives the laws of the parameters; those without one count as they would on a real run: not at all.
        inputs: what the model is given, by the number of the tensor; or the second moment of all of it; or all that is
            known of where signals begin.
        gradients: second moments of the gradient where it starts, by the index of an op; None for a forward pass and
            no bands.

    References:
        Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016, eq. 3 to 5, for
        linear maps of normal signals; Schoenholz et al., "Deep information propagation", 2017, eq. 7, for gradients;
        Yang, "Tensor programs I", 2019, for weights that are used again. The samples extend them to any graph.
    """
    walk = Walk(trace, _start(trace, inputs))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for op in trace.ops:
            sources = walk.sources(op)
            laws = visitor.before(op, _Sampled(sources, walk.sure(op)))
            here = Here(op, sources, laws)
            rows = _output(walk, here)
            factor = visitor.after(op, partial(second, rows[HERE]))
            walk.keep(here, rows if factor is None else rows * factor)
        back = () if gradients is None else carried_back(walk, gradients)
        wander = () if gradients is None else bands.scatters(walk)
        return _told(walk, (wander, back))


def _start(trace: Trace, inputs: "float | Mapping[int, Given] | Start") -> Start:
    if isinstance(inputs, Start):
        return inputs
    if isinstance(inputs, Mapping):
        return Start(inputs)
    numbers = {number for op in trace.ops for number in op.given}
    return Start({number: Given(float(inputs)) for number in (numbers | {0})})


def _output(walk: Walk, here: Here) -> Rows:
    """A sample of what an op gives: by its rule; else by its own function; else what it reads."""
    constant = walk.start.constants.get(here.op.index)
    rows = by_rule(walk, here) if constant is None else constant.rows(here.op.index, "constant")
    if rows is not None:
        return rows
    walk.doubt(here.op)
    rows = probed(here)
    if rows is not None:
        walk.measured[here.op.index] = None
        return rows
    walk.unruled[here.op.index] = None
    if not here.sources:
        return normal_rows(Likeness(1.0), "unknown", here.op.index)
    halved = here.op.kind == OpKind.MUL  # by a constant that is not known: rotary cosines and sines halve
    return here.first * math.sqrt(0.5) if halved else here.first


def _told(walk: Walk, more: tuple[tuple[float, ...], tuple[float, ...]]) -> Propagation:
    moments = [likeness(rows) for rows in walk.rows]
    return Propagation(
        tuple(moment.here for moment in moments),
        tuple(float(rows[HERE].mean()) for rows in walk.rows),
        tuple(_share(moment.elsewhere, moment.here) for moment in moments),
        tuple(_share(moment.another, moment.here) for moment in moments),
        *more,
        tuple(walk.assumed),
        tuple(walk.measured),
        tuple(walk.unruled),
        tuple(walk.grounds),
        MappingProxyType(walk.failed),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


@dataclass(frozen=True)
class _Sampled:
    """Moments of samples, and which of them stand on an assumption."""

    sources: tuple[Rows, ...]
    sure: tuple[bool, ...]

    def __call__(self, operand: int) -> float:
        return second(self.sources[operand][HERE])

    def known(self, operand: int) -> bool:
        return self.sure[operand]
