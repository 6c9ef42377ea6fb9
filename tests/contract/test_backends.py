"""Keras computes with one backend a process: the contract again on those that this process does not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_contract_holds_on(backend):
    if backend == os.environ.get("KERAS_BACKEND"):
        return  # this process runs it
    known = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    options = [
        "-p",
        "no:cacheprovider",
        "-q",
        "-k",
        "keras and not in_more_settings",
        f"--ignore={HERE / Path(__file__).name}",
    ]
    options += ["-W", "ignore:Module already imported"]  # of an editable installation
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(HERE)],
        env=os.environ | known,
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[1],
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
