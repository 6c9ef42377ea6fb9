import math
import re

import pytest

from fanwise.report.axes import fit
from fanwise.report.document import Axis, Guide, LineChart, Series
from fanwise.report.drawing import assign_slots, draw, typeset
from fanwise.report.labels import LETTER, LINE, place_levels

SIZE = (300, 200)


def drawn(*series, guides=(), y=Axis("y")):  # noqa: B008
    chart = LineChart("c", Axis("x"), y, series, guides=guides)
    return draw(chart, fit([chart]), assign_slots([chart.names])[0], SIZE)


def path_of(y, **options):
    (curve,) = drawn(Series("a", range(len(y)), y), **options).curves
    return curve


def test_a_curve_spans_the_picture():
    assert path_of((0, 5, 10)).path == "M0 200 500 100 1000 0"


def test_a_gap_breaks_the_path_and_a_lone_point_stays_a_dot():
    curve = path_of((0, math.nan, 10, math.nan, 5, 5))
    assert curve.path == "M0 200zM400 0zM800 100 1000 100"
    assert curve.cross is None


def test_points_and_their_numbers_go_together():
    curve = path_of((0.5, math.inf, 2.302585, math.nan))
    points = re.findall(r"-?[\d.]+ -?[\d.]+", curve.path)
    assert (curve.x_text, curve.y_text) == ("0 2", "0.5 2.303")
    assert len(points) == 2


def test_a_diverged_curve_ends_in_a_cross_at_its_last_point():
    curve = path_of((0, 10, math.inf, math.nan))
    assert curve.cross == pytest.approx((1 / 3, 1))
    assert curve.key.ending == "diverged"


def test_a_curve_without_any_point_is_still_named():
    drawing = drawn(Series("a", (0, 1), (math.nan, math.nan)), Series("b", (0, 1), (1, 2)))
    assert (drawing.curves[0].path, drawing.curves[0].cross) == ("", None)
    assert "a from nan to diverged" in drawing.summary


def test_a_curve_that_leaves_fixed_limits_stays_near_the_picture():
    (curve,) = drawn(Series("a", (0, 1), (0, 1e200)), y=Axis("y", limits=(0, 1))).curves
    assert curve.path == "M0 200 1000 -600"


def test_few_points_are_shown_as_dots_and_many_are_not():
    assert path_of((0, 1)).dots == "M0 200zM1000 0z"
    assert path_of(range(100)).dots == ""


def test_one_emphasised_curve_makes_the_others_faint():
    styles = [
        curve.key.style for curve in drawn(Series("a", (0,), (1,)), Series("b", (0,), (1,), emphasis=True)).curves
    ]
    assert styles == ["c0 faint", "c1 strong"]


def test_no_two_of_fourteen_curves_look_alike():
    curves = drawn(*(Series(str(i), (0, 1), (i, i)) for i in range(14))).curves
    assert len({curve.key.style for curve in curves}) == 14


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([("a", "b"), ("b", "c")], [{"a": 0, "b": 1}, {"b": 1, "c": 0}]),
        ([("a",), ("b",), ("a", "b")], [{"a": 0}, {"b": 0}, {"a": 0, "b": 1}]),
        ([], []),
    ],
)
def test_a_name_keeps_its_colour_unless_two_would_clash(groups, expected):
    assert assign_slots(groups) == expected


@pytest.mark.parametrize(
    ("plain", "printed"), [("0.01", "0.01"), ("1e-12", "10⁻¹²"), ("-2e5", "\N{MINUS SIGN}2·10⁵"), ("1e6", "10⁶")]
)
def test_numbers_are_typeset(plain, printed):
    assert typeset(plain) == printed


def test_labels_of_guides_touch_neither_each_other_nor_a_curve():
    flat_at_the_end = Series("a", (0, 50, 51, 100), (0, 0, 10.4, 10.4))
    guides = (Guide(10, "ten"), Guide(10.1, "a little more"), Guide(5, "half"))
    chart = LineChart("c", Axis("x"), Axis("y", limits=(0, 20)), (flat_at_the_end,), guides=guides)
    levels = place_levels(chart, fit([chart]), SIZE)
    assert [level.at_end for level in levels if level.label == "half"] == [True]
    boxes = [box(level) for level in levels]
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_label_near_the_edge_stays_inside():
    chart = LineChart("c", Axis("x"), Axis("y", limits=(0, 1)), (Series("a", (0, 1), (0.5, 0.5)),), guides=GUIDES)
    for level in place_levels(chart, fit([chart]), SIZE):
        assert LINE <= level.baseline * SIZE[1] <= SIZE[1]


GUIDES = (Guide(0, "bottom"), Guide(1, "top"))


def box(level):
    width = LETTER * len(level.label)
    left = SIZE[0] - width if level.at_end else 0
    return left, left + width, level.baseline * SIZE[1] - LINE, level.baseline * SIZE[1]


def overlap(a, b):
    return a[0] < b[1] - 1e-9 and b[0] < a[1] - 1e-9 and a[2] < b[3] - 1e-9 and b[2] < a[3] - 1e-9
