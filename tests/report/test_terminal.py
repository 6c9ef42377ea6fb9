import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fanwise.report.document import Axis, Card, Column, Document, LineChart, Row, Section, Series, Table, Text
from fanwise.report.terminal import item_lines, render

GOLDEN = Path(__file__).parent / "golden"


def printed(item, *, width=100, encoding="utf-8", **options):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    render(item, Console(file=stream, width=width, **options))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(("name", "file"), [("sample", "terminal-100.txt"), ("inspection", "inspection-100.txt")])
def test_golden_file(request, name, file):
    """Run with UPDATE_GOLDEN=1 to write the file anew; then read what changed."""
    text = printed(request.getfixturevalue(name))
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / file).write_text(text, encoding="utf-8", newline="\n")
    assert text == (GOLDEN / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sample", "inspection"])
@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(request, name, width):
    assert max(map(len, printed(request.getfixturevalue(name), width=width).splitlines())) <= width


def test_notes_are_never_cut(sample):
    narrow = " ".join(printed(sample, width=60).split())
    notes = [row.note for block in sample.sections[0].blocks if block.kind == "table" for row in block.rows]
    assert all(note in narrow for note in notes)


def test_verdicts_do_not_need_colour(sample):
    table = sample.sections[0].blocks[2]
    marks = [line[0] for line in printed(table).splitlines() if line[0] in "✕!✓·"]
    assert marks == ["✕", "!", "✓", "·"]


def test_no_color_and_no_terminal_mean_no_escapes(sample, monkeypatch):
    assert "\x1b" not in printed(sample)
    assert "\x1b[32m" in printed(sample, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(sample, force_terminal=True)


def test_an_ascii_terminal_gets_ascii(sample):
    text = printed(sample, encoding="ascii")
    assert text.isascii()
    assert "x zeros" in text
    assert "+ He" in text


@pytest.mark.parametrize("letter", "²±×σ√≥≤")  # noqa: RUF001
def test_letters_of_formulas_have_ascii_of_the_same_width(letter):
    line = printed(Text(f"a{letter}b"), encoding="ascii").strip()
    assert len(line) == 3
    assert "?" not in line


def test_the_place_of_a_card_ends_its_line_or_has_its_own():
    card = Card("it grows", level="error", code="FWD001", place="body.0")
    (line,) = (line for line in printed(card, width=40).splitlines() if line)
    assert (line, len(line)) == ("E FWD001  it grows" + " " * 16 + "body.0", 40)
    narrow = printed(replace(card, title="it grows from layer to layer"), width=40).splitlines()
    assert narrow == ["E FWD001  it grows from layer to layer", "          at body.0"]


def test_brief_cards_stand_together(inspection):
    lines = printed(inspection.sections[1]).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("I INP001"))
    assert lines[first + 1].startswith("I INP001")


def test_what_is_shown_on_demand_is_not_shown_here(inspection):
    table = inspection.sections[2].blocks[1]
    assert "std 0.1" not in printed(table)
    assert "… 2 layers more" in printed(table)


@pytest.mark.parametrize("item", ["document", "section", "block"])
def test_parts_can_be_printed_alone(sample, item):
    part = {"document": sample, "section": sample.sections[0], "block": sample.sections[0].blocks[2]}[item]
    assert printed(part) in printed(sample)


def test_names_cannot_steer_the_terminal_nor_rich():
    hostile = "\x1b[2J\x07[bold]:smile:\x9b\u202e"
    text = printed(Document(hostile, hostile, (Section(hostile, (Text(hostile),)),)), force_terminal=True)
    assert "\x1b[2J" not in text
    assert not {"\x07", "\x9b", "\u202e"} & set(text)
    assert "[bold]:smile:" in text


def test_a_diverged_curve_says_so(sample):
    few, many = sample.sections[1].blocks
    assert "huge diverged" in printed(few)
    (line,) = (line for line in printed(many).splitlines() if line.startswith("huge"))
    assert "✕" in line
    assert line.endswith("to diverged")


@pytest.mark.parametrize("y", [(float("nan"),), (0.0,), (1e308, -1e308), (5e-324, 1.0)])
@pytest.mark.parametrize("copies", [1, 9])
def test_strange_numbers_are_drawn(y, copies):
    series = tuple(Series(f"s{i}", range(len(y)), y) for i in range(copies))
    assert item_lines(LineChart("c", Axis("x"), Axis("y"), series), 80)


def test_a_long_name_keeps_both_its_ends():
    name = "encoder.layers.11.self_attention.output.dense.weight"
    table = Table((Column("layer"), *(Column("number", align="right"),) * 6), (Row((name, *("1234567",) * 6)),))
    row = printed(table, width=80).splitlines()[1]
    assert row.startswith("encoder.lay")
    assert "weight  1234567" in row
    assert len(row) == 80


def test_importing_the_room_imports_neither_rich_nor_jinja():
    code = (
        "import sys, fanwise.report.terminal, fanwise.report.html, fanwise.report.jsonable;"
        "sys.exit(' '.join({'rich', 'jinja2'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.strip()) == (0, "")
