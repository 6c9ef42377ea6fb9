"""Any law as an initializer: the law's own numbers, in whatever way it is named."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.init.law import Law  # noqa: E402
from fanwise.keras.trace.variables import as_array  # noqa: E402
from fanwise.laws.initializers import initializer, to_config  # noqa: E402
from fanwise.laws.layout import Layout  # noqa: E402
from fanwise.stream.key import Key  # noqa: E402

OUT_IN = Layout.dense("out in")


@pytest.mark.parametrize(
    "law", ["he_normal", initializer("he_normal"), to_config(initializer("he_normal"))], ids=["name", "law", "config"]
)
def test_the_numbers_are_those_of_the_law(law):
    drawn = as_array(Law(law, seed=5)((40, 30)))
    assert np.array_equal(drawn, initializer("he_normal")((40, 30), key=Key(5)))


@pytest.mark.parametrize("layout", [OUT_IN, "out in", None])
def test_a_layout_decides_the_fans(layout):
    drawn = as_array(Law("he_normal", layout, seed=5)((400, 100)))
    assert drawn.std() == pytest.approx((2 / (400 if layout is None else 100)) ** 0.5, rel=0.02)


def test_the_dtype_rounds():
    exact = initializer("he_normal")((8, 8), key=Key(5))
    drawn = as_array(Law("he_normal", seed=5)((8, 8), "float16"))
    assert drawn.dtype == np.float16
    assert np.array_equal(drawn, exact.astype(np.float16))


@pytest.mark.parametrize("layout", [None, OUT_IN])
def test_a_configuration_makes_the_same(layout):
    law = Law("he_normal", layout, seed=Key(5, "a"))
    again = Law.from_config(law.get_config())
    assert again.law == law.law
    assert again.layout == law.layout
    assert np.array_equal(as_array(again((8, 6))), as_array(law((8, 6))))


def test_a_configuration_is_plain():
    config = Law("he_normal", OUT_IN, seed=5).get_config()
    assert set(config) == {"law", "layout", "seed", "stream"}
    assert type(config["law"]) is dict
    assert config["seed"] == 5


@pytest.mark.parametrize("law", [None, 3, np.zeros])
def test_what_is_no_law(law):
    with pytest.raises(TypeError, match="expected an initializer of fanwise, its name, or its configuration"):
        Law(law)
    with pytest.raises(ValueError, match="he_norm"):
        Law("he_norm")


def test_what_is_no_layout():
    with pytest.raises(TypeError, match=r"expected a fanwise.Layout, such as Layout.dense\('in out'\)"):
        Law("he_normal", 3)


def test_a_layout_that_does_not_fit_the_shape_is_refused():
    with pytest.raises(ValueError):
        Law("he_normal", OUT_IN, seed=0)((4, 4, 4))
