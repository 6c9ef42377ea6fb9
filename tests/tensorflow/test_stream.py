"""The stream as TensorFlow operations, in a graph and compiled by XLA: the frozen digests, to the bit."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed: pip install 'fanwise[tensorflow]'")

from fanwise import Box, Key  # noqa: E402
from fanwise.stream import fill  # noqa: E402
from fanwise.tensorflow import stream  # noqa: E402

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "stream-v1.json").read_text())
NAMES = {"normal_mean": "normal", "truncated_normal_one_sided": "truncated_normal"}
LAWS = {
    "uniform": {"bound": 0.05},
    "uniform_between": {"low": 0.25, "high": 3.0},
    "normal": {"std": 0.02, "mean": -0.3},
    "truncated_normal": {"std": 1.0, "low": -1.5, "high": 0.5},
}
COMPILED = pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])


def in_graph(function, compiled):
    return tf.function(function, jit_compile=compiled)().numpy()


def label(vector):
    return f"{vector['law']}-{vector['dtype']}"


@COMPILED
@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=label)
def test_the_frozen_digests(vector, compiled):
    options = {} if vector["law"] == "words" else {"dtype": vector["dtype"]}
    arguments = {name: float(value) for name, value in vector["arguments"].items()}
    draw = getattr(stream, NAMES.get(vector["law"], vector["law"]))
    values = in_graph(lambda: draw(Key(2026, "vectors"), (VECTORS["count"],), **arguments, **options), compiled)
    little = values.astype(values.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest() == vector["sha256"]


@COMPILED
@pytest.mark.parametrize("box", [Box((0, 0), (5, 7)), Box((2, 0), (3, 7)), Box((1, 3), (3, 2)), Box((4, 6), (1, 1))])
@pytest.mark.parametrize("name", LAWS)
def test_a_box_holds_the_bits_of_the_whole(name, box, compiled):
    drawn = in_graph(lambda: getattr(stream, name)(3, (5, 7), box=box, **LAWS[name]), compiled)
    assert np.array_equal(drawn, getattr(fill, name)(3, (5, 7), **LAWS[name])[box.slices()])


@pytest.mark.parametrize("name", LAWS)
def test_eager_calls_give_the_same(name):
    drawn = getattr(stream, name)(3, (5, 7), **LAWS[name])
    assert np.array_equal(drawn.numpy(), getattr(fill, name)(3, (5, 7), **LAWS[name]))


def test_elements_beyond_32_bits_have_their_own_words():
    start = (1 << 33) + 5
    box = Box((start,), (9,))
    drawn = in_graph(lambda: stream.words(0, (1 << 34,), box=box), compiled=True)
    assert np.array_equal(drawn, fill.words(0, (1 << 34,), box=box))
    assert not np.array_equal(drawn, fill.words(0, (9,)))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 5)])
def test_empty_shapes_and_scalars(shape):
    drawn = in_graph(lambda: stream.normal(0, shape), compiled=False)
    assert np.array_equal(drawn, fill.normal(0, shape))


def test_far_tails_enter_a_graph_as_constants():
    drawn = in_graph(lambda: stream.truncated_normal(0, (64,), low=9.0, high=10.0), compiled=True)
    assert np.array_equal(drawn, fill.truncated_normal(0, (64,), low=9.0, high=10.0))


def test_std_zero_is_the_mean():
    assert in_graph(lambda: stream.normal(0, (4,), std=0.0, mean=0.5), compiled=True).tolist() == [0.5] * 4


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64", "float33", "float8_e4m3fn", tf.int8])
def test_dtypes_without_weights_are_refused(dtype):
    with pytest.raises(TypeError, match="expected one of float64, float32, float16, bfloat16"):
        stream.normal(0, (4,), dtype=dtype)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("normal", {"std": -1.0}),
        ("normal", {"std": float("nan")}),
        ("normal", {"std": 70000.0, "dtype": "float16"}),
        ("uniform", {"bound": float("inf")}),
        ("uniform_between", {"low": 1.0, "high": 1.0}),
        ("truncated_normal", {"low": 2.0, "high": 1.0}),
    ],
)
def test_bad_numbers_are_refused(name, arguments):
    with pytest.raises(ValueError, match="="):
        getattr(stream, name)(0, (4,), **arguments)
