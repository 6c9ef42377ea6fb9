"""The report as SARIF: a golden file, the standard's schema (the parts we write), and where results are placed."""

import json
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from jsonschema import Draft202012Validator

from fanwise.check.render.sarif import fingerprint, to_sarif
from fanwise.check.rules.registry import RULES
from fanwise.check.rules.rule import Page, Rule
from fanwise.measure.observation import Place
from fanwise.report.jsonable import to_json

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "report.sarif"
SCHEMA = Draft202012Validator(json.loads((HERE / "sarif-2.1.0-subset.json").read_text(encoding="utf-8")))


PAGE = Page(
    says="The slope of the signal over depth is not 0.",
    why="Deep layers get no signal.",
    measured="The second moment of each layer's output.",
    example="A deep stack.",
    remedy="Draw the weights anew.",
)


def known(code, severity, title):
    return Rule(code, severity, title, PAGE, "measured", lambda subject: ())


KNOWN = {
    rule.code: rule
    for rule in (
        known("LOS001", "error", "loss far from chance"),
        known("FWD001", "warning", "signal shrinks with depth"),
        known("NRM001", "info", "input not normalised"),
    )
}


def results(report, **options):
    return to_sarif(report, KNOWN, **options)["runs"][0]["results"]


def placed(report, file, **options):
    """The artifact location of a finding in a file."""
    moved = replace(report, places={"": Place(file, 3)})
    return results(moved, **options)[0]["locations"][0]["physicalLocation"]["artifactLocation"]


def test_golden_file(broken):
    """Run with UPDATE_GOLDEN=1 to write the file anew; then read what changed."""
    text = to_json(to_sarif(broken, KNOWN, root=PurePosixPath("/repository")))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["broken", "healthy", "large"])
@pytest.mark.parametrize("rules", [KNOWN, RULES, {}])
def test_logs_keep_to_the_standard(request, name, rules):
    SCHEMA.validate(to_sarif(request.getfixturevalue(name), rules))


def test_the_schema_refuses_what_the_standard_does_not_know(broken):
    log = to_sarif(broken, KNOWN)
    log["runs"][0]["results"][0]["severity"] = "error"
    assert not SCHEMA.is_valid(log)


def test_results_name_rule_and_level(broken):
    told = [(result["ruleId"], result["level"], result.get("ruleIndex")) for result in results(broken)]
    assert told == [
        ("LOS001", "error", 0),
        ("FWD001", "error", 1),
        ("DED001", "warning", None),
        ("DSN001", "note", None),
        ("NRM001", "note", 2),
    ]


def test_the_index_of_a_rule_points_at_it(broken):
    run = to_sarif(broken, KNOWN)["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        if "ruleIndex" in result:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_rules_bring_their_usual_level(broken):
    rules = to_sarif(broken, KNOWN)["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["defaultConfiguration"]["level"] for rule in rules] == ["error", "warning", "note"]


def test_messages_say_cause_and_fix_and_begin_with_the_finding(broken):
    text = results(broken)[0]["message"]["text"]
    assert text.startswith("initial loss 37.9 is 16.5 x ln 10: the head starts confidently wrong. Cause: std 1.0")
    assert text.endswith("Fix: small head: N(0, 0.01) on 1 weight.")
    assert results(broken)[3]["message"]["text"].endswith("This is by design.")


def test_a_result_stands_where_its_module_is_constructed(broken):
    physical = [result["locations"][0]["physicalLocation"] for result in results(broken)]
    lines = [(place["artifactLocation"]["uri"], place["region"]["startLine"]) for place in physical]
    assert lines[:3] == [("models/net.py", 58), ("models/net.py", 41), ("train.py", 12)]


def test_a_result_has_its_place_in_the_model(broken):
    names = [result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for result in results(broken)]
    assert names == ["head.fc", "body.0.conv1.weight", "body.7.conv1", "body.3.conv2", "VisionNet"]


def test_without_sources_only_the_place_in_the_model_is_told(broken):
    (location,) = results(replace(broken, places={}))[0]["locations"]
    assert set(location) == {"logicalLocations"}


def test_what_follows_is_related(broken):
    related = results(broken)[1]["relatedLocations"]
    assert [place["id"] for place in related] == [1, 2, 3]
    assert related[1]["message"]["text"].startswith("OUT001: outputs for different inputs are alike")
    assert "relatedLocations" not in results(broken)[0]


def test_a_fingerprint_depends_on_code_and_place_alone(broken):
    first = broken.findings[0]
    names = [result["partialFingerprints"]["codeAndPlace/v1"] for result in results(broken)]
    assert len(set(names)) == len(names)
    assert fingerprint(replace(first, message="loss 99", cause="")) == names[0]
    assert fingerprint(replace(first, place="head")) != names[0] != fingerprint(replace(first, code="LOS002"))


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("my models/net#1.py", "my%20models/net%231.py"),
        ("/elsewhere/net.py", "file:///elsewhere/net.py"),
    ],
)
@pytest.mark.parametrize("root", ["", "/repository"])
def test_files_outside_the_root_are_told_as_they_are(broken, file, uri, root):
    assert placed(broken, file, root=root) == {"uri": uri}


def test_files_below_the_root_are_told_relatively(broken):
    expected = {"uri": "models/net.py", "uriBaseId": "%SRCROOT%"}
    assert placed(broken, "/repository/models/net.py", root="/repository") == expected
    run = to_sarif(broken, KNOWN, root="/repository")["runs"][0]
    assert run["originalUriBaseIds"] == {"%SRCROOT%": {"uri": "file:///repository/"}}


def test_the_report_knows_our_rules(broken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = replace(broken, places={"": Place(str(tmp_path / "net.py"), 3)})
    log = json.loads(moved.to_sarif())
    SCHEMA.validate(log)
    run = log["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "net.py"
