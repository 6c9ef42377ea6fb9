"""Keras computes with one backend a process, so each backend has its own: the tests of this room, and one digest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

HERE = Path(__file__).parent
BACKENDS = ("torch", "jax", "tensorflow")
DIGESTS = """
import hashlib
import keras
from fanwise import Layout
from fanwise.keras import initializers
for name, entry in initializers.INITIALIZERS.items():
    shape = (16, 1, 9) if name == "STFT" else (60, 40)
    for dtype in ("float32", "float16", "bfloat16"):
        init = type(entry.example).from_config(entry.example.get_config())
        layer = keras.layers.Layer(name="layer", dtype=dtype)
        weight = layer.add_weight(shape=shape, initializer=init, dtype=dtype, name=f"{name}_{dtype}")
        values = keras.ops.convert_to_numpy(weight.value)
        print(name, dtype, values.dtype, hashlib.sha256(values.tobytes()).hexdigest())
"""


UNTUNED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""On JAX most of the time goes into compilation, and half of that into programs that are run once."""


def run(backend, *arguments, flags=""):
    known = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    known["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {flags}"
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | known,
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[1],
    )


@pytest.mark.slow
def test_every_backend_draws_the_same_bits():
    results = {backend: run(backend, "-c", DIGESTS) for backend in BACKENDS}
    for result in results.values():
        assert result.returncode == 0, result.stderr
    assert results["torch"].stdout.count("\n") == 3 * 17
    assert results["torch"].stdout == results["jax"].stdout == results["tensorflow"].stdout


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tests_pass_on(backend):
    if backend == os.environ.get("KERAS_BACKEND"):
        return  # this process runs them
    options = [f"--ignore={HERE / Path(__file__).name}", "-p", "no:cacheprovider", "-q", "-m", "not slow"]
    options += ["-W", "ignore:Module already imported"]  # of an editable installation
    result = run(backend, "-m", "pytest", *options, str(HERE), "src/fanwise/keras", flags=UNTUNED)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
