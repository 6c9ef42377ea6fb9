"""A calibration as a value and as a table."""

import math

from fanwise.calibrate.result import Calibration, Line

LINES = (
    Line(("a.weight",), "a", "linear", "weight", 0.5, 1.0, (2.0,)),
    Line(("b.weight",), "b", "conv", "weight", 0.5, 1.0, (1.5, 3.0), note="no bias: the means stay"),
    Line(("a.weight",), "a", "linear", "weight", 0.7, math.nan, note="a.weight is settled where it is used first"),
    Line(("c.weight",), "c", "linear", "head", 0.0, 0.3, left="its output is 0: dead"),
)


def test_factors_and_reasons_by_path():
    result = Calibration(LINES)
    assert dict(result.factors) == {"a.weight": 2.0, "b.weight": (1.5, 3.0)}
    assert dict(result.left) == {"c.weight": "its output is 0: dead"}
    assert repr(Calibration(LINES, name="Net")) == "<Calibration of Net: 2 weights scaled, 1 left>"


def test_the_table_tells_ranges_reasons_and_totals():
    text = str(Calibration(LINES, name="Net", batch="4,8:float32", forwards=2))
    assert "Net, 4,8:float32, mode layer, std" in text
    assert "1.5 to 3" in text
    assert "No bias: the means stay." in text
    assert "Left: its output is 0: dead." in text
    assert "2 of 4 ops calibrated, 2 forward passes." in text


def test_narrow_tables_leave_columns_out():
    wide, narrow = Calibration(LINES).table(width=200), Calibration(LINES).table(width=40)
    labels = [[column.label for column in made.sections[0].blocks[0].columns] for made in (wide, narrow)]
    assert "role" in labels[0]
    assert "role" not in labels[1]
    assert {"weight", "before", "target", "factor"} <= set(labels[1])
