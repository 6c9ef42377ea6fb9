"""The kernel against its definition: the same bits on every path, in every box, with any number of threads."""

import math
import multiprocessing
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanwise import Box, Key
from fanwise.stream import fill, native
from fanwise.stream.formats import FORMATS
from fanwise.stream.law import normal_law, truncated_law, uniform_between_law, uniform_law
from fanwise.stream.truncation import Truncation

pytestmark = pytest.mark.skipif(native.ISA == "numpy", reason="the kernel was not built: no C compiler at install")

STREAM = Key(2026, "native").philox()
LAWS = {
    "uniform": lambda form: uniform_law(form, 0.05),
    "uniform between": lambda form: uniform_between_law(form, -1.0, 3.0),
    "normal": lambda form: normal_law(form, 0.02, 0.0),
    "normal with a mean": lambda form: normal_law(form, math.pi / 100, 1.5),  # no fraction: a fused sum would show
    "truncated": lambda form: truncated_law(form, Truncation(-2.0, 2.0), 0.02, 0.0),
    "truncated, lopsided": lambda form: truncated_law(form, Truncation(-0.5, math.inf), 1.0, 0.25),
    "truncated nowhere": lambda form: truncated_law(form, Truncation(-math.inf, math.inf), 1.0, 0.0),
}
CASES = [(name, form) for name in LAWS for form in FORMATS]

every_path = pytest.mark.parametrize("isa", native.ISAS)
every_case = pytest.mark.parametrize(("name", "form"), CASES)


def both(isa, law, dtype, box, shape, *, threads=1, strided=None):
    """The box by a path of the kernel and by the definition."""
    target = strided if strided is not None else np.zeros(box.shape, dtype)
    assert native.fill(target, STREAM, law, box, shape=shape, threads=threads, isa=isa)
    defined = np.zeros(box.shape, dtype)
    fill.define(defined, STREAM, law, box, shape)
    return target, defined


@every_path
@every_case
def test_every_law_and_dtype(isa, name, form):
    law, dtype = LAWS[name](FORMATS[form]), FORMATS[form].dtype()
    drawn, defined = both(isa, law, dtype, Box((3,), (300_001,)), (2**40,))
    assert drawn.tobytes() == defined.tobytes()


@every_path
def test_words(isa):
    drawn, defined = both(isa, None, np.dtype(np.uint32), Box((1,), (300_001,)), (2**40,))
    assert drawn.tobytes() == defined.tobytes()


@every_path
@pytest.mark.parametrize("offset", [-500, -67, -66, -65, -64, -63, -5, -1, 0, 1])
def test_where_the_low_counter_word_wraps(isa, offset):
    law = LAWS["normal"](FORMATS["float32"])
    drawn, defined = both(isa, law, np.dtype("float32"), Box((2**34 + offset,), (1000,)), (2**62,))
    assert drawn.tobytes() == defined.tobytes()


@st.composite
def boxes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=0, max_size=4)))
    if shape:
        shape = (*shape[:-1], draw(st.sampled_from([1, 3, 12, 13, 64, 200])))
    start = tuple(draw(st.integers(0, n)) for n in shape)
    return shape, Box(start, tuple(draw(st.integers(0, n - a)) for a, n in zip(start, shape, strict=True)))


def strided_target(shape, dtype, layout):
    """An array of a shape with unusual strides, and the memory around it."""
    if layout == "reversed":
        memory = np.zeros(shape, dtype)
        return memory, memory[(..., *(slice(None, None, -1) for _ in shape))]
    if layout == "every other":
        memory = np.zeros(tuple(2 * n for n in shape), dtype)
        return memory, memory[(..., *(slice(None, None, 2) for _ in shape))]
    memory = np.zeros(shape[::-1], dtype)
    return memory, memory.T


@settings(max_examples=600, deadline=None)
@given(boxes(), st.sampled_from(CASES), st.sampled_from(["plain", "reversed", "every other", "transposed"]), st.data())
def test_boxes_and_strides(case, which, layout, data):
    (shape, box), (name, form) = case, which
    isa = data.draw(st.sampled_from(list(native.ISAS)))
    law, dtype = LAWS[name](FORMATS[form]), FORMATS[form].dtype()
    memory, target = (None, None) if layout == "plain" else strided_target(box.shape, dtype, layout)
    drawn, defined = both(isa, law, dtype, box, shape, strided=target)
    assert np.ascontiguousarray(drawn).tobytes() == defined.tobytes()
    if layout == "every other":
        drawn[...] = 0
        assert not memory.any()  # nothing beside the target was written


@every_path
@pytest.mark.parametrize("threads", [1, 2, 3, 7, 64, 1000])
def test_any_number_of_threads(isa, threads):
    law, box, shape = LAWS["normal"](FORMATS["float32"]), Box((1, 3), (990, 1017)), (1000, 1025)
    drawn, defined = both(isa, law, np.dtype("float32"), box, shape, threads=threads)
    assert drawn.tobytes() == defined.tobytes()


def test_64_python_threads_at_once():
    keys = [Key(0, f"layer.{i}") for i in range(64)]
    alone = [fill.normal(key, (300_000,)).tobytes() for key in keys]
    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(lambda key: fill.normal(key, (300_000,), threads=4).tobytes(), keys))
    assert together == alone


def child_draws(pipe):
    pipe.send(fill.normal(Key(0, "forked"), (600_000,), threads=4).tobytes())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")  # JAX, where another test imported it
def test_after_fork():
    before = fill.normal(Key(0, "forked"), (600_000,), threads=4).tobytes()
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=child_draws, args=(send,))
    child.start()
    assert receive.poll(60)
    assert receive.recv() == before
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads):
    out = np.full(8, 7.0, np.float32)
    with pytest.raises(ValueError, match=f"threads = {threads}: expected an integer >= 1"):
        fill.normal(0, (8,), out=out, threads=threads)
    assert (out == 7).all()


def test_a_misaligned_target_is_refused():
    memory = np.zeros(33, np.uint8)
    out = memory[1:].view(np.float32)
    with pytest.raises(ValueError, match="not aligned to its items of 4 bytes"):
        fill.normal(0, (8,), out=out)
    assert not memory.any()


def test_freeing_the_target_while_it_is_filled_is_prevented():
    """The kernel holds the buffer, so that its memory cannot go while the interpreter runs on."""
    array = bytearray(4 << 20)
    with ThreadPoolExecutor(1) as pool:
        target = np.frombuffer(array, np.float32)
        filling = pool.submit(fill.normal, Key(0), target.shape, out=target, threads=1)
        with pytest.raises(BufferError):
            array.clear()
        filling.result()


@pytest.mark.parametrize(
    "change",
    [
        {"start": (5,)},
        {"start": (0, 0)},
        {"shape": (3,)},
        {"threads": 0},
        {"isa": 99},
        {"map": 9},
        {"dtype": 2, "map": 0},
        {"dtype": 1},
        {"key": b"short"},
    ],
)
def test_the_module_checks_what_it_is_told(change):
    """Below the checks of `fill`: no call may write outside the target or crash."""
    out = np.full(8, 7.0, np.float32)
    told = {
        "key": STREAM.packed, "map": 2, "dtype": 2, "unit": 1.0, "mean": 0.0, "low": -math.inf, "high": math.inf,
        "first": 0, "cells": 1, "start": (0,), "shape": (8,), "threads": 1, "isa": 0,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=r"no such path|need one entry|outside the shape|not a law"):
        native._KERNEL.fill(out, *told.values())
    assert (out == 7).all()


def test_far_tails_are_left_to_the_definition():
    law = truncated_law(FORMATS["float32"], Truncation(9.0, 10.0), 1.0, 0.0)
    out = np.zeros(8, np.float32)
    assert not native.fill(out, STREAM, law, Box((0,), (8,)), shape=(8,), threads=1)


@pytest.mark.parametrize(("text", "count"), [("max 100000\n", 1 << 16), ("150000 100000\n", 2), ("50000 100000\n", 1)])
def test_cgroup_limits(tmp_path, text, count):
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert native.cgroup_processors(path) == count
    assert native.cgroup_processors(tmp_path / "none") == 1 << 16


def test_memory_beside_the_target_is_small():
    """At most 64 KiB a thread: a fill of 64 MiB raises the peak by its threads' stacks alone."""
    out = np.zeros(1 << 24, np.float32)
    tracemalloc.start()
    fill.normal(0, out.shape, out=out, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 10
