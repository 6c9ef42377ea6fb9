"""Cells with a hidden state, unrolled: the same weights at every step, so that what they give is correlated in time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Recurrence
from fanwise.graph.op import Op, Use, UseRole
from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.theory.samples import (
    ANOTHER,
    HERE,
    SAMPLES,
    Likeness,
    Rows,
    Values,
    fresh,
    generator,
    likeness,
    normal_rows,
)
from fanwise.theory.walk import Here, Walk

MOST_STEPS = 24
"""Steps that are unrolled; a state that has not settled by then changes slowly."""

Gates: TypeAlias = tuple[Rows, ...]
Slopes: TypeAlias = Callable[[int, Values, Values], tuple[list[Values], Values, Values]]


@dataclass(frozen=True)
class Step:
    """One step of a cell.

    Args:
        gates: pre-activations of each gate; of a GRU also what the hidden state adds to its candidate, last.
        before: state before the step.
        cell_before: memory cell before it; zeros where the cell has none.
        cell: memory cell after it.
    """

    gates: Gates
    before: Rows
    cell_before: Rows
    cell: Rows


@dataclass(frozen=True)
class Unrolled:
    """A layer of cells over a sequence.

    Args:
        kind: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        steps: in order.
        states: the state at some step of some example, and at others.
        sequence: the states after each step.
        variances: for each gate, variance times fan_in of the map of the input, and of that of the state.
        below: the layer whose states this one reads; None for the first.
    """

    kind: str
    steps: tuple[Step, ...]
    states: Rows
    sequence: tuple[Rows, ...]
    variances: tuple[tuple[float, ...], tuple[float, ...]]
    below: "Unrolled | None" = None


def unrolled(walk: Walk, here: Here) -> Unrolled | None:
    """The layers of an op of recurrent cells, from the first to the last; None for a cell that is not known."""
    kind, layers = str(here.op.cell), _layers(here.op)
    if kind not in CELLS or not here.sources or not layers:
        return None
    length = sequence_length(here)
    last: Unrolled | None = None
    rows = here.first if reads_input(walk, here) else np.zeros((3, SAMPLES))
    for number, layer in enumerate(layers):
        last = _layer(walk, here, rows, (kind, number, layer, length, last))
        rows = last.states
    return last


def reads_input(walk: Walk, here: Here) -> bool:
    """Whether the first thing that an op reads is its input; else that is a constant, and what it reads is its state.

    A cell that is called step by step reads an input and a state, an LSTM a memory cell too; constants are not listed.
    """
    entering, sources = here.op.used(UseRole.WEIGHT)[:1], here.op.inputs
    whole = 3 if here.op.cell == "lstm" else 2
    if here.op.time is not None or len(sources) >= whole or not entering or not here.read(0):
        return True
    shape, layout = walk.trace.by_path[entering[0].path].shape, entering[0].layout
    if layout is not None and len(layout.axes) == len(shape) and layout.block_fans(shape)[0].fan_in != here.read(0)[-1]:
        return False
    return not (whole == 3 and len(sources) == 2 and sources[0] == sources[1])


def sequence_length(here: Here) -> int:
    """Steps of the sequence that an op reads; 1 where it is one step."""
    axis, shape = here.op.time, here.read(0)
    return int(shape[axis]) if isinstance(axis, int) and axis < len(shape) and len(shape) > 1 else 1


def _layers(op: Op) -> list[tuple[Use, Use, tuple[Use, ...]]]:
    """The maps of the input and of the state of each layer, with its biases; the second direction is like the first."""
    inputs, states = op.used(UseRole.WEIGHT), op.used(UseRole.RECURRENT)
    biases = (*op.used(UseRole.BIAS), *op.used(UseRole.STATE_BIAS))
    step = 2 if isinstance(op.detail, Recurrence) and op.detail.bidirectional else 1
    each = len(biases) // max(len(inputs), 1)
    pairs = list(zip(inputs, states, strict=False))
    return [(*pair, biases[each * i : each * i + each]) for i, pair in enumerate(pairs)][::step]


def _layer(
    walk: Walk, here: Here, rows: Rows, about: tuple[str, int, tuple[Use, Use, tuple[Use, ...]], int, Unrolled | None]
) -> Unrolled:
    kind, number, (entering, hidden, biases), length, below = about
    gates = GATES[kind]
    variances = tuple(_gate_variances(walk, use, here.laws, gates) for use in (entering, hidden))
    offsets = [_offset(walk, biases, here.laws, gate) for gate in range(gates)]
    state, cell = _start(walk, here)
    steps: list[Step] = []
    inputs = _inputs_over_time(rows, min(length, MOST_STEPS), below or _read(walk, here), (here.op.index, number))
    for time, entered in enumerate(inputs):
        read = (entered, state), (entering.path, hidden.path)
        before = _gates(walk, *read, (kind, variances, offsets, (time, number)))
        after, memory = CELLS[kind](before, state, cell)
        steps.append(Step(before, state, cell, memory))
        state, cell = after, memory
    states = [*(step.before for step in steps[1:]), state]
    gains = (variances[0], variances[1])
    return Unrolled(kind, tuple(steps), _some_step(states, here.op.index), tuple(states), gains, below)


def _read(walk: Walk, here: Here) -> Unrolled | None:
    """The layer of another op whose states this one reads."""
    source = walk.memory.get(here.op.inputs[0]) if here.op.inputs and reads_input(walk, here) else None
    return source if isinstance(source, Unrolled) and here.op.time is not None else None


def _start(walk: Walk, here: Here) -> tuple[Rows, Rows]:
    """State and memory cell before the first step: zeros, or what a cell that is called step by step gave before."""
    nothing = np.zeros((3, SAMPLES))
    operand = 1 if reads_input(walk, here) else 0
    if here.op.time is not None or len(here.sources) <= operand:
        return nothing, nothing
    earlier = walk.memory.get(here.op.inputs[operand])
    return here.sources[operand], earlier.steps[-1].cell if isinstance(earlier, Unrolled) else nothing


def _gate_variances(walk: Walk, use: Use, laws: Mapping[str, Initializer], gates: int) -> tuple[float, ...]:
    """Variance times fan_in of the map to each gate."""
    blocks = [gain for _, gain, _ in walk.block_variances(use, laws)]
    return tuple(blocks) if len(blocks) == gates else (walk.map_variance(use, laws)[0],) * gates


def _offset(walk: Walk, biases: tuple[Use, ...], laws: Mapping[str, Initializer], gate: int) -> Values:
    """What the biases of a gate add: one number a unit."""
    total = np.zeros(SAMPLES)
    for use in biases:
        law = laws.get(use.path)
        if isinstance(law, Blocks) and gate < len(law.laws):
            moments = law.laws[gate].moments((walk.trace.by_path[use.path].shape[0] // len(law.laws),))
        elif law is not None:
            moments = law.moments(walk.trace.by_path[use.path].shape)
        else:
            continue
        total = total + moments.mean + moments.std * fresh("bias", use.path, gate)
    return total


def _inputs_over_time(rows: Rows, steps: int, below: Unrolled | None, name: tuple[int, int]) -> list[Rows]:
    """What the cell reads at each step: the states of the layer below, or places that are all equally alike.

    Row `HERE` has one example, row `ANOTHER` another one.
    """
    if below is not None and len(below.steps) == steps:
        return list(below.sequence)
    moments = likeness(rows)
    shared = normal_rows(Likeness(max(moments.elsewhere, 0.0), max(moments.elsewhere, 0.0), moments.another), *name)
    own = max(moments.here - moments.elsewhere, 0.0)
    return [shared + normal_rows(Likeness(own, own, 0.0), *name, time) for time in range(steps)]


def _gates(
    walk: Walk,
    read: tuple[Rows, Rows],
    paths: tuple[str, str],
    about: tuple[str, tuple[tuple[float, ...], ...], Sequence[Values], tuple[int, int]],
) -> Gates:
    """Pre-activations: each gate has weights of its own, which it uses at every step."""
    kind, variances, offsets, when = about
    gates: list[Rows] = []
    for gate in range(GATES[kind]):
        name = (*paths, gate)
        entered = math.sqrt(variances[0][gate]) * walk.through(f"{paths[0]}/{gate}", read[0], *name, "in", *when)
        stayed = math.sqrt(variances[1][gate]) * walk.through(f"{paths[1]}/{gate}", read[1], *name, "state", *when)
        if kind == "gru" and gate == 2:
            return (*gates, entered + offsets[gate], stayed)
        gates.append(entered + stayed + offsets[gate])
    return tuple(gates)


def _some_step(states: list[Rows], name: int) -> Rows:
    """The state at a step of its own for each feature; at another step in row `ELSEWHERE`."""
    numbers, count = generator("step", name), len(states)
    stacked, columns = np.stack(states), np.arange(SAMPLES)
    here = numbers.integers(count, size=SAMPLES)
    away = (here + 1 + numbers.integers(max(count - 1, 1), size=SAMPLES)) % count
    return np.stack([stacked[here, HERE, columns], stacked[away, HERE, columns], stacked[away, ANOTHER, columns]])


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))))


def _lstm(gates: Gates, state: Rows, cell: Rows) -> tuple[Rows, Rows]:
    entering, forgetting, candidate, leaving = gates
    memory = _sigmoid(forgetting) * cell + _sigmoid(entering) * np.tanh(candidate)
    return _sigmoid(leaving) * np.tanh(memory), memory


def _gru(gates: Gates, state: Rows, cell: Rows) -> tuple[Rows, Rows]:
    resetting, updating, entered, stayed = gates
    keep = _sigmoid(updating)
    return (1 - keep) * np.tanh(entered + _sigmoid(resetting) * stayed) + keep * state, cell


def _tanh(gates: Gates, state: Rows, cell: Rows) -> tuple[Rows, Rows]:
    return np.tanh(gates[0]), cell


def _relu(gates: Gates, state: Rows, cell: Rows) -> tuple[Rows, Rows]:
    return np.maximum(gates[0], 0.0), cell


CELLS: Mapping[str, Callable[[Gates, Rows, Rows], tuple[Rows, Rows]]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _tanh,
    "rnn_relu": _relu,
}
"""State and memory cell after a step, in torch's order of the gates."""
GATES: Mapping[str, int] = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def input_gradients(walk: Walk, run: Unrolled, at_states: Sequence[Values], name: object) -> list[Values]:
    """Gradients at what the first layer reads, step by step, from those at the states of the last, which they keep.

    The same weights carry them back at every step, so that they are correlated in time.

    Args:
        walk: of the propagation.
        run: the layers.
        at_states: a sample of dL/dh for each step.
        name: of the op.
    """
    at_inputs = list(at_states)
    here: Unrolled | None = run
    number = 0
    while here is not None:
        at_inputs = _layer_gradients(walk, here, at_inputs, (name, number))
        here, number = here.below, number + 1
    return at_inputs


def _layer_gradients(walk: Walk, run: Unrolled, at_states: list[Values], name: tuple[object, int]) -> list[Values]:
    from_later, at_cell = np.zeros(SAMPLES), np.zeros(SAMPLES)
    at_inputs: list[Values] = []
    for time in range(len(run.steps) - 1, -1, -1):
        slopes, at_cell, direct = _step_gradient(run.kind, run.steps[time], at_states[time] + from_later, at_cell)
        entered = slopes[: GATES[run.kind]]
        at_inputs.append(_carried(walk, run.variances[0], entered, ("back", "in", *name, time)))
        stayed = _carried(walk, run.variances[1], _of_state(run.kind, slopes), ("back", "state", *name, time))
        from_later = direct + stayed
    return at_inputs[::-1]


def _carried(walk: Walk, variances: tuple[float, ...], slopes: list[Values], name: tuple[object, ...]) -> Values:
    """What the transposed weights of the gates make of the gradients at their pre-activations."""
    total = np.zeros(SAMPLES)
    for gate, (gain, slope) in enumerate(zip(variances, slopes, strict=True)):
        rows = np.stack([slope, np.zeros(SAMPLES), np.zeros(SAMPLES)])
        path = "/".join(map(str, (*name[:-1], gate)))
        total = total + math.sqrt(gain) * walk.through(path, rows, *name, gate)[HERE]
    return total


def _of_state(kind: str, slopes: list[Values]) -> list[Values]:
    """The gradients at what the hidden state adds: of a GRU's candidate, behind its reset gate."""
    return [*slopes[:2], slopes[3]] if kind == "gru" else slopes


def _step_gradient(kind: str, step: Step, at_state: Values, at_cell: Values) -> tuple[list[Values], Values, Values]:
    """Gradients at the pre-activations of the gates, at the memory cell before, and at the state before directly."""
    gates = [gate[HERE] for gate in step.gates]
    nothing = np.zeros(SAMPLES)
    if kind == "lstm":
        return (*_lstm_gradient(gates, step, at_state, at_cell), nothing)
    if kind == "gru":
        return _gru_gradient(gates, step, at_state)
    slope = 1 - np.tanh(gates[0]) ** 2 if kind == "rnn_tanh" else (gates[0] > 0).astype(float)
    return [at_state * slope], at_cell, nothing


def _lstm_gradient(gates: list[Values], step: Step, at_state: Values, at_cell: Values) -> tuple[list[Values], Values]:
    entering, forgetting, leaving = (_sigmoid(gates[i]) for i in (0, 1, 3))
    candidate, memory = np.tanh(gates[2]), np.tanh(step.cell[HERE])
    whole = at_cell + at_state * leaving * (1 - memory**2)
    slopes = [
        whole * candidate * entering * (1 - entering),
        whole * step.cell_before[HERE] * forgetting * (1 - forgetting),
        whole * entering * (1 - candidate**2),
        at_state * memory * leaving * (1 - leaving),
    ]
    return slopes, whole * forgetting


def _gru_gradient(gates: list[Values], step: Step, at_state: Values) -> tuple[list[Values], Values, Values]:
    reset, keep = _sigmoid(gates[0]), _sigmoid(gates[1])
    candidate = np.tanh(gates[2] + reset * gates[3])
    inner = at_state * (1 - keep) * (1 - candidate**2)
    slopes = [
        inner * gates[3] * reset * (1 - reset),
        at_state * (step.before[HERE] - candidate) * keep * (1 - keep),
        inner,
        inner * reset,
    ]
    return slopes, np.zeros(SAMPLES), at_state * keep
