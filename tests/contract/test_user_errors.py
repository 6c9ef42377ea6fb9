"""What a user reads where their model, loss or factory raises: their file and line, and no tensor; `--traceback`."""

import re

import pytest

HEAD = """
import numpy as np

def batch():
    return np.ones((4, 8), "float32"), np.zeros(4, "int64")

def lost():
    raise KeyError("no such head")  # factory
"""
TORCH = """
import torch
from torch import nn

class Misfit(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.a(x))
        return self.b(h)  # shapes

class Dumps(Misfit):
    def forward(self, x):
        h = self.a(x)
        torch.set_printoptions(profile="full")
        try:
            raise ValueError(f"negative: {h.detach().repeat(500, 1)}")  # dump
        finally:
            torch.set_printoptions(profile="default")

class Fits(Misfit):
    def forward(self, x):
        return self.b(x)

def misfit():
    return Misfit()

def dumps():
    return Dumps()

def fits():
    return Fits()

def data():
    return tuple(map(torch.from_numpy, batch()))

def broken(output, target):
    raise RuntimeError("no such reduction")  # loss
"""
JAX = """
import jax
import jax.numpy as jnp

def misfit():
    def network(params, x):
        h = jax.nn.relu(x @ params["a"])
        return h @ params["b"]  # shapes
    return network, {"a": jnp.ones((8, 16)), "b": jnp.ones((8, 3))}

def dumps():
    def network(params, x):
        h = x @ params["a"]
        raise ValueError(f"negative: {np.array2string(np.ones((2000, 16)), threshold=10**6)}")  # dump
    return network, {"a": jnp.ones((8, 16))}

def fits():
    def network(params, x):
        return x @ params["b"]
    return network, {"b": jnp.ones((8, 3))}

def data():
    return tuple(map(jnp.asarray, batch()))

def broken(output, target):
    raise RuntimeError("no such reduction")  # loss
"""
KERAS = """
import keras

class Misfit(keras.Model):
    def __init__(self):
        super().__init__()
        self.a, self.w = keras.layers.Dense(16), self.add_weight(shape=(8, 3))

    def call(self, x):
        h = self.a(x)
        return keras.ops.matmul(h, self.w)  # shapes

class Dumps(Misfit):
    def call(self, x):
        h = self.a(x)
        raise ValueError(f"negative: {np.array2string(np.ones((2000, 16)), threshold=10**6)}")  # dump

class Fits(Misfit):
    def call(self, x):
        return keras.ops.matmul(x, self.w)

def made(kind):
    model = kind()
    model.built = True
    model.a.build((4, 8))
    return model

def misfit():
    return made(Misfit)

def dumps():
    return made(Dumps)

def fits():
    return made(Fits)

data = batch

def broken(output, target):
    raise RuntimeError("no such reduction")  # loss
"""
FILES = {"torch": TORCH, "jax": JAX, "keras": KERAS}
CASES = {
    "misfit": ("cross_entropy", "shapes", r"\(4, 16\)|4x16|4,16|\(16,\)"),
    "dumps": ("cross_entropy", "dump", "ValueError.*negative"),
    "fits": ("train.py:broken", "loss", "no such reduction"),
}
"""The loss that a model is checked with, what stands behind the line that raises, and what is said of it."""
LONGEST = 1600
"""Letters of a message: what an exception said is cut to 600, besides paths and where it was."""


@pytest.fixture
def fanwise(framework, command, tmp_path):
    """The command in a folder that holds the file of the user."""
    (tmp_path / "train.py").write_text(HEAD + FILES[framework.name])
    return command


def line_of(tmp_path, mark):
    """The line of the file behind which a mark stands."""
    lines = (tmp_path / "train.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


@pytest.mark.parametrize("target", CASES)
def test_the_user_s_line_is_named_and_no_tensor_is_shown(fanwise, tmp_path, target):
    loss, mark, said = CASES[target]
    code, out, err = fanwise("check", f"train.py:{target}", "--data", "train.py:data", "--loss", loss)
    assert (code, out) == (3, "")
    assert re.search(rf"train\.py:{line_of(tmp_path, mark)}\b", err), err
    assert re.search(said, err), err
    assert "Traceback" not in err
    assert len(err) < LONGEST


@pytest.mark.parametrize("target", CASES)
def test_traceback_shows_the_rest(fanwise, tmp_path, target):
    loss, mark, _ = CASES[target]
    order = ("check", f"train.py:{target}", "--data", "train.py:data", "--loss", loss)
    code, _, err = fanwise(*order, "--traceback")
    assert code == 3
    assert "Traceback (most recent call last)" in err
    assert re.search(rf'File "[^"]*train\.py", line {line_of(tmp_path, mark)}\b', err), err[-3000:]
    assert err.splitlines()[-1] == fanwise(*order)[2].splitlines()[-1]


@pytest.mark.parametrize("verb", ["plan", "calibrate", "fix"])
def test_other_commands_know_it_too(fanwise, tmp_path, verb):
    more = ("--loss", "cross_entropy") if verb != "plan" else ()
    given = ("--data", "train.py:data") if verb != "plan" else ("--input", "4,8")
    code, _, err = fanwise(verb, "train.py:misfit", *given, *more, "--traceback")
    assert code == 3, err
    assert "Traceback (most recent call last)" in err
    assert f"line {line_of(tmp_path, 'shapes')}" in err


def test_a_factory_that_raises(fanwise, tmp_path):
    code, _, err = fanwise("check", "train.py:lost", "--data", "train.py:data", "--loss", "cross_entropy")
    assert code in (2, 3)
    assert f"train.py:{line_of(tmp_path, 'factory')}" in err
    assert "no such head" in err
