"""`fanwise plan`, `check` and `fix` on Keras models, as a user types them."""

import json
import sys

import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.targets.commands import commands  # noqa: E402
from fanwise.targets.order import Order  # noqa: E402
from fanwise.targets.resolved import resolve  # noqa: E402

FILE = """
import keras
import numpy as np

print("noise of the import")

def net(std):
    head = keras.layers.Dense(10, kernel_initializer=keras.initializers.RandomNormal(stddev=std), name="head")
    return keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "relu", name="body"), head], name="net")

def loud():
    return net(9.0)

def healthy():
    return net(0.01)

def unbuilt():
    return keras.Sequential([keras.layers.Dense(3)])

def with_inputs():
    return healthy(), np.ones((3, 64), np.float32)

def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 64)).astype(np.float32), rng.integers(0, 10, 32)

def batches():
    yield batch()

array = batch()[0]
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def with_everything():
    return loud(), batch(), loss

def fails():
    raise KeyError("lost")

def nothing():
    return {}
"""
DATA = ("--data", "train.py:batch", "--loss", "train.py:loss")
PATHS = ["net/body/kernel", "net/body/bias", "net/head/kernel", "net/head/bias"]


@pytest.fixture
def fanwise(command, tmp_path):
    (tmp_path / "train.py").write_text(FILE)
    return command


@pytest.mark.parametrize(("name", "inputs"), [("healthy", "32,64:float32"), ("with_inputs", "3,64:float32")])
def test_a_plan_needs_no_input_where_the_model_says_what_it_takes(fanwise, name, inputs):
    code, out, err = fanwise("plan", f"train.py:{name}", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [one["path"] for one in found["parameters"]] == PATHS
    assert found["framework"] == f"keras {keras.__version__} ({keras.config.backend()})"
    assert found["inputs"] == inputs


@pytest.mark.parametrize("data", [DATA, ("--data", "train.py:batches", *DATA[2:]), ("--data", "train.py:array"), ()])
def test_a_healthy_model_with_data_in_every_form(fanwise, data):
    code, out, err = fanwise("check", "train.py:healthy", *data, "--seeds", "1", "--fail-on", "warning")
    assert code == 0, out + err


@pytest.mark.parametrize(("name", "found"), [("with_everything", ["LOS001"]), ("healthy", [])])
def test_what_a_factory_makes_is_examined_as_pytest_does(fanwise, name, found):
    """`fanwise` is asked for as the fixture that writes the file."""
    report = commands("keras").examined(resolve(Order(f"train.py:{name}", fail_on="warning")))
    del sys.modules["train"]
    assert [one.code for one in report.findings] == found


BAD = {
    "no model": (("check", "train.py:nothing", *DATA), 2, "made dict: expected a"),
    "unbuilt": (("check", "train.py:unbuilt", *DATA), 2, "built"),
    "meta": (("plan", "train.py:healthy", "--meta"), 2, "--meta"),
    "loss": (("check", "train.py:healthy", "--data", "train.py:batch", "--loss", "cross_entrpy"), 2, "loss = 'cros"),
    "factory": (("check", "train.py:fails", *DATA), 3, "'train.py:fails' cannot be built: KeyError: 'lost'"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), BAD.values(), ids=BAD)
def test_errors_are_one_line(fanwise, arguments, code, message):
    found, out, err = fanwise(*arguments)
    told = [line for line in err.splitlines() if line.startswith("fanwise: error: ")]
    assert (found, out, len(told)) == (code, "", 1), err
    assert message in told[0]
