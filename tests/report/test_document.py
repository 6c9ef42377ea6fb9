import math

import numpy as np
import pytest

from fanwise.report.document import (
    Axis,
    Bars,
    Card,
    Column,
    Details,
    Document,
    Fact,
    Facts,
    Frame,
    Grid,
    Guide,
    LineChart,
    Row,
    Section,
    Series,
    Slider,
    Table,
    Text,
    Verdict,
)

LINE = Series("a", (1, 2), (3, 4))
CHART = LineChart("c", Axis("x"), Axis("y"), (LINE,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fact("a", "1", tone="fine"), "tone = 'fine' is unknown: expected one of good, warn, bad, neutral"),
        (lambda: Facts(()), "Facts.items is empty"),
        (lambda: Column("a", align="centre"), "expected one of left, right"),
        (lambda: Row(("a",), tone=""), "tone = '' is unknown"),
        (lambda: Table((), ()), "Table.columns is empty"),
        (lambda: Table((Column("a"),), (Row(("1", "2")),)), "2 cells for 1 columns"),
        (lambda: Table((Column("a"),), (), names=1), "names = 1 is no column: expected 0 to 0"),
        (lambda: Verdict("fine", tone="ok"), "tone = 'ok' is unknown"),
        (lambda: Card("c", level=""), "level of card 'c' is empty"),
        (lambda: Card("c", level="error", tone="ok"), "tone = 'ok' is unknown"),
        (lambda: Bars("b", (1, -1)), "expected none below 0"),
        (lambda: Bars("b", (1,), low=1, high=1), "bars 'b' from 1 to 1: expected finite, low < high"),
        (lambda: Bars("b", (1,), high=math.inf), "expected finite"),
        (lambda: Details("d", ()), "blocks of details 'd' is empty"),
        (lambda: Axis("x", scale="symlog"), "expected one of linear, log"),
        (lambda: Axis("x", limits=(1, 1)), "low < high"),
        (lambda: Axis("x", limits=(0, math.inf)), "finite"),
        (lambda: Axis("x", limits=(0, 1), scale="log"), "positive"),
        (lambda: Series("a", (), ()), "x of series 'a' is empty"),
        (lambda: Series("a", (1, 2), (1,)), "2 x and 1 y"),
        (lambda: Series("a", (1, math.nan), (1, 2)), "non-finite x"),
        (lambda: Guide(math.nan, "g"), "expected a finite number"),
        (lambda: Guide(1, "g", axis="z"), "expected one of x, y"),
        (lambda: LineChart("c", Axis("x"), Axis("y"), ()), "series of chart 'c' is empty"),
        (lambda: LineChart("c", Axis("x"), Axis("y"), (LINE, LINE)), "'a' more than once"),
        (lambda: LineChart("c", Axis("x"), Axis("y", scale="log"), (Series("a", (1,), (-1,)),)), "negative y"),
        (lambda: LineChart("c", Axis("x", scale="log"), Axis("y"), (Series("a", (-1,), (1,)),)), "negative x"),
        (
            lambda: LineChart("c", Axis("x"), Axis("y", scale="log"), (LINE,), guides=(Guide(-1, "g"),)),
            "negative y",
        ),
        (lambda: Grid(()), "Grid.charts is empty"),
        (lambda: Frame("a", 1, ()), "blocks of frame 'a' is empty"),
        (lambda: Slider("s", ()), "Slider.frames is empty"),
        (lambda: Slider("s", (Frame("a", 1, (CHART,)),), start=1), "start = 1 is no frame: expected 0 to 0"),
        (lambda: Slider("s", (Frame("a", 1, (CHART,)), Frame("b", 1, (CHART,)))), "must increase"),
        (
            lambda: Slider("s", (Frame("a", 1, (CHART,)), Frame("b", 2, (Text("t"),)))),
            "'a' and 'b' are not built alike",
        ),
        (
            lambda: Slider("s", (Frame("a", 1, (Grid((CHART,)),)), Frame("b", 2, (Grid((CHART, CHART)),)))),
            "not built alike",
        ),
        (lambda: Document("d", "", (Section("One", ()), Section("one!", ()))), "section titles must differ"),
    ],
)
def test_a_mistake_is_refused_where_it_is_made(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


def test_a_row_without_cells_stands_between_rows():
    assert Table((Column("a"), Column("b")), (Row(("1", "2")), Row((), note="more"))).rows[1].cells == ()


def test_series_are_values_whatever_they_are_made_from():
    series = Series("a", np.arange(3), np.array([1, 2, np.inf], dtype=np.float32))
    assert series == Series("a", (0, 1, 2), [1.0, 2.0, math.inf])
    assert hash(series) == hash(Series("a", (0, 1, 2), (1, 2, math.inf)))


@pytest.mark.parametrize(("y", "diverged"), [((1, math.nan), True), ((1, -math.inf), True), ((math.nan, 1), False)])
def test_only_the_last_value_makes_a_series_diverge(y, diverged):
    assert Series("a", (1, 2), y).diverged is diverged


def test_paragraphs_lose_the_line_breaks_of_the_source():
    assert Text("\n one\n  line \n\n\n\n two\n").paragraphs == ("one line", "two")


@pytest.mark.parametrize(
    ("title", "anchor"), [("Loss & co.", "loss-co"), ("Überblick", "überblick"), ("?!", "section")]
)
def test_anchors(title, anchor):
    assert Section(title, ()).anchor == anchor


def test_a_table_needs_marks_only_for_verdicts():
    columns = (Column("a"),)
    assert not Table(columns, (Row(("1",)),)).judged
    assert Table(columns, (Row(("1",)), Row(("2",), tone="warn"))).judged
