import math

import ml_dtypes
import numpy as np
import pytest

from fanwise.stream import formats
from fanwise.stream.formats import FORMATS

NUMPY = {name: np.dtype(name) for name in ("float64", "float32", "float16")} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}


@pytest.mark.parametrize("name", FORMATS)
def test_limits_against_finfo(name):
    info = ml_dtypes.finfo(NUMPY[name])
    assert FORMATS[name].largest == float(info.max)
    assert FORMATS[name].smallest == float(info.smallest_subnormal)
    assert FORMATS[name].precision == info.nmant + 1


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_rounding_inward_brackets_every_number(name):
    """The neighbours on both sides, against NumPy's own rounding to the format."""
    form, rng = FORMATS[name], np.random.default_rng(0)
    for value in [*(rng.normal(size=300) * 10.0 ** rng.integers(-4, 4, 300)), 1.0, -2.0, 0.0, 2.0**-14]:
        up, down = form.round_in(value, upward=True), form.round_in(value, upward=False)
        assert down <= value <= up
        for kept in (up, down):
            assert float(NUMPY[name].type(kept)) == kept
        nearest = float(NUMPY[name].type(value))
        assert nearest in (up, down)


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bound", [1.0, -1.0, 0.05, 3.0, 0.0, 2.0**-14])
def test_below_is_the_neighbour(name, bound):
    below = FORMATS[name].below(bound)
    assert below < bound
    assert FORMATS[name].round_in(math.nextafter(bound, -math.inf), upward=False) == below


def test_bfloat16_without_ml_dtypes_names_the_extra(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"fanwise\[bfloat16\]"):
        formats.numpy_dtype.__wrapped__("bfloat16")  # beside its cache
