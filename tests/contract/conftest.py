"""What PyTorch, JAX and Keras promise alike: each case runs once in every framework.

`networks` holds the networks as data and computes them in NumPy, `frameworks` builds them from the same numbers,
`differences` says what differs: faults, whose cases must fail until they are mended, and what is meant.
Run alone with ``KERAS_BACKEND=tensorflow python -m pytest tests/contract``; `test_backends` runs the others.

What these cases say once was said before in each framework, and is not said there again:

===============  ==========================================  =====================================================
here             said before in tests/jax                    said before in tests/keras
===============  ==========================================  =====================================================
test_apply       test_planning: values of the law and path,  test_applying: the stream of a path, a pattern and a
                 only some, another model's plan, no key     checkpoint, canonical order, another model's plan
test_manifest    test_planning: what a manifest says         test_applying: manifests name what differs
test_check       test_checking: gradients of parameters, a   test_checking: built once a seed, without a backward
                 check in a line, models made once a seed,   pass, assert_healthy
                 compared with a plan, bad arguments
test_calibrate   test_calibrating: only what is asked for
test_commands    test_commands: fix prints code, losses and  test_commands: fix prints code, a loud head
                 data without a target
===============  ==========================================  =====================================================

A framework's own forms, layers, dtypes and devices are tested beside it.
"""

import os
from pathlib import Path

import pytest

from .differences import DIFFERENCES
from .frameworks import MAKERS
from .frameworks import framework as framework_of

os.environ.setdefault("KERAS_BACKEND", "torch")  # as in tests/keras; `test_backends` runs the contract on the others
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

HERE = Path(__file__).parent


HOLDING = {"equinox": ("test_plan", "test_apply", "test_manifest")}
"""Forms that hold parameters in another way and compute as their framework does: the modules that they run in."""
OPERATIONS = ("test_theory", "test_user_errors")
"""Modules about single operations and errors, in which a form of models does as its framework does."""
ADAPTERS = ("torch", "jax", "keras")


def pytest_generate_tests(metafunc):
    """Runs each case in every framework."""
    if "framework" in metafunc.fixturenames:
        module = Path(metafunc.module.__file__).stem
        names = [name for name in MAKERS if module in HOLDING.get(name, (module,))]
        names = [name for name in names if name in ADAPTERS or module not in OPERATIONS]
        metafunc.parametrize("framework", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def framework(request):
    """A framework, or a form of models in one."""
    for package in {"flax": ("jax", "flax"), "equinox": ("jax", "equinox")}.get(request.param, (request.param,)):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'fanwise[test]'")
    return framework_of(request.param)


def pytest_collection_modifyitems(items):
    """Marks the cases in which a framework is known to differ: they must fail, and say so when they no longer do."""
    for item in items:
        if item.path.parent == HERE and hasattr(item, "callspec"):
            for difference in DIFFERENCES:
                if difference.concerns(item.path.stem, item.originalname, item.callspec):
                    item.add_marker(pytest.mark.xfail(strict=True, reason=difference.words))
