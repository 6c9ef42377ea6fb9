"""The stream in JAX has the bits of the NumPy definition: eager, compiled, in every dtype, at any index."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import stream_reference

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise import Box, Key  # noqa: E402
from fanwise.jax.stream import bits as stream  # noqa: E402
from fanwise.jax.stream import integers  # noqa: E402
from fanwise.jax.stream.keys import stream_of  # noqa: E402
from fanwise.stream import fill  # noqa: E402
from fanwise.stream.formats import FORMATS  # noqa: E402
from fanwise.stream.law import normal_law, truncated_law, uniform_between_law, uniform_law  # noqa: E402
from fanwise.stream.truncation import Truncation  # noqa: E402

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "stream-v1.json").read_text())
KEY = Key(2026, "vectors")
EDGES = np.array([0, 1, 2, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF], np.uint32)
LAWS = {
    "uniform": lambda form, bound: uniform_law(form, bound),
    "uniform_between": lambda form, low, high: uniform_between_law(form, low, high),
    "normal": lambda form, std: normal_law(form, std, 0.0),
    "normal_mean": lambda form, std, mean: normal_law(form, std, mean),
    "truncated_normal": lambda form, std, low, high: truncated_law(form, Truncation(low, high), std, 0.0),
    "truncated_normal_one_sided": lambda form, std, low, high: truncated_law(form, Truncation(low, high), std, 0.0),
}


def label(vector):
    return f"{vector['law']}-{vector['dtype']}"


def digest(values):
    little = np.asarray(values)
    return hashlib.sha256(little.astype(little.dtype.newbyteorder("<")).tobytes()).hexdigest()


def law_of(vector):
    arguments = {name: float(value) for name, value in vector["arguments"].items()}
    return LAWS[vector["law"]](FORMATS[vector["dtype"]], **arguments)


def program(vector):
    """Values of the stream's words, as a function of the four words that name the stream."""

    def run(name):
        drawn = stream.words(name, (VECTORS["count"],))
        if vector["law"] == "words":
            return drawn
        return stream.values(drawn, law_of(vector), FORMATS[vector["dtype"]])

    return run


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=label)
def test_digests_of_the_frozen_vectors_under_jit(vector):
    with jax.enable_x64(vector["dtype"] == "float64"):
        assert digest(jax.jit(program(vector))(stream_of(KEY))) == vector["sha256"]


@pytest.mark.parametrize("vector", [v for v in VECTORS["vectors"] if v["dtype"] != "float64"], ids=label)
def test_operation_by_operation_it_is_the_same(vector):
    assert digest(program(vector)(stream_of(KEY))) == vector["sha256"]


def test_a_mutant_has_another_digest():
    vector = next(v for v in VECTORS["vectors"] if label(v) == "normal_mean-float32")
    law = law_of(vector)

    def contracted(drawn):  # what a fused multiply and add gives: one rounding where the definition has two
        whole = stream.integers(drawn, law.centred)
        return np.float32(np.asarray(whole, np.float64) * law.centred.unit + np.float64(np.float32(law.mean)))

    assert digest(contracted(stream.words(stream_of(KEY), (VECTORS["count"],)))) != vector["sha256"]


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "law",
    [
        ("uniform_between", {"low": 0.0, "high": 0.01}),
        ("uniform_between", {"low": 1000.0, "high": 1032.0}),
        ("normal_mean", {"std": 3e-4, "mean": -7.0}),
        ("normal", {"std": 3e-5}),
        ("truncated_normal", {"std": 1.0, "low": 5.0, "high": 6.0}),
        ("truncated_normal", {"std": 1.0, "low": -math.inf, "high": math.inf}),
        ("truncated_normal", {"std": 0.5, "low": 9.0, "high": 10.0}),
    ],
    ids=str,
)
def test_other_laws_agree_with_the_definition(law, name):
    form = FORMATS[name]
    made = LAWS[law[0]](form, **law[1])
    expected = np.empty(1 << 14, form.dtype())
    fill.define(expected, KEY.philox(), made, Box.whole(expected.shape), expected.shape)
    got = jax.jit(lambda words: stream.values(stream.words(words, expected.shape), made, form))(stream_of(KEY))
    assert np.asarray(got).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((), None),
        ((5, 7), None),
        ((2, 3, 5), Box((1, 0, 2), (1, 3, 3))),
        ((3, 1 << 20, 1 << 14), Box((2, (1 << 20) - 3, (1 << 14) - 9), (1, 3, 9))),
        ((1 << 31, 1 << 31), Box(((1 << 31) - 2, (1 << 31) - 5), (2, 5))),
    ],
)
def test_words_at_any_index(shape, box):
    got = np.asarray(jax.jit(lambda words: stream.words(words, shape, box))(stream_of(KEY)))
    assert np.array_equal(got, fill.words(KEY, shape, box=box))
    name = stream_reference.key_words(2026, "vectors")
    start = (0,) * len(shape) if box is None else box.start
    first = 0
    for at, size in zip(start, shape, strict=True):
        first = first * size + at
    assert got.ravel()[0] == stream_reference.word(name, first)


def test_products_of_words():
    left, right = (part.ravel() for part in np.meshgrid(EDGES, EDGES))
    high = (left.astype(np.uint64) * right.astype(np.uint64) >> np.uint64(32)).astype(np.uint32)
    assert np.array_equal(integers.mulhi(jnp.asarray(left), jnp.asarray(right)), high)
    a, b = left.view(np.int32), right.view(np.int32)
    signed = (a.astype(np.int64) * b.astype(np.int64)) >> 32
    assert np.array_equal(integers.mulhi_signed(jnp.asarray(a), jnp.asarray(b)), signed)


def test_every_octave_of_the_normal_table_at_its_edges():
    tails = np.unique([max(0, min((1 << n) + d, 0x7FFFFFFF)) for n in range(31) for d in (-1, 0, 1)]).astype(np.uint32)
    words = np.concatenate([tails, tails | np.uint32(0x80000000)])
    expected = [stream_reference.normal_integer(int(word)) for word in words]
    assert np.asarray(stream.normal_integers(jnp.asarray(words))).tolist() == expected


@pytest.mark.parametrize(("name", "bits"), [("float16", np.float16), ("bfloat16", jnp.bfloat16)])
def test_rounding_is_to_nearest_even(name, bits):
    patterns = np.arange(0, 1 << 32, 65521, dtype=np.uint64).astype(np.uint32)
    exact = np.arange(1 << 16, dtype=np.uint16).view(bits).astype(np.float32)
    exact = exact[np.abs(exact) < 65000]
    middles = (exact[1:] + exact[:-1]) / 2
    values = np.concatenate([patterns.view(np.float32), exact, middles])
    values = values[np.isfinite(values) & (np.abs(values) < 65000)]
    got = np.asarray(stream.rounded(jnp.asarray(values), FORMATS[name])).view(np.uint16)
    assert np.array_equal(got, values.astype(bits).view(np.uint16))


def test_the_product_rounded_in_integers_is_the_product():
    whole = np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 1 << 16).astype(np.int32)
    whole[:3] = 0, 1, -1
    for unit in (0.005 / 2**31, 3.7 / 2**28, 1.0 / 2**30, float(np.float32(1 / 3))):
        got = np.asarray(stream.rounded_product(jnp.asarray(whole), unit))
        assert np.array_equal(got, whole.astype(np.float32) * np.float32(unit))
