"""`.safetensors` files: what can be told of weights alone, and what happens with broken files."""

import json
import struct
import sys
import weakref

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
save_file = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").save_file

from fanwise.cli import app  # noqa: E402
from fanwise.torch.cli import weights_file  # noqa: E402
from fanwise.torch.cli.weights_file import check_weights, guessed_layout, read_weights  # noqa: E402


def normal(*shape, std=1.0, seed=0):
    return std * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def saved(folder, **tensors):
    path = folder / "model.safetensors"
    save_file({name.replace("__", "."): tensor for name, tensor in tensors.items()}, str(path))
    return path


@pytest.fixture
def healthy(tmp_path):
    return saved(
        tmp_path,
        wte__weight=normal(500, 64, std=0.02, seed=1),
        fc__weight=normal(256, 64, std=(2 / 64) ** 0.5, seed=2),
        fc__bias=torch.zeros(256),
        out__weight=(torch.rand(64, 256, generator=torch.Generator().manual_seed(3)) * 2 - 1) / 256**0.5,
        conv__weight=normal(32, 16, 3, 3, std=144**-0.5, seed=4).to(torch.bfloat16),
        bn__running_var=torch.ones(32),
        bn__num_batches_tracked=torch.tensor(3),
        ids=torch.arange(5),
    )


def test_laws_are_recognised_and_nothing_is_found_in_healthy_weights(healthy):
    report = check_weights(healthy, fail_on="info")
    assert report.ok
    assert report.findings == ()
    laws = {layer.name: layer.law for layer in report.layers}
    assert laws["fc"] == "He normal"
    assert laws["conv"] == "LeCun normal"
    assert laws["out"].startswith("U(±sqrt(1/fan_in))")
    assert laws["wte"] == "N(0, 0.02)"
    assert report.model == "model.safetensors"
    assert report.parameters == 500 * 64 + 256 * 64 + 256 + 64 * 256 + 32 * 16 * 9
    assert report.weights == (0, 0)  # nothing was run, so that none can be said to be in use
    assert any("Nothing was run" in note for note in report.notes)
    assert any("3 of the file's tensors" in note for note in report.notes)


def test_the_report_in_every_form(healthy, tmp_path):
    report = check_weights(healthy)
    assert "He normal" in str(report)
    assert json.loads(report.to_json())["model"] == "model.safetensors"
    assert json.loads(report.to_sarif())["runs"][0]["results"] == []
    assert report.html(tmp_path / "out.html").read_bytes().startswith(b"<!DOCTYPE html>")


def nan():
    tensor = normal(64, 64, seed=5)
    tensor[3, 3] = torch.nan
    return tensor


BROKEN = {
    "NAN001": {"a__weight": nan()},
    "CON001": {"a__weight": torch.full((64, 64), 0.5)},
    "EQU001": {"a__weight": normal(1, 64, std=0.1).expand(64, 64).contiguous()},
    "COP001": {"a__weight": normal(64, 64, std=0.1), "b__weight": normal(64, 64, std=0.1)},
}


@pytest.mark.parametrize(("code", "tensors"), BROKEN.items(), ids=BROKEN)
def test_what_is_broken_is_found(tmp_path, code, tensors):
    others = {"x__weight": normal(64, 64, std=0.1, seed=8), "x__bias": torch.zeros(64)}
    report = check_weights(saved(tmp_path, **tensors, **others), fail_on="warning")
    assert [finding.code for finding in report.findings] == [code]
    assert not report.ok
    (layer,) = [layer for layer in report.layers if layer.codes]
    assert layer.codes == (code,)
    assert layer.severity == report.findings[0].severity
    assert check_weights(tmp_path / "model.safetensors", ignore=[code[:3]], fail_on="info").ok
    chosen = check_weights(tmp_path / "model.safetensors", select=["LOS"])
    assert (chosen.findings, chosen.suppressed) == ((), 1)


def test_one_tensor_at_a_time(tmp_path, monkeypatch):
    path = saved(tmp_path, **{f"t{i}__weight": normal(64, 64, seed=i) for i in range(20)})
    alive, most, real = weakref.WeakSet(), [], weights_file._tensor

    def counted(*arguments):
        alive.add(tensor := real(*arguments))
        most.append(len(alive))
        return tensor

    monkeypatch.setattr(weights_file, "_tensor", counted)
    found = read_weights(path)
    assert len(most) == len(found.values) == 20
    assert max(most) <= 2  # the one before is let go once the next is there
    assert all(values.std == pytest.approx(1, abs=0.06) for values in found.values.values())


def test_dtypes(tmp_path):
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
    path = saved(tmp_path, **{str(kind).removeprefix("torch."): normal(64, 64).to(kind) for kind in kinds})
    found = read_weights(path)
    assert {one.dtype for one in found.parameters} == {str(kind).removeprefix("torch.") for kind in kinds}
    assert all(values.std == pytest.approx(1, abs=0.1) for values in found.values.values())


def test_empty_and_tiny_tensors(tmp_path):
    report = check_weights(saved(tmp_path, a=torch.zeros(0, 4), b=torch.tensor(3.0), c=torch.zeros(1, 1)))
    assert report.parameters == 2
    assert report.ok, str(report)
    assert check_weights(saved(tmp_path)).layers == ()


def test_packed_tensors_are_left_out(tmp_path):
    header = b'{"w":{"dtype":"F4","shape":[4,8],"data_offsets":[0,16]}}'
    path = tmp_path / "packed.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    assert read_weights(path).others == 1


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("fc.weight", (8, 4), ("out", "in")),
        ("model.embed_tokens.weight", (8, 4), ("lookup", "out")),
        ("patch_embed.proj.weight", (8, 3, 4, 4), ("out", "in", "kernel", "kernel")),
    ],
)
def test_layouts_that_are_guessed(name, shape, axes):
    assert guessed_layout(name, shape).axes == axes
    assert guessed_layout(name, shape[:1]) is None


def entry(dtype="F32", shape="[2,2]", offsets="[0,16]"):
    return f'{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}'.encode()


def file_of(header, data=bytes(16)):
    return struct.pack("<Q", len(header)) + header + data


WHOLE = file_of(entry())
HOSTILE = {
    "empty": b"",
    "short": WHOLE[:5],
    "header cut off": WHOLE[:40],
    "data cut off": WHOLE[:-3],
    "longer": WHOLE + b"more",
    "huge header": struct.pack("<Q", 2**63) + WHOLE[8:],
    "header length wrong": struct.pack("<Q", len(entry()) - 5) + WHOLE[8:],
    "no object": file_of(b"[]"),
    "deep": file_of(b"[" * 100_000),
    "no JSON": file_of(b"GIF89a"),
    "not UTF-8": file_of(b'{"\xff":1}'),
    "overflowing shape": file_of(entry(shape="[9223372036854775807,4]")),
    "offsets outside": file_of(entry(offsets="[0,999]")),
    "offsets reversed": file_of(entry(offsets="[16,0]")),
    "shape and data differ": file_of(entry(shape="[3,2]")),
    "unknown dtype": file_of(entry(dtype="F99")),
    "negative": file_of(entry(shape="[-2,2]")),
    "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_broken_and_hostile_files_are_refused(tmp_path, content, capsys):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.safetensors' cannot be read as safetensors: "):
        read_weights(path)
    assert app(["check", str(path)], standalone_mode=False) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("fanwise: error: ")
    assert told.err.count("\n") == 1


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(OSError, match=r"no\.safetensors"):
        read_weights(tmp_path / "no.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError, match="folder"):
        read_weights(tmp_path / "folder.safetensors")


def test_safetensors_that_is_missing(monkeypatch, healthy):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"needs safetensors: python -m pip install 'fanwise\[torch\]'"):
        read_weights(healthy)


def test_the_command(healthy, tmp_path, capsys):
    assert app(["check", str(healthy)], standalone_mode=False) in (0, None)
    assert "Nothing was run" in " ".join(capsys.readouterr().out.split())
    bad = saved(tmp_path, a__weight=nan())
    assert app(["check", str(bad), "--json"], standalone_mode=False) == 1
    assert [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]] == ["NAN001"]
    assert app(["check", str(bad), "--ignore", "NAN"], standalone_mode=False) in (0, None)


@pytest.mark.parametrize(
    ("option", "value"), [("--data", "a.py:b"), ("--input", "3"), ("--loss", "x"), ("--optimizer", "y")]
)
def test_options_that_need_a_run_are_refused(healthy, capsys, option, value):
    assert app(["check", str(healthy), option, value], standalone_mode=False) == 2
    assert f"{option} with" in capsys.readouterr().err
