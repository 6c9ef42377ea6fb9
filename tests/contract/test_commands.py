"""`fanwise plan`, `check`, `fix` and `calibrate` on one network in every framework, as a user types them."""

import json
import math

import numpy as np
import pytest

HEAD = """
import numpy as np

def drawn(scale):
    rng = np.random.default_rng(0)
    sizes = ((16, 32), (32, 32), (32, 10))
    made = [rng.normal(0, (2 / size[0]) ** 0.5, size).astype("float32") for size in sizes]
    return made[0], made[1], scale * made[2]

def pair():
    rng = np.random.default_rng(1)
    return rng.normal(size=(64, 16)).astype("float32"), rng.integers(0, 10, 64)

print("noise of the import")
"""
TAIL = """
def healthy():
    print("noise of the factory")
    return build(0.1)

def loud():
    return build(30)

named = globals().get("named", loud)  # whose inputs go by name

def with_inputs():
    return build(0.1), batch()[0]

def with_everything():
    return build(30), batch(), loss

def mapping():
    return dict(zip(("x", "target"), batch()))

def batches():
    yield batch()

def seeded(KEY):
    return build(0.1)

def fails():
    raise KeyError("lost")

def nothing():
    return 3

array = batch()[0]
"""
TORCH = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.a, self.b, self.head = (nn.Linear(*value.shape) for value in values)
        with torch.no_grad():
            for layer, value in zip((self.a, self.b, self.head), values):
                layer.weight.copy_(torch.from_numpy(value.T.copy()))
                layer.bias.zero_()

    def forward(self, x):
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))

def build(scale):
    return Net(drawn(scale))

def batch():
    return tuple(map(torch.from_numpy, pair()))

def loss(output, target):
    return nn.functional.cross_entropy(output, target)
"""
JAX = """
import jax
import jax.numpy as jnp

def network(params, x):
    for name in ("a", "b"):
        x = jax.nn.relu(x @ params[name]["weight"] + params[name]["bias"])
    return x @ params["head"]["weight"] + params["head"]["bias"]

def build(scale):
    values = zip(("a", "b", "head"), drawn(scale))
    return network, {name: {"weight": jnp.asarray(w), "bias": jnp.zeros(w.shape[1])} for name, w in values}

def batch():
    return tuple(map(jnp.asarray, pair()))

def loss(output, target):
    return -jnp.take_along_axis(jax.nn.log_softmax(output), target[:, None], 1).mean()
"""
FLAX = """
import jax.numpy as jnp
from flax import linen

class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        for name in ("a", "b"):
            x = linen.relu(linen.Dense(32, name=name)(x))
        return linen.Dense(10, name="head")(x)

def build(scale):
    values = zip(("a", "b", "head"), drawn(scale))
    return Net(), {"params": {n: {"kernel": jnp.asarray(w), "bias": jnp.zeros(w.shape[1])} for n, w in values}}
"""
KERAS = """
import keras

def build(scale):
    hidden = [keras.layers.Dense(32, "relu", name=name) for name in "ab"]
    model = keras.Sequential([keras.Input((16,), name="x"), *hidden, keras.layers.Dense(10, name="head")])
    for layer, value in zip(model.layers, drawn(scale)):
        layer.set_weights([value, np.zeros(value.shape[1])])
    return model

def batch():
    return pair()

def named():
    model = build(30)
    return keras.Model({"x": model.inputs[0]}, model.outputs[0])

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
"""
FILES = {
    "torch": HEAD + TORCH + TAIL.replace("KEY", ""),
    "jax": HEAD + JAX + TAIL.replace("KEY", "key"),
    "flax": HEAD + JAX + FLAX + TAIL.replace("KEY", "key"),
    "keras": HEAD + KERAS + TAIL.replace("KEY", ""),
}
"""A factory is called with a key for each seed in JAX, and with the framework's random numbers seeded elsewhere."""
DATA = ("--data", "train.py:batch", "--loss", "train.py:loss")


@pytest.fixture
def fanwise(framework, command, tmp_path):
    """The command in a folder that holds the framework's file."""
    (tmp_path / "train.py").write_text(FILES[framework.name])
    return command


def paths(framework, *layers):
    """Paths of weights in the file's models; a Keras model that is no functional one heads them with its name."""
    return [framework.path(f"{layer}.weight") for layer in layers]


def ends_as(found, expected):
    return len(found) == len(expected) and all(one.endswith(other) for one, other in zip(found, expected, strict=True))


# plan


@pytest.mark.parametrize(("target", "options"), [("healthy", ("--input", "64,16")), ("with_inputs", ())])
def test_plan(framework, fanwise, target, options):
    code, out, err = fanwise("plan", f"train.py:{target}", *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["framework"].startswith(f"{framework.adapter} ")
    rows = {one["path"]: one for one in found["parameters"]}
    assert len(rows) == 6
    heads = [one for one in rows.values() if one["role"] == "head"]
    assert ends_as([one["path"] for one in heads], paths(framework, "head"))
    assert [one["std"] for one in rows.values() if one["role"] in ("bias", "head_bias")] == [0, 0, 0]
    assert "noise of the import" in err
    assert "noise" not in out


def test_plan_by_a_recipe_against_another(framework, fanwise):
    code, out, err = fanwise("plan", "train.py:healthy", "--input", "64,16", "--recipe", "he", "--json")
    assert code == 0, err
    (row,) = [one for one in json.loads(out)["parameters"] if ends_as([one["path"]], paths(framework, "b"))]
    assert row["std"] == pytest.approx(math.sqrt(2 / 32), rel=1e-6)
    code, out, _ = fanwise("plan", "train.py:healthy", "--input", "64,16", "--against", "glorot")
    assert code == 0
    assert paths(framework, "a")[0] in out


def test_plan_keeps_what_it_is_told_to(framework, fanwise):
    head, order = paths(framework, "head"), ("plan", "train.py:healthy", "--input", "64,16")
    code, out, err = fanwise(*order, "--keep", f"*{head[0]}", "--keep", "trained", "--json")
    assert code == 0, err
    kept = [row for row in json.loads(out)["parameters"] if row["law"] is None]
    assert ends_as([row["path"] for row in kept], head)
    assert kept[0]["reason"].startswith("kept: meant")
    code, _, err = fanwise(*order, "--keep", "nothing.*")
    assert code == 2
    assert "matches no parameter" in err


def test_plan_writes_a_file(framework, fanwise, tmp_path):
    assert fanwise("plan", "train.py:healthy", "--input", "64,16", "--toml", "plan.toml")[0] == 0
    assert paths(framework, "head")[0] in (tmp_path / "plan.toml").read_text()


# check


def checked(fanwise, target, *options):
    code, out, err = fanwise("check", f"train.py:{target}", *options, "--json", "--seeds", "1")
    assert code in (0, 1), err
    return code, json.loads(out)


@pytest.mark.parametrize(("target", "code", "codes"), [("healthy", 0, []), ("loud", 1, ["LOS001"])])
def test_check(framework, fanwise, target, code, codes):
    found, report = checked(fanwise, target, *DATA)
    assert (found, [one["code"] for one in report["findings"]]) == (code, codes)
    assert report["framework"].startswith(f"{framework.adapter} ")
    assert report["batch"] == "64,16:float32"
    assert not report["loss"]["drawn"]


def test_check_by_name_of_the_loss(fanwise):
    code, report = checked(fanwise, "loud", "--data", "train.py:batch", "--loss", "cross_entropy")
    assert (code, report["loss"]["name"]) == (1, "cross_entropy")


@pytest.mark.parametrize("data", ["batches", "mapping", "array"])
def test_check_on_data_in_every_form(framework, fanwise, data):
    known = framework.loss if isinstance(framework.loss, str) else "train.py:loss"
    target = "named" if data == "mapping" else "loud"
    code, report = checked(fanwise, target, "--data", f"train.py:{data}", "--loss", known)
    assert code == 1
    assert report["findings"][0]["code"] == "LOS001"


@pytest.mark.parametrize("given", [("--input", "64,16"), ("--data", "train.py:array")])
def test_check_without_a_loss(fanwise, given):
    code, report = checked(fanwise, "loud", *given)
    assert (code, report["findings"]) == (0, [])


def test_check_builds_a_factory_once_a_seed(fanwise):
    code, out, err = fanwise("check", "train.py:seeded", *DATA, "--json")
    assert code == 0, err
    assert json.loads(out)["seeds"] == [0, 1, 2]


def test_check_chooses_rules_and_severities(fanwise):
    assert checked(fanwise, "loud", *DATA, "--ignore", "LOS,OUT")[0] == 0
    assert checked(fanwise, "loud", *DATA, "--select", "NAN")[0] == 0
    assert checked(fanwise, "loud", *DATA, "--fail-on", "never")[0] == 0


def test_check_shows_a_table_and_writes_reports(framework, fanwise, tmp_path):
    code, out, _ = fanwise("check", "train.py:loud", *DATA, "--seeds", "1", "--sarif", "a.sarif", "--html", "a.html")
    assert code == 1
    assert "E LOS001" in out
    assert paths(framework, "head")[0] in out
    assert json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "LOS001"
    assert "LOS001" in (tmp_path / "a.html").read_text()


# fix


def test_fix_prints_code_that_mends_the_model(framework, fanwise):
    code, out, err = fanwise("fix", "train.py:loud", *DATA, "--seeds", "1")
    assert code == 0, err
    assert "no file was changed" in err
    assert "1 parameter would be drawn anew" in out
    names = {}
    exec(FILES[framework.name], names)  # as a user would paste it
    both = names["batch"]()
    names |= {"model": names["loud"](), "batch": both[0]}
    exec(out[out.index(FIRST[framework.adapter]) :], names)
    assert framework.api.check(names["model"], both, names["loss"]).ok
    assert not framework.api.check(names["loud"](), both, names["loss"]).ok


FIRST = {"torch": "import torch", "jax": "from glob", "keras": "from glob"}
"""How the code begins."""


def test_fix_has_nothing_to_say_of_a_healthy_model(fanwise):
    code, out, _ = fanwise("fix", "train.py:healthy", *DATA, "--seeds", "1")
    assert code == 0
    assert "Nothing: no finding has a fix." in out


# calibrate


def test_calibrate(framework, fanwise):
    code, out, err = fanwise("calibrate", "train.py:healthy", *DATA, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["forwards"] == 1
    assert ends_as([path for op in found["ops"] for path in op["paths"]], paths(framework, "a", "b", "head"))
    names = {}
    exec(HEAD, names)
    expected = 1 / np.std(names["pair"]()[0].astype(float) @ names["drawn"](0.1)[0].astype(float))
    assert found["ops"][0]["factors"] == pytest.approx([expected], rel=1e-5)


def test_calibrate_shows_a_table(fanwise):
    code, out, err = fanwise("calibrate", "train.py:healthy", *DATA)
    assert code == 0, err
    assert "3 of 3 ops calibrated, 1 forward pass." in out


def test_calibrate_balances(fanwise):
    code, out, err = fanwise("calibrate", "train.py:healthy", *DATA, "--balance", "--json")
    assert code == 0, err
    assert json.loads(out)["forwards"] == 2


def test_calibrate_writes_weights(framework, fanwise, tmp_path):
    """In the framework's own format."""
    name = "model.weights.h5" if framework.name == "keras" else "model.safetensors"
    code, _, err = fanwise("calibrate", "train.py:healthy", *DATA, "--write", name)
    assert code == 0, err
    assert (tmp_path / name).stat().st_size > 4 * (16 * 32 + 32 * 32 + 32 * 10)


# Errors


BAD = {
    "no model": (("check", "train.py:nothing", *DATA), 2, "made int: expected"),
    "no factory": (("plan", "train.py:absent", "--input", "64,16"), 2, "has no 'absent'; it has"),
    "no file": (("plan", "absent.py:healthy", "--input", "64,16"), 2, "absent.py"),
    "words": (("check", "train.py:healthy", "--input", "64,"), 2, "cannot be read"),
    "two batches": (("check", "train.py:healthy", *DATA, "--input", "64,16"), 2, "expected one of them"),
    "loss": (("check", "train.py:healthy", "--data", "train.py:batch", "--loss", "nothing"), 2, "loss = 'nothing'"),
    "no loss": (("check", "train.py:healthy", "--data", "train.py:batch", "--loss", "train.py:array"), 2, "--loss"),
    "recipe": (("plan", "train.py:healthy", "--input", "64,16", "--recipe", "nothing"), 2, "'nothing'"),
    "mode": (("calibrate", "train.py:healthy", *DATA, "--mode", "rows"), 2, "expected one of layer, channel"),
    "write": (("calibrate", "train.py:healthy", *DATA, "--write", "a.txt"), 2, "expected a name that ends in"),
    "code": (("check", "train.py:healthy", *DATA, "--select", "XYZ"), 2, "XYZ"),
    "factory": (("check", "train.py:fails", *DATA), 3, "'train.py:fails' cannot be built: KeyError: 'lost'"),
    "shape": (("check", "train.py:healthy", "--input", "64,15"), 3, "on these inputs"),
    "shape of a plan": (("plan", "train.py:healthy", "--input", "64,15"), 3, "on these inputs"),
    "shape to calibrate": (("calibrate", "train.py:healthy", "--input", "64,15"), 3, "on these inputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_are_one_line_with_an_exit_code(fanwise, case):
    arguments, expected, match = BAD[case]
    code, out, err = fanwise(*arguments)
    told = [line for line in err.splitlines() if line.startswith("fanwise: error: ")]
    assert (code, out, len(told)) == (expected, "", 1), err
    assert match in told[0]
    assert not [line for line in err.splitlines() if line != told[0] and not line.startswith("noise")]
