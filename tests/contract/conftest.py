"""The fixture of frameworks: each case of the contract runs once in every one, strict where one is known to differ."""

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


def pytest_generate_tests(metafunc):
    """Runs each case in every framework."""
    if "framework" in metafunc.fixturenames:
        module = Path(metafunc.module.__file__).stem
        names = [name for name in MAKERS if module in HOLDING.get(name, (module,))]
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
