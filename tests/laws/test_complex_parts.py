"""Laws of complex numbers: two parts that are drawn apart, and what is recognised of them."""

import math

import pytest

from fanwise import Layout, Normal, Orthogonal, Uniform, VarianceScaling
from fanwise.laws.complex_parts import complex_parts
from fanwise.measure.law_recognition import found_law
from fanwise.measure.observation import Values


@pytest.mark.parametrize("law", [Normal(0.3), Uniform(0.7), VarianceScaling(2.0)])
def test_the_variances_of_the_parts_add_up_to_that_of_the_law(law):
    layout, shape = Layout.dense("out in"), (30, 20)
    parts = [part.moments(shape, layout=layout).std ** 2 for part, _ in complex_parts(law)]
    assert sum(parts) == pytest.approx(law.moments(shape, layout=layout).std ** 2)
    assert [domain for _, domain in complex_parts(law)] == ["", "imaginary"]


def test_a_matrix_law_has_no_parts():
    with pytest.raises(ValueError, match="each element alone"):
        complex_parts(Orthogonal())


def test_of_complex_numbers_the_size_alone_is_told():
    values = Values(2000, 0.0, 0.25, kurtosis=math.nan, largest=2.0, overlap=math.nan)
    law = found_law(values, (100, 20), Layout.dense("out in"))
    assert (law.text, law.kind, law.gain) == ("complex, std 0.5", "few", pytest.approx(0.5 * 20**0.5))
