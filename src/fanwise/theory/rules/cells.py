"""Recurrent cells: states unrolled over time, and gradients back through it."""

import math
from collections.abc import Iterator

import numpy as np

from fanwise.graph.op import OpKind
from fanwise.theory.recurrence import Unrolled, input_gradients, reads_input, unrolled
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule
from fanwise.theory.samples import HERE, Likeness, Rows, Values, fresh, normal_rows, second
from fanwise.theory.walk import Here, Walk


@forward_rule(OpKind.RECURRENT)
def recurrent(walk: Walk, here: Here) -> Rows | None:
    """States h_t of a cell, step by step; a place of the output is one step.

        gate = W x_t + U h_(t-1) + b
        E gate^2 = fan_in Var(w) E x^2 + width Var(u) E h_(t-1)^2 + E b^2, then the cell's function

    Derived here: each gate is a sum of two linear maps as in `linear`; the weights are the same at every step, so what
    they give is correlated in time as what they read is (Yang, "Tensor programs I", 2019). The cells are those of
    torch.nn.
    """
    walk.doubt(here.op)
    run = unrolled(walk, here)
    if run is None:
        return None
    walk.memory[here.op.index] = run
    return run.states


@backward_rule(OpKind.RECURRENT)
def recurrent_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Back through time: dL/dh_(t-1) = dL/dh_(t-1) of its own output + U^T dL/dgate_t + the cell's direct way.

    A cell that reads another's states gives it the gradients of its steps as they are. Derived here: the chain rule on
    the unrolled cell, with transposed weights as in `linear_gradient`.
    """
    run = walk.memory.get(here.op.index)
    if not isinstance(run, Unrolled) or not reads_input(walk, here):
        return
    at_states = walk.sequences.get(here.op.index)
    if at_states is None:
        size = math.sqrt(second(gradient[HERE]))
        at_states = [size * fresh("start", here.op.index, time) for time in range(len(run.steps))]
    outputs = walk.features(here.op) / max(here.read(0)[-1] if here.read(0) else 1, 1)
    at_inputs = [math.sqrt(outputs) * step for step in input_gradients(walk, run, at_states, here.op.index)]
    source = here.op.inputs[0]
    below = walk.memory.get(source)
    if isinstance(below, Unrolled) and len(below.steps) == len(at_inputs):
        walk.sequences[source] = at_inputs
    yield Share(source, normal_rows(_over_time(at_inputs), "back", here.op.index))


def _over_time(steps: list[Values]) -> Likeness:
    """Second moments over the steps, and of any two of them."""
    size = sum(second(step) for step in steps) / len(steps)
    pairs = [float(np.mean(step * other)) for i, step in enumerate(steps) for other in steps[:i]]
    return Likeness(size, sum(pairs) / len(pairs) if pairs else size)
