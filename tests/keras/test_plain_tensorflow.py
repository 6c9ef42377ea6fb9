"""Plain TensorFlow, modules and functions of variables, beside the same network in Keras: run, plan, check, apply.

In a process of its own: Keras computes with TensorFlow there.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "plain_tensorflow_cases.py"


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("keras") is None or find_spec("tensorflow") is None,
    reason="keras or tensorflow is not installed: pip install 'fanwise[keras,tensorflow]'",
)
def test_the_cases_on_tensorflow():
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--noconftest",
            "-c",
            os.devnull,
            str(CASES),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
