"""Sharded over 1, 2, 4 and 8 devices: the same bits, no communication, nothing larger than a shard."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

pytestmark = pytest.mark.slow
KEY_BYTES = 2048
"""What the hash of the key takes: its message and its tables. Nothing of the array's size is held beside it."""


@pytest.fixture(scope="module")
def found():
    """What eight devices of one process found."""
    script = Path(__file__).with_name("sharded.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_bits_do_not_depend_on_the_devices(found):
    assert len(found["programs"]) > 15
    wrong = [name for name, one in found["programs"].items() if not (one["traced"] and one["eager"] and one["placed"])]
    assert wrong == []


def test_no_device_tells_another_anything(found):
    assert {name: one["communication"] for name, one in found["programs"].items() if one["communication"]} == {}


def test_no_device_holds_more_than_its_shard(found):
    for name, one in found["programs"].items():
        devices = 1 if "whole" in name else int(name.split()[0])
        shard = one["bytes"] // devices
        assert one["output"] == shard, name
        assert one["temporary"] <= KEY_BYTES, (name, one)


def test_explicit_meshes(found):
    assert found["explicit"] == {"eager": True, "jit": True}


def test_an_explicit_mesh_that_is_not_set_says_what_to_do(found):
    """Outside of jit its devices are known; inside, JAX knows them from the mesh that is set alone."""
    said = found["unset"]
    assert said.pop("eager") == ""
    assert all("jax.set_mesh" in text for text in said.values()), said


def test_uneven_shards_by_their_boxes(found):
    assert found["uneven"]


def test_a_model_goes_where_it_belongs(found):
    assert found["model"] == {"same": True, "kept": True, "shards": {"in": [64, 16], "out": [16, 8]}}


def test_orthogonal_matrices_agree_to_their_tolerance(found):
    assert found["orthogonal"] < 16 * 8 * 2.0**-24
