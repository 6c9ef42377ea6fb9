"""`fanwise calibrate` as a user types it."""

import json
import math
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402

from fanwise.cli import app  # noqa: E402

FILE = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

def batch():
    torch.manual_seed(1)
    return torch.randn(256, 64), torch.randint(10, (256,))

def broken():
    return nn.Linear(3, 3)
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    (tmp_path / "train.py").write_text(FILE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)

    def called(*arguments):
        code = app(["calibrate", *arguments], standalone_mode=False)
        return code or 0, *capsys.readouterr()

    yield called
    for name in {"train", "fanwise target train"} & (set(sys.modules) - modules):
        del sys.modules[name]


TARGET = ("train.py:build", "--data", "train.py:batch", "--loss", "cross_entropy")


def test_the_weights_that_are_written_are_calibrated(call, tmp_path):
    code, out, err = call(*TARGET, "--write", "weights.safetensors")
    assert (code, err) == (0, "")
    assert "2 of 2 ops calibrated, 1 forward pass." in out
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    torch.manual_seed(1)
    x = torch.randn(256, 64)
    with torch.no_grad():
        assert float(model[0](x).double().std(correction=0)) == pytest.approx(1, abs=1e-5)
        wanted = math.sqrt(0.04 * math.log(10))
        assert float(model(x).double().std(correction=0)) == pytest.approx(wanted, abs=1e-5)


def test_json_and_balance(call):
    _, out, _ = call(*TARGET, "--balance", "--json")
    found = json.loads(out, parse_constant=pytest.fail)
    assert found["forwards"] == 2
    assert [op["paths"] for op in found["ops"]] == [["0.weight"], ["2.weight"]]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((*TARGET, "--mode", "rows"), 2, "expected one of layer, channel"),
        (("weights.safetensors",), 2, "no model that could be run"),
        ((*TARGET, "--write", "nowhere/weights.safetensors"), 2, "--write"),
        (("train.py:broken", "--data", "train.py:batch", "--loss", "cross_entropy"), 3, "could not be run"),
    ],
)
def test_errors_are_one_line(call, arguments, code, told):
    found, _, err = call(*arguments)
    assert found == code
    assert told in err
    assert err.count("\n") == 1
