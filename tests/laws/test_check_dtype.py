"""`check_dtype` refuses what a draw would refuse, and no more."""

from collections.abc import Callable
from functools import partial

import pytest

from fanwise import Blocks, Constant, Layout, Normal, Ones, Uniform, VarianceScaling, Zeros
from fanwise.laws.composite import ICNR

CONVOLUTION = Layout.conv("out in kernel")
CASES = {
    "normal": (Normal(1.0), (4, 3), None),
    "too large": (Normal(1e5), (4, 3), None),
    "too small": (Uniform(1e-12), (4, 3), None),
    "constant": (Constant(70000.0), (4,), None),
    "fans": (VarianceScaling(1e12), (4, 3), Layout.dense("out in")),
    "fused": (VarianceScaling(1e12), (6, 3), Layout.dense("out in").fuse(0, 3)),
    "last block": (Blocks((Zeros(), Ones(), Normal(1e5)), axis=0), (6, 2), None),
    "empty block": (Blocks((Zeros(), Normal(1e5)), axis=0, sizes=(4, 0)), (4, 2), None),
    "copies": (ICNR(Normal(1e5), copies=2), (4, 3, 1), CONVOLUTION),
    "nothing": (Normal(1e5), (0, 3), None),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_what_a_draw_refuses_is_refused(name, dtype):
    law, shape, layout = CASES[name]
    drawn = _refusal(lambda: law(shape, key=0, layout=layout, dtype=dtype))
    assert _refusal(lambda: law.check_dtype(shape, layout=layout, dtype=dtype)) == drawn


def test_some_are_refused_and_some_are_not():
    refused = {name for name, (law, shape, _) in CASES.items() if _refusal(partial(law, shape, key=0, dtype="float16"))}
    assert {"too large", "too small", "constant", "last block", "fans"} <= refused
    assert refused.isdisjoint({"normal", "empty block", "nothing"})


def _refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="dtype"):
        Normal(1.0).check_dtype((2,), dtype="int32")
    with pytest.raises(ValueError, match="axis"):
        Blocks((Zeros(),), axis=3).check_dtype((2, 2))
