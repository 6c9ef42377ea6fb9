"""The pytest plugin: `--init-check`, and what it costs a run that does not use it."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import _dynamo  # noqa: E402, F401  (pytester forgets what its runs import, and this cannot be imported twice)

import fanwise.torch  # noqa: E402, F401

pytest_plugins = "pytester"

FILE = """
import torch
from torch import nn

def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 64, generator=generator), torch.randint(10, (64,), generator=generator)

def net(std):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.normal_(model[2].weight, std=std)
    return model

def healthy():
    return net(0.01), batch(), "cross_entropy"

def loud():
    return net(10.0), batch(), nn.functional.cross_entropy

def without_loss():
    return net(0.01), "64,64"

def without_batch():
    return net(0.01)

def fails():
    raise KeyError("lost")

ready = healthy()
four = (1, 2, 3, 4)
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    pytester.makepyfile(train=FILE, test_other="def test_other():\n    pass\n")
    yield pytester
    for name in {"train", "fanwise target train"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.mark.parametrize("name", ["healthy", "without_loss", "ready"])
def test_a_healthy_model_is_a_test_that_passes(project, name):
    project.runpytest("--init-check", f"train.py:{name}").assert_outcomes(passed=2)


def test_a_loud_head_is_a_test_that_fails_and_shows_the_table(project):
    done = project.runpytest("--init-check", "train.py:loud", "--init-check", "train.py:healthy")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["*init check: train.py:loud*", "*E LOS001*", "FAILED init-check::train.py:loud*"])
    assert "Traceback" not in done.stdout.str()
    assert "fanwise_pytest" not in done.stdout.str()


def test_severities(project):
    arguments = ("--init-check", "train.py:loud", "--init-check-fail-on")
    project.runpytest(*arguments, "error").assert_outcomes(passed=1, failed=1)
    project.runpytest(*arguments, "never").stderr.fnmatch_lines(["*invalid choice*"])


def test_tests_can_be_chosen_and_run_alone(project):
    project.runpytest("--init-check", "train.py:loud", "-k", "not loud").assert_outcomes(passed=1, deselected=1)
    project.runpytest("--init-check", "train.py:healthy", "-k", "healthy").assert_outcomes(passed=1, deselected=1)
    (project.path / "test_other.py").unlink()
    project.runpytest("--init-check", "train.py:healthy").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bild", "*train.py has no 'bild'*"),
        ("fails", "*KeyError: 'lost'*"),
        ("without_batch", "*inputs = None*"),
        ("four", "*the factory returned 4 things*"),
    ],
)
def test_what_cannot_be_checked_fails_and_says_why(project, name, message):
    done = project.runpytest("--init-check", f"train.py:{name}")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines([message])


def test_a_run_without_the_option_has_no_more_tests_and_imports_no_torch(project):
    project.makepyfile(test_other="import sys\ndef test_other():\n    assert 'torch' not in sys.modules\n")
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_torch_may_be_missing(project):
    project.makeconftest("import sys\nsys.modules['torch'] = None\n")
    project.runpytest_subprocess().assert_outcomes(passed=1)
    done = project.runpytest_subprocess("--init-check", "train.py:healthy")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*ModuleNotFoundError*torch*: python -m pip install 'fanwise[[]torch]'*"])


def test_the_plugin_imports_nothing_heavy():
    heavy = {"fanwise", "numpy", "torch", "typer", "rich", "jinja2"}
    code = f"import sys, fanwise_pytest; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert set(done.stdout.strip("[]\n").replace("'", "").split(", ")) <= {"", "rich"}  # pytest itself may load rich
