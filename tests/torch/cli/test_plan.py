"""`fanwise plan` as a user types it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import fanwise.torch as fwt  # noqa: E402
from fanwise.cli import app  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402

GOLDEN = Path(__file__).parent / "golden" / "plan.txt"

FILE = """
import torch
from torch import nn

built = 0

def build():
    global built
    built += 1
    assert built == 1, "built twice"
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))

def with_inputs():
    return build(), torch.ones(8, 784)

class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        self.inner(x)
        raise ZeroDivisionError("by nothing")

def broken():
    raise KeyError("lost")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text(FILE)
    return tmp_path


def fanwise(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fanwise.cli", "plan", *arguments],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def called(folder, monkeypatch, capsys):
    """The same without a process of its own, which takes seconds to import torch."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    modules = set(sys.modules)

    def call(*arguments):
        code = app(["plan", *arguments], standalone_mode=False)
        return subprocess.CompletedProcess(arguments, code or 0, *capsys.readouterr())

    yield call
    for name in {"train", "fanwise target train"} & (set(sys.modules) - modules):
        del sys.modules[name]


def test_the_table_is_the_golden_one(folder):
    """Written anew, after a look at the difference, by removing the file and running the test."""
    done = fanwise("train.py:build", "--input", "64,784", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = re.sub(r"torch [0-9.]+", "torch VERSION", done.stdout)
    if not GOLDEN.exists():
        GOLDEN.write_text(found, encoding="utf-8")
        pytest.fail(f"{GOLDEN} was written: look at it")
    assert found == GOLDEN.read_text(encoding="utf-8")
    assert max(map(len, found.splitlines())) <= 100


def test_a_plan_that_is_written_can_be_applied(folder):
    done = fanwise("train.py:build", "--input", "64,784", "--toml", "plan.toml", "--full", cwd=folder)
    assert done.returncode == 0
    assert all(f"{layer}.{name} " in done.stdout for layer in (0, 2, 4) for name in ("weight", "bias"))
    plan = Plan.from_toml((folder / "plan.toml").read_text())
    model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    fwt.apply(model, plan, 0)
    assert plan.recipe == "unit"


def test_json(folder):
    done = fanwise("train.py:with_inputs", "--json", "--against", "torch-2.13", cwd=folder)
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (found["recipe"], found["inputs"]) == ("unit", "8,784:float32")
    first, *_, last = found["parameters"]
    assert (first["path"], first["shape"], first["fans"], first["role"]) == (
        "0.weight",
        [100, 784],
        [[784, 100]],
        "weight",
    )
    assert first["std"] == pytest.approx(784**-0.5, rel=1e-6)
    assert last["role"] == "head_bias"
    change = found["against"][0]
    assert change["path"] == "0.weight"
    assert change["std_ratio"] == pytest.approx(3**0.5, rel=1e-6)
    assert change["law"]["name"]


def test_against_shows_what_differs(folder):
    done = fanwise("train.py:build", "--input", "64,784", "--against", "torch-2.13", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 changed; recipe: 'torch-2.13' becomes 'unit'." in done.stdout
    assert "1.73" in done.stdout


def test_meta_takes_no_memory_and_finds_the_same_first_law(folder):
    done = fanwise("train.py:build", "--input", "64,784", "--meta", "--json", cwd=folder)
    found = json.loads(done.stdout)["parameters"]
    assert found[0]["std"] == pytest.approx(784**-0.5, rel=1e-6)
    assert found[2]["std"] == pytest.approx((2 / 100) ** 0.5, rel=0.01)  # after a ReLU: half of a unit second moment


def test_a_package_in_the_working_directory(folder):
    done = fanwise("train:build", "--input", "64,784", "--json", cwd=folder)
    assert len(json.loads(done.stdout)["parameters"]) == 6


def test_transformers_configurations(folder):
    pytest.importorskip("transformers", reason="transformers is not installed")
    small = "vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64"
    done = fanwise(f"hf:LlamaConfig({small})", "--meta", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["parameters"]) == 21


USAGE = {
    "file": (["no.py:build"], "target 'no.py:build': no file 'no.py'"),
    "form": (["train.py"], "expected file.py:factory"),
    "factory": (["train.py:bild"], "train.py has no 'bild'; it has build, with_inputs, Fails, broken"),
    "recipe": (["train.py:build", "--input", "8,784", "--recipe", "hee"], "recipe = 'hee': expected one of unit"),
    "against": (["train.py:build", "--input", "8,784", "--against", "hee"], "recipe = 'hee': expected one of unit"),
    "spec": (["train.py:build", "--input", "8x784"], "'8x784' cannot be read"),
    "no inputs": (["train.py:build"], "inputs = None"),
    "toml": (["train.py:build", "--input", "8,784", "--toml", "no/plan.toml"], "its folder does not exist"),
    "folder": (["train.py:build", "--input", "8,784", "--toml", "."], "is a folder"),
    "code": (["hf:LlamaConfig(a=print(1))"], "expected hf:ConfigClass"),
    "config": (["no.json"], "no.json"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_impossible_arguments_get_one_line_and_exit_code_2(folder, called, arguments, message):
    assert_one_line(called(*arguments), 2, message)
    assert {path.name for path in folder.iterdir()} <= {"train.py", "__pycache__"}


def assert_one_line(done, code, message):
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("fanwise: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.py:Fails", "--input", "2,3"], "ZeroDivisionError in module '(the model itself)'"),
        (["train.py:build", "--input", "8,783"], "RuntimeError in module '0'"),
        (["train.py:broken", "--input", "8"], "target 'train.py:broken' cannot be built: KeyError: 'lost'"),
    ],
)
def test_a_model_that_does_not_run_gets_one_line_and_exit_code_3(folder, called, arguments, message):
    assert_one_line(called(*arguments, "--toml", "plan.toml"), 3, message)
    assert not (folder / "plan.toml").exists()


@pytest.mark.parametrize(("name", "code", "message"), [("bild", 2, "has no 'bild'"), ("broken", 3, "KeyError: 'lost'")])
def test_a_process_says_the_same(folder, name, code, message):
    assert_one_line(fanwise(f"train.py:{name}", cwd=folder), code, message)


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"]])
def test_help_imports_no_framework(arguments):
    code = (
        "import contextlib, io, sys\nwith contextlib.redirect_stdout(io.StringIO()):\n"
        f"    from fanwise.cli import app\n    app({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'jax', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
