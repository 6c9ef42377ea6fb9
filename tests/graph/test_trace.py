"""A trace answers what feeds and follows an op, and finds the residual streams, without any framework."""

import random

import pytest
from op_details import with_facts

from fanwise.graph.attention import _fed, attention_part
from fanwise.graph.kinds import ATTENTION_OPERAND
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use
from fanwise.graph.paths import nearest
from fanwise.graph.residual import Join
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout

SHAPE = (4, 6)


def trace(*ops, parameters=()):
    """A trace of ops, each given as kind and inputs, and a detail or parameters that it uses."""
    made = []
    for index, (kind, inputs, *more) in enumerate(ops):
        uses = tuple(more[0]) if more and not isinstance(more[0], dict) else ()
        detail = more[0] if more and isinstance(more[0], dict) else {}
        op = Op(index, OpKind(kind), kind, f"m{index}", 0, 0, tuple(inputs), uses, SHAPE)
        made.append(with_facts(op, **detail))
    return Trace(tuple(made), tuple(parameters), (len(made) - 1,))


def found(*ops):
    return [(join.op, join.stream, join.branch) for join in trace(*ops).joins]


W = Use("w", "weight", Layout.dense("out in"))


def test_uses_aliases_and_the_unused():
    parameters = Parameter("w", (6, 6), "float32", ("tied",)), Parameter("v", (6,), "float32")
    made = trace(("linear", [INPUT], [W]), ("linear", [0], [W]), parameters=parameters)
    assert [op.index for op, _ in made.uses["w"]] == [0, 1]
    assert made.unused == ("v",)
    assert made.by_path["tied"] is made.by_path["w"]
    assert made.ops[0].used("weight") == (W,)
    assert made.ops[0].used("bias") == ()
    assert made.ops[1].key == ("m1", 0, 0)
    assert made.ops[0].size == 24


def test_a_use_of_no_parameter_is_an_error():
    with pytest.raises(KeyError):
        trace(("linear", [INPUT], [W])).uses  # noqa: B018


def test_what_feeds_and_follows():
    made = trace(
        ("linear", [INPUT]), ("activation", [0], {"nonlinearity": "relu"}), ("dropout", [1]), ("linear", [2]),
        ("norm", [3]), ("add", [4, 2]),
    )  # fmt: skip
    first, _, dropout, second, norm, add = made.ops
    assert made.followers == ((1,), (2,), (3, 5), (4,), (5,), ())
    assert made.feeds(add) == (norm, dropout)
    assert made.follows(dropout) == (second, add)
    assert made.nonlinearity_after(first) == made.nonlinearity_before(second) == "relu"
    assert made.nonlinearity_before(first) is made.nonlinearity_after(second) is None
    assert made.norm_after(second) is norm
    assert made.norm_after(first) is None
    assert made.ancestors(4) == {0, 1, 2, 3, 4}
    assert made.ancestors(4, stop=2) == {2, 3, 4}


def test_a_residual_and_its_numbers():
    made = trace(
        ("embedding", [INPUT]), ("linear", [0]), ("add", [0, 1]), ("norm", [2]), ("linear", [3]), ("add", [4, 2]),
        ("linear", [5]), ("linear", [6]), ("add", [6, 7]),
    )  # fmt: skip
    assert made.joins == (
        Join(2, 0, 1, depth=0, total=2, first=0, number=2, origin=0),
        Join(5, 2, 4, depth=1, total=2, first=0, number=2, origin=2),
        Join(8, 6, 7, depth=0, total=1, first=6, number=8, origin=6),  # a map lies between: another stream
    )


def test_post_norm_is_one_stream():
    made = trace(
        ("embedding", [INPUT]), ("linear", [0]), ("add", [0, 1]), ("norm", [2]), ("linear", [3]), ("add", [3, 4])
    )
    assert [(join.depth, join.total) for join in made.joins] == [(0, 2), (1, 2)]


NO_JOINS = {
    "the same twice": [("linear", [INPUT]), ("add", [0, 0])],
    "elementwise": [("linear", [INPUT]), ("activation", [0]), ("add", [0, 1])],
    "a norm of itself": [("linear", [INPUT]), ("norm", [0]), ("add", [0, 1])],
    "a constant": [("linear", [INPUT]), ("add", [0])],
    "two maps": [("linear", [INPUT]), ("linear", [0]), ("linear", [0]), ("add", [1, 2])],
    "low rank": [("embedding", [INPUT]), ("linear", [0]), ("linear", [0]), ("linear", [2]), ("add", [1, 3])],
    "concatenated": [("linear", [INPUT]), ("linear", [0]), ("concat", [0, 1])],
    "subtracted from": [("linear", [INPUT]), ("linear", [0]), ("add", [1, 0], {"minus": 1})],
    "another input": [
        ("linear", [INPUT], {"given": (0,)}),
        ("linear", [0]),
        ("add", [INPUT, 1], {"given": (1,)}),
    ],
}


@pytest.mark.parametrize("ops", NO_JOINS.values(), ids=NO_JOINS)
def test_no_residual(ops):
    assert found(*ops) == []


def test_the_smallest_changes_make_them_residuals():
    assert found(("linear", [INPUT]), ("linear", [0]), ("add", [0, 1])) == [(2, 0, 1)]
    assert found(("linear", [INPUT]), ("linear", [0]), ("add", [0, 1], {"minus": 1})) == [(2, 0, 1)]
    assert found(("linear", [INPUT]), ("linear", [0]), ("add", [INPUT, 1])) == [(2, INPUT, 1)]
    bent = [("embedding", [INPUT]), ("linear", [0]), ("linear", [0]), ("activation", [2]), ("linear", [3])]
    assert found(*bent, ("add", [1, 4])) == [(5, 1, 4)]


def test_parallel_branches_both_join():
    ops = [("embedding", [INPUT]), ("linear", [0]), ("linear", [0]), ("add", [0, 1]), ("add", [3, 2])]
    made = trace(*ops)
    assert [(join.op, join.stream, join.branch, join.depth) for join in made.joins] == [(3, 0, 1, 0), (4, 3, 2, 1)]
    summed = [("embedding", [INPUT]), ("linear", [0]), ("linear", [0]), ("add", [1, 2]), ("add", [3, 0])]
    assert found(*summed) == [(4, 0, 3)]


def test_joins_of_a_deep_stream_are_found_quickly():
    ops = [("embedding", [INPUT])]
    for _ in range(1000):
        last = len(ops) - 1
        ops += [("norm", [last]), ("linear", [last + 1]), ("add", [last, last + 2])]
    joins = trace(*ops).joins
    assert [join.depth for join in joins] == list(range(1000))
    assert {join.total for join in joins} == {1000}


ANY = ("linear", "add", "norm", "activation", "mul", "matmul", "softmax", "slice")


def random_trace(seed, length=60):
    """Ops of random kinds that read ops shortly before them."""
    draw = random.Random(seed)
    ops = []
    for index in range(length):
        kind = draw.choice(ANY)
        count = 2 if kind in ("add", "mul", "matmul") else 1
        ops.append((kind, [draw.randrange(max(index - 6, -1), index) for _ in range(count)]))
    return trace(*ops)


@pytest.mark.parametrize("seed", range(12))
def test_the_nearest_op_is_the_one_that_a_search_from_each_op_finds(seed):
    made = random_trace(seed)
    draw = random.Random(seed)
    for _ in range(8):
        kinds = {OpKind(kind) for kind in draw.sample(ANY, 2)}
        through = {OpKind(kind) for kind in draw.sample(ANY, 4)} - kinds
        for op in made.ops:
            assert made.before(op, kinds, through) == nearest(op, lambda here: made.feeds(here)[:1], kinds, through)
            assert made.after(op, kinds, through) == nearest(op, made.follows, kinds, through)


@pytest.mark.parametrize("seed", range(12))
def test_what_depends_on_data_and_on_maps_is_what_ancestors_say(seed):
    made = random_trace(seed)
    for op in made.ops:
        past = made.ancestors(op.index)
        assert (op.index in made.of_data) == any(INPUT in made.ops[i].inputs for i in past)
        assert (op.index in made.of_maps) == any(made.ops[i].kind == OpKind.LINEAR for i in past)


@pytest.mark.parametrize("seed", range(12))
def test_the_part_of_an_attention_is_the_nearest_one(seed):
    made = random_trace(seed)
    for op in made.ops:
        assert attention_part(made, op) == next((part for _, part in _fed(made, op, ATTENTION_OPERAND)), None)
