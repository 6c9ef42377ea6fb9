import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanwise.report.axes import course, fit, height_at, number
from fanwise.report.document import Axis, Guide, LineChart, Series

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
SIZES = st.one_of(st.just(0.0), st.floats(min_value=0.0), st.just(math.inf), st.just(math.nan))


def chart(y, *, x=None, x_axis=Axis("x"), y_axis=Axis("y"), guides=()):  # noqa: B008
    series = Series("a", range(len(y)) if x is None else x, y)
    return LineChart("c", x_axis, y_axis, (series,), guides=guides)


def labels(y, **options):
    return [tick.label for tick in fit([chart(y, y_axis=Axis("y", **options))])[1].ticks]


@pytest.mark.parametrize(
    ("y", "options", "expected"),
    [
        ((0, 100), {}, ["0", "20", "40", "60", "80", "100"]),
        ((0.0131, 0.0172), {}, ["0.013", "0.014", "0.015", "0.016", "0.017", "0.018"]),
        ((-3, 4), {}, ["-4", "-2", "0", "2", "4"]),
        ((1, 3), {"integer": True}, ["1", "2", "3"]),
        ((2, 2), {"integer": True}, ["1", "2", "3"]),
        ((5, 5), {}, ["4.4", "4.6", "4.8", "5.0", "5.2", "5.4", "5.6"]),
        ((2e6, 8e6), {}, ["2e6", "4e6", "6e6", "8e6"]),
        ((0.013, 40), {"scale": "log"}, ["0.01", "0.1", "1", "10", "100"]),
        ((1e-9, 1e7), {"scale": "log"}, ["1e-8", "1e-4", "1", "1e4"]),
        ((0, 1e-3, 1), {"scale": "log"}, ["0", "0.001", "0.01", "0.1", "1"]),
        ((1.5, 30), {"scale": "log"}, ["1", "2", "5", "10", "20", "50"]),
        ((0, 0), {"scale": "log"}, ["0", "0.2", "0.5", "1", "2", "5"]),
        ((0, 1000), {"limits": (0, 50)}, ["0", "10", "20", "30", "40", "50"]),
        ((math.nan,), {}, ["0.90", "0.95", "1.00", "1.05", "1.10"]),
    ],
)
def test_ticks(y, options, expected):
    assert labels(y, **options) == expected


@given(st.lists(FLOATS, min_size=1, max_size=6), st.booleans())
def test_any_numbers_fit_a_linear_axis(y, integer):
    assert_fits(chart(y, y_axis=Axis("y", integer=integer)))


@given(st.lists(SIZES, min_size=1, max_size=6))
def test_any_sizes_fit_a_log_axis(y):
    assert_fits(chart(y, y_axis=Axis("y", scale="log")))


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=6), st.sampled_from(["linear", "log"]))
def test_any_numbers_fit_along_x(x, kind):
    assert_fits(chart([1.0] * len(x), x=x, x_axis=Axis("x", scale=kind)))


def assert_fits(given_chart):
    for scale, values in zip(fit([given_chart]), (given_chart.values("x"), given_chart.values("y")), strict=True):
        places = [place for value in values if (place := scale.place(value)) is not None]
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
        ticks = [tick.place for tick in scale.ticks]
        assert ticks == sorted(ticks)
        assert len(ticks) <= 9


def test_zero_stands_below_everything_else_on_a_log_axis():
    _, y = fit([chart((0, 1e-12, 1), y_axis=Axis("y", scale="log"))])
    assert 0 < y.place(0) < y.lane <= y.place(1e-12)


def test_without_zeros_a_log_axis_has_no_lane_for_them():
    _, y = fit([chart((1e-12, 1), y_axis=Axis("y", scale="log"))])
    assert y.lane == 0
    assert y.place(0) is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e301])
def test_what_cannot_be_drawn_has_no_place(value):
    assert fit([chart((1, 2))])[1].place(value) is None


def test_a_guide_is_always_in_the_range():
    _, y = fit([chart((3, 4), guides=(Guide(10, "g"),))])
    assert 0 <= y.place(10) <= 1


def test_several_charts_share_the_range_of_all():
    first, second = chart((1, 2)), chart((5, 9), x=(0, 50))
    x, y = fit([first, second])
    assert (x.high, y.high) == (50, 10)
    assert (y.place(1), x.place(0)) == (0.1, 0)


def test_curves_have_gaps_where_nothing_can_be_drawn():
    one = chart((0, math.nan, 4, 4))
    curve = course(one.series[0], fit([one]))
    np.testing.assert_allclose(curve[1], [0, np.nan, 1, 1])
    np.testing.assert_allclose(height_at(np.array([0.0, 0.2, 0.9]), curve), [0, np.nan, 1])


@given(st.floats(-1e300, 1e300))
def test_a_number_keeps_four_digits(value):
    assert float(number(value)) == pytest.approx(value, rel=6e-4, abs=5e-324)
