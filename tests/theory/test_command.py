"""`fanwise theory` as a user types it."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fanwise import NONLINEARITIES
from fanwise.report.document import LineChart
from fanwise.report.figure import write_figure
from fanwise.report.html import to_html
from fanwise.theory.meanfield.pages import all_charts, theory_page, verdict
from fanwise.theory.meanfield.summary import summary

UNSTABLE = {"gelu", "gelu_tanh", "quick_gelu", "silu", "mish", "hardswish", "relu_squared"}
MARGINAL = {"linear", "relu", "leaky_relu", "relu6"}


def fanwise(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fanwise.cli", "theory", *arguments],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
    )


def test_a_page_on_the_terminal(tmp_path):
    done = fanwise("gelu", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "no gain keeps a deep plain gelu network at its scale" in done.stdout
    assert "normalise between the layers" in done.stdout
    assert "1.533530441" in done.stdout
    assert "Phase diagram" in done.stdout
    assert not list(tmp_path.iterdir())


def test_json(tmp_path):
    done = fanwise("tanh", "--sigma-b", "0.223606797749979", "--json", cwd=tmp_path)
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    edge = found["settings"][-1]
    assert edge["name"] == "edge of chaos"
    assert edge["sigma_w"] ** 2 == pytest.approx(1.76095464, abs=1e-8)
    assert edge["fixed_points"][0]["q"] == pytest.approx(0.57004788, abs=1e-7)
    assert found["gain"]["second_moment"] == pytest.approx(1.59253741972, abs=1e-9)
    assert found["length_slope"] == pytest.approx(0.46107, abs=1e-5)
    assert found["transformed"]["dks"]["in_scale"] == pytest.approx(0.12844048, abs=1e-7)
    assert found["stable_gain_exists"] is True


def test_files(tmp_path):
    done = fanwise("relu", "--html", "page.html", "--svg", "charts.svg", "--depth", "20", "--width", "64", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == "charts: charts.svg\nreport: page.html\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "0.18138028" in page
    assert ET.fromstring((tmp_path / "charts.svg").read_text(encoding="utf-8")).tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gelu_exact"], "expected one of linear"),
        (["leaky_relu"], "missing a required argument: 'negative_slope'"),
        (["tanh", "--sigma-b", "-1"], "sigma_b = -1.0"),
        (["tanh", "--sigma-b", "nan"], "sigma_b = nan"),
        (["tanh", "--depth", "0"], "depth = 0"),
        (["tanh", "--width", "0"], "width = 0"),
        (["tanh", "--html", "no/such/page.html"], "its folder does not exist"),
        (["tanh", "--svg", "."], "is a folder"),
        (["tanh", "--svg", "charts.gif"], "ends in .svg, .png, .pdf"),
    ],
)
def test_impossible_options_get_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = fanwise(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("fanwise: error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("entry", NONLINEARITIES.values(), ids=lambda entry: entry.name)
def test_every_nonlinearity_has_a_page(entry):
    document, values = theory_page(entry.example, depth=30)
    told = values["verdict"]
    assert told.startswith("no gain") == (entry.name in UNSTABLE)
    assert told.startswith("only the gain") == (entry.name in MARGINAL)
    assert bool(values["remedies"]) == (entry.name in UNSTABLE)
    charts = all_charts(document)
    assert len(charts) >= 3
    assert all(isinstance(chart, LineChart) for chart in charts)
    assert len(to_html(document)) < 300_000


def test_a_function_of_ones_own():
    found = summary(lambda z: np.maximum(z, 0.1 * z - 0.3), depth=10)
    assert verdict(found).startswith(("the gain", "no gain"))
    assert found.settings[0].name == "forward gain"


def test_a_row_shows_the_point_on_the_edge_though_another_is_stable():
    setting = summary("gelu").settings[-1]
    assert setting.field.sigma_b == 0.05
    assert setting.point.chi == pytest.approx(1, abs=1e-9)
    assert len(setting.points) > 1


def test_relu_has_no_phase_diagram_and_gelu_two_parts():
    charts = {name: {c.title: c for c in all_charts(theory_page(name)[0])} for name in ("relu", "gelu")}
    assert "Phase diagram" not in charts["relu"]
    assert charts["gelu"]["Phase diagram"].names == ("edge of chaos", "its length unstable")


def test_figures_are_the_same_every_time(tmp_path):
    charts = all_charts(theory_page("selu", depth=10)[0])
    first, second = (write_figure(charts, tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert write_figure(charts[:1], tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="expected at least one"):
        write_figure((), tmp_path / "d.svg")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    charts = all_charts(theory_page("selu", depth=10)[0])
    with pytest.raises(ImportError, match=r"pip install 'fanwise\[plots\]'"):
        write_figure(charts, tmp_path / "a.svg")
