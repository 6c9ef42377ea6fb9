"""Baselines: what is known is left out and counted, everything else stays."""

import json

import pytest

from fanwise.check.baseline import from_baseline, to_baseline, without
from fanwise.check.findings import Finding
from fanwise.check.report import Report
from fanwise.check.report_data import Layer
from fanwise.measure.observation import NAN


def finding(code, place, severity="error", op=None, follows=()):
    return Finding(code, severity, "message", place, op, follows=follows)


def layer(op, severity, *codes):
    return Layer(op + 1, op, f"{op}", "linear", "", NAN, NAN, NAN, NAN, NAN, severity, codes)


INNER = finding("OUT001", "2", "warning", op=2)
REPORT = Report(
    (finding("FWD001", "0", op=0, follows=(INNER, finding("BWD001", "1", "info", op=0))), finding("LOS001", "", op=2)),
    (layer(0, "error", "FWD001", "BWD001"), layer(2, "error", "OUT001", "LOS001")),
    (),
    suppressed=1,
)


def test_a_baseline_holds_every_finding_and_comes_back():
    known = from_baseline(to_baseline(REPORT))
    assert known == {("FWD001", "0"), ("OUT001", "2"), ("BWD001", "1"), ("LOS001", "")}
    clean = without(REPORT, known)
    assert (clean.findings, clean.suppressed, clean.ok) == ((), 5, True)
    assert [(one.codes, one.severity) for one in clean.layers] == [((), None), ((), None)]


def test_what_follows_from_a_known_cause_and_is_new_stands_alone():
    left = without(REPORT, {("FWD001", "0"), ("BWD001", "1")})
    assert left.findings == (INNER, REPORT.findings[1])
    assert left.suppressed == 3
    assert [(one.codes, one.severity) for one in left.layers] == [((), None), (("OUT001", "LOS001"), "error")]


def test_known_consequences_leave_their_cause():
    left = without(REPORT, {("OUT001", "2"), ("LOS001", "")})
    assert [one.code for cause in left.findings for one in cause.walk()] == ["FWD001", "BWD001"]
    assert [(one.codes, one.severity) for one in left.layers] == [(("FWD001", "BWD001"), "error"), ((), None)]


@pytest.mark.parametrize("known", [(), {("FWD001", "9")}, {("XXX001", "0")}])
def test_nothing_known_changes_nothing(known):
    assert without(REPORT, known) is REPORT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "expected"),
        ("{}", "expected"),
        (json.dumps({"fanwise-baseline": 2, "known": []}), "expected"),
        (json.dumps({"fanwise-baseline": 1}), "expected"),
        (json.dumps({"fanwise-baseline": 1, "known": [3]}), "expected"),
        (json.dumps({"fanwise-baseline": 1, "known": [{"code": "FWD001"}]}), "expected"),
        (json.dumps({"fanwise-baseline": 1, "known": [{"code": "FWD001", "place": 3}]}), "expected"),
    ],
)
def test_files_that_are_no_baseline(text, message):
    with pytest.raises(ValueError, match=message):
        from_baseline(text)
