"""The command as a user types it."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from fanwise.cli import app
from fanwise.stream import native

SMALL = ["--seeds", "1", "--epochs", "1", "--processes", "1", "--width", "20"]


def fanwise(*arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fanwise.cli", *arguments],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", **options},
    )


def test_version_says_which_stream_is_in_use(tmp_path):
    assert fanwise("--version", cwd=tmp_path).stdout == f"fanwise 0.1.0  stream v1 ({native.ISA})\n"
    off = fanwise("--version", cwd=tmp_path, FANWISE_NATIVE="0")
    assert off.stdout == "fanwise 0.1.0  stream v1 (numpy)\n"


def test_help_says_the_whole_sentence_about_every_command(tmp_path):
    page = " ".join(fanwise("--help", cwd=tmp_path).stdout.split())
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        sentence = inspect.getdoc(command.callback).partition("\n\n")[0]
        assert f" {name} {' '.join(sentence.split())}" in page


def test_gain(tmp_path):
    done = fanwise("gain", "gelu", cwd=tmp_path)
    assert "1.533530441" in done.stdout
    values = json.loads(fanwise("gain", "leaky_relu(0.2)", "--json", cwd=tmp_path).stdout)
    assert values["gain"]["second_moment"] == pytest.approx((2 / 1.04) ** 0.5, rel=1e-12)


@pytest.mark.parametrize(("registry", "name"), [("initializers", "delta_orthogonal"), ("nonlinearities", "hardswish")])
def test_list(tmp_path, registry, name):
    assert name in fanwise("list", registry, cwd=tmp_path).stdout
    assert name in [row["name"] for row in json.loads(fanwise("list", registry, "--json", cwd=tmp_path).stdout)]


def test_demo_writes_a_table_and_a_report(tmp_path):
    done = fanwise("demo", *SMALL, "--start", "zeros", "--start", "he", cwd=tmp_path)
    assert done.returncode == 0
    assert "At step zero" in done.stdout
    assert "only the output bias" in done.stdout
    assert "report: report.html" in done.stderr
    page = (tmp_path / "report.html").read_bytes()
    assert page.startswith(b"<!DOCTYPE html>")
    assert len(page) < 300_000


def test_demo_as_json(tmp_path):
    done = fanwise("demo", *SMALL, "--start", "he", "--json", "--html", "other.html", cwd=tmp_path)
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert [start["start"] for start in found["starts"]] == ["he"]
    assert len(found["starts"][0]["trials"][0]["before"]["layers"]) == 3
    assert (tmp_path / "other.html").exists()


def test_processes_change_nothing(tmp_path):
    arguments = ("demo", *SMALL[:4], "--width", "20", "--start", "he", "--start", "huge-batch", "--json")
    runs = [fanwise(*arguments, "--processes", n, cwd=tmp_path, OPENBLAS_NUM_THREADS="1") for n in ("1", "2")]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].returncode == 0


def test_scale_sweeps_one_start(tmp_path):
    done = fanwise("demo", *SMALL, "--scale", "0.1:10", "--start", "lecun", cwd=tmp_path)
    assert done.returncode == 0
    assert "LeCun sqrt(1/n) times a factor, 13 factors from 0.1 to 10" in done.stdout
    assert "Accuracy against the scale of the weights" in done.stdout
    assert "At step zero" not in done.stdout


def test_data_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 5, 5)) + y[:, None, None]
    np.savez(tmp_path / "own.npz", x=x, y=y)
    done = fanwise("demo", *SMALL, "--start", "he", "--data", "own.npz", "--json", cwd=tmp_path)
    setup = json.loads(done.stdout)["setup"]
    assert (setup["data"], setup["widths"]) == ("own.npz", [25, 20, 20, 3])


def bad_idx(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x10\0\0\0\x1c\0\0\0\x1c")
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    return folder


def nan_npz(folder):
    x = np.ones((10, 4, 4))
    x[3, 1, 1] = np.nan
    np.savez(folder / "nan.npz", x=x, y=np.arange(10) % 2)
    return folder / "nan.npz"


def wrong_magic(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"GIF89a" + bytes(100))
    return folder / "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--depth", "1"], "depth = 1: expected an integer >= 2"),
        (["demo", "--width", "0"], "width = 0: expected an integer >= 1"),
        (["demo", "--seeds", "0"], "seeds = 0"),
        (["demo", "--epochs", "-1"], "epochs = -1"),
        (["demo", "--learning-rate", "nan"], "learning_rate = nan"),
        (["demo", "--learning-rate", "0"], "learning_rate = 0.0"),
        (["demo", "--clip", "-1"], "clip = -1.0"),
        (["demo", "--processes", "0"], "--processes = 0"),
        (["demo", "--scale", "1"], "--scale '1': expected LOW:HIGH"),
        (["demo", "--scale", "2:1"], "expected 0 < LOW < HIGH"),
        (["demo", "--scale", "0:1"], "expected 0 < LOW < HIGH"),
        (["demo", "--scale", "nan:1"], "expected 0 < LOW < HIGH"),
        (["demo", "--scale", "a:b"], "expected LOW:HIGH"),
        (["demo", "--start", "hee"], "--start = 'hee': expected one of zeros, constant"),
        (["demo", "--scale", "1:2", "--start", "he", "--start", "zeros"], "sweeps one start, got 2"),
        (["demo", "--html", "no/such/folder.html"], "its folder does not exist"),
        (["demo", "--html", "."], "is a folder"),
        (["demo", "--data", "missing.npz"], "missing.npz"),
        (["gain", "gelu_exact"], "expected one of linear"),
        (["gain", "leaky_relu"], "missing a required argument: 'negative_slope'"),
        (["gain", "leaky_relu(nan)"], "negative_slope = nan"),
    ],
)
def test_impossible_options_get_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = fanwise(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("fanwise: error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [bad_idx, nan_npz, wrong_magic])
def test_broken_data_gets_one_line_and_exit_code_2(tmp_path, make):
    done = fanwise("demo", "--data", str(make(tmp_path)), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fanwise: error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["demo", "--nonlinearity", "softmax"], ["list", "layers"], ["demo", "--depth", "x"]]
)
def test_what_is_no_choice_at_all_is_a_usage_error_too(tmp_path, arguments):
    done = fanwise(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
