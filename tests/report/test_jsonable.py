import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

import numpy as np
import pytest

from fanwise.report.jsonable import to_json, to_jsonable


class Mode(Enum):
    FAN_IN = "fan_in"


@dataclass(frozen=True, slots=True)
class Measure:
    loss: float
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.int64(2**40), 2**40),
        (2**128, 2**128),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), "nan"),
        (-math.inf, "-inf"),
        (np.array([[1.5, np.inf]]), [[1.5, "inf"]]),
        (np.array(3), 3),
        ({"a": (1, {3, 2})}, {"a": [1, [2, 3]]}),
        (Mode.FAN_IN, "fan_in"),
        (PurePosixPath("a/b"), "a/b"),
        (Measure(math.nan, (1, 2)), {"loss": "nan", "sizes": [1, 2]}),
    ],
)
def test_values(value, plain):
    result = to_jsonable(value)
    assert result == plain
    assert type(result) is type(plain)
    assert json.loads(to_json(value), parse_constant=pytest.fail) == plain


@pytest.mark.parametrize("text", ["inf", "-inf", "nan"])
def test_what_json_cannot_say_can_be_read_back(text):
    assert str(float(to_jsonable(float(text)))) == text


@pytest.mark.parametrize("value", [object(), Measure, 1j, b"bytes", {1: 2}, [lambda: 0]])
def test_anything_else_is_refused(value):
    with pytest.raises(TypeError, match=r"has no JSON form|is not a str"):
        to_jsonable(value)


def test_a_document_says_what_each_block_is(sample):
    text = to_json(sample)
    blocks = [block for section in json.loads(text)["sections"] for block in section["blocks"]]
    assert [block["kind"] for block in blocks] == ["facts", "text", "table", "chart", "chart", "slider", "chart"]
    assert text == to_json(sample)
