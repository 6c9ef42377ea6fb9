"""Sums over time, on traces written by hand: what is a state, what is a residual stream, and how much each grew."""

import pytest

from fanwise.graph.op import INPUT
from tests.graph.test_repetition import traced


def filled(steps):
    """A state that begins at zero: s = s + f(x_t, s); the first sum reads one operand, the constant is not listed."""
    ops = [("linear", [INPUT], "w"), ("add", [0])]
    for _ in range(steps - 1):
        state = len(ops) - 1
        ops += [("concat", [INPUT, state]), ("linear", [state + 1], "w"), ("add", [state, state + 2])]
    return traced(*ops)


def driven(steps):
    """A cell whose sums begin with a drive: z_t = u(x_t) + w(tanh z_(t-1))."""
    ops = [("linear", [INPUT], "u")]
    for _ in range(steps):
        state = len(ops) - 1
        ops += [("activation", [state], "tanh"), ("linear", [INPUT], "u"), ("linear", [state + 1], "w")]
        ops += [("add", [state + 2, state + 3])]
    return traced(*ops)


def stack(depth, *, shared):
    """Residual blocks, of one weight or of several."""
    ops = [("linear", [INPUT], "enter")]
    for block in range(depth):
        stream = len(ops) - 1
        ops += [("linear", [stream], "w" if shared else f"w{block}"), ("activation", [stream + 1], "relu")]
        ops += [("linear", [stream + 2], "v" if shared else f"v{block}"), ("add", [stream, stream + 3])]
    return traced(*ops)


@pytest.mark.parametrize("steps", [3, 5, 24])
def test_a_state_that_begins_at_zero(steps):
    trace = filled(steps)
    (state,) = trace.states
    assert (len(state.sums), len(state.drives), state.filled) == (steps - 1, steps - 1, True)
    assert set(trace.filled) == {join.op for join in trace.joins}


@pytest.mark.parametrize("steps", [3, 5, 24])
def test_a_state_whose_sums_begin_with_what_is_added(steps):
    trace = driven(steps)
    (state,) = trace.states
    assert (len(state.sums), state.filled) == (steps, False)
    assert {trace.ops[op].uses[0].path for op in state.drives} == {"u"}
    assert not trace.filled


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_residual_blocks_are_no_states(depth, shared):
    trace = stack(depth, shared=shared)
    assert len(trace.joins) == depth
    assert not trace.states


@pytest.mark.parametrize(("kept", "growth"), [(0.5, 1.0), (0.9, 1.0), (1.0, 1.0), (1.3, 2.72)])
def test_growth_is_that_of_the_steps_and_not_of_filling_up(kept, growth):
    """E s_t^2 = g E s_(t-1)^2 + 1: at most what was added where g <= 1, exponentially more where not."""
    (state,) = driven(12).states
    sizes, moments = 1.0, {state.begin: 1.0}
    for total, drive in zip(state.sums, state.drives, strict=True):
        sizes = kept * sizes + 1.0
        moments |= {total: sizes, drive: 1.0}
    assert (state.growth(moments.__getitem__) <= 1.0001) is (growth == 1.0)
    assert kept < 1.3 or state.growth(moments.__getitem__) > growth


def oscillator(steps, scaled):
    """A velocity that a force is added to, and a position that the velocity is added to, times a step or as it is."""
    step = [("elementwise", [1], "mul")] if scaled else []
    ops = [("linear", [INPUT], "w"), ("add", [0]), *step, ("add", [1 + scaled])]
    velocity, position = 1, len(ops) - 1
    for _ in range(steps - 1):
        ops += [("concat", [INPUT, position]), ("linear", [len(ops)], "w"), ("add", [velocity, len(ops) + 1])]
        velocity = len(ops) - 1
        ops += [("elementwise", [velocity], "mul")] if scaled else []
        ops += [("add", [position, len(ops) - 1])]
        position = len(ops) - 1
    return traced(*ops)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("steps", [4, 12])
def test_a_position_adds_velocities_that_are_carried_on(steps, scaled):
    velocity, position = oscillator(steps, scaled).states
    assert (len(velocity.sums), velocity.carried) == (steps - 1, False)
    assert (len(position.sums), position.carried) == (steps - 1, True)


def test_what_is_carried_on_adds_up_in_size():
    """Equal steps of rms 1 add up to T: that is no growth, and T times it is, which uncorrelated steps would call T."""
    _, position = oscillator(12, scaled=True).states
    moments = {position.begin: 1.0, **dict.fromkeys(position.drives, 1.0)}
    moments |= {total: float(number + 2) ** 2 for number, total in enumerate(position.sums)}
    assert position.growth(moments.__getitem__) == pytest.approx(1.0)
    moments[position.sums[-1]] *= 3
    assert position.growth(moments.__getitem__) == pytest.approx(3.0)


def test_scores_with_a_bias_are_no_stream():
    """softmax(q k^T + b) where q and k were made of b."""
    ops = [("linear", [INPUT], "b"), ("linear", [0], "q"), ("linear", [0], "k"), ("matmul", [1, 2]), ("add", [0, 3])]
    assert traced(*ops).joins
    assert not traced(*ops, ("softmax", [4])).joins


STAGES = {  # of each stage but the first: by what of the stages before the stream is moved; then how they are weighed
    "midpoint": ([[0]], [1]),
    "heun": ([[0]], [0, 1]),
    "third order": ([[0], [1]], [0, 1, 2]),
    "three eighths": ([[0], [0, 1], [0, 1, 2]], [0, 1, 2, 3]),
    "runge_kutta": ([[0], [1], [2]], [0, 1, 2, 3]),
}


def integrated(moves, weighed, steps):
    """A field of two maps, evaluated in stages, their sum added to the stream."""
    ops = [("linear", [INPUT], "enter")]

    def add(kind, inputs, *name):
        ops.append((kind, inputs, *name))
        return len(ops) - 1

    def field(x):
        return add("linear", [add("activation", [add("linear", [x], "w1")], "tanh")], "w2")

    def total(stages):
        here = stages[0]
        for stage in stages[1:]:
            here = add("add", [here, stage])
        return here

    x, ends = 0, []
    for _ in range(steps):
        stages = [field(x)]
        for move in moves:
            stages.append(field(add("add", [x, add("elementwise", [total([stages[i] for i in move])])])))
        x = add("add", [x, add("elementwise", [total([stages[i] for i in weighed])])])
        ends.append(x)
    return traced(*ops), ends


@pytest.mark.parametrize("method", STAGES)
@pytest.mark.parametrize("steps", [1, 4])
def test_weighed_stages_of_an_integrator_are_a_branch_and_no_stream(method, steps):
    trace, ends = integrated(*STAGES[method], steps)
    assert set(ends) <= {join.op for join in trace.joins}
    assert {trace.ops[join.first].index for join in trace.joins} == {0}
