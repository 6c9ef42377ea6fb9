"""Orders of the command line, and the framework that a target is of."""

import math
import sys
from functools import partial

import pytest

from fanwise.targets.commands import commands
from fanwise.targets.order import Order
from fanwise.targets.resolved import ResolvedTarget, framework_of, resolve, takes_one

FILE = """
def batch():
    return (1, 2)

def batches():
    yield [3, 4]
    raise RuntimeError("never read")

def function(params, x):
    return x

pair = (function, {})
ready = [5, 6]
number = 7

class Loss:
    def __call__(self, output, target):
        return 0.0
"""


def kind(package, *bases):
    """A class as one of a package's."""
    return type("Kind", bases, {"__module__": f"{package}.somewhere"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "asked_for.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("asked_for", None)


MODELS = {
    "torch": (kind("torch")(), "torch"),
    "torch with inputs": ((kind("torch")(), 3), "torch"),
    "a class of torch": (kind("torch"), "torch"),
    "keras on torch": (kind("user", kind("keras"), kind("torch"))(), "keras"),
    "nnx": (kind("flax")(), "jax"),
    "linen and its variables": ((kind("flax")(), {}), "jax"),
    "equinox": (kind("user", kind("equinox"))(), "jax"),
    "a function and its parameters": ((math.sqrt, {}), "jax"),
    "those, and inputs": (((math.sqrt, {}), 3), "jax"),
    "a number": (3, None),
    "a pair of numbers": ((3, 4), None),
    "nothing": ((), None),
    "a function": (math.sqrt, None),
}


@pytest.mark.parametrize(("value", "framework"), MODELS.values(), ids=MODELS)
def test_the_framework_is_that_of_the_model(value, framework):
    assert framework_of(value) == framework


def test_factories_that_take_a_key():
    assert takes_one(lambda key: key)
    assert takes_one(partial(lambda a, b: a, 1))
    assert not takes_one(lambda: 0)
    assert not takes_one(lambda key=None: key)
    assert not takes_one(lambda a, b: a)
    assert not takes_one(3)


def found(**names):
    return resolve(Order("asked_for.py:pair", **names))


def test_batches_in_every_form(folder):
    def batch(found):
        return found.batch(lambda: "own", lambda value: isinstance(value, bytes))

    assert batch(found()) == "own"
    assert batch(found(inputs="4,5")) == "4,5"
    assert batch(found(data="asked_for.py:batch")) == (1, 2)
    assert batch(found(data="asked_for.py:batches")) == (3, 4)
    assert batch(found(data="asked_for.py:ready")) == (5, 6)


def test_losses(folder):
    assert found().loss() is None
    assert found(loss="cross_entropy").loss() == "cross_entropy"
    assert found(loss="asked_for.py:Loss").loss()(1, 2) == 0.0
    with pytest.raises(ValueError, match="is int: expected a function"):
        found(loss="asked_for.py:number").loss()


def test_a_file_is_executed_once(folder):
    one = found(data="asked_for.py:batch", loss="asked_for.py:Loss")
    assert list(one.modules) == ["asked_for.py"]
    assert one.framework == "jax"


def test_configurations_and_files_of_weights_are_of_torch():
    assert resolve(Order("hf:LlamaConfig()")) == ResolvedTarget(Order("hf:LlamaConfig()"), {}, "torch")
    assert resolve(Order("a.safetensors")).framework == "torch"


def test_a_target_of_no_kind(folder, monkeypatch):
    for name in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, name, sys)
    with pytest.raises(TypeError, match=r"made tuple: expected a torch.nn.Module, a Keras model or a model of JAX"):
        resolve(Order("asked_for.py:batch"))


@pytest.mark.parametrize("framework", ["torch", "jax", "keras"])
def test_a_missing_framework_names_its_extra(framework, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(f"fanwise.{framework}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"fanwise\[{framework}\]"):
        commands(framework)


def test_what_the_file_imports_says_which_it_is_without_a_model_being_built(folder, monkeypatch):
    for name in ("torch", "jax", "keras"):
        monkeypatch.setitem(sys.modules, name, sys)
    (folder / "asked_for.py").write_text("import here_is_jax as jax\ndef build():\n    raise RuntimeError('built')\n")
    module = type(sys)("jax.numpy")
    monkeypatch.setitem(sys.modules, "here_is_jax", module)
    assert resolve(Order("asked_for.py:build")).framework == "jax"
    module.__name__ = "numpy"
    sys.modules.pop("asked_for")
    with pytest.raises(RuntimeError, match="cannot be built: RuntimeError: built"):
        resolve(Order("asked_for.py:build"))
    sys.modules.pop("asked_for")
    assert resolve(Order("asked_for.py:build"), meta=True).framework == "torch"
