"""The report as JSON: a golden file, the schema that is shipped, and values that JSON does not have."""

import json
import math
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fanwise.check.render.jsonable import to_jsonable
from fanwise.measure.observation import ObservedLoss

GOLDEN = Path(__file__).parent / "golden" / "report.json"
SCHEMA = json.loads(files("fanwise.check").joinpath("report.schema.json").read_text(encoding="utf-8"))


def closed(schema):
    """The schema with no name allowed that it does not list."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(item) for name, item in schema.items()}
    return {"additionalProperties": False} | inner if "required" in inner else inner


STRICT = Draft202012Validator(closed(SCHEMA))


def parsed(report):
    return json.loads(report.to_json(), parse_constant=pytest.fail)


def test_golden_file(broken):
    """Run with UPDATE_GOLDEN=1 to write the file anew; then read what changed."""
    text = broken.to_json()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator.check_schema(STRICT.schema)


@pytest.mark.parametrize("name", ["broken", "healthy", "large"])
def test_reports_keep_to_the_schema_and_write_nothing_else(request, name):
    STRICT.validate(parsed(request.getfixturevalue(name)))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"ok": "yes"},
        {"fail_on": "fatal"},
        {"layers": [{}]},
        {"findings": [{"code": "FWD001"}]},
        {"parameters": -1},
        {"loss": {"value": 1.0}},
    ],
)
def test_the_schema_refuses_what_is_no_report(broken, change):
    assert not Draft202012Validator(SCHEMA).is_valid(parsed(broken) | change)


def test_the_schema_lets_a_later_release_add_names(broken):
    Draft202012Validator(SCHEMA).validate(parsed(broken) | {"added": 1})
    assert not STRICT.is_valid(parsed(broken) | {"added": 1})


def test_the_schema_refuses_a_report_without_any_of_its_names(broken):
    values = parsed(broken)
    for name in values:
        assert not STRICT.is_valid({key: value for key, value in values.items() if key != name}), name


def test_what_was_not_measured_is_null_and_what_is_infinite_is_a_text(broken):
    layer = replace(broken.layers[0], rms=math.inf, expected=math.nan)
    values = parsed(replace(broken, layers=(layer,)))
    STRICT.validate(values)
    told = values["layers"][0]
    assert (told["rms"], told["expected"], told["saturated"], told["dead"]) == ("inf", None, None, 0.03)


def test_findings_keep_what_follows_from_them(broken):
    values = to_jsonable(broken)
    assert [finding["code"] for finding in values["findings"]] == ["LOS001", "FWD001", "DED001", "DSN001", "NRM001"]
    assert [other["code"] for other in values["findings"][1]["follows"]] == ["BWD001", "OUT001", "BWD001"]
    assert values["counts"] == {"error": 2, "warning": 1, "info": 2}
    assert values["ok"] is False


def test_a_finding_says_where_its_module_is_constructed(broken):
    sources = [finding["source"] for finding in to_jsonable(broken)["findings"]]
    assert sources[0] == {"file": "models/net.py", "line": 58}
    assert sources[4] == {"file": "train.py", "line": 12}


def test_the_loss_of_every_seed_is_kept(broken, healthy):
    assert to_jsonable(broken)["loss"]["values"] == [37.9, 37.9, 37.9]
    assert to_jsonable(broken)["seeds"] == [0, 1, 2]
    assert to_jsonable(healthy)["loss"] is None
    assert to_jsonable(healthy)["seeds"] == [None]


def test_a_loss_that_diverged_is_a_text(broken):
    runs = (replace(broken.observations[0], loss=ObservedLoss(math.inf, "cross_entropy", chance=math.nan)),)
    values = parsed(replace(broken, observations=runs))
    STRICT.validate(values)
    assert (values["loss"]["values"], values["loss"]["chance"]) == (["inf"], None)
