"""Weights that are applied several times in a row, on traces written by hand."""

from dataclasses import replace

import pytest

from fanwise.graph.details import Activation
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.repetition import ChainKind, chains_of
from fanwise.graph.trace import Trace


def traced(*steps):
    """A trace of (kind, inputs, path) or (kind, inputs, nonlinearity)."""
    ops, paths = [], {}
    for index, (kind, inputs, *word) in enumerate(steps):
        bends = kind == "activation"
        uses = (Use(word[0], UseRole.WEIGHT),) if word and not bends else ()
        paths |= {use.path: None for use in uses}
        detail = Activation(word[0]) if bends else None
        ops.append(Op(index, OpKind(kind), kind, "", 0, index, tuple(inputs), uses, (4, 8), detail=detail))
    return Trace(tuple(ops), tuple(Parameter(path, (8, 8), "float32") for path in paths))


def loop(rounds, *, bent="relu"):
    steps = []
    for number in range(rounds):
        steps += [("linear", [2 * number - 1], "w"), ("activation", [2 * number], bent)]
    return traced(*steps)


@pytest.mark.parametrize("rounds", [2, 5, 17])
def test_a_loop(rounds):
    chain = chains_of(loop(rounds))["w"]
    assert (chain.kind, chain.uses, chain.ops) == (ChainKind.LOOP, rounds, tuple(range(0, 2 * rounds, 2)))
    assert chain.opens
    assert chain.halves
    assert not chains_of(loop(rounds, bent="tanh"))["w"].halves


def test_uses_side_by_side_are_no_chain():
    assert not chains_of(traced(("linear", [INPUT], "w"), ("linear", [INPUT], "w"), ("add", [0, 1])))
    assert not chains_of(loop(1))


def test_other_layers_of_a_stack_are_other_weights():
    ops = [
        Op(i, OpKind.LINEAR, "", "", 0, i, (i - 1,), (Use("w", UseRole.WEIGHT, parts=((0, i, 1),)),), (4, 8))
        for i in range(4)
    ]
    assert not chains_of(Trace(tuple(ops), (Parameter("w", (4, 8, 8), "float32"),)))


def test_a_cell_adds_something_from_outside_and_bends_it():
    steps = [("linear", [INPUT], "w"), ("activation", [0], "tanh")]
    for number in range(3):
        start = 2 + 4 * number
        steps += [("linear", [INPUT], "u"), ("linear", [start - 1], "w"), ("add", [start, start + 1])]
        steps += [("activation", [start + 2], "tanh")]
    chains = chains_of(traced(*steps))
    assert set(chains) == {"w"}
    assert (chains["w"].kind, chains["w"].uses) == (ChainKind.STATE, 4)


def test_a_residual_branch():
    steps = []
    for number in range(4):
        before = 4 * number - 1
        steps += [("linear", [before], "u"), ("activation", [before + 1], "relu"), ("linear", [before + 2], "v")]
        steps += [("add", [before, before + 3])]
    chains = chains_of(traced(*steps[:3], ("add", [INPUT, 2]), *steps[4:]))
    assert {name: chain.kind for name, chain in chains.items()} == dict.fromkeys("uv", ChainKind.BRANCH)


def test_the_first_map_of_a_loop_opens_it():
    steps = [("linear", [i - 1], "uv"[i % 2]) for i in range(8)]
    chains = chains_of(traced(*steps))
    assert {name: chain.opens for name, chain in chains.items()} == {"u": True, "v": False}
    assert not chains["u"].halves  # nothing bends the signal


def test_rounds_that_were_not_traced_count():
    trace = loop(2)

    ops = tuple(replace(op, rounds=10) if op.index > 1 else op for op in trace.ops)
    assert chains_of(replace(trace, ops=ops))["w"].uses == 11
