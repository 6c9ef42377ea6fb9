"""The frozen file of known answers: a change here is another stream."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import stream_reference

from fanwise import Key
from fanwise.stream.fill import normal, truncated_normal, uniform, uniform_between, words

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "stream-v1.json").read_text())
FUNCTIONS = {
    "words": words,
    "uniform": uniform,
    "uniform_between": uniform_between,
    "normal": normal,
    "normal_mean": normal,
    "truncated_normal": truncated_normal,
    "truncated_normal_one_sided": truncated_normal,
}
STREAM = stream_reference.key_words(2026, "vectors")


def label(vector):
    return f"{vector['law']}-{vector['dtype']}"


def drawn(vector):
    options = {} if vector["law"] == "words" else {"dtype": vector["dtype"]}
    arguments = {name: float(value) for name, value in vector["arguments"].items()}
    return FUNCTIONS[vector["law"]](Key(2026, "vectors"), (VECTORS["count"],), **arguments, **options)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=label)
def test_digests(vector):
    values = drawn(vector)
    little = values.astype(values.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("key", VECTORS["keys"], ids=lambda key: f"{key['seed']}-{key['path']}-{key['domain']}")
def test_keys(key):
    expected = [int(word, 16) for word in key["words"]]
    assert stream_reference.key_words(int(key["seed"]), key["path"], key["domain"]) == expected


def plain(vector, i):
    """Value i from the page's rules, in plain Python."""
    w, a = stream_reference.word(STREAM, i), {name: float(value) for name, value in vector["arguments"].items()}
    value32 = stream_reference.value32
    if vector["law"] == "words":
        return w
    if vector["law"] == "uniform":
        return value32(stream_reference.uniform_integer(w), a["bound"] / 2**31)
    if vector["law"] == "uniform_between":
        return value32(stream_reference.uniform_integer(w), 2.0 / 2**31, 1.0)
    if vector["law"].startswith("normal"):
        return value32(stream_reference.normal_integer(w), a["std"] / 2**28, a.get("mean", 0.0))
    one_sided = a["high"] == float("inf")
    stop = 2**32 + 2 if one_sided else 2 * 2**28 + 1
    s = scipy.stats.truncnorm(a["low"], a["high"]).std()
    n = stream_reference.truncated_integer(w, int(a["low"]) * 2**28, stop)
    return value32(n, a["std"] / s / 2**28)


@pytest.mark.parametrize("vector", [v for v in VECTORS["vectors"] if v["dtype"] in ("uint32", "float32")], ids=label)
def test_first_values_follow_from_the_page(vector):
    first = [plain(vector, i) for i in range(8)]
    if vector["law"] == "words":
        assert first == vector["first"]
    else:
        assert first == [np.float32(float.fromhex(value)) for value in vector["first"]]
