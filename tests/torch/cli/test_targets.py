"""TARGET: what names a model, and what a name must not do."""

import json
import re
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from fanwise.torch.cli.hf_models import parse_call  # noqa: E402
from fanwise.torch.cli.targets import build  # noqa: E402
from fanwise.torch.trace.run import ModelError  # noqa: E402

FILE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
import sibling_of_target

@dataclass
class Config:
    width: int = 3

def model():
    import late_sibling_of_target
    return nn.Linear(Config().width, late_sibling_of_target.OUT)

def with_inputs():
    return nn.Linear(3, 2), torch.zeros(4, 3)

class Net(nn.Linear):
    def __init__(self, n=3):
        super().__init__(n, n)

ready = nn.Linear(5, 6)
pair = (ready, "4,5")
number = 3

def needs(argument):
    return argument

def fails():
    raise KeyError("lost")

def leaves():
    raise SystemExit(5)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "train.py").write_text(FILE)
    (tmp_path / "sibling_of_target.py").write_text("")
    (tmp_path / "late_sibling_of_target.py").write_text("OUT = 2")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    (tmp_path / "wrong.py").write_text("def (")
    (tmp_path / "json.py").write_text("from torch import nn\ndef model():\n    return nn.Linear(7, 7)\n")
    (tmp_path / "targetpackage").mkdir()
    (tmp_path / "targetpackage" / "__init__.py").write_text("")
    (tmp_path / "targetpackage" / "nets.py").write_text(
        "from torch import nn\ndef model():\n    return nn.Linear(8, 8)\n"
    )
    (tmp_path / "targetpackage" / "inner.py").write_text("import nothing_of_this_name")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("train", "targetpackage", "sibling_of_target", "late_sibling_of_target"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("model", (2, 3)), ("Net", (3, 3)), ("ready", (6, 5)), ("with_inputs", (2, 3)), ("pair", (6, 5))],
)
@pytest.mark.parametrize("absolute", [True, False])
def test_factories_in_a_file(folder, name, shape, absolute):
    model, inputs = build(f"{folder / 'train.py' if absolute else 'train.py'}:{name}")
    assert tuple(model.weight.shape) == shape
    assert (inputs is not None) == (name in ("with_inputs", "pair"))


def test_factories_in_a_package(folder):
    model, inputs = build("targetpackage.nets:model")
    assert (model.in_features, inputs) == (8, None)
    assert isinstance(build("torch.nn:Identity")[0], nn.Identity)


def test_a_file_named_as_a_module_hides_none(folder):
    assert build("json.py:model")[0].in_features == 7
    assert sys.modules["json"] is json


def test_meta(folder):
    assert build("train.py:model", meta=True)[0].weight.is_meta
    assert not build("train.py:model")[0].weight.is_meta


BAD = {
    "no colon": ("train.py", ValueError, "expected file.py:factory"),
    "no name": ("train.py:", ValueError, "expected file.py:factory"),
    "no place": (":model", ValueError, "expected file.py:factory"),
    "a call": ("train.py:model()", ValueError, "expected file.py:factory"),
    "an attribute": ("train.py:Net.build", ValueError, "expected file.py:factory"),
    "no file": ("no.py:model", ValueError, "no file 'no.py'"),
    "folder": ("targetpackage:model", ValueError, "targetpackage has no 'model'; it has nothing to call"),
    "no factory": ("train.py:modle", ValueError, "train.py has no 'modle'; it has"),
    "no package": ("no_such_package.nets:model", ValueError, "no module 'no_such_package'"),
    "no module": ("targetpackage.no:model", ValueError, "no module 'targetpackage.no'"),
    "relative": (".nets:model", ValueError, "expected file.py:factory"),
    "code": ("__import__('os'):system", ValueError, "expected file.py:factory"),
    "no model": ("train.py:number", TypeError, "made int: expected a torch.nn.Module"),
    "arguments": (
        "train.py:needs",
        ValueError,
        "expected a factory that takes no arguments, missing a required argument",
    ),
    "raises": ("train.py:fails", ModelError, "cannot be built: KeyError: 'lost'"),
    "exits": ("train.py:leaves", ModelError, "cannot be built: SystemExit: 5"),
    "import fails": ("broken.py:model", ModelError, "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "import fails inside": ("targetpackage.inner:model", ModelError, "No module named 'nothing_of_this_name'"),
    "no Python": ("wrong.py:model", ModelError, "SyntaxError"),
    "empty": ("", ValueError, "expected file.py:factory"),
    "number": (3, TypeError, "target = 3"),
}


@pytest.mark.parametrize(("target", "error", "message"), BAD.values(), ids=BAD)
def test_targets_that_name_nothing(folder, target, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build(target)
    assert not {"broken", "wrong"} & set(sys.modules)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed")


def call(name, **values):
    return f"hf:{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("LlamaConfig", "LlamaForCausalLM"),
        ("BertConfig", "BertForMaskedLM"),
        ("ViTConfig", "ViTForImageClassification"),
    ],
)
@pytest.mark.parametrize("meta", [True, False])
def test_configurations_make_models_with_random_weights(transformers, name, made, meta):
    values = SMALL if name != "ViTConfig" else {key: SMALL[key] for key in list(SMALL)[:4]}
    model, inputs = build(call(name, **values), meta=meta)
    assert (type(model).__name__, inputs) == (made, None)
    assert all(tensor.is_meta == meta for tensor in model.parameters())


def test_encoders_and_decoders_have_a_head(transformers):
    small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 30}
    assert type(build(call("T5Config", **small))[0]).__name__ == "T5ForConditionalGeneration"


def test_a_configuration_file(transformers, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaModel"], **SMALL}))
    assert type(build(str(file))[0]).__name__ == "LlamaModel"
    file.write_text(json.dumps({"model_type": "llama", **SMALL}))
    assert type(build(str(file), meta=True)[0]).__name__ == "LlamaForCausalLM"
    file.write_text(json.dumps({"model_type": "llama", "architectures": ["pipeline", 3, "os", "AutoModel"], **SMALL}))
    assert type(build(str(file))[0]).__name__ == "LlamaForCausalLM"


NO_CALL = {
    "positional": "hf:LlamaConfig(3)",
    "code": "hf:LlamaConfig(a=__import__('os').system('true'))",
    "method": "hf:LlamaConfig.from_pretrained(a='x')",
    "chained": "hf:LlamaConfig()()",
    "unpacked": "hf:LlamaConfig(**{'a': 1})",
    "names": "hf:LlamaConfig(a=b)",
    "arithmetic": "hf:LlamaConfig(a=9**9**9)",
    "statement": "hf:LlamaConfig(); import os",
    "walrus": "hf:LlamaConfig(a=(b:=3))",
    "deep": "hf:LlamaConfig(a=" + "(" * 5000 + ")" * 5000 + ")",
    "minus": "hf:LlamaConfig(a=" + "-" * 100_000 + "1)",
    "twice": "hf:LlamaConfig(a=1, a=2)",
    "null": "hf:LlamaConfig(a='\0')\0",
    "nothing": "hf:",
    "unclosed": "hf:LlamaConfig(",
    "digits": "hf:LlamaConfig(a=" + "9" * 5000 + ")",
}


@pytest.mark.parametrize("target", NO_CALL.values(), ids=NO_CALL)
def test_nothing_but_literals_is_evaluated(target):
    with pytest.raises(ValueError, match="expected hf:ConfigClass") as raised:
        parse_call(target)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "name", ["pipeline", "AutoModel", "LlamaModel", "logging", "NoSuchConfig", "PreTrainedModel", "os"]
)
def test_only_configurations_are_called(transformers, name):
    with pytest.raises(ValueError, match=f"transformers has no configuration '{name}'"):
        build(f"hf:{name}()", meta=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "the file has no 'model_type'"),
        ('{"hidden_size": 3}', "the file has no 'model_type'"),
        ('{"model_type": 3}', "the file has no 'model_type'"),
        ('{"model_type": "nonsense"}', "ValueError"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "hidden_size"),
        (b"\xff\xfe\x00", "no JSON"),
    ],
)
def test_configuration_files_that_cannot_be_read(transformers, tmp_path, text, message):
    file = tmp_path / "config.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(message)):
        build(str(file))


def test_a_configuration_file_that_does_not_exist(transformers, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        build(str(tmp_path / "no.json"))


def test_values_that_a_configuration_refuses(transformers):
    with pytest.raises(ValueError, match="hidden_size"):
        build("hf:LlamaConfig(hidden_size='wide')")


def test_transformers_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="needs transformers: python -m pip install transformers"):
        build("hf:LlamaConfig()")
