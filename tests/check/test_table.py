"""The report on a terminal: golden files, what is folded, what is never left out."""

import io
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fanwise.check.findings import Finding
from fanwise.check.render.table import document, shown_layers
from fanwise.check.report import Report
from fanwise.check.report_data import Layer
from fanwise.plan.render.table import text_of

GOLDEN = Path(__file__).parent / "golden"
NAN = math.nan


def text(report, width, *, full=False):
    return text_of(document(report, full=full, width=width), width)


def printed(report, *, width=100, encoding="utf-8"):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    Console(file=stream, width=width).print(report)
    stream.flush()
    return raw.getvalue().decode(encoding)


def plain_layer(number, **changes):
    known = {"law": "", "rms": 1.0, "gradient": NAN, "expected": NAN, "dead": NAN, "saturated": NAN} | changes
    return Layer(number, number - 1, f"layer{number}", "linear", **known)


@pytest.mark.parametrize("width", [80, 140])
def test_golden_files(broken, width):
    """Run with UPDATE_GOLDEN=1 to write the files anew; then read what changed."""
    path = GOLDEN / f"table-{width}.txt"
    shown = text(broken, width) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown, encoding="utf-8", newline="\n")
    assert shown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["broken", "healthy", "large"])
@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("full", [False, True])
def test_no_line_is_wider_than_the_terminal(request, name, width, full):
    lines = text(request.getfixturevalue(name), width, full=full).splitlines()
    assert max(map(len, lines)) <= width


def test_the_last_line_is_the_verdict(broken, healthy):
    assert text(broken, 100).splitlines()[-1] == "✕ 2 errors, 1 warning, 2 infos: starts at body.0.conv1"
    assert text(healthy, 100).splitlines()[-1] == "✓ healthy: nothing found"


def test_warnings_alone_are_not_told_as_errors(broken):
    mild = replace(broken, findings=broken.findings[2:])
    assert text(mild, 100).splitlines()[-1] == "! 1 warning, 2 infos: starts at body.7.conv1"
    infos = replace(broken, findings=broken.findings[3:])
    assert text(infos, 100).splitlines()[-1] == "✓ healthy: nothing found but 2 infos"


def test_a_finding_without_a_place_starts_nowhere():
    report = Report((Finding("INP001", "warning", "the input is not normalised"),), (), ())
    assert text(report, 80).splitlines()[-1] == "! 1 warning"


def test_one_screen_is_enough_for_200_layers(large):
    table = text(large, 100).split("Findings")[0]
    assert len(table.splitlines()) < 30


def test_every_layer_with_a_finding_and_the_neighbours_of_the_first_are_shown(large):
    shown = {large.layers[i].number for i in shown_layers(large.layers)}
    assert {58, 59, 60, 61, 62, 121, 133, 160} <= shown
    assert {1, 200} <= shown
    assert 100 not in shown


def test_no_layer_is_lost_between_those_shown_and_those_folded(large):
    table = text(large, 100).split("Findings")[0]
    shown = re.findall(r"^[✕!·] +(\d+) ", table, re.MULTILINE)
    folded = re.findall(r"… (\d+) layers more", table)
    assert len(shown) + sum(map(int, folded)) == 200


def test_a_fold_says_what_the_folded_layers_show(large):
    values = [layer.rms for layer in large.layers[2:57]]
    line = next(line for line in text(large, 100).splitlines() if "layers more" in line)
    low, high = map(float, re.search(r"output size (\S+) to ([^,]+)", line).groups())
    assert (low, high) == pytest.approx((min(values), max(values)), rel=0.005)


def test_findings_beyond_the_first_are_counted_in_the_fold():
    codes = {"severity": "warning", "codes": ("DED001",)}
    layers = tuple(plain_layer(i, **(codes if 10 < i < 90 else {})) for i in range(1, 101))
    table = text(Report((), layers, ()), 100)
    assert "67 with findings: DED001" in table
    assert len(table.splitlines()) < 40


def test_few_layers_are_all_shown():
    layers = tuple(plain_layer(i) for i in range(1, 17))
    assert shown_layers(layers) == list(range(16))
    assert "more" not in text(Report((), layers, ()), 80)


@pytest.mark.parametrize("count", range(4))
def test_no_layers_and_one_are_no_trouble(count):
    layers = tuple(plain_layer(i) for i in range(1, count + 1))
    shown = text(Report((), layers, ()), 80)
    assert shown.count("layer") == (count + 1 if count else 0)
    assert ("Layers" in shown) is (count > 0)


def test_full_shows_every_layer_and_what_follows(large):
    shown = text(large, 140, full=True)
    assert all(f" {layer.name} " in shown for layer in large.layers)
    assert "folded" not in shown
    assert shown.count("BWD002") == 12


def test_what_follows_is_counted_where_it_is_folded(broken):
    shown = " ".join(text(broken, 100).split())
    assert "(3 findings that follow are folded: BWD001 2x, OUT001; --full lists them)" in shown
    assert "gradient grows" not in shown


def test_fixes_say_whether_they_are_safe(broken):
    shown = text(broken, 100)
    assert "fix: He normal on 24 weights" in shown
    assert "fix (unsafe): remove the shift" in shown


def test_infos_take_one_line_each(broken):
    lines = text(broken, 100).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("I DSN001"))
    assert lines[first + 1].startswith("I NRM001")
    assert lines[first + 2] == ""


def test_by_design_is_said(broken):
    assert "1 by design" in text(broken, 100)
    whole = text(broken, 140, full=True)
    assert "by design: zero-initialised end of a branch" in whole
    assert "by design: part of the model, not a mistake" in whole


def test_numbers_that_are_not_known_are_no_numbers(healthy):
    shown = text(replace(healthy, layers=(plain_layer(1, rms=math.inf), plain_layer(2, rms=NAN))), 80)
    assert "nan" not in shown
    assert re.search(r"layer1 +inf", shown)
    assert re.search(r"layer2 +-", shown)


def test_columns_in_which_nothing_stands_are_left_out(healthy):
    shown = text(healthy, 140)
    assert "gradient" not in shown
    assert "findings" not in shown
    assert "change" in shown


def test_a_narrow_terminal_names_what_it_leaves_out(broken):
    shown = " ".join(text(broken, 80).split())
    left_out = "No room at this width for: expected grad, law found, expected."
    assert f"{left_out} Laws: U(±sqrt(1/fan_in)), torch default in 24 layers; " in shown
    assert "No room" not in text(broken, 140)


def test_notes_say_what_was_left_out(broken):
    assert "1 finding left out, as asked." in " ".join(text(broken, 100).split())
    assert "left out" not in text(replace(broken, suppressed=0), 100)


def test_the_head_says_what_was_run(broken):
    head = " ".join(text(broken, 140).splitlines()[:2])
    for part in ("VisionNet", "11.17 M parameters", "torch 2.13.0", "64,3,96,96:float32", "3 seeds", "25/26"):
        assert part in head


def test_rich_prints_what_str_does(broken):
    assert printed(broken, width=100).rstrip() == text(broken, 100)


def test_an_ascii_terminal_gets_ascii(broken):
    shown = printed(broken, width=140, encoding="ascii")
    assert shown.isascii()
    assert "?" not in shown
    assert "U(+sqrt(1/fan_in)), torch default" in shown


def test_names_cannot_steer_the_terminal():
    hostile = "a\x1b[2J\x07[bold]b\u202e"
    finding = Finding("FWD001", "error", hostile, hostile, cause=hostile)
    layers = (replace(plain_layer(1), name=hostile, law=hostile, design=hostile),)
    shown = printed(Report((finding,), layers, (), model=hostile, notes=(hostile,)))
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "[bold]" in shown


def test_the_report_is_shown_by_its_verdict(broken):
    assert repr(broken) == "<Report of VisionNet: 2 errors, 1 warning, 2 infos: starts at body.0.conv1>"
    assert broken.table == document(broken)


def test_str_fits_the_terminal(broken, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert str(broken) == text(broken, 80)


@pytest.mark.parametrize(
    ("path", "line"),
    [("head.fc.weight", 58), ("head.fc", 58), ("body.0.conv1.weight", 41), ("body.01.conv1", 12), ("", 12)],
)
def test_a_place_is_that_of_the_nearest_module(broken, path, line):
    assert broken.constructed(path).line == line


def test_a_place_outside_the_users_sources_is_none(healthy):
    assert healthy.constructed("0.weight") is None
