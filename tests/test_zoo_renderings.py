"""The plan of every model of the zoo in every form that users see: printed, as a file, as code; applied and checked."""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from fanwise.plan.codegen import pasted
from fanwise.plan.plan import Plan
from fanwise.plan.render.jsonable import plan_jsonable
from fanwise.plan.render.table import text_of
from fanwise.report.html import to_html
from zoo.registry import models

SMALL = ("regnet",)
"""Models with gates of so few units that most of them may be dead at a seed."""
FUSED = ("hf_gpt_neox", "hf_bloom")
"""Models for the check whose query, key and value lie head by head in one weight."""


@dataclass(frozen=True)
class Planned:
    """A model of the zoo and its plan.

    Args:
        framework: its name.
        name: of the model.
        model: built.
        inputs: what it was planned on.
        plan: of it.
    """

    framework: str
    name: str
    model: Any
    inputs: Any
    plan: Plan


def specimens():
    for framework in ("torch", "jax", "keras"):
        if find_spec(framework) is None:
            yield pytest.param(framework, "", "", marks=pytest.mark.skip(reason=f"{framework} is not installed"))
            continue
        marks = [pytest.mark.slow] if framework == "jax" else []  # compiling takes seconds
        for name in models(framework, "structure"):
            yield pytest.param(framework, "structure", name, id=f"{framework} {name}", marks=marks)
    if find_spec("torch") and find_spec("transformers"):
        yield from (pytest.param("torch", "check", name, id=name) for name in FUSED)


@lru_cache(maxsize=1)
def planned(framework, use, name):
    """One plan serves all tests of a model: they come one after the other."""
    specimen, api = models(framework, use)[name], import_module(f"fanwise.{framework}")
    given = specimen.batch()
    if framework == "keras":
        import_module("keras").utils.clear_session()
    model, inputs = specimen.build(), given
    if use == "structure":
        inputs = api.Inputs(given.args, given.kwargs) if framework == "torch" else given.args
    if framework == "keras":
        (inputs,) = given.args
        model(inputs)
    return Planned(framework, name, model, inputs, api.plan(model, inputs))


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize(("framework", "use", "name"), list(specimens()), scope="module")


@pytest.fixture(scope="module")
def case(framework, use, name):
    return planned(framework, use, name)


def test_it_is_printed(case):
    rows = case.plan.rows
    for full in (False, True):
        document = case.plan.table(full=full)
        assert to_html(document)
        assert rows[0].path.split(".")[-1] in text_of(document, 120)
    assert str(case.plan)
    assert "no parameter differs" in str(case.plan.diff(case.plan))
    assert "1 changed." in str(case.plan.diff(case.plan.edit(rows[-1].path, "zeros")))


def test_it_is_json(case):
    values = json.loads(json.dumps(plan_jsonable(case.plan.headings, case.plan.rows, ())))
    assert [each["path"] for each in values["parameters"]] == [row.path for row in case.plan]


def test_a_file_keeps_it(case):
    assert Plan.from_toml(case.plan.to_toml()) == case.plan


def test_it_is_code(case):
    compile(pasted(case.plan.rows, recipe="unit"), "plan", "exec")


def test_a_model_that_it_was_applied_to_is_checked(case):
    api = import_module(f"fanwise.{case.framework}")
    model = api.apply(case.model, case.plan, 0)
    report = api.check(model, case.inputs, plan=case.plan, seeds=1)
    assert case.name in SMALL or not [finding for finding in report.findings if finding.severity == "error"]
    assert str(report)
