"""`fanwise check`, `explain`, `fix` and `list rules` as a user types them."""

import json
import os
import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import fanwise.torch as fwt  # noqa: E402
from fanwise.check.rules.registry import RULES  # noqa: E402
from fanwise.cli import app  # noqa: E402

FILE = """
import torch
from torch import nn

print("noise of the import")
loads = 0

class Net(nn.Module):
    def __init__(self, std):
        super().__init__()
        self.body = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])  # body
        self.head = nn.Linear(64, 10)  # head
        for layer in self.body:
            nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(self.head.weight, std=std)

    def forward(self, x):
        for layer in self.body:
            x = torch.relu(layer(x))
        return self.head(x)

class Prints(Net):
    def forward(self, x):
        print("noise of the run")
        return super().forward(x)

def loud():
    print("noise of the factory")
    return Prints(10.0)

def healthy():
    return Net(0.01)

def library():  # library
    return nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())], nn.Linear(64, 10))

def with_batch():
    return Net(10.0), batch()[0]

def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 64, generator=generator), torch.randint(10, (64,), generator=generator)

def loader():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch()), batch_size=32)

def stream():
    print("noise of the data")
    yield list(batch())

pair = batch()
listed = list(pair)
iterable = loader()
nothing = iter(())
number = 3
inputs_only = pair[0]
model = Net(10.0)

def double(output, target):
    return 2 * nn.functional.cross_entropy(output, target)

class Criterion(nn.Module):
    def forward(self, output, target):
        return nn.functional.cross_entropy(output, target)

def fails():
    raise KeyError("lost")

def needs(argument):
    return argument
"""
DATA = ("--data", "train.py:batch", "--loss", "cross_entropy")
LOUD = ("train.py:loud", *DATA)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text(FILE)
    return tmp_path


def process(*arguments, cwd):
    command = [sys.executable, "-W", "error", "-m", "fanwise.cli", *arguments]
    return subprocess.run(
        command, check=False, cwd=cwd, capture_output=True, text=True, timeout=300, env=dict(ENVIRONMENT)
    )


@pytest.fixture
def fanwise(folder, monkeypatch, capsys):
    """The command without a process of its own, which takes seconds to import torch."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(folder)

    def call(*arguments):
        modules = set(sys.modules)
        code = app(list(arguments), standalone_mode=False)
        for name in {"train", "fanwise target train"} & (set(sys.modules) - modules):
            del sys.modules[name]
        return subprocess.CompletedProcess(arguments, code or 0, *capsys.readouterr())

    return call


def found(done):
    return json.loads(done.stdout, parse_constant=pytest.fail)


def codes(report):
    return [finding["code"] for finding in report["findings"]]


def line(mark):
    (number,) = [i for i, text in enumerate(FILE.splitlines(), 1) if text.endswith(f"# {mark}")]
    return number


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((*LOUD,), 1),
        ((*LOUD, "--fail-on", "never"), 0),
        (("train.py:healthy", *DATA, "--fail-on", "warning"), 0),
        ((*LOUD, "--ignore", "LOS,WGT,LAY"), 0),
        ((*LOUD, "--select", "NAN001, ZER"), 0),
        ((*LOUD, "--select", "los001"), 1),
    ],
)
def test_the_exit_code_says_whether_something_grave_was_found(fanwise, options, code):
    done = fanwise("check", *options)
    assert done.returncode == code, done.stdout + done.stderr


def test_a_process_says_the_same_and_keeps_what_the_target_prints_off_stdout(folder):
    done = process("check", *LOUD, "--json", cwd=folder)
    assert done.returncode == 1
    report = json.loads(done.stdout, parse_constant=pytest.fail)
    assert "LOS001" in codes(report)
    assert report["seeds"] == [0, 1, 2]
    lines = done.stderr.splitlines()
    assert lines.count("noise of the import") == 1
    assert (lines.count("noise of the factory"), lines.count("noise of the run")) == (3, 3)
    assert set(lines) == {"noise of the import", "noise of the factory", "noise of the run"}


def test_the_table(fanwise):
    done = fanwise("check", *LOUD)
    assert "E LOS001" in done.stdout
    assert re.search(rf"head\S* \(.*train\.py:{line('head')}\)", done.stdout)
    assert "noise" not in done.stdout
    assert "follow" not in fanwise("check", "train.py:healthy", *DATA).stdout
    assert len(fanwise("check", *LOUD, "--full").stdout) > len(done.stdout)


@pytest.mark.parametrize("data", ["batch", "pair", "listed", "loader", "iterable", "stream"])
def test_data_in_every_form(fanwise, data):
    report = found(fanwise("check", "train.py:loud", "--data", f"train.py:{data}", "--loss", "cross_entropy", "--json"))
    assert "LOS001" in codes(report)
    assert report["batch"] == ("32,64:float32" if data in ("loader", "iterable") else "64,64:float32")
    assert not report["loss"]["drawn"]


def test_data_without_a_target_a_spec_and_the_factory_s_own_inputs(fanwise):
    drawn = [
        ("train.py:loud", "--data", "train.py:inputs_only"),
        ("train.py:loud", "--input", "64,64"),
        ("train.py:with_batch",),
    ]
    for options in drawn:
        report = found(fanwise("check", *options, "--loss", "cross_entropy", "--json"))
        assert report["loss"]["drawn"], options
        assert report["batch"].startswith("64,64"), options


def test_losses(fanwise):
    single = found(fanwise("check", *LOUD, "--json"))["loss"]
    twice = found(fanwise("check", *LOUD[:3], "--loss", "train.py:double", "--json"))["loss"]
    module = found(fanwise("check", *LOUD[:3], "--loss", "train.py:Criterion", "--json"))["loss"]
    none = found(fanwise("check", "train.py:loud", "--input", "4,64", "--json"))["loss"]
    assert twice["values"] == pytest.approx([2 * value for value in single["values"]], rel=1e-6)
    assert module["values"] == pytest.approx(single["values"], rel=1e-6)
    assert none["probe"]


def test_seeds_and_models_that_are_ready(fanwise):
    assert found(fanwise("check", *LOUD, "--seeds", "2", "--json"))["seeds"] == [0, 1]
    assert found(fanwise("check", "train.py:model", *DATA, "--json"))["seeds"] == [None]


def test_an_optimizer(fanwise):
    done = fanwise("check", "train.py:healthy", *DATA, "--optimizer", "adam:1", "--json", "--fail-on", "never")
    assert "UPD001" in codes(found(done))
    assert "UPD001" not in codes(found(fanwise("check", "train.py:healthy", *DATA, "--json")))


def test_a_model_of_the_library_is_at_the_line_of_its_factory(fanwise):
    report = found(fanwise("check", "train.py:library", *DATA, "--json"))
    (finding,) = [finding for finding in report["findings"] if finding["code"] == "FWD001"]
    assert finding["source"]["line"] == line("library")
    assert finding["source"]["file"].endswith("train.py")


def test_files(fanwise, folder):
    done = fanwise("check", *LOUD, "--sarif", "out.sarif", "--html", "out.html")
    assert done.returncode == 1
    log = json.loads((folder / "out.sarif").read_text())
    (result,) = [result for result in log["runs"][0]["results"] if result["ruleId"] == "LOS001"]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("train.py", line("head"))
    assert (folder / "out.html").read_bytes().startswith(b"<!DOCTYPE html>")


def test_a_baseline_leaves_out_what_is_known_and_nothing_else(fanwise, folder):
    known = ("--baseline", "known.json")
    written = fanwise("check", *LOUD, *known, "--write-baseline")
    assert written.returncode == 0
    assert "LOS001" in written.stdout
    text = (folder / "known.json").read_text()
    assert {entry["code"] for entry in json.loads(text)["known"]} >= {"LOS001"}
    clean = fanwise("check", *LOUD, *known, "--json")
    assert clean.returncode == 0
    report = found(clean)
    assert codes(report) == []
    assert report["suppressed"] > 0
    assert all(layer["codes"] == [] for layer in report["layers"])
    other = fanwise("check", "train.py:library", *DATA, *known, "--json")
    assert other.returncode == 1
    assert "FWD001" in codes(found(other))
    fanwise("check", *LOUD, *known, "--write-baseline")
    assert (folder / "known.json").read_text() == text


USAGE = {
    "no file": (["no.py:build", *DATA], "target 'no.py:build': no file 'no.py'"),
    "no factory": (["train.py:bild", *DATA], "train.py has no 'bild'"),
    "data form": (["train.py:loud", "--data", "train.py"], "--data 'train.py': expected file.py:name"),
    "no data": (["train.py:loud", "--data", "train.py:btch"], "--data 'train.py:btch': train.py has no 'btch'"),
    "no data file": (["train.py:loud", "--data", "no.py:batch"], "--data 'no.py:batch': no file 'no.py'"),
    "data with arguments": (["train.py:loud", "--data", "train.py:needs"], "--data 'train.py:needs': expected"),
    "data of no kind": (["train.py:loud", "--data", "train.py:number"], "inputs = int"),
    "data and input": (["train.py:loud", "--input", "4,64", "--data", "train.py:pair"], "expected one of them"),
    "no loss": (["train.py:loud", "--data", "train.py:pair", "--loss", "cross_entrpy"], "did you mean 'cross_entropy'"),
    "loss of no kind": (
        ["train.py:loud", "--data", "train.py:pair", "--loss", "train.py:number"],
        "expected a function",
    ),
    "no inputs": (["train.py:loud"], "inputs = None"),
    "spec": (["train.py:loud", "--input", "8x64"], "'8x64' cannot be read"),
    "seeds": (["train.py:loud", *DATA, "--seeds", "0"], "seeds = 0"),
    "optimizer": (["train.py:loud", *DATA, "--optimizer", "adam"], "optimizer = 'adam'"),
    "codes": (["train.py:loud", *DATA, "--select", "XYZ"], "code 'XYZ'"),
    "sarif": (["train.py:loud", *DATA, "--sarif", "no/out.sarif"], "--sarif 'no/out.sarif'"),
    "html": (["train.py:loud", *DATA, "--html", "."], "--html '.' is a folder"),
    "baseline": (["train.py:loud", *DATA, "--baseline", "no.json"], "--baseline 'no.json': no such file"),
    "no baseline": (["train.py:loud", *DATA, "--write-baseline"], "--write-baseline needs a file"),
    "broken baseline": (["train.py:loud", *DATA, "--baseline", "train.py"], "--baseline 'train.py': no JSON"),
    "weights with data": (["a.safetensors", *DATA], "a file of weights is not run"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_impossible_arguments_get_one_line_and_exit_code_2(fanwise, folder, arguments, message):
    assert_told(fanwise("check", *arguments), 2, message)
    assert {path.name for path in folder.iterdir()} <= {"train.py", "__pycache__"}


def assert_told(done, code, message):
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    told = [text for text in done.stderr.splitlines() if not text.startswith("noise")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith("fanwise: error: ")
    assert message in told[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.py:fails", *DATA], "target 'train.py:fails' cannot be built: KeyError: 'lost'"),
        (["train.py:loud", "--data", "train.py:fails"], "--data 'train.py:fails' cannot be built: KeyError: 'lost'"),
        (["train.py:loud", "--data", "train.py:nothing"], "it yields nothing"),
        (["train.py:loud", "--input", "8,63"], "RuntimeError in module 'body.0'"),
        (["train.py:loud", "--data", "train.py:pair", "--loss", "nll_loss", "--select", "NAN"], None),
        (["train.py:loud", "--data", "train.py:pair", "--loss", "mse_loss"], "loss 'mse_loss'"),
    ],
)
def test_a_model_that_does_not_run_gets_exit_code_3(fanwise, arguments, message):
    done = fanwise("check", *arguments, "--html", "out.html")
    if message is None:
        assert done.returncode == 0
    else:
        assert_told(done, 3, message)


def test_explain(fanwise):
    for code, rule in RULES.items():
        page = found(fanwise("explain", code.lower(), "--json"))
        assert (page["code"], page["severity"], page["title"]) == (code, rule.severity, rule.title)
        assert all(page[name] for name in ("sees", "why_it_is_bad", "example", "remedy", "false_alarms", "source"))
    done = fanwise("explain", "FWD001")
    assert "FWD001 (error): the signal shrinks with depth" in done.stdout
    assert_told(fanwise("explain", "FWD999"), 2, "rule 'FWD999': expected one of NAN001")


def test_list_rules(fanwise):
    assert [row["code"] for row in found(fanwise("list", "rules", "--json"))] == list(RULES)
    assert "the signal shrinks with depth" in fanwise("list", "rules").stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "--help"], ["fix", "--help"], ["explain", "FWD001"], ["list", "rules"]]
)
def test_help_and_pages_import_no_framework(arguments):
    code = (
        "import contextlib, io, sys\nwith contextlib.redirect_stdout(io.StringIO()):\n"
        f"    from fanwise.cli import app\n    app({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'jax', 'keras', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


def code_of(text):
    return text[text.index("import torch\n") :]


def test_fix_prints_code_that_mends_the_model(fanwise):
    done = fanwise("fix", *LOUD, "--diff")
    assert done.returncode == 0
    assert [text for text in done.stderr.splitlines() if not text.startswith("noise")] == []
    assert "What changes" in done.stdout
    assert "head.weight" in done.stdout
    model = nn.Module()
    model.body = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])
    model.head = nn.Linear(64, 10)
    nn.init.normal_(model.head.weight, std=10.0)
    exec(compile(code_of(done.stdout), "pasted", "exec"), {"model": model})
    assert float(model.head.weight.detach().std()) < 0.2


def test_fix_without_diff_says_that_no_file_was_changed(fanwise):
    done = fanwise("fix", *LOUD)
    assert "no file was changed" in done.stderr
    assert code_of(done.stdout)


def test_nothing_to_fix(fanwise):
    done = fanwise("fix", "train.py:healthy", *DATA, "--diff")
    assert done.returncode == 0
    assert "Nothing: no finding has a fix." in done.stdout
    assert "import torch" not in done.stdout


def test_a_fixed_model_is_healthy():
    def build():
        model = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())], nn.Linear(64, 10))
        nn.init.normal_(model[-1].weight, std=10.0)
        return model

    torch.manual_seed(3)
    batch = (torch.randn(64, 64), torch.randint(10, (64,)))
    model = build()
    before = fwt.check(model, batch, "cross_entropy")
    assert not before.ok
    mending = fwt.fix(model, before, batch, loss="cross_entropy", apply=True, key=3)
    assert mending
    after = fwt.check(model, batch, "cross_entropy", fail_on="warning")
    assert after.ok, str(after)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.safetensors"], 2, "a file of weights has no model"),
        (["train.py:loud", *DATA, "--recipe", "hee"], 2, "recipe = 'hee'"),
        (["train.py:fails", *DATA], 3, "KeyError: 'lost'"),
    ],
)
def test_what_cannot_be_fixed(fanwise, arguments, code, message):
    assert_told(fanwise("fix", *arguments), code, message)


def test_assert_healthy():
    torch.manual_seed(0)
    batch = (torch.randn(32, 64), torch.randint(10, (32,)))
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    assert fwt.assert_healthy(model, batch, "cross_entropy").ok
    nn.init.normal_(model[2].weight, std=10.0)
    with pytest.raises(AssertionError, match="E LOS001"):
        fwt.assert_healthy(model, batch, "cross_entropy")
    assert fwt.assert_healthy(model, batch, "cross_entropy", ignore=["LOS001", "LAY001", "WGT002"])


def test_a_terminal_is_told_what_takes_more_than_a_second(folder):
    """Run on a pseudo-terminal as stderr; stdout stays a file."""
    slow = FILE.replace('print("noise of the factory")', "import time; time.sleep(1.5)")
    (folder / "train.py").write_text(slow.replace('print("noise', 'str("noise'))
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "fanwise.cli", "check", *LOUD, "--seeds", "1", "--json"]
    environment = dict(ENVIRONMENT, TERM="xterm")
    done = subprocess.run(
        command, check=False, cwd=folder, stdout=subprocess.PIPE, stderr=theirs, timeout=300, env=environment
    )
    os.close(theirs)
    assert "LOS001" in codes(json.loads(done.stdout))
    assert b"seed 0" in os.read(ours, 1 << 16)
    os.close(ours)


def test_progress_is_told_and_off_where_stderr_is_no_terminal(folder, monkeypatch):
    from fanwise.targets.order import Order  # noqa: PLC0415
    from fanwise.targets.resolved import resolve  # noqa: PLC0415
    from fanwise.torch.cli.commands import COMMANDS  # noqa: PLC0415

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    told = []
    COMMANDS.checked(resolve(Order("train.py:healthy", "train.py:batch", loss="cross_entropy")), told.append)
    del sys.modules["train"]
    assert len(told) >= 3
    assert all(told)


def test_plan_keeps_noise_off_stdout_too(fanwise):
    assert found(fanwise("plan", "train.py:loud", "--input", "4,64", "--json"))["recipe"] == "unit"
