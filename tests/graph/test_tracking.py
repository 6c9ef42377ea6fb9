"""The neutral half of a recorder: numbers of ops, calls of modules, features through views, what a run writes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fanwise.graph.op import INPUT, OpKind, Parameter, Use, UseRole
from fanwise.graph.tracking.call import Call, parts_of
from fanwise.graph.tracking.module_calls import ModuleCalls
from fanwise.graph.tracking.tracker import Measured, Read, Source, Tracker, std_ratio
from fanwise.graph.tracking.views import ViewChain, runs_of, selection_of
from fanwise.graph.tracking.writes import Writes
from fanwise.graph.visitor import Watcher

ROOT = ("", 0)
WEIGHT = Parameter("w", (4, 6), "float32")


class Halving(Watcher):
    """A visitor that scales every output."""

    def __init__(self, factor):
        self.factor = factor

    def after(self, op, moment):
        return self.factor


def tracker(factor=None):
    return Tracker({"w": WEIGHT}, Halving(factor))


def linear(tracker, read=(), caller=ROOT, shape=(3, 6)):
    return tracker.add(tracker.opened(Call(OpKind.LINEAR, (), name="linear"), caller, read), shape)


def test_ops_are_numbered_in_the_order_in_which_they_are_added():
    seen = tracker()
    late = seen.opened(Call(OpKind.ADD, (), name="add"), ROOT)
    first = linear(seen)
    late = seen.add(late, (3, 6))
    other = linear(seen, caller=("block", 1))
    assert [op.index for op in seen.ops] == [0, 1, 2]
    assert [op.key for op in (first, late, other)] == [("", 0, 0), ("", 0, 1), ("block", 1, 0)]


def test_an_op_says_what_it_reads():
    seen = tracker()
    read = [Read(Source(INPUT, None, 2), (3, 4)), Read(Source(0), (3, 6)), Read(Source(INPUT), (5,))]
    use = Use("w", UseRole.WEIGHT)
    op = seen.opened(Call(OpKind.LINEAR, (), axis=-2, name="linear"), ("block", 3), read, (use,))
    assert (op.inputs, op.reads, op.given) == ((INPUT, 0, INPUT), ((3, 4), (3, 6), (5,)), (2, 0))
    assert (op.kind, op.name, op.module, op.call, op.axis, op.uses) == (OpKind.LINEAR, "linear", "block", 3, -2, (use,))


def test_the_trace_ends_where_the_model_does():
    seen = tracker()
    linear(seen)
    trace = seen.trace([None, Source(INPUT), Source(0), Source(0)], ["a", "b", "a"])
    assert (trace.outputs, trace.unseen, trace.parameters) == ((0,), ("a", "b"), (WEIGHT,))


@pytest.mark.parametrize(("given", "factor"), [(None, None), (1, None), (1.0, None), (0.5, 0.5)])
def test_a_factor_of_one_is_none(given, factor):
    seen = tracker(given)
    assert seen.factor_after(linear(seen), lambda: 1.0) == factor


# Features


def source_of(seen, op, read=(), *, is_sum=False):
    return Source(op.index, seen.views_after(op, read, is_sum=is_sum))


def added(seen, kind, read, *, shape=(3, 6), is_sum=False):
    op = seen.add(seen.opened(Call(kind, (), name=str(kind)), ROOT, read), shape)
    return source_of(seen, op, read, is_sum=is_sum)


def test_features_are_counted_through_what_keeps_the_shape():
    seen = tracker()
    source = source_of(seen, linear(seen))
    assert source.views == ViewChain(0, (3, 6), -1)
    assert added(seen, OpKind.ACTIVATION, [Read(source, (3, 6))]).views == source.views
    assert added(seen, OpKind.ACTIVATION, [Read(source, (3, 6))], shape=(3, 3)).views is None
    assert added(seen, OpKind.MUL, [Read(source, (3, 6)), Read(source, (3, 6))]).views is None


def test_maps_that_are_added_are_peers():
    seen = tracker()
    first, second = (Read(source_of(seen, linear(seen)), (3, 6)) for _ in range(2))
    assert added(seen, OpKind.ADD, [first, second], is_sum=True).views == ViewChain(0, (3, 6), -1, (), (1,))
    table = Read(added(seen, OpKind.EMBEDDING, ()), (3, 6))
    assert added(seen, OpKind.ADD, [first, table], is_sum=True).views is None
    turned = Read(replace(second.source, views=second.source.views.then(np.transpose)), (6, 3))
    assert added(seen, OpKind.ADD, [first, turned], is_sum=True).views is None
    other = Read(source_of(seen, linear(seen, shape=(3, 5))), (3, 5))
    assert added(seen, OpKind.ADD, [first, other], is_sum=True).views is None


def test_views_are_replayed_on_the_numbers_of_features():
    chain = ViewChain(0, (2, 6, 3), 1)
    assert np.array_equal(chain.numbers()[1, :, 2], np.arange(6))
    cut = chain.then(lambda array: array[:, 2:5]).then(np.transpose)
    numbers = cut.replayed(cut.numbers())
    assert (numbers.shape, runs_of(numbers, cut.extent)) == ((3, 3, 2), ((2, 3),))


def test_a_view_that_cannot_be_followed_ends_the_replay():
    chain = ViewChain(0, (2, 6), 1).then(lambda array: None).then(lambda array: array[:, :3])
    assert chain.replayed(chain.numbers()) is None


RUNS = [([3, 4, 5], ((3, 3),)), ([5, 0, 1, 5], ((0, 2), (5, 1))), ([[0, 1], [2, 3]], ((0, 4),)), ([], None)]


@pytest.mark.parametrize(("numbers", "runs"), RUNS)
def test_runs(numbers, runs):
    assert runs_of(np.array(numbers, np.int32), 6) == runs


def test_runs_of_repeated_numbers():
    assert runs_of(np.broadcast_to(np.arange(2, 5, dtype=np.int32), (1 << 20, 3)), 6) == ((2, 3),)


def test_a_selection_leaves_features_out():
    chain = ViewChain(3, (2, 6), -1, (), (4,))
    assert selection_of(chain, None) is None
    assert selection_of(chain, ((0, 6),)) is None
    call = selection_of(chain, ((0, 2), (4, 2)))
    assert (call.kind, call.detail.root, call.detail.runs, call.detail.peers) == (
        OpKind.SLICE,
        3,
        ((0, 2), (4, 2)),
        (4,),
    )


# Modules, moments, writes


def test_calls_of_modules():
    calls = ModuleCalls()
    seen = [calls.caller]
    for path in ("a", "a.b"):
        calls.enter(path)
        seen.append(calls.caller)
    calls.enter("a.b", new=False)
    seen.append(calls.caller)
    assert [calls.leave() for _ in range(3)] == ["a.b", "a.b", "a"]
    calls.enter("a")
    assert [*seen, calls.caller] == [("", 0), ("a", 0), ("a.b", 0), ("a.b", 0), ("a", 1)]


def test_moments_of_what_is_read():
    measured = Measured((np.full(3, 2.0), np.zeros(0)), lambda a: float((a**2).mean()) if a.size else math.nan, np.any)
    assert measured(0) == 4
    assert measured.known(0)
    assert math.isnan(measured(1))
    assert not measured.known(1)


def test_writes_are_undone_the_last_first():
    undone = []
    writes = Writes(lambda target: lambda: undone.append(list(target)))
    first, second = [1], [2]
    for target in (first, second, first):
        writes.keep(target)
    writes.restore()
    writes.restore()
    assert undone == [[2], [1]]


def test_parts_that_are_given():
    (part,) = parts_of(("w", UseRole.WEIGHT, None), (None, UseRole.BIAS, None))
    assert (part.input, part.role) == ("w", UseRole.WEIGHT)


def test_ratio_of_stds():
    assert [std_ratio(1, 4), std_ratio(0, 4), std_ratio(4, 0), std_ratio(math.nan, 1)] == [2, 1, 1, 1]
