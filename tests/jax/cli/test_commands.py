"""`fanwise plan`, `check` and `fix` on models of JAX, as a user types them."""

import json
import re
import sys

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

from fanwise.targets.commands import commands  # noqa: E402
from fanwise.targets.order import Order  # noqa: E402
from fanwise.targets.resolved import resolve  # noqa: E402

FILE = """
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

print("noise of the import")

def network(params, x):
    return jax.nn.relu(x @ params["w"] + params["b"]) @ params["head"]

def build(key):
    first, second = jax.random.split(key)
    made = {"w": 0.2 * jax.random.normal(first, (64, 64)), "b": jnp.zeros(64)}
    return network, made | {"head": 9.0 * jax.random.normal(second, (64, 10))}

def fixed_build():
    return build(jax.random.key(0))

def with_inputs():
    return fixed_build(), np.ones((3, 64), np.float32)

class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(32)(x)))

def linen(key):
    module = Linen()
    return module, module.init(key, jnp.zeros((1, 64)))

class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.a, self.b = nnx.Linear(64, 32, rngs=rngs), nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        return self.b(nnx.relu(self.a(x)))

ready = Nnx(nnx.Rngs(0))

def nnx_with_inputs():
    return ready, "3,64"

class Equinox(eqx.Module):
    a: jax.Array

    def __call__(self, x):
        return x @ self.a

def equinox(key):
    return Equinox(jax.random.normal(key, (64, 10)) / 8)

def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 64)).astype(np.float32), rng.integers(0, 10, 32)

array = batch()[0]

def half(output, target):
    return 0.5 * jnp.square(output - jax.nn.one_hot(target, 10)).mean()

def with_everything(key):
    return build(key), batch(), "cross_entropy"

def linen_with_everything():
    return linen(jax.random.key(0)), batch(), half

def fails(key):
    raise KeyError("lost")

def nothing(key):
    return 3
"""
DATA = ("--data", "train.py:batch", "--loss", "cross_entropy")


@pytest.fixture
def fanwise(command, tmp_path):
    (tmp_path / "train.py").write_text(FILE)
    return command


PATHS = {
    "build": {"w", "b", "head"},
    "fixed_build": {"w", "b", "head"},
    "linen": {f"Dense_{i}.{name}" for i in (0, 1) for name in ("kernel", "bias")},
    "ready": {f"{part}.{name}" for part in ("a", "b") for name in ("kernel", "bias")},
    "equinox": {"a"},
}


@pytest.mark.parametrize("name", PATHS)
def test_models_of_every_form_are_planned(fanwise, name):
    code, out, err = fanwise("plan", f"train.py:{name}", "--input", "8,64", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {one["path"] for one in found["parameters"]} == PATHS[name]
    assert found["framework"] == f"jax {jax.__version__}"
    assert "noise of the import" in err


@pytest.mark.parametrize(("name", "inputs"), [("with_inputs", "3,64:float32"), ("nnx_with_inputs", "3,64")])
def test_inputs_may_come_with_the_model(fanwise, name, inputs):
    code, out, err = fanwise("plan", f"train.py:{name}", "--json")
    assert code == 0, err
    assert json.loads(out)["inputs"] == inputs


def test_shapes_alone_give_the_same_laws_by_theory(fanwise):
    measured, derived = (
        json.loads(fanwise("plan", "train.py:build", "--input", "64,64", "--json", *meta)[1])["parameters"]
        for meta in ((), ("--meta",))
    )
    assert [one["path"] for one in measured] == [one["path"] for one in derived]
    # an input of 4096 numbers has a second moment within 5 sqrt(2 / 4096) of 1, and a layer of 64 units another such
    assert [one["std"] for one in measured] == pytest.approx([one["std"] for one in derived], rel=0.15)
    assert [one["std"] for one in measured] != [one["std"] for one in derived]


def test_a_loud_head_is_found_under_every_seed(fanwise):
    code, out, _ = fanwise("check", "train.py:build", *DATA, "--json")
    report = json.loads(out)
    assert code == 1
    assert report["findings"][0]["code"] == "LOS001"
    assert report["seeds"] == [0, 1, 2]


@pytest.mark.parametrize("target", ["linen", "ready", "equinox"])
def test_healthy_models(fanwise, target):
    code, out, err = fanwise("check", f"train.py:{target}", *DATA, "--fail-on", "warning")
    assert code == 0, out + err
    assert "jax" in out


@pytest.mark.parametrize(("name", "found"), [("with_everything", ["LOS001"]), ("linen_with_everything", [])])
def test_what_a_factory_makes_is_examined_as_pytest_does(fanwise, name, found):
    """`fanwise` is asked for as the fixture that writes the file."""
    order = Order(f"train.py:{name}", fail_on="warning")
    report = commands("jax").examined(resolve(order))
    del sys.modules["train"]
    assert [one.code for one in report.findings] == found
    assert report.ok == (not found)


BAD = {
    "no model": (("check", "train.py:nothing", *DATA), 2, "made int: expected (function, params)"),
    "no inputs": (("check", "train.py:build"), 2, "inputs = None: give --data or --input"),
    "no plan inputs": (("plan", "train.py:build"), 2, "inputs = None: give --input"),
    "loss": (("check", "train.py:build", "--data", "train.py:batch", "--loss", "mea_n"), 2, "loss = 'mea_n'"),
    "factory": (("check", "train.py:fails", *DATA), 3, "'train.py:fails' cannot be built: KeyError: 'lost'"),
    "shape": (("check", "train.py:build", "--input", "8,63"), 3, ""),
}


@pytest.mark.parametrize(("arguments", "code", "message"), BAD.values(), ids=BAD)
def test_errors_are_one_line(fanwise, arguments, code, message):
    found, out, err = fanwise(*arguments)
    told = [line for line in err.splitlines() if not line.startswith("noise")]
    assert (found, out, len(told)) == (code, "", 1), err
    assert re.match("fanwise: error: .", told[0])
    assert message in told[0]
